"""The learning rate of epochs that are still to come."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktorch_continue.display.figures import network_of, points, pyplot, whole_epochs
from sktorch_continue.estimators.forecast import Rates, rates_of_continuation, rates_of_fit
from sktorch_continue.estimators.parameters import ON_CONTINUE
from sktorch_continue.exceptions import ContinuationError
from sktorch_continue.history import History

COLORS = {"fit": "C0", "continue": "C0", "extend": "C1", "restart": "C3"}


class ScheduleDisplay:
    """The learning rate a schedule will give: before a training, or where a continuation will take it.

    Use :meth:`from_estimator`; matplotlib is needed to draw. The rates are those that training would use, to the bit:
    the same code decides them, on an optimizer of its own. Neither weights nor the run are touched.

    Parameters
    ----------
    epochs : ndarray of shape (n_points,)
        Where the points are: the epoch (from 1, over all calls), and the part of it that is done before a step.
    rates : dict of str to ndarray of shape (n_points, n_groups)
        Rates of every parameter group; by ``"fit"``, or by value of ``lr_scheduler_on_continue``.
    refused : dict of str to str, optional
        Why training would be refused, by value of ``lr_scheduler_on_continue``.
    chosen : str, optional
        The one of these that the estimator's parameter asks for.
    per_step : bool, default=False
        Whether there is a point per optimizer step, else per epoch.
    history : History, optional
        What was trained so far.
    name : str, optional
        Of the schedule.

    Attributes
    ----------
    figure_, ax_ : matplotlib.figure.Figure, matplotlib.axes.Axes
        After :meth:`plot`.

    See Also
    --------
    HistoryDisplay : The learning rates that were used.

    Examples
    --------
    >>> from sktorch_continue import ScheduleDisplay, TorchClassifier
    >>> model = TorchClassifier(lr=1.0, lr_scheduler="StepLR", lr_scheduler__step_size=2, max_epochs=5)
    >>> display = ScheduleDisplay.from_estimator(model)
    >>> display.rates["fit"][:, 0].tolist()
    [1.0, 1.0, 0.1, 0.1, 0.010000000000000002]
    """

    def __init__(
        self,
        epochs: NDArray[Any],
        rates: dict[str, NDArray[Any]],
        *,
        refused: dict[str, str] | None = None,
        chosen: str | None = None,
        per_step: bool = False,
        history: History | None = None,
        name: str | None = None,
    ) -> None:
        self.epochs = epochs
        self.rates = rates
        self.refused = refused
        self.chosen = chosen
        self.per_step = per_step
        self.history = history
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        max_epochs: int | None = None,
        on_continue: str | None = None,
        steps_per_epoch: int | None = None,
        ax: Any = None,
    ) -> ScheduleDisplay:
        """Draw what ``fit`` would do, or for a fitted estimator what ``continue_fit`` would.

        Parameters set since the last call count as they would in the next one.

        Parameters
        ----------
        estimator : TorchClassifier or TorchRegressor
            Or a Pipeline whose last step is one, or a search whose ``best_estimator_`` is.
        max_epochs : int, optional
            Epochs of ``fit``, or those that are added; by default the parameter ``max_epochs``.
        on_continue : {"continue", "extend", "restart"}, optional
            For a fitted estimator: draw only this; by default all three, the one that is set drawn solid.
        steps_per_epoch : int, optional
            Batches of an epoch, for a schedule per step. Needed before the first call; later by default those of as
            many rows as the newest call had.
        ax : matplotlib.axes.Axes, optional
            To draw on, instead of a new figure.

        Returns
        -------
        ScheduleDisplay

        Raises
        ------
        TypeError, ValueError
            For what is no network, and for parameters that cannot be meant; also for a schedule that reads a column of
            the history (ReduceLROnPlateau), whose rates nobody knows before.
        ContinuationError
            If the call would be refused.
        ImportError
            If matplotlib is not installed.
        """
        network = network_of(estimator)
        _check(network, on_continue, steps_per_epoch)
        drawn: dict[str, Rates] = {}
        refused: dict[str, str] = {}
        if not network.__sklearn_is_fitted__():
            drawn["fit"] = rates_of_fit(network, max_epochs, steps_per_epoch)
        else:
            for way in ON_CONTINUE if on_continue is None else [on_continue]:
                try:
                    drawn[way] = rates_of_continuation(network, way, max_epochs, steps_per_epoch)
                except ContinuationError as error:
                    refused[way] = str(error)
                    if len(refused) == (len(ON_CONTINUE) if on_continue is None else 1):
                        raise
        schedule = network.lr_scheduler
        display = cls(
            next(iter(drawn.values())).epochs,
            {way: rates.values for way, rates in drawn.items()},
            refused=refused,
            chosen=network.lr_scheduler_on_continue,
            per_step=schedule is not None and network.lr_scheduler_interval == "step",
            history=network.history_ if network.__sklearn_is_fitted__() else None,
            name=schedule if isinstance(schedule, str) else getattr(schedule, "__name__", None),
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any = None) -> ScheduleDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            To draw on, instead of a new figure.

        Returns
        -------
        ScheduleDisplay
        """
        plt = pyplot("ScheduleDisplay")
        own = ax is None
        if own:
            _, ax = plt.subplots(figsize=(8, 3.3), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self._draw_past()
        for ways in self._alike():
            self._draw(ways)
        if any(len(_distinct(rates)) > 1 for rates in self.rates.values()):
            ax.plot([], [], color="0.4", linewidth=0.7, label="other parameter groups")
        for way in self.refused or {}:
            ax.plot([], [], " ", label=f"{way}: refused")
        first = 1.0 if self.history else float(self.epochs[0])
        margin = 0.2 if self.per_step else 0.5
        ax.set_xlim(first - margin, float(self.epochs[-1]) + margin)
        ax.set_ylim(bottom=-0.03 * ax.get_ylim()[1])  # a rate of zero is seen
        ax.set(xlabel="epoch (at its first step)" if self.per_step else "epoch", ylabel="learning rate")
        ax.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        whole_epochs(ax.xaxis)
        ax.grid(alpha=0.3)
        if self.name is not None:
            by = "per step" if self.per_step else "per epoch"
            ax.set_title(f"{self.name}, {by}", loc="right", fontsize="small", color="0.45")
        if len(ax.get_legend_handles_labels()[1]) > 1:
            outside: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
            ax.legend(**outside if own else {"loc": "best"}, frameon=False)
        return self

    def _draw_past(self) -> None:
        if not self.history:
            return
        style: dict[str, Any] = {"drawstyle": "steps-mid", "label": "trained"}
        if self.per_step:  # only the rate of an epoch's first step is known
            style = {"linestyle": "none", "markevery": None, "label": "trained: first step of an epoch"}
        points(self.ax_, self.history["epoch"], self.history["lr"], color="0.4", **style)
        now = float(self.epochs[0]) - (0.0 if self.per_step else 0.5)
        self.ax_.axvline(now, color="0.5", linestyle="--", linewidth=1)

    def _alike(self) -> list[list[str]]:
        """Return the ways of going on, those with the same rates together."""
        together: list[list[str]] = []
        for way, rates in self.rates.items():
            same = next((ways for ways in together if np.array_equal(self.rates[ways[0]], rates)), None)
            if same is None:
                together.append([way])
            else:
                same.append(way)
        return together

    def _draw(self, ways: list[str]) -> None:
        is_set = ways == ["fit"] or self.chosen in ways
        style: dict[str, Any] = {"color": COLORS[ways[0]], "linestyle": "-" if is_set else ":"}
        if not self.per_step:
            style["drawstyle"] = "steps-mid"
        label = ", ".join(f"{way} (set)" if way == self.chosen and len(self.rates) > 1 else way for way in ways)
        for number, column in enumerate(_distinct(self.rates[ways[0]])):
            thin = {"linewidth": 0.7, "markersize": 2} if number else {"label": label}
            points(self.ax_, self.epochs.tolist(), column.tolist(), **style, **thin)


def _distinct(rates: NDArray[Any]) -> list[NDArray[Any]]:
    """Return the rates of parameter groups that differ."""
    return list({column.tobytes(): column for column in rates.T}.values())


def _check(network: Any, on_continue: str | None, steps_per_epoch: int | None) -> None:
    if on_continue is not None and on_continue not in ON_CONTINUE:
        raise ValueError(f"on_continue={on_continue!r} is none of {ON_CONTINUE}")
    if on_continue is not None and not network.__sklearn_is_fitted__():
        raise ValueError(
            f"on_continue={on_continue!r} is for a fitted estimator; this {type(network).__name__} has no run to go on"
        )
    if steps_per_epoch is None:
        return
    if not isinstance(steps_per_epoch, numbers.Integral) or isinstance(steps_per_epoch, bool) or steps_per_epoch < 1:
        raise ValueError(f"steps_per_epoch={steps_per_epoch!r}; an integer of at least 1 was expected")
