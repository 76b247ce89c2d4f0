"""Finishing an interrupted run: from memory, or from the newest sound checkpoint, whichever is further."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sktorch_continue.callbacks import Checkpoint
from sktorch_continue.estimators.call import Call
from sktorch_continue.estimators.parameters import name_callbacks
from sktorch_continue.estimators.portable import read, restored
from sktorch_continue.estimators.trust import Trust
from sktorch_continue.estimators.verbs import carry_out
from sktorch_continue.exceptions import ContinuationError


@dataclass
class Stored:
    """What was found on disk.

    Attributes
    ----------
    path : Path
        The checkpoint.
    contents : dict
        What it holds.
    """

    path: Path
    contents: dict[str, Any]

    @property
    def run(self) -> str:
        """Name of the run."""
        return str(self.contents["summary"]["run"])

    @property
    def place(self) -> tuple[int, int]:
        """Completed steps and epochs."""
        summary = self.contents["summary"]
        return summary["n_steps"], summary["n_epochs"]


def resume(estimator: Any, call: Call, path: Any) -> None:
    """Finish the run that `estimator` holds or that is stored, or start it.

    Parameters
    ----------
    estimator : TorchEstimator
        Fitted or not.
    call : Call
        Of ``resume_fit``.
    path : path-like or None
        Run folder or checkpoint; by default the folders of the estimator's :class:`Checkpoint` callbacks.
    """
    folders = _folders_of_callbacks(estimator)
    call.pinned = folders
    if path is not None:
        folder = os.path.abspath(path)
        stored = _furthest(_newest([folder]), _newest(other for other in folders.values() if other != folder))
        if not folders and (stored is None or stored.path != Path(folder)):
            call.watchers = (Checkpoint(folder),)
    else:
        stored = _newest(folders.values())
    if stored is not None and not _memory_is_as_far(estimator, stored):
        call.source = restored(estimator, stored.contents, Trust())
    carry_out(estimator, call)


def _folders_of_callbacks(estimator: Any) -> dict[str, str]:
    """Return the run folder of every Checkpoint by its name; a callable path is asked here, and not again."""
    prototypes = name_callbacks(estimator.callbacks)
    living = estimator._run.callbacks if hasattr(estimator, "_run") else {}
    return {
        name: next(c for c in (living.get(name), prototype) if isinstance(c, Checkpoint)).locate()
        for name, prototype in prototypes.items()
        if isinstance(prototype, Checkpoint)
    }


def _newest(folders: Iterable[str]) -> Stored | None:
    found = [newest for folder in folders if (newest := read(folder)) is not None]
    return max((Stored(*newest) for newest in found), key=lambda stored: stored.place, default=None)


def _furthest(named: Stored | None, own: Stored | None) -> Stored | None:
    """Return the further of what `path` holds and what the callbacks have stored since of the same run."""
    if named is None or own is None or named.run != own.run:
        return named
    return max(named, own, key=lambda stored: stored.place)


def _memory_is_as_far(estimator: Any, stored: Stored) -> bool:
    if not hasattr(estimator, "_run"):
        return False
    run = estimator._run
    if run.id != stored.run:
        raise ContinuationError(
            f"the estimator holds one run (at epoch {run.n_epochs}) and {stored.path} another (at epoch "
            f"{stored.place[1]}); finish the stored one with clone(estimator).resume_fit, or give another path"
        )
    return (run.n_steps, run.n_epochs) >= stored.place and not run.torn
