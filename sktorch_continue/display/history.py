"""The learning curve: losses, scores and learning rate over all calls."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from sktorch_continue.callbacks import EarlyStopping
from sktorch_continue.display.figures import above, network_of, points, pyplot, whole_epochs, wrapped
from sktorch_continue.history import History

MANY_CALLS = 12
LETTERS = 100  # that fit over the width of the figure
NO_SCORES = {"epoch", "call", "n_steps", "lr", "train_loss", "valid_loss", "duration"}
UNTOLD = {"max_epochs", "warm_start", "verbose", "callbacks"}  # changed parameters that say little over a curve
COLORS = {"train": "C0", "valid": "C1", "lr": "C2"}


class HistoryDisplay:
    """Losses, scores and learning rate over all epochs; calls, early stops and best epochs marked.

    Use :meth:`from_estimator`; matplotlib is needed to draw.

    Parameters
    ----------
    history : History
        Rows and calls to draw.
    best_epochs : dict of str to int, optional
        Column of the history -> its best epoch (from 1), to be marked.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        After :meth:`plot`.
    axes_ : dict of str to matplotlib.axes.Axes
        ``"loss"``; a panel for each score, by its name without ``train_`` or ``valid_``; ``"lr"``.

    See Also
    --------
    ScheduleDisplay : The learning rate of epochs that are still to come.
    SearchDisplay : The scores of a search.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sktorch_continue import HistoryDisplay, TorchRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = TorchRegressor(max_epochs=3, validation_fraction=0.2, random_state=0).fit(X, y)
    >>> list(HistoryDisplay.from_estimator(model).axes_)
    ['loss', 'lr']
    """

    def __init__(self, history: History, *, best_epochs: dict[str, int] | None = None) -> None:
        self.history = history
        self.best_epochs = best_epochs

    @classmethod
    def from_estimator(cls, estimator: Any, *, log_loss: bool = False) -> HistoryDisplay:
        """Draw the history of a fitted estimator.

        The best epoch is that of the run's :class:`EarlyStopping`, and without one that of the lowest ``valid_loss``.

        Parameters
        ----------
        estimator : TorchClassifier or TorchRegressor
            Fitted; or a Pipeline whose last step is, or a search whose ``best_estimator_`` is.
        log_loss : bool, default=False
            Draw losses on a logarithmic scale.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        NotFittedError
            If it is not fitted.
        TypeError
            If there is no network in it.
        ValueError
            If no epoch is complete, or `log_loss` meets a loss that is not positive.
        ImportError
            If matplotlib is not installed.
        """
        network = network_of(estimator)
        check_is_fitted(network)
        best = {
            callback.monitor: callback.best_epoch
            for callback in network.callbacks_.values()
            if isinstance(callback, EarlyStopping) and callback.best_epoch
        }
        return cls(network.history_, best_epochs=best or _lowest(network.history_)).plot(log_loss=log_loss)

    def plot(self, *, log_loss: bool = False) -> HistoryDisplay:
        """Draw on a new figure.

        Parameters
        ----------
        log_loss : bool, default=False
            Draw losses on a logarithmic scale.

        Returns
        -------
        HistoryDisplay
        """
        if not self.history:
            raise ValueError("there is no epoch to draw: the run was cut in its first one, or exported without history")
        losses: list[str] = [name for name in ("train_loss", "valid_loss") if name in self.history.columns]
        panels = {"loss": losses, **self._scores(), "lr": ["lr"]}
        if log_loss and any(
            value is not None and value <= 0 for name in panels["loss"] for value in self.history[name]
        ):
            raise ValueError("log_loss=True needs losses above zero, and this history has others; leave it False")
        heights = [1.0 if name == "lr" else 2.0 for name in panels]
        self.figure_, axes = pyplot("HistoryDisplay").subplots(
            len(panels),
            1,
            sharex=True,
            figsize=(7, 1 + 1.1 * sum(heights)),
            height_ratios=heights,
            layout="constrained",
        )
        self.axes_ = dict(zip(panels, axes, strict=True))
        for name, columns in panels.items():
            self._draw(self.axes_[name], name, columns)
        if log_loss:
            self.axes_["loss"].set_yscale("log")
        self._mark_calls()
        for ax in self.axes_.values():
            if len(ax.get_legend_handles_labels()[1]) > 1:
                ax.legend(loc="best", frameon=False)
        rate = self.axes_["lr"]
        rate.get_lines()[0].set_drawstyle("steps-mid")  # it changes between two epochs, and at once
        rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        rate.set(xlabel="epoch", xlim=(0.5, len(self.history) + 0.5), ylim=(0, 1.1 * max(self.history["lr"]) or None))
        whole_epochs(rate.xaxis)
        return self

    def _scores(self) -> dict[str, list[str]]:
        """Return the columns of every score: a panel each, since scores have no common scale."""
        families: dict[str, list[str]] = {}
        for name in self.history.columns:
            is_number = all(isinstance(value, numbers.Real | None) for value in self.history[name])
            if name not in NO_SCORES and is_number:
                family = name.removeprefix("train_").removeprefix("valid_")
                families.setdefault(family if family not in ("loss", "lr") else name, []).append(name)
        return families

    def _draw(self, ax: Any, label: str, columns: list[str]) -> None:
        for column in sorted(columns):
            values = self._values(column)
            color = COLORS.get(column.split("_")[0], "C4")
            points(ax, self.history["epoch"], values, label=column, color=color)
            best = (self.best_epochs or {}).get(column)
            if best is not None:
                text = f"best: epoch {best}"
                star = {"markersize": 12, "markeredgecolor": "black", "clip_on": False}
                ax.plot([best], [values[best - 1]], "*", label=text, color=color, **star)
        if not any(math.isfinite(value) for line in ax.get_lines() for value in line.get_ydata()):
            ax.text(0.5, 0.5, "no value is finite", transform=ax.transAxes, ha="center", va="center", color="0.45")
            ax.set_yticks([])
        ax.set_ylabel("learning rate" if label == "lr" else wrapped(columns[0] if len(columns) == 1 else label))
        ax.grid(alpha=0.3)

    def _values(self, column: str) -> list[float]:
        return [float("nan") if value is None else float(value) for value in self.history[column]]

    def _mark_calls(self) -> None:
        calls = self.history["call"]
        begins = [row for row, call in enumerate(calls) if row == 0 or call != calls[row - 1]]
        ends = [*begins[1:], len(calls)]
        for row in begins[1:]:
            for ax in self.axes_.values():
                ax.axvline(row + 0.5, color="0.5", linestyle="--", linewidth=1 if len(begins) <= MANY_CALLS else 0.3)
        for row, end in zip(begins, ends, strict=True):
            record = self.history.calls[calls[row] - 1]
            if record["stopped"] is not None:
                self._mark_stop(end)
            if len(begins) <= MANY_CALLS:
                above(self.axes_["loss"], row + 0.5, _label(record, LETTERS * (end - row) / len(calls)))
        if len(begins) > MANY_CALLS:
            above(self.axes_["loss"], 0.5, f"{len(begins)} calls")

    def _mark_stop(self, epoch: int) -> None:
        for name, ax in self.axes_.items():
            known = "stopped" in ax.get_legend_handles_labels()[1]
            label = "stopped" if name == "loss" and not known else None
            ax.axvline(epoch + 0.5, color="C3", linewidth=2, clip_on=False, label=label)


def _lowest(history: History) -> dict[str, int]:
    if "valid_loss" not in history.columns:
        return {}
    losses = [math.nan if value is None else value for value in history["valid_loss"]]
    return {} if np.isnan(losses).all() else {"valid_loss": int(np.nanargmin(losses)) + 1}


def _label(record: dict[str, Any], room: float) -> str:
    """Return what there is room for: what a call changed, its verb, its number."""
    changed = {name: pair for name, pair in record["changed"].items() if name not in UNTOLD}
    changes = [f"{name} {before} → {now}" for name, (before, now) in changed.items()]
    stopped = " (stopped)" if record["stopped"] is not None else ""
    number, verb = str(record["call"]), f"{record['call']}: {record['verb']}"
    several = f"{verb}, {len(changes)} parameters changed{stopped}"
    labels = [", ".join([verb, *changes]) + stopped, several, verb + stopped, verb, number]
    return next((label for label in labels if len(label) <= room), number)
