"""Voting, stacking and bagging: each member goes on with the rows and columns its ``fit`` would have given it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import _num_samples, check_array, column_or_1d, has_fit_parameter

from sktorch_continue.continuation.job import Job, Jobs, check_columns, routing_enabled
from sktorch_continue.continuation.leaves import fit_on
from sktorch_continue.continuation.parameters import advance_following
from sktorch_continue.continuation.together import advance_together
from sktorch_continue.continuation.verbs import advance, members
from sktorch_continue.estimators.storage import become, copied
from sktorch_continue.exceptions import ContinuationError


def _named(ensemble: Any) -> dict[str, Any]:
    """Return members by the names the user gave, fitted ones where there are."""
    unfitted = {name: estimator for name, estimator in ensemble.estimators if estimator != "drop"}
    fitted = getattr(ensemble, "estimators_", list(unfitted.values()))
    if len(fitted) != len(unfitted):  # the user has dropped some since: asked what is inside, that is what was fitted
        return {name: member for name, member in ensemble.named_estimators_.items() if member != "drop"}
    return dict(zip(unfitted, fitted, strict=True))


def _check_members(ensemble: Any) -> None:
    unfitted = {name: estimator for name, estimator in ensemble.estimators if estimator != "drop"}
    fitted = ensemble.estimators_
    if len(fitted) != len(unfitted):
        raise ContinuationError(
            f"{type(ensemble).__name__} was fitted with {len(fitted)} members and has {len(unfitted)} by now: "
            f"{list(unfitted)}; set them back, or fit anew"
        )


def _advance_named(ensemble: Any, job: Job) -> None:
    _check_members(ensemble)
    fitted = _named(ensemble)
    advance_together(ensemble, fitted, job.for_named(ensemble, list(fitted)), dict(ensemble.estimators))


@members.register(VotingClassifier)
@members.register(VotingRegressor)
def members_of_voting(ensemble: Any) -> dict[str, Any]:
    """Return all but those that were dropped."""
    return _named(ensemble)


@advance.register(VotingClassifier)
@advance.register(VotingRegressor)
def advance_voting(ensemble: Any, job: Job) -> None:
    """Continue every member on all rows."""
    encode = ensemble.le_.transform if is_classifier(ensemble) else lambda y: column_or_1d(y, warn=True)
    encoded = job.mapped(lambda X, y: (X, encode(y)))
    _advance_named(ensemble, encoded)


@members.register(StackingClassifier)
@members.register(StackingRegressor)
def members_of_stacking(ensemble: Any) -> dict[str, Any]:
    """Return the members where ``fit`` trains them, else the final estimator; never both.

    The final estimator was fitted to predictions for rows its members had not seen. Once the members go on on all
    rows there are no such rows left, so it stays; where the members are frozen, or were given fitted, it goes on.
    """
    if not _members_stay(ensemble):
        return _named(ensemble)
    final = getattr(ensemble, "final_estimator_", ensemble.final_estimator)
    return {} if final is None else {"final_estimator": final}


def _members_stay(ensemble: Any) -> bool:
    given_fitted = isinstance(ensemble.cv, str) and ensemble.cv == "prefit"
    return given_fitted or all(isinstance(member, FrozenEstimator) for member in _named(ensemble).values())


@advance.register(StackingClassifier)
@advance.register(StackingRegressor)
def advance_stacking(ensemble: Any, job: Job) -> None:
    """Continue the members on all rows and leave the final estimator, or the other way round."""
    encoded = job.mapped(lambda X, y: (X, _encoded_for_stacking(ensemble, y)))
    if not _members_stay(ensemble):
        _advance_named(ensemble, encoded)
        return
    moved = encoded.mapped(lambda X, y: (ensemble.transform(X), y))
    advance_following(ensemble.final_estimator_, ensemble.final_estimator, moved)


def _encoded_for_stacking(ensemble: Any, y: Any) -> Any:
    if not is_classifier(ensemble):
        return column_or_1d(y, warn=True)
    if isinstance(ensemble._label_encoder, list):
        columns = zip(ensemble._label_encoder, np.asarray(y).T, strict=True)
        return np.array([encoder.transform(column) for encoder, column in columns]).T
    return ensemble._label_encoder.transform(y)


@members.register(BaggingClassifier)
@members.register(BaggingRegressor)
def members_of_bagging(ensemble: Any) -> dict[str, Any]:
    """Return the members by position, or the one they will be cloned from."""
    if not hasattr(ensemble, "estimators_"):
        return {} if ensemble.estimator is None else {"estimator": ensemble.estimator}
    return {str(i): member for i, member in enumerate(ensemble.estimators_)}


@advance.register(BaggingClassifier)
@advance.register(BaggingRegressor)
def advance_bagging(ensemble: Any, job: Job) -> None:
    """Continue every member on the rows and columns that were drawn for it.

    Raises
    ------
    ContinuationError
        If the number of rows is not that of ``fit``: the draw is one of positions. If sample weights are not those of
        ``fit``, where it draws by them.
    """
    check_columns(ensemble, job)
    n_rows = _num_samples(job.X)
    if n_rows != ensemble._n_samples:
        raise ContinuationError(
            f"X has {n_rows} rows, but {type(ensemble).__name__} drew the rows of its members from "
            f"{ensemble._n_samples}; continue with the rows of fit, in their order"
        )
    own = _without_weights_of_the_draw(ensemble, job)
    shared = own.for_shared(ensemble).mapped(lambda X, y: (_matrix(X), _encoded_for_bagging(ensemble, y)))
    drawn = list(zip(ensemble.estimators_samples_, ensemble.estimators_features_, strict=True))
    jobs = Jobs(len(drawn), lambda i: _drawn(ensemble, shared, *drawn[i]))
    advance_together(ensemble, members_of_bagging(ensemble), jobs, dict.fromkeys(jobs, ensemble.estimator))


def _without_weights_of_the_draw(ensemble: Any, job: Job) -> Job:
    """Leave out sample weights where ``fit`` draws rows by them, as scikit-learn does from 1.7 on."""
    given = job.params.get("sample_weight")
    if given is None or not hasattr(ensemble, "_sample_weight"):
        return job
    if ensemble._sample_weight is None or not np.array_equal(np.asarray(given), ensemble._sample_weight):
        raise ContinuationError(
            f"sample_weight is not that of fit, but the rows of the members of {type(ensemble).__name__} were drawn by "
            f"the weights of fit{' (none)' if ensemble._sample_weight is None else ''}; give the same sample_weight"
        )
    return replace(job, params={name: value for name, value in job.params.items() if name != "sample_weight"})


def _matrix(X: Any) -> Any:
    """Return X as ``fit`` hands it on: names of columns are the ensemble's own."""
    return check_array(X, accept_sparse=["csr", "csc"], dtype=None, ensure_all_finite=False)


