"""How far a run has come: counters that only grow, the target, and the epoch that was cut."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass
class BegunEpoch:
    """An epoch of which some steps are done: where it stands, and its sums so far.

    Attributes
    ----------
    rows_done : int
        Rows of the epoch's order that were trained on.
    loss_sum, weight_sum : float
        Sum of loss times weight, and of weights, over those rows.
    lr : float
        Learning rate of the epoch's first step.
    duration : float
        Seconds spent in the epoch so far.
    key : str
        Rows and order the position refers to; others start the epoch anew.
    """

    rows_done: int = 0
    loss_sum: float = 0.0
    weight_sum: float = 0.0
    lr: float = 0.0
    duration: float = 0.0
    key: str = ""

    def __post_init__(self) -> None:
        self._unread: list[tuple[Any, Any, Any]] = []

    def add(self, loss: float, factor: Any, weight_sum: Any) -> None:
        """Add the loss of a batch, times `factor`, and the sum of its weights."""
        self.loss_sum += loss * float(factor)
        self.weight_sum += float(weight_sum)

    def add_later(self, loss: Any, factor: Any, weight_sum: Any) -> None:
        """Add what is still on its way from a device; nobody waits for it before :meth:`settle`."""
        self._unread.append((loss, factor, weight_sum))

    def settle(self) -> None:
        """Wait for what was added later: the sums are then as if it had been added at once."""
        unread, self._unread = self._unread, []
        for loss, factor, weight_sum in unread:
            self.add(float(loss), factor, weight_sum)


@dataclass
class Progress:
    """Counters of a run.

    Attributes
    ----------
    n_epochs, n_steps : int
        Completed epochs and optimizer steps, over all calls.
    n_calls : int
        Calls that trained.
    max_epochs : int
        The absolute number of epochs the newest call was started for.
    n_splits : int
        Times validation rows were drawn.
    stopped : str or None
        Why a callback ended the newest call before its target.
    begun : BegunEpoch or None
        The epoch that an interrupt cut, if any.
    """

    n_epochs: int = 0
    n_steps: int = 0
    n_calls: int = 0
    max_epochs: int = 0
    n_splits: int = 0
    stopped: str | None = None
    begun: BegunEpoch | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the counters as plain values."""
        if self.begun is not None:
            self.begun.settle()
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the counters from `state`.

        Raises
        ------
        ValueError
            If they cannot be what :meth:`state_dict` returned.
        """
        names = [field.name for field in fields(self)]
        counts = [state.get(name) for name in names if isinstance(vars(self)[name], int)]
        if sorted(state) != sorted(names) or not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError(f"progress cannot be {state}; {names} were expected, and counts of zero or more")
        for name, value in state.items():
            setattr(self, name, value)
        self.begun = None if state["begun"] is None else BegunEpoch(**state["begun"])
