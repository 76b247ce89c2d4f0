"""Finishing the interrupted run of a pipeline's last step, in this process or another."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from sktorch_continue.continuation.handing_on import handing_on
from sktorch_continue.continuation.job import Job
from sktorch_continue.continuation.pipelines import is_fitted, last_job, step_params, transformers_of
from sktorch_continue.continuation.verbs import members
from sktorch_continue.estimators.tasks import CallbackSupport
from sktorch_continue.exceptions import OtherDataError


class Resuming(CallbackSupport, BaseEstimator):
    """A last step whose ``fit`` is ``resume_fit``, so that a pipeline's own ``fit`` brings the data to it.

    Parameters
    ----------
    estimator : estimator
        The last step itself.
    path : path-like or None
        Of ``resume_fit``.
    """

    def __init__(self, estimator: Any, path: Any) -> None:
        self.estimator = estimator
        self.path = path

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Resuming:
        """Resume."""
        resume = functools.partial(self.estimator.resume_fit, X, y, path=self.path, **fit_params)
        handing_on(self, self.estimator, resume, "resume_fit")
        return self

    def get_metadata_routing(self) -> Any:
        """Request what the last step requests."""
        return self.estimator.get_metadata_routing()


@members.register(Resuming)
def members_of_resuming(resuming: Resuming) -> dict[str, Any]:
    """Return the last step."""
    return {"estimator": resuming.estimator}


def resume_fitted(pipeline: Pipeline, X: Any, y: Any, path: Any, fit_params: Mapping[str, Any]) -> None:
    """Resume the last step behind the transformers as they are."""
    job = Job(X, y, fit_params)
    moved = last_job(pipeline, job, step_params(pipeline, job, {}))
    last = pipeline.steps[-1][1]
    handing_on(pipeline, last, lambda: last.resume_fit(moved.X, moved.y, path=path, **moved.params), "resume_fit")


def resume_unfitted(pipeline: Pipeline, X: Any, y: Any, path: Any, fit_params: Mapping[str, Any]) -> None:
    """Fit the transformers as ``fit`` does and resume the last step behind them.

    Raises
    ------
    OtherDataError
        If they give other inputs than the interrupted run had; the last step was not changed.
    """
    name, last = pipeline.steps[-1]
    fitting = copy.copy(pipeline)  # fit may replace steps, by those of its cache
    fitting.steps = [*pipeline.steps[:-1], (name, Resuming(last, path))]
    try:
        fitting.fit(X, y, **fit_params)
    except OtherDataError as error:
        names = [step for step, _ in transformers_of(pipeline)]
        raise OtherDataError(
            f"the transformers {names} were fitted anew and give {name!r} other inputs than the interrupted run had: X "
            "or y are others, or a transformer does not come out the same twice (give it an int as random_state). Give "
            f"the same rows in the same order, or load the fitted pipeline and resume that. {name!r} said: {error}"
        ) from error
    finally:
        pipeline.steps = [*fitting.steps[:-1], (name, last)]


def resume(pipeline: Pipeline, X: Any, y: Any, path: Any, fit_params: Mapping[str, Any]) -> None:
    """Finish the run of the last step; a pipeline of which all steps are fitted keeps its transformers."""
    steps = [*(step for _, step in transformers_of(pipeline)), pipeline.steps[-1][1]]
    finish = resume_fitted if all(map(is_fitted, steps)) else resume_unfitted
    finish(pipeline, X, y, path, fit_params)
