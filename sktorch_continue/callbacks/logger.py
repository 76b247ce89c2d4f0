"""What all loggers share: a log is what the history says, whatever was on disk when the run goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any

from sktorch_continue.callbacks.base import Callback

KNOWN_AT_ITS_END = ("n_epochs", "stopped")  # of a call


class Logger(Callback, ABC):
    """Log every epoch, every call and, where asked for, steps: each of them once.

    Parameters
    ----------
    every_n_steps : int or None, default=None
        Log a step when the number of completed steps, over all calls, is a multiple of this: its learning rate, and the
        mean loss over the rows since the last step that was logged in this epoch. None logs no steps and costs none.

    Raises
    ------
    ValueError
        If `every_n_steps` is neither None nor an integer of at least 1.

    Notes
    -----
    Where a call begins, a subclass first takes out of its log what lies past the run, as after a kill; then everything
    the history has, and the log has not, is added. So neither the order of the callbacks nor the moment of a kill
    decides what is in a log.
    """

    columns = ()
    only_watches = True
    reads_max_epochs = False

    def __init__(self, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and not (isinstance(every_n_steps, Integral) and int(every_n_steps) >= 1):
            raise ValueError(f"every_n_steps={every_n_steps!r}; None or an integer of at least 1 was expected")
        self.every_n_steps = every_n_steps
        self.n_epochs = 0
        self.n_calls = 0
        self.sums = (0.0, 0.0)
        self._lr = 0.0

    # ---- what a subclass does -------------------------------------------------------------------------------------

    @abstractmethod
    def open_log(self, run: Any) -> None:
        """Open the log of `run` and take out what lies past it; set `n_epochs` and `n_calls` to what is in it."""

    @abstractmethod
    def log_call(self, run: Any, call: dict[str, Any]) -> None:
        """Log the record of a call; ``parameters`` are in it where it is the one that begins."""

    @abstractmethod
    def log_epoch(self, run: Any, row: dict[str, Any]) -> None:
        """Log a row of the history."""

    @abstractmethod
    def log_step(self, run: Any, lr: float, loss: float) -> None:
        """Log the newest step."""

    @abstractmethod
    def close_log(self, run: Any, error: BaseException | None) -> None:
        """Let go of the log; called also where it could not be opened."""

    # ---- state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return how many epochs and calls are in the log, and the sums at the last step that is."""
        return {"n_epochs": self.n_epochs, "n_calls": self.n_calls, "sums": list(self.sums)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` returned."""
        self.n_epochs, self.n_calls = state["n_epochs"], state["n_calls"]
        self.sums = (state["sums"][0], state["sums"][1])

    # ---- hooks ----------------------------------------------------------------------------------------------------

    @property
    def unused_hooks(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of a step, where no steps are logged."""
        return ("on_epoch_begin", "on_step_begin", "on_step_end") if self.every_n_steps is None else ()

    def on_train_begin(self, run: Any) -> None:
        """Open the log, make it what the history says, and log the call."""
        self.open_log(run)
        self._catch_up(run)

    def on_epoch_begin(self, run: Any) -> None:
        """Begin the sums anew."""
        self.sums = (0.0, 0.0)

    def on_step_begin(self, run: Any) -> None:
        """Keep the learning rate of a step that will be logged; a schedule may change it before the step ends."""
        if self._due(run.n_steps + 1):
            self._lr = run.lr

    def on_step_end(self, run: Any) -> None:
        """Log the step where it is due."""
        if not self._due(run.n_steps):
            return
        begun = run.progress.state_dict()["begun"]
        loss, weight = (
            begun[name] - before for name, before in zip(("loss_sum", "weight_sum"), self.sums, strict=True)
        )
        self.log_step(run, self._lr, loss / weight)
        self.sums = (begun["loss_sum"], begun["weight_sum"])

    def on_epoch_end(self, run: Any) -> None:
        """Log the row."""
        self._catch_up(run)

    def on_train_end(self, run: Any) -> None:
        """Close the log."""
        self.close_log(run, None)

    def on_exception(self, run: Any, error: BaseException) -> None:
        """Close the log."""
        self.close_log(run, error)

    # ---- how ------------------------------------------------------------------------------------------------------

    def _due(self, n_steps: int) -> bool:
        return self.every_n_steps is not None and n_steps % self.every_n_steps == 0

    def _catch_up(self, run: Any) -> None:
        for call in run.history.calls[self.n_calls :]:
            begins = {name: value for name, value in call.items() if name not in KNOWN_AT_ITS_END}
            newest = call is run.history.calls[-1]
            self.log_call(run, {**begins, **({"parameters": run.specification.parameters} if newest else {})})
            self.n_calls += 1
        for row in run.history[self.n_epochs :]:
            self.log_epoch(run, row)
            self.n_epochs += 1


def numbers_of(row: dict[str, Any]) -> dict[str, int | float]:
    """Return the numeric columns of a row as Python's own numbers."""
    return {n: int(v) if isinstance(v, Integral) else float(v) for n, v in row.items() if isinstance(v, Real)}
