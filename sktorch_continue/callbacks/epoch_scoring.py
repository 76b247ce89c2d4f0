"""Score the module with any scikit-learn scorer after each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sktorch_continue.callbacks.base import Callback


class EpochScoring(Callback):
    """Record a score of the current weights in the history.

    Parameters
    ----------
    scoring : str or callable, default=None
        A scikit-learn scorer, or ``scorer(estimator, X, y) -> float``; None is the estimator's own ``score``.
    on : {"valid", "train"}, default="valid"
        Which rows to score.
    name : str, optional
        Column of the history; by default ``valid_accuracy`` for ``scoring="accuracy"`` and so on.
    """

    def __init__(
        self, scoring: str | Callable[..., float] | None = None, *, on: str = "valid", name: str | None = None
    ) -> None:
        if on not in ("valid", "train"):
            raise ValueError(f"on={on!r}; 'valid' or 'train' was expected")
        self.scoring = scoring
        self.on = on
        self.name = name

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one column it records."""
        return (self.column,)

    @property
    def column(self) -> str:
        """Name of the column it fills."""
        if self.name is not None:
            return self.name
        scoring = self.scoring if isinstance(self.scoring, str) else getattr(self.scoring, "__name__", "score")
        return f"{self.on}_{scoring}"

    def on_train_begin(self, run: Any) -> None:
        """Refuse to score rows that are not there, and a scorer scikit-learn does not know."""
        self._scorer(run)
        if self.on == "valid" and run.session.valid is None:
            raise ValueError(
                f"EpochScoring(on='valid', column {self.column!r}) needs validation rows: set validation_fraction, "
                "give X_val and y_val, or on='train'"
            )

    def on_validation_end(self, run: Any) -> None:
        """Score and record."""
        X, y = run.session.scoring_rows(self.on)
        run.record(self.column, float(self._scorer(run)(run.session.estimator, X, y)))

    def _scorer(self, run: Any) -> Callable[..., float]:
        from sklearn.metrics import check_scoring  # half of the time the package would take to import

        scorer: Callable[..., float] = check_scoring(run.session.estimator, self.scoring)
        return scorer
