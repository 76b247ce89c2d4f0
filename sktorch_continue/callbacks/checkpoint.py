"""Store the run on disk while it trains."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any

from sktorch_continue.callbacks.base import Callback, overrides
from sktorch_continue.callbacks.monitor import check_mode, gain
from sktorch_continue.callbacks.open_folder import OpenFolder, place
from sktorch_continue.checkpoint.folder import NAME
from sktorch_continue.exceptions import CheckpointError, warn

ON_ERROR = ("raise", "warn")


class Checkpoint(Callback):
    """Write checkpoints of the run into a folder of its own.

    Parameters
    ----------
    path : str, path-like, or callable
        The run folder; made where it does not exist. A callable is called without arguments once per new run and
        returns the folder, so that the folds of a search write apart.
    every_n_epochs : int or None, default=1
        Write when the number of completed epochs, over all calls, is a multiple of this.
    every_n_steps : int or None, default=None
        Write when the number of completed optimizer steps is a multiple of this.
    every_n_seconds : float or None, default=None
        Write after the step at which this many seconds have passed since the last checkpoint of the call.
    keep_last : int or None, default=3
        How many of the newest checkpoints stay; None keeps all.
    keep_best : int, default=0
        How many of the best stay as well, by `monitor` and over the whole life of the run. An epoch that is among the
        best is written whether or not it is due.
    monitor : str, default="valid_loss"
        Column of the history for `keep_best`.
    mode : {"auto", "min", "max"}, default="auto"
        Whether smaller or larger is better; ``"auto"`` takes columns ending in ``loss`` or ``error`` for smaller.
    on_error : {"raise", "warn"}, default="raise"
        What a failed write does: end the training with a :class:`CheckpointError` at the next checkpoint or at the end
        of the call, or give a :class:`ContinuationWarning` and train on.

    Raises
    ------
    TypeError, ValueError
        For arguments that cannot be meant.
    CheckpointError
        While training: where the folder belongs to another run or is written to by another training, before the first
        step; and where a checkpoint could not be written.

    Attributes
    ----------
    folder : str or None
        Where the run is stored, absolute.
    best : list of (float, str)
        The best values so far, the best first, and the names of their checkpoints.

    Notes
    -----
    A checkpoint holds what all other callbacks have decided by then, wherever this one stands in the list; a step or
    epoch at which one of them failed is not stored. The tensors
    are copied and written by a thread aside; a write that is still under way is waited for before the next one and at
    the end of the call. The state in which a call ends is always stored, also when Ctrl-C or SIGTERM ends it.

    A folder belongs to one run, and to one writer at a time: a new run, another branch of this one, or a second process
    is refused before the first step.
    """

    columns = ()
    reads_max_epochs = False
    runs_last = True

    def __init__(
        self,
        path: str | os.PathLike[str] | Callable[[], str | os.PathLike[str]],
        every_n_epochs: int | None = 1,
        every_n_steps: int | None = None,
        every_n_seconds: float | None = None,
        keep_last: int | None = 3,
        keep_best: int = 0,
        monitor: str = "valid_loss",
        *,
        mode: str = "auto",
        on_error: str = "raise",
    ) -> None:
        check_mode(mode)
        if not (callable(path) or isinstance(path, str | os.PathLike)):
            raise TypeError(f"path={path!r}; a path, or a callable that returns one, was expected")
        for name, value in (("every_n_epochs", every_n_epochs), ("every_n_steps", every_n_steps)):
            if value is not None and not _is_count(value, 1):
                raise ValueError(f"{name}={value!r}; None or an integer of at least 1 was expected")
        if every_n_seconds is not None and not every_n_seconds >= 0:
            raise ValueError(f"every_n_seconds={every_n_seconds!r}; None or a number of at least 0 was expected")
        if keep_last is not None and not _is_count(keep_last, 1):
            raise ValueError(f"keep_last={keep_last!r}; None or an integer of at least 1 was expected")
        if not _is_count(keep_best, 0):
            raise ValueError(f"keep_best={keep_best!r}; an integer of at least 0 was expected")
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error={on_error!r} is none of {ON_ERROR}")
        self.path = path
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.every_n_seconds = every_n_seconds
        self.keep_last = keep_last
        self.keep_best = keep_best
        self.monitor = monitor
        self.mode = mode
        self.on_error = on_error
        self.folder: str | None = None
        self.best: list[tuple[float, str]] = []
        self._open: OpenFolder | None = None  # while a call trains

    # ---- state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the folder and the best so far."""
        return {"folder": self.folder, "best": list(self.best)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises
        ------
        ValueError
            If a best checkpoint is named that is none in a run folder.
        """
        best = [(float(value), name) for value, name in state["best"]]
        if not all(isinstance(name, str) and NAME.fullmatch(name) for _, name in best):
            raise ValueError(f"best cannot be {state['best']}; pairs of a value and a checkpoint's name were expected")
        self.folder, self.best = state["folder"], best

    @property
    def best_path(self) -> Path | None:
        """The checkpoint of the best epoch, for ``from_checkpoint``; None where it is not in this folder (yet)."""
        path = Path(self.folder, self.best[0][1]) if self.folder and self.best else None
        return path if path is not None and path.is_dir() else None

    # ---- hooks ----------------------------------------------------------------------------------------------------

    @property
    def unused_hooks(self) -> tuple[str, ...]:  # type: ignore[override]
        """That of a step, where neither steps nor seconds are asked for."""
        return ("on_step_end",) if self.every_n_steps is None and self.every_n_seconds is None else ()

    def on_train_begin(self, run: Any) -> None:
        """Find the folder, become its one writer, and refuse one that belongs to another run."""
        if self.keep_best:
            run.check_monitor(self.monitor)
        self.folder = self.locate()
        self._open = OpenFolder(self.folder, run)

    def on_step_end(self, run: Any) -> None:
        """Write where steps or seconds say so."""
        seconds = self.every_n_seconds
        due = self.every_n_steps is not None and run.n_steps % self.every_n_steps == 0
        if due or (seconds is not None and self._live.seconds() >= seconds):
            self._save(run)

    def on_epoch_end(self, run: Any) -> None:
        """Write where the epoch is due or among the best."""
        due = self.every_n_epochs is not None and run.n_epochs % self.every_n_epochs == 0
        if due or self.keep_best:
            self._settle(self._live.wait)  # a write that failed is none of the best
        if self._ranks(run) or due:
            self._save(run)

    def on_train_end(self, run: Any) -> None:
        """Store the final state, and wait until it is on disk."""
        others = [callback for callback in run.callbacks.values() if not isinstance(callback, Checkpoint)]
        if self._live.stored != place(run) or any(overrides(callback, "on_train_end") for callback in others):
            self._save(run)
        self._close()

    def on_exception(self, run: Any, error: BaseException) -> None:
        """Store the last completed step where a signal ended the training, and let others write."""
        if self._open is None:
            return
        ended = isinstance(error, KeyboardInterrupt | SystemExit) and not run.torn and place(run) != self._live.opened
        try:
            if ended and self._live.stored != place(run):
                self._save(run)
        finally:
            self._close()

    # ---- how ------------------------------------------------------------------------------------------------------

    def locate(self) -> str:
        """Return the run folder, absolute; a callable path is asked once in the life of a run."""
        if not callable(self.path):
            return os.path.abspath(self.path)
        return self.folder or os.path.abspath(self.path())

    @property
    def _live(self) -> OpenFolder:
        if self._open is None:
            raise RuntimeError("a Checkpoint writes only while a call trains")
        return self._open

    def _ranks(self, run: Any) -> bool:
        """Tell whether the newest epoch is among the best, and put it there."""
        if not self.keep_best:
            return False
        value = float(run.newest(self.monitor))
        full = len(self.best) >= self.keep_best
        if math.isnan(value) or (full and gain(value, self.best[-1][0], self.monitor, self.mode) <= 0):
            return False
        better = [entry for entry in self.best if gain(value, entry[0], self.monitor, self.mode) <= 0]
        worse = self.best[len(better) :]
        self.best = [*better, (value, self._live.name(run)), *worse][: self.keep_best]
        return True

    def _save(self, run: Any) -> None:
        self._settle(self._live.wait)
        self._settle(lambda: self._live.save(run, self.keep_last, [name for _, name in self.best]))

    def _close(self) -> None:
        live, self._open = self._live, None
        self._settle(live.close)

    def _settle(self, action: Callable[[], None]) -> None:
        try:
            action()
        except CheckpointError as error:
            if self.on_error == "raise":
                raise
            warn(f"{error}. The training goes on without this checkpoint")
            self.best = [(value, name) for value, name in self.best if Path(self.folder or "", name).is_dir()]


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and int(value) >= least
