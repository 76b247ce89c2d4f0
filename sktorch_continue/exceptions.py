"""The tree of errors and warnings. Every error can be caught at the root or by its builtin kind."""


class SktorchContinueError(Exception):
    """Root of the errors this package raises itself."""


class ContinuationError(SktorchContinueError, ValueError):
    """A run cannot be continued as asked; nothing was changed."""


class NonFiniteLossError(SktorchContinueError, FloatingPointError):
    """A training step gave a loss that is NaN or infinite; the run stands at the step before it."""


class ContinuationWarning(UserWarning):
    """Continuing drops a part of the run, or a changed parameter has no effect."""
