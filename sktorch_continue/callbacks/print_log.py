"""A row per epoch, for ``verbose=2``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sktorch_continue.callbacks.base import Callback
from sktorch_continue.history import short


class PrintLog(Callback):
    """Print the row of each epoch; a continued run shows what it had and what it adds.

    Parameters
    ----------
    sink : callable, default=print
        Receives one line of text.
    """

    columns = ()
    only_watches = True
    reads_max_epochs = False

    def __init__(self, sink: Callable[[str], Any] = print) -> None:
        self.sink = sink
        self._columns: list[str] = []

    def on_train_begin(self, run: Any) -> None:
        """Say from where to where this call goes."""
        self.sink(f"call {run.progress.n_calls}: epochs {run.n_epochs + 1} to {run.max_epochs}")
        self._columns = []

    def on_epoch_end(self, run: Any) -> None:
        """Print the newest row, under a header when the columns are new."""
        row = {name: value for name, value in run.history[-1].items() if name != "call"}
        if list(row) != self._columns:
            self._columns = list(row)
            self.sink(" ".join(f"{name:>{max(10, len(name))}}" for name in row))
        self.sink(" ".join(f"{short(value):>{max(10, len(name))}}" for name, value in row.items()))

    def on_train_end(self, run: Any) -> None:
        """Say why training ended before its target."""
        if run.progress.stopped is not None:
            self.sink(f"stopped after epoch {run.n_epochs}: {run.progress.stopped}")
