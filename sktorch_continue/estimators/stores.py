"""Where a ``fit`` finds runs that were trained before: nowhere, in memory, or in a folder.

A store knows runs by a key that says what was trained (see ``reuse``), and of every key the furthest run. It also
counts what its fits asked for and what they trained.
"""

from __future__ import annotations

import copy
import math
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sktorch_continue.callbacks import Callback
from sktorch_continue.checkpoint import RunFolder, read_checkpoint, write_checkpoint
from sktorch_continue.checkpoint.folder import position
from sktorch_continue.estimators.portable import restored
from sktorch_continue.estimators.soundness import check_stored
from sktorch_continue.estimators.storage import sharing_copy
from sktorch_continue.estimators.tasks import stopped_on_request
from sktorch_continue.estimators.trust import Trust
from sktorch_continue.exceptions import CheckpointError, ContinuationError, warn

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


@dataclass(frozen=True)
class Found:
    """A run of before.

    Attributes
    ----------
    fitted : TorchEstimator
        That has it.
    seconds : float
        Its fits took.
    """

    fitted: Any
    seconds: float


class RunStore:
    """Keeps nothing and finds nothing; counts."""

    keeps = False
    travels = False  # whether an estimator takes it along to another process

    def __init__(self) -> None:
        self.legs: list[Leg] = []

    @property
    def is_open(self) -> bool:
        """Whether it may be used."""
        return True

    def find(self, key: str, estimator: Any, most_epochs: int) -> Found | None:
        """Return the furthest run of a key with at most so many epochs; `estimator` says how it is built."""
        return None

    def keep(self, key: str, estimator: Any, seconds: float) -> None:
        """Take the run of a fitted estimator, whose fits took so long."""

    def settle(self) -> None:
        """Let what was kept since the last time be found: its candidate has been scored."""

    def watchers(self, key: str) -> tuple[Callback, ...]:
        """Return what stores the run of a key while it trains."""
        return ()


class MemoryStore(RunStore):
    """Keeps runs themselves, which go on in place.

    A run is found only once it is settled: before, it may be a part of the candidate that is being fitted, as another
    member of an ensemble. One whose estimator somebody still holds goes on as a copy.
    """

    keeps = True

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, Found] = {}
        self._new: dict[str, tuple[Found, Any]] = {}  # with a weak reference to the estimator that has it

    def find(self, key: str, estimator: Any, most_epochs: int) -> Found | None:
        """Hand out the run of a key; it is kept no longer."""
        if key not in self._found or self._found[key].fitted.n_epochs_ > most_epochs:
            return None
        return self._found.pop(key)

    def keep(self, key: str, estimator: Any, seconds: float) -> None:
        """Keep a run."""
        self._new[key] = (Found(sharing_copy(estimator), seconds), weakref.ref(estimator))

    def settle(self) -> None:
        """Let the new runs be found, where they are further than what is there."""
        for key, (new, held) in self._new.items():
            known = self._found.get(key)
            if known is None or known.fitted.n_epochs_ < new.fitted.n_epochs_:
                self._found[key] = new if held() is None else copy.deepcopy(new)
        self._new = {}


class FolderStore(RunStore):
    """Keeps runs as checkpoints in a folder, for any process; also those that are under way.

    Parameters
    ----------
    path : path-like
        Has to be there; once it is gone, the store is closed.

    Notes
    -----
    Nothing is locked: a checkpoint appears whole, and where two processes train the same, one of them is kept.
    """

    keeps = True
    travels = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(os.path.abspath(path))
        self._closed = False

    def __reduce__(self) -> Any:
        return FolderStore, (self.path,)

    @property
    def is_open(self) -> bool:
        """Whether there still is a folder, and the context it was opened for."""
        return not self._closed and self.path.is_dir()

    def close(self) -> None:
        """Be of no more use, also for clones that have brought it along."""
        self._closed = True

    def find(self, key: str, estimator: Any, most_epochs: int) -> Found | None:
        """Read the furthest sound checkpoint; one that cannot be used is told of and passed over."""
        for checkpoint in RunFolder(self.path / key).checkpoints():
            if position(checkpoint)[1] > most_epochs:
                continue
            try:
                contents = read_checkpoint(checkpoint)
                check_stored(contents)
                fitted = restored(estimator, contents, Trust())
                return Found(fitted, math.fsum(row["duration"] for row in fitted.history_))
            except (CheckpointError, ContinuationError) as error:
                if checkpoint.exists():  # else another process has gone further and removed it
                    warn(f"{error}. It is passed over, and its epochs are trained again")
        return None

    def watchers(self, key: str) -> tuple[Callback, ...]:
        """Return a callback that writes the run at the end, and about once a second before."""
        return (_Keeper(self.path / key),)


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
        if stopped_on_request(run):
            return
        folder, place = RunFolder(self._path), (run.n_steps, run.n_epochs)
        furthest = max((position(other)[:2] for other in folder.checkpoints()), default=(0, 0))
        if furthest >= place and place != self._place:
            return
        checkpoint = self._path / folder.free_name(run.n_epochs, run.n_steps)
        try:
            self._path.mkdir(exist_ok=True)
            write_checkpoint(checkpoint, run.session.contents())
            folder.prune(1, ())
            self._place = place
        except (OSError, CheckpointError) as error:
            if checkpoint.exists():  # another process that trains the same was faster
                return
            warn(f"this run could not be kept for later fits: {error}. The training goes on")
        self._written = time.monotonic()


_active: ContextVar[RunStore | None] = ContextVar("sktorch_continue_store", default=None)
_for_all: list[RunStore] = []  # of the whole process, the innermost last


@contextmanager
def active(store: RunStore) -> Iterator[None]:
    """Let fits in this context find runs in `store` and leave theirs there."""
    token = _active.set(store)
    try:
        yield
    finally:
        _active.reset(token)


@contextmanager
def active_for_all(store: FolderStore) -> Iterator[None]:
    """Let every fit of this process do so, in whatever thread, where its context or its estimator names no other."""
    _for_all.append(store)
    try:
        yield
    finally:
        _for_all.remove(store)
        store.close()


def store_for(estimator: Any) -> RunStore | None:
    """Return the store that a ``fit`` or ``clone`` of this estimator uses, if any."""
    candidates = [_active.get(), vars(estimator).get("_store"), *reversed(_for_all)]
    return next((store for store in candidates if store is not None and store.is_open), None)
