"""One member per output, class or pair of classes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import scipy.sparse
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_array

from sktorch_continue.continuation.job import Job, Jobs, check_columns
from sktorch_continue.continuation.together import advance_together
from sktorch_continue.continuation.verbs import advance, members
from sktorch_continue.exceptions import ContinuationError

KINDS = (
    MultiOutputClassifier,
    MultiOutputRegressor,
    ClassifierChain,
    RegressorChain,
    OneVsRestClassifier,
    OneVsOneClassifier,
    OutputCodeClassifier,
)


def members_by_position(estimator: Any) -> dict[str, Any]:
    """Return the members by position, or the one they will be cloned from."""
    if not hasattr(estimator, "estimators_"):
        return {"estimator": prototype_of(estimator)}
    return {str(i): member for i, member in enumerate(estimator.estimators_)}


def prototype_of(estimator: Any) -> Any:
    """Return what the members are cloned from; the chains of scikit-learn 1.6 call it base_estimator."""
    params = estimator.get_params(deep=False)
    return params["estimator"] if "estimator" in params else params["base_estimator"]


for _kind in KINDS:
    members.register(_kind, members_by_position)


def _advance_each(estimator: Any, job: Job, change: Callable[[Any, Any, int], tuple[Any, Any]]) -> None:
    """Continue the members on rows that depend on their position: ``change(X, y, position)``."""
    shared = job.for_shared(estimator)
    jobs = Jobs(len(estimator.estimators_), lambda i: shared.mapped(lambda X, y: change(X, y, i)))
    advance_together(estimator, members_by_position(estimator), jobs, dict.fromkeys(jobs, prototype_of(estimator)))


@advance.register(MultiOutputClassifier)
@advance.register(MultiOutputRegressor)
def advance_outputs(estimator: Any, job: Job) -> None:
    """Continue every member on all rows and its column of y."""
    n = len(estimator.estimators_)
    _advance_each(estimator, job.mapped(lambda X, y: (X, _columns(estimator, y, n))), _with_column)


def _with_column(X: Any, columns: Any, position: int) -> tuple[Any, np.ndarray]:
    """Return rows with one of the columns of their targets, which may be sparse."""
    column = columns[:, [position]]
    return X, np.asarray(column.toarray() if scipy.sparse.issparse(column) else column).ravel()


def _columns(estimator: Any, y: Any, n: int) -> np.ndarray:
    target = np.asarray(y)
    if target.ndim != 2 or target.shape[1] != n:
        raise ContinuationError(
            f"y has shape {target.shape}, but {type(estimator).__name__} was fitted on {n} columns of targets"
        )
    return target


@advance.register(ClassifierChain)
@advance.register(RegressorChain)
def advance_chain(chain: Any, job: Job) -> None:
    """Continue every member on all rows and the true targets of those before it.

    Raises
    ------
    ContinuationError
        If ``cv`` is set: the members read cross-validated predictions of clones, which cannot go on.
    """
    if chain.cv is not None:
        raise ContinuationError(
            f"{type(chain).__name__}(cv={chain.cv!r}) trained its members on cross-validated predictions, which cannot "
            "be continued; fit it with cv=None"
        )
    check_columns(chain, job)
    n = len(chain.estimators_)
    checked = job.mapped(lambda X, y: (check_array(X, accept_sparse=True), _columns(chain, y, n)))
    _advance_each(chain, checked, lambda X, y, i: _augmented(chain, X, y, i))


def _augmented(chain: Any, inputs: Any, target: np.ndarray, position: int) -> tuple[Any, np.ndarray]:
    before = target[:, list(chain.order_[:position])]
    joined = scipy.sparse.hstack((inputs, before)).tocsr() if scipy.sparse.issparse(inputs) else None
    return np.hstack((inputs, before)) if joined is None else joined, target[:, chain.order_[position]]


@advance.register(OneVsRestClassifier)
def advance_one_vs_rest(estimator: Any, job: Job) -> None:
    """Continue every member on all rows; its class, or label, is 1."""
    binarizer = estimator.label_binarizer_

    def indicator(y: Any) -> Any:
        if not binarizer.y_type_.startswith("multilabel"):
            _check_labels(estimator, y)
        found = binarizer.transform(y)
        return found.tocsc() if scipy.sparse.issparse(found) else found

    _advance_each(estimator, job.mapped(lambda X, y: (X, indicator(y))), _with_column)


@advance.register(OutputCodeClassifier)
def advance_output_code(estimator: Any, job: Job) -> None:
    """Continue every member on all rows and its column of the code book."""

    def coded(X: Any, y: Any, position: int) -> tuple[Any, np.ndarray]:
        _check_labels(estimator, y)
        return X, estimator.code_book_[np.searchsorted(estimator.classes_, y), position].astype(int)

    _advance_each(estimator, job, coded)


@advance.register(OneVsOneClassifier)
def advance_one_vs_one(estimator: Any, job: Job) -> None:
    """Continue every member on the rows of its two classes."""
    check_columns(estimator, job)
    _check_labels(estimator, job.y)
    shared = job.for_shared(estimator).mapped(lambda X, y: (_matrix(X), y))
    pairs = list(combinations(estimator.classes_, 2))
    jobs = Jobs(len(pairs), lambda i: _of_pair(shared, *pairs[i]))
    advance_together(estimator, members_by_position(estimator), jobs, dict.fromkeys(jobs, prototype_of(estimator)))


def _matrix(X: Any) -> Any:
    """Return X as ``fit`` hands it on: names of columns are those of the whole."""
    return check_array(X, accept_sparse=["csr", "csc"], ensure_all_finite=False)


def _of_pair(job: Job, zero: Any, one: Any) -> Job:
    def paired(X: Any, y: Any) -> tuple[Any, np.ndarray]:
        rows = np.flatnonzero(np.isin(y, [zero, one]))
        return _safe_indexing(X, rows), (np.asarray(y)[rows] == one).astype(int)

    rows = np.flatnonzero(np.isin(job.y, [zero, one]))
    return job.chosen(rows).mapped(paired)


def _check_labels(estimator: Any, y: Any) -> None:
    unseen = sorted(set(np.asarray(y).tolist()) - set(estimator.classes_.tolist()), key=str)
    if unseen:
        raise ContinuationError(
            f"y has classes {unseen} that {type(estimator).__name__} was not fitted on; it knows "
            f"{estimator.classes_.tolist()}"
        )