def _encoded_for_bagging(ensemble: Any, y: Any) -> np.ndarray:
    labels = np.asarray(y)
    labels = column_or_1d(labels, warn=True) if labels.ndim == 1 or labels.shape[1] == 1 else labels
    if not is_classifier(ensemble):
        return labels
    unseen = sorted(set(labels.tolist()) - set(ensemble.classes_.tolist()), key=str)
    if unseen:
        raise ContinuationError(f"y has classes {unseen} that BaggingClassifier was not fitted on")
    return np.searchsorted(ensemble.classes_, labels)


def _drawn(ensemble: Any, job: Job, rows: np.ndarray, columns: np.ndarray) -> Job:
    """Return the rows of a member as its ``fit`` got them: counted as weights where it takes weights, else chosen."""
    every_column = len(columns) == ensemble.n_features_in_ and not ensemble.bootstrap_features
    narrowed = job if every_column else job.mapped(lambda X, y: (X[:, columns], y))
    if not _takes_weights(ensemble.estimator_):
        return narrowed.chosen(rows)
    weight = np.bincount(rows, minlength=ensemble._n_samples)
    given = narrowed.params.get("sample_weight")
    if given is not None:
        weight = weight * np.asarray(given)
    return replace(narrowed, params={**narrowed.params, "sample_weight": weight})


def _takes_weights(estimator: Any) -> bool:
    if routing_enabled():
        return bool(get_routing_for_object(estimator).consumes("fit", ("sample_weight",)))
    return bool(has_fit_parameter(estimator, "sample_weight"))


@advance.register(HistGradientBoostingClassifier)
@advance.register(HistGradientBoostingRegressor)
def advance_histogram_boosting(estimator: Any, job: Job) -> None:
    """Add iterations; here ``max_iter`` is the total under ``warm_start``."""
    continued = copied(estimator)
    fit_on(continued, job, max_iter=continued.n_iter_ + continued.max_iter)
    become(estimator, continued)
