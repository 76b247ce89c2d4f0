"""Estimators with nothing inside: the networks of this package and what of scikit-learn can go on.

===================================== ===================================================================
estimator                             continuing is
===================================== ===================================================================
with ``continue_fit``                 that: as many more epochs
with ``partial_fit``                  one more pass over the rows
with ``warm_start``, ``n_estimators`` as many more trees as the parameter says
``HistGradientBoosting*``             ``max_iter`` more iterations
with ``warm_start``, ``max_iter``     at most ``max_iter`` more iterations, from the solution it has
===================================== ===================================================================

The parameter keeps its value: it says what a call adds, as ``max_epochs`` does.
"""

from __future__ import annotations

from typing import Any

from sktorch_continue.continuation.job import Job
from sktorch_continue.estimators.storage import become, copied


def can_go_on(leaf: Any) -> bool:
    """Tell whether an estimator with nothing inside can go on by itself."""
    return hasattr(leaf, "continue_fit") or hasattr(leaf, "partial_fit") or budget_of(leaf) is not None


def budget_of(leaf: Any) -> str | None:
    """Return the parameter that says how long an estimator with ``warm_start`` trains, or None."""
    params = leaf.get_params(deep=False) if hasattr(leaf, "get_params") and not isinstance(leaf, type) else {}
    if "warm_start" not in params:
        return None
    return next((name for name in ("n_estimators", "max_iter") if name in params), None)


def advance_leaf(estimator: Any, job: Job) -> None:
    """Continue an estimator by what it offers; one of scikit-learn as a copy, so that an error leaves it as it was."""
    if not isinstance(job.transformers, str) and job.transformers:
        raise ValueError(
            f"transformers names steps {list(job.transformers)} of {type(estimator).__name__}, which has no steps"
        )
    if hasattr(estimator, "continue_fit"):
        epochs = {} if job.max_epochs is None else {"max_epochs": job.max_epochs}
        estimator.continue_fit(job.X, job.y, **job.params, **epochs)
        return
    continued = copied(estimator)
    budget = budget_of(estimator)
    if hasattr(continued, "partial_fit"):
        continued.partial_fit(job.X, job.y, **job.params)
    elif budget == "n_estimators":
        fit_on(continued, job, n_estimators=len(continued.estimators_) + continued.n_estimators)
    elif budget == "max_iter":
        fit_on(continued, job)
    else:
        raise TypeError(
            f"{type(estimator).__name__} cannot be continued: it has neither continue_fit nor partial_fit, nor "
            "warm_start with n_estimators or max_iter"
        )
    become(estimator, continued)


def fit_on(estimator: Any, job: Job, **total: int) -> None:
    """Call a warm-started ``fit``; the parameters are given back."""
    asked = {"warm_start": True, **total}
    before = {name: value for name, value in estimator.get_params(deep=False).items() if name in asked}
    estimator.set_params(**asked).fit(job.X, job.y, **job.params)
    estimator.set_params(**before)
