"""CalibratedClassifierCV: classifiers go on on the folds they were trained on, and are calibrated again."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import process_routing

from sktorch_continue.continuation.job import Job, routing_enabled
from sktorch_continue.continuation.parameters import advance_following
from sktorch_continue.continuation.together import continued_copies
from sktorch_continue.continuation.verbs import advance, members
from sktorch_continue.estimators.storage import become
from sktorch_continue.exceptions import ContinuationError


@members.register(CalibratedClassifierCV)
def members_of_calibrated(calibrated: Any) -> dict[str, Any]:
    """Return the classifiers by fold, or the one they will be cloned from."""
    if not hasattr(calibrated, "calibrated_classifiers_"):
        return {} if calibrated.estimator is None else {"estimator": calibrated.estimator}
    return {str(i): fold.estimator for i, fold in enumerate(calibrated.calibrated_classifiers_)}


@advance.register(CalibratedClassifierCV)
def advance_calibrated(calibrated: Any, job: Job) -> None:
    """Continue the classifier of every fold on its training rows and calibrate it on its others.

    With ``ensemble=False`` the one classifier goes on on all rows and its calibrator, which was fitted to
    cross-validated predictions of clones, stays.

    Raises
    ------
    ContinuationError
        If ``cv`` would draw other folds than ``fit`` had.
    """
    classifiers = members_of_calibrated(calibrated)
    shared = job.for_shared(calibrated)
    if len(classifiers) == 1 and not _is_ensemble(calibrated):
        advance_following(classifiers["0"], calibrated.estimator, shared)
        return
    folds = _folds(calibrated, job)
    jobs = {str(i): shared.chosen(train) for i, (train, _) in enumerate(folds)}
    continued = continued_copies(calibrated, classifiers, jobs, dict.fromkeys(jobs, calibrated.estimator))
    calibrators = {
        name: _calibrators(calibrated, copy, job, test)
        for (name, copy), (_, test) in zip(continued.items(), folds, strict=True)
    }
    for fold, name in zip(calibrated.calibrated_classifiers_, classifiers, strict=True):
        become(fold.estimator, continued[name])
        fold.calibrators = calibrators[name]


def _is_ensemble(calibrated: Any) -> bool:
    frozen = isinstance(calibrated.estimator, FrozenEstimator)
    return not frozen if calibrated.ensemble == "auto" else bool(calibrated.ensemble)


def _folds(calibrated: Any, job: Job) -> list[tuple[np.ndarray, np.ndarray]]:
    splitter = calibrated.cv
    draws = getattr(splitter, "shuffle", hasattr(splitter, "random_state"))
    if draws and not isinstance(splitter.random_state, int | np.integer):
        raise ContinuationError(
            f"cv={splitter!r} draws other folds at every call, so that classifiers would be calibrated on rows they "
            "were trained on; give it an int as random_state"
        )
    routed = process_routing(calibrated, "fit", **job.params) if routing_enabled() and job.params else None
    groups = {} if routed is None else routed.splitter.split
    folds = list(check_cv(splitter, job.y, classifier=True).split(job.X, job.y, **groups))
    n_fitted = len(calibrated.calibrated_classifiers_)
    if len(folds) != n_fitted:
        raise ContinuationError(f"cv makes {len(folds)} folds, but CalibratedClassifierCV was fitted on {n_fitted}")
    return folds


def _calibrators(calibrated: Any, classifier: Any, job: Job, test: np.ndarray) -> list[Any]:
    """Fit calibrators to the predictions for some rows, by scikit-learn's own way for a classifier that is frozen."""
    rows = job.chosen(test)
    y, weight = rows.y, rows.params.get("sample_weight")
    if not np.array_equal(np.unique(y), calibrated.classes_):
        raise ContinuationError(
            f"a fold has the classes {np.unique(y).tolist()} of {calibrated.classes_.tolist()}: each fold needs all"
        )
    everything = np.arange(len(y))
    fold = CalibratedClassifierCV(
        FrozenEstimator(classifier), method=calibrated.method, cv=[(everything, everything)], ensemble=False
    )
    with config_context(enable_metadata_routing=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Since FrozenEstimator does not appear to accept sample_weight")
        fold.fit(rows.X, _safe_indexing(y, everything), sample_weight=weight)
    return list(fold.calibrated_classifiers_[0].calibrators)
