"""Stop when a column of the history no longer gets better."""

from __future__ import annotations

import math
from typing import Any

from sktorch_continue.callbacks.base import Callback
from sktorch_continue.callbacks.monitor import check_mode, gain


class EarlyStopping(Callback):
    """End training when `monitor` has not improved for `patience` epochs.

    Parameters
    ----------
    monitor : str, default="valid_loss"
        Column of the history to watch.
    patience : int, default=5
        Epochs in a row without improvement after which training ends.
    min_delta : float, default=0.0
        An improvement is a change by more than this, in units of the column.
    restore_best : bool, default=False
        Let ``predict`` use the weights of the best epoch. Training always goes on from the last ones.
    mode : {"auto", "min", "max"}, default="auto"
        Whether smaller or larger is better; ``"auto"`` takes columns ending in ``loss`` or ``error`` for smaller.

    Attributes
    ----------
    best_score, best_epoch : float, int
        The best value seen over all calls, and the epoch it belongs to (from 1).
    wait : int
        Epochs without improvement so far.

    Notes
    -----
    Continuing a run that this callback ended starts counting `patience` anew, against the same best value.
    """

    columns = ()
    reads_max_epochs = False

    def __init__(
        self,
        monitor: str = "valid_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        *,
        restore_best: bool = False,
        mode: str = "auto",
    ) -> None:
        check_mode(mode)
        if patience < 1 or min_delta < 0:
            raise ValueError(f"patience={patience} must be at least 1 and min_delta={min_delta} at least 0")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best = restore_best
        self.mode = mode
        self.best_score = math.nan
        self.best_epoch = 0
        self.wait = 0
        self.stopped = False

    def on_train_begin(self, run: Any) -> None:
        """Refuse a column nobody fills; count anew after a stop of its own."""
        run.check_monitor(self.monitor)
        if self.stopped:
            self.stopped, self.wait = False, 0

    def on_epoch_end(self, run: Any) -> None:
        """Compare the newest value with the best."""
        value = run.newest(self.monitor)
        if self.improves(value):
            self.best_score, self.best_epoch, self.wait = float(value), run.n_epochs, 0
            if self.restore_best:
                run.keep_best()
            return
        self.wait += 1
        if self.wait >= self.patience:
            self.stopped = True
            run.stop(
                f"{self.monitor} has not improved on {self.best_score:.6g} (epoch {self.best_epoch}) for {self.wait} "
                "epochs"
            )

    def improves(self, value: float) -> bool:
        """Tell whether `value` is better than the best so far by more than ``min_delta``."""
        if math.isnan(value):
            return False
        if math.isnan(self.best_score):
            return True
        return gain(value, self.best_score, self.monitor, self.mode) > self.min_delta
