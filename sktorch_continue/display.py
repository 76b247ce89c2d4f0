"""Pictures in scikit-learn's Display style."""

from __future__ import annotations

import numbers
from typing import Any

from sklearn.utils.validation import check_is_fitted

from sktorch_continue.history import History

MANY_CALLS = 12


class HistoryDisplay:
    """Losses, scores and learning rate over all epochs, calls marked.

    Use :meth:`from_estimator`; matplotlib is needed to draw.

    Parameters
    ----------
    history : History
        Rows to draw.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        After :meth:`plot`.
    axes_ : dict of str to matplotlib.axes.Axes
        ``"loss"``, ``"score"`` where there are scores, and ``"lr"``.
    """

    def __init__(self, history: History) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, log_loss: bool = False) -> HistoryDisplay:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : TorchClassifier or TorchRegressor
            Fitted, or a Pipeline whose last step is.
        log_loss : bool, default=False
            Draw losses on a logarithmic scale.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        TypeError
            If the estimator keeps no history.
        ValueError
            If no epoch is complete.
        ImportError
            If matplotlib is not installed.
        """
        steps = getattr(estimator, "steps", None)
        final = steps[-1][1] if steps else estimator
        check_is_fitted(final)
        if not isinstance(getattr(final, "history_", None), History):
            raise TypeError(
                f"{type(final).__name__} keeps no history_; a TorchClassifier or TorchRegressor was expected"
            )
        return cls(final.history_).plot(log_loss=log_loss)

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
            raise ValueError("there is no epoch to draw: the run was cut in its first one")
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator

        panels = {"loss": self._losses(), "score": self._scores(), "lr": ["lr"]}
        panels = {name: columns for name, columns in panels.items() if columns}
        heights = [1.0 if name == "lr" else 2.0 for name in panels]
        figure, axes = plt.subplots(
            len(panels),
            1,
            sharex=True,
            figsize=(7, 1 + 1.1 * sum(heights)),
            height_ratios=heights,
            layout="constrained",
        )
        self.figure_ = figure
        self.axes_ = dict(zip(panels, axes, strict=True))
        for name, columns in panels.items():
            self._draw(self.axes_[name], name, columns)
        if log_loss:
            self.axes_["loss"].set_yscale("log")
        self.axes_["lr"].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        self.axes_["lr"].set(xlabel="epoch", xlim=(0.5, len(self.history) + 0.5), ylim=(0, None))
        self.axes_["lr"].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        self._mark_calls()
        return self

    def _losses(self) -> list[str]:
        return [name for name in self.history.columns if name in ("train_loss", "valid_loss")]

    def _scores(self) -> list[str]:
        fixed = {"epoch", "call", "n_steps", "lr", "train_loss", "valid_loss", "duration"}
        names = [name for name in self.history.columns if name not in fixed]
        return [name for name in names if all(isinstance(v, numbers.Real | None) for v in self.history[name])]

    def _draw(self, ax: Any, label: str, columns: list[str]) -> None:
        marker = "o" if len(self.history) == 1 else None
        for column in columns:
            values = [float("nan") if value is None else value for value in self.history[column]]
            color = {"train": "C0", "valid": "C1"}.get(column.split("_")[0]) if len(columns) <= 2 else None
            ax.plot(self.history["epoch"], values, label=column, marker=marker, color=color)
        ax.set_ylabel("learning rate" if label == "lr" else columns[0] if len(columns) == 1 else label)
        ax.grid(alpha=0.3)
        if len(columns) > 1:
            ax.legend(loc="best", frameon=False)

    def _mark_calls(self) -> None:
        calls = self.history["call"]
        begins = [row for row, call in enumerate(calls) if row == 0 or call != calls[row - 1]]
        for row in begins[1:]:
            for ax in self.axes_.values():
                ax.axvline(row + 0.5, color="0.5", linestyle="--", linewidth=1 if len(begins) <= MANY_CALLS else 0.3)
        if len(begins) > MANY_CALLS:
            self._annotate(0, f"{len(begins)} calls")
            return
        ends = [*begins[1:], len(calls)]
        for row, end in zip(begins, ends, strict=True):
            record = self.history.calls[calls[row] - 1]
            wide = (end - row) / len(calls) > 0.3
            self._annotate(row, _label(record) if wide else f"{record['call']}")

    def _annotate(self, row: int, text: str) -> None:
        self.axes_["loss"].annotate(
            text,
            (row + 0.5, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, 4),
            textcoords="offset points",
            fontsize="small",
            color="0.3",
        )


def _label(record: dict[str, Any]) -> str:
    changed = record["changed"].get("batch_size")
    change = f", batch {changed[0]} → {changed[1]}" if changed else ""
    return f"{record['call']}: {record['verb']}{change}" + (" (stopped)" if record["stopped"] else "")
