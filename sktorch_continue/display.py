"""Pictures in scikit-learn's Display style."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from sktorch_continue.history import History


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
    def from_estimator(cls, estimator: Any, **kwargs: Any) -> HistoryDisplay:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : TorchClassifier or TorchRegressor
            Fitted, or a Pipeline whose last step is.
        **kwargs
            Passed to :meth:`plot`.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        steps = getattr(estimator, "steps", None)
        final = steps[-1][1] if steps else estimator
        check_is_fitted(final)
        return cls(final.history_).plot(**kwargs)

    def plot(self, *, log_loss: bool = False) -> HistoryDisplay:
        """Draw.

        Parameters
        ----------
        log_loss : bool, default=False
            Draw losses on a logarithmic scale.

        Returns
        -------
        HistoryDisplay
        """
        import matplotlib.pyplot as plt

        panels = {"loss": self._losses(), "score": self._scores(), "lr": ["lr"]}
        panels = {name: columns for name, columns in panels.items() if columns}
        figure, axes = plt.subplots(
            len(panels), 1, sharex=True, squeeze=False, figsize=(7, 1.2 + 2.1 * len(panels)), layout="constrained"
        )
        self.figure_ = figure
        self.axes_ = dict(zip(panels, axes[:, 0], strict=True))
        for name, columns in panels.items():
            self._draw(self.axes_[name], name, columns)
        if log_loss:
            self.axes_["loss"].set_yscale("log")
        axes[-1, 0].set_xlabel("epoch")
        self._mark_calls()
        return self

    def _losses(self) -> list[str]:
        return [name for name in self.history.columns if name in ("train_loss", "valid_loss")]

    def _scores(self) -> list[str]:
        fixed = {"epoch", "call", "n_steps", "lr", "train_loss", "valid_loss", "duration"}
        return [name for name in self.history.columns if name not in fixed]

    def _draw(self, ax: Any, label: str, columns: list[str]) -> None:
        marker = "o" if len(self.history) == 1 else None
        for column in columns:
            values = [float("nan") if value is None else value for value in self.history[column]]
            ax.plot(self.history["epoch"], values, label=column, marker=marker)
        ax.set_ylabel("learning rate" if label == "lr" else label)
        ax.grid(alpha=0.3)
        if label != "lr":
            ax.legend(loc="best", frameon=False)

    def _mark_calls(self) -> None:
        calls = self.history["call"]
        begins = [(row, call) for row, call in enumerate(calls) if row == 0 or call != calls[row - 1]]
        top = next(iter(self.axes_.values()))
        for row, call in begins:
            epoch = self.history[row, "epoch"]
            if row:
                for ax in self.axes_.values():
                    ax.axvline(epoch - 0.5, color="0.5", linestyle="--", linewidth=1)
            verb = self.history.calls[call - 1]["verb"]
            top.annotate(
                verb,
                (epoch - 0.5 if row else epoch, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(2, 2),
                textcoords="offset points",
                fontsize="small",
                color="0.4",
            )
