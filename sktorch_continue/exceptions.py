"""The tree of errors and warnings. Every error can be caught at the root or by its builtin kind."""

from __future__ import annotations

import sys
import warnings


class SktorchContinueError(Exception):
    """Root of the errors this package raises itself."""


class ContinuationError(SktorchContinueError, ValueError):
    """A run cannot be continued as asked; nothing was changed."""


class OtherDataError(ContinuationError):
    """A run cannot be resumed on these rows: they are not those it was interrupted on."""


class NonFiniteLossError(SktorchContinueError, FloatingPointError):
    """A training step gave a loss that is NaN or infinite; the run stands at the step before it."""


class CheckpointError(SktorchContinueError, OSError):
    """A checkpoint cannot be written, read or used as asked; what was stored before is as it was."""


class CorruptCheckpointError(CheckpointError):
    """A checkpoint is damaged, incomplete or no checkpoint; nothing was taken from it."""


class ContinuationWarning(UserWarning):
    """Continuing drops a part of the run, a changed parameter has no effect, or a checkpoint is passed over."""


class DataDriftWarning(UserWarning):
    """A network is continued on inputs that are not like those it was trained on."""


# Frames that a warning does not point at: what is to be done about it is done by whoever called them.
_PASSED_OVER = ("sktorch_continue", "sklearn", "joblib")


def warn(message: str, category: type[Warning] = ContinuationWarning) -> None:
    """Give a warning that points at the caller's line, outside this package and those that call it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_OVER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
