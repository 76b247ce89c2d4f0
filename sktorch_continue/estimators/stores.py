"""Where a ``fit`` finds runs that were trained before: nowhere, in memory, or in a folder.

A store knows runs by a key that says what was trained (see ``reuse``), and of every key the furthest run. It also
counts what its fits asked for and what they trained.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sktorch_continue.callbacks import Callback
from sktorch_continue.checkpoint import RunFolder, read_checkpoint, write_checkpoint
from sktorch_continue.checkpoint.folder import position
from sktorch_continue.estimators.portable import check_stored, restored, without_run
from sktorch_continue.estimators.storage import sharing_copy
from sktorch_continue.estimators.trust import Trust
from sktorch_continue.exceptions import CheckpointError, ContinuationError, warn
from sktorch_continue.run import Run

SECONDS_BETWEEN_WRITES = 1.0


@dataclass(frozen=True)
class Leg:
    """What one ``fit`` was asked for and what it did.

    Attributes
    ----------
    asked, trained : int
        Epochs.
    seconds_saved : float
        That the epochs it did not have to train had taken.
    """

    asked: int
    trained: int
    seconds_saved: float


class RunStore:
    """Keeps nothing and finds nothing; counts."""

    keeps = False
    travels = False  # whether an estimator takes it along to another process

    def __init__(self) -> None:
        self.legs: list[Leg] = []

    def find(self, key: str, estimator: Any, most_epochs: int) -> Any | None:
        """Return a copy of an unfitted estimator that has the furthest run of a key with at most so many epochs."""
        return None

    def keep(self, key: str, estimator: Any) -> None:
        """Take the run of a fitted estimator."""

    def watcher(self, key: str) -> Callback | None:
        """Return what stores the run of a key while it trains."""
        return None


class MemoryStore(RunStore):
    """Keeps runs themselves: they go on in place, so that whoever was fitted before must not be used any more."""

    keeps = True

    def __init__(self) -> None:
        super().__init__()
        self._fitted: dict[str, Any] = {}

    def find(self, key: str, estimator: Any, most_epochs: int) -> Any | None:
        """Hand out the run of a key; it is kept no longer."""
        if key not in self._fitted or self._fitted[key].n_epochs_ > most_epochs:
            return None
        draft = sharing_copy(self._fitted.pop(key))
        vars(draft).update(without_run(estimator))
        return draft

    def keep(self, key: str, estimator: Any) -> None:
        """Keep a run, unless one that is further is here already."""
        if key not in self._fitted:
            self._fitted[key] = sharing_copy(estimator)


class FolderStore(RunStore):
    """Keeps runs as checkpoints in a folder, for any process; also those that are under way.

    Parameters
    ----------
    path : path-like
        Made when the first run is kept.

    Notes
    -----
    Nothing is locked: a checkpoint appears whole, and two processes that train the same write the same.
    """

    keeps = True
    travels = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(os.path.abspath(path))

    def find(self, key: str, estimator: Any, most_epochs: int) -> Any | None:
        """Read the furthest sound checkpoint; one that cannot be used is told of and passed over."""
        for checkpoint in RunFolder(self.path / key).checkpoints():
            if position(checkpoint)[1] > most_epochs:
                continue
            try:
                contents = read_checkpoint(checkpoint)
                check_stored(contents)
                return restored(estimator, contents, Trust())
            except (CheckpointError, ContinuationError) as error:
                if checkpoint.exists():  # else another process has gone further and removed it
                    warn(f"{error}. It is passed over, and its epochs are trained again")
        return None

    def watcher(self, key: str) -> Callback:
        """Return a callback that writes the run at the end, and about once a second before."""
        return _Keeper(self.path / key)


class _Keeper(Callback):
    columns = ()
    runs_last = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = time.monotonic()
        self._place: tuple[int, int] | None = None  # of what this one has written

    def on_epoch_end(self, run: Any) -> None:
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self._write(run)

    def on_train_end(self, run: Any) -> None:
        self._write(run)  # again where the last epoch was written: others may have changed the run since

    def _write(self, run: Any) -> None:
        folder, place = RunFolder(self._path), (run.n_steps, run.n_epochs)
        furthest = max((position(other)[:2] for other in folder.checkpoints()), default=(0, 0))
        if furthest >= place and place != self._place:
            return
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            write_checkpoint(self._path / folder.free_name(run.n_epochs, run.n_steps), run.session.contents())
            folder.prune(1, ())
            self._place = place
        except (OSError, CheckpointError) as error:
            warn(f"this run could not be kept for later fits: {error}. The training goes on")
        self._written = time.monotonic()


_active: ContextVar[RunStore | None] = ContextVar("sktorch_continue_store", default=None)


@contextmanager
def active(store: RunStore | None) -> Iterator[None]:
    """Let fits in this context find runs in `store` and leave theirs there."""
    token = _active.set(store)
    try:
        yield
    finally:
        _active.reset(token)


def store_for(estimator: Any) -> RunStore | None:
    """Return the store a ``fit`` or ``clone`` of this estimator uses: that of the context, or the one it brought."""
    found = _active.get()
    return vars(estimator).get("_store") if found is None else found


def seconds_of(run: Run) -> float:
    """Return how long the epochs of a run have taken."""
    return math.fsum(row["duration"] for row in run.history)
