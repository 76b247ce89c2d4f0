"""Meta-estimators around one fitted estimator, which goes on in place."""

from __future__ import annotations

from typing import Any

from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.model_selection._search import BaseSearchCV  # halving searches are public only after an import
from sklearn.utils.validation import check_array

from sktorch_continue.continuation.handing_on import handing_on
from sktorch_continue.continuation.job import Job
from sktorch_continue.continuation.parameters import advance_following
from sktorch_continue.continuation.verbs import advance, members
from sktorch_continue.exceptions import ContinuationError


@members.register(FrozenEstimator)
def members_of_frozen(estimator: FrozenEstimator) -> dict[str, Any]:
    """Return nothing: a frozen estimator is left alone."""
    return {}


@advance.register(FrozenEstimator)
def advance_frozen(estimator: FrozenEstimator, job: Job) -> None:
    """Leave it alone."""


@members.register(BaseSearchCV)
def members_of_search(search: Any) -> dict[str, Any]:
    """Return the best estimator, which ``refit`` trained on all rows, or the candidate of an unfitted search."""
    if not search.refit:
        return {}
    if not hasattr(search, "cv_results_"):
        return {"estimator": search.estimator}
    return {"best_estimator": search.best_estimator_} if hasattr(search, "best_estimator_") else {}


@advance.register(BaseSearchCV)
def advance_search(search: Any, job: Job) -> None:
    """Continue the best estimator; what the search found out about the candidates stays."""
    best, shared = search.best_estimator_, job.for_shared(search)
    handing_on(search, best, lambda: advance_following(best, search.estimator, shared, fixed=search.best_params_))


@members.register(TransformedTargetRegressor)
def members_of_transformed_target(estimator: Any) -> dict[str, Any]:
    """Return the regressor."""
    fitted = getattr(estimator, "regressor_", estimator.regressor)
    return {} if fitted is None else {"regressor": fitted}


@advance.register(TransformedTargetRegressor)
def advance_transformed_target(estimator: Any, job: Job) -> None:
    """Continue the regressor on targets through the fitted transformer, which stays whatever `transformers` says."""

    def transformed(X: Any, y: Any) -> tuple[Any, Any]:
        target = check_array(y, input_name="y", ensure_2d=False, dtype="numeric", allow_nd=True)
        if target.ndim != estimator._training_dim:
            raise ContinuationError(
                f"y has {target.ndim} dimensions, but this TransformedTargetRegressor was fitted on "
                f"{estimator._training_dim}"
            )
        changed = estimator.transformer_.transform(target.reshape(-1, 1) if target.ndim == 1 else target)
        flat = changed.ndim == 2 and changed.shape[1] == 1 and target.ndim == 1
        return X, changed.squeeze(axis=1) if flat else changed

    moved = job.for_shared(estimator, "regressor").mapped(transformed)
    advance_following(estimator.regressor_, estimator.regressor, moved)


@members.register(FixedThresholdClassifier)
def members_of_fixed_threshold(estimator: Any) -> dict[str, Any]:
    """Return the classifier."""
    return {"estimator": getattr(estimator, "estimator_", estimator.estimator)}


@advance.register(FixedThresholdClassifier)
def advance_fixed_threshold(estimator: Any, job: Job) -> None:
    """Continue the classifier; the threshold is a parameter."""
    advance_following(estimator.estimator_, estimator.estimator, job.for_shared(estimator))


@members.register(TunedThresholdClassifierCV)
def members_of_tuned_threshold(estimator: Any) -> dict[str, Any]:
    """Return the classifier, unless it was given fitted or on a part of the rows: the others are the threshold's."""
    if estimator.cv == "prefit" or not estimator.refit:
        return {}
    return {"estimator": getattr(estimator, "estimator_", estimator.estimator)}


@advance.register(TunedThresholdClassifierCV)
def advance_tuned_threshold(estimator: Any, job: Job) -> None:
    """Continue the classifier on all rows; ``best_threshold_`` stays, it was tuned on rows held out from clones."""
    advance_following(estimator.estimator_, estimator.estimator, job.for_shared(estimator))
