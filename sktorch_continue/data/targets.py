"""y as the criterion reads it, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, column_or_1d

from sktorch_continue.exceptions import ContinuationError

FEW_LABELS, LARGE = 1000, 2**62


class ClassTarget:
    """Class labels (any kind) or a multilabel indicator matrix.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Labels in sorted order, or ``arange(n_labels)`` for multilabel targets.
    multilabel : bool
        Whether y is an indicator matrix of shape (n_samples, n_labels).
    """

    def __init__(self, classes: np.ndarray, *, multilabel: bool) -> None:
        self.classes = classes
        self.multilabel = multilabel

    @classmethod
    def learn(cls, y: Any, classes: Any = None) -> ClassTarget:
        """Read the classes from `y`, or take those given (``partial_fit`` may not see all at once).

        Raises
        ------
        ValueError
            If y is not a classification target or has a single class.
        """
        if is_multilabel(y):
            n_labels = check_indicator(y).shape[1]
            return cls(np.arange(n_labels), multilabel=True)
        labels = distinct_labels(y if classes is None else classes)
        if len(labels) < 2:
            raise ValueError(
                f"y has 1 class ({labels.tolist()}); a classifier needs samples of at least 2 classes. For rows that "
                "come in pieces name them all at the first call: partial_fit(..., classes=...)"
            )
        return cls(labels, multilabel=False)

    @property
    def n_outputs(self) -> int:
        """Number of classes or labels."""
        return len(self.classes)

    def encode(self, y: Any) -> np.ndarray:
        """Return positions in `classes` as int64 (n_samples,), or the indicator as float64 (n_samples, n_labels).

        Raises
        ------
        ContinuationError
            If y has a class, a number of labels or a shape this run was not started with.
        """
        if is_multilabel(y) != self.multilabel:
            raise ContinuationError(
                f"y is {'a multilabel indicator' if not self.multilabel else 'one label per row'}, but this run was "
                f"fitted on {'a multilabel indicator' if self.multilabel else 'one label per row'}; call fit on an "
                "unfitted estimator for a new run"
            )
        if self.multilabel:
            indicator = check_indicator(y)
            if indicator.shape[1] != self.n_outputs:
                raise ContinuationError(
                    f"y has {indicator.shape[1]} labels, but this run was fitted on {self.n_outputs}"
                )
            return indicator.astype(np.float64)
        labels = check_column(y)
        known = self._positions(labels)
        if known is not None:
            return known
        check_classification_targets(labels)
        unseen = sorted(set(labels.tolist()) - set(self.classes.tolist()), key=str)
        if unseen:
            raise ContinuationError(
                f"y has classes {unseen} this run was not started with; it knows {self.classes.tolist()}. "
                "Name all classes at the first call (partial_fit(..., classes=...)) or fit a new run"
            )
        return np.searchsorted(self.classes, labels).astype(np.int64)

    def encode_batch(self, y: np.ndarray) -> np.ndarray:
        """Return the same as :meth:`encode`, without scikit-learn's checks where all are labels that are known."""
        known = None if self.multilabel or y.size != len(y) else self._positions(y.reshape(-1))
        return self.encode(y) if known is None else known

    def _positions(self, labels: np.ndarray) -> np.ndarray | None:
        """Return positions in `classes`, or None where not all labels are plainly there; a shorter look at them."""
        kind = labels.dtype.kind
        if kind != self.classes.dtype.kind or kind not in "biuU":
            return None
        if kind in "iu" and len(labels) and np.array_equal(self.classes, np.arange(self.n_outputs)):
            plain = labels.min() >= 0 and labels.max() < self.n_outputs
            return labels.astype(np.int64, copy=False) if plain else None
        positions = np.minimum(np.searchsorted(self.classes, labels), self.n_outputs - 1)
        return positions.astype(np.int64) if (self.classes[positions] == labels).all() else None


def is_multilabel(y: Any) -> bool:
    """Tell whether y is an indicator matrix; a target scikit-learn does not know is refused."""
    if scipy.sparse.issparse(y):
        return True
    array = np.asarray(y)
    if array.ndim == 2 and array.shape[1] > 1:
        check_classification_targets(y)
        if type_of_target(y, input_name="y") != "multilabel-indicator":
            raise ValueError(
                f"y of shape {array.shape} is {type_of_target(y)}: one column of labels or an indicator matrix of "
                "0 and 1 was expected"
            )
        return True
    return False


def check_indicator(y: Any) -> np.ndarray:
    """Return the indicator as a dense array; a few bytes per row and label."""
    return np.asarray(check_array(y, accept_sparse="csr").toarray() if scipy.sparse.issparse(y) else check_array(y))


def check_labels(y: Any, *, warn: bool = True) -> np.ndarray:
    """Return labels of shape (n_samples,), refusing NaN and continuous values; a column is flattened, and told."""
    labels = check_column(y, warn=warn)
    check_classification_targets(labels)
    return labels


def distinct_labels(y: Any) -> np.ndarray:
    """Return the labels in y, sorted; those that are plainly a few whole numbers are counted, which takes a tenth."""
    if _is_whole(y) and len(y):
        lowest, highest = int(y.min()), int(y.max())
        if highest - lowest < FEW_LABELS and abs(lowest) < LARGE:
            found = np.flatnonzero(np.bincount(y.astype(np.int64, copy=False) - lowest if lowest else y))
            if 2 * len(found) <= len(y):  # scikit-learn warns of more
                return (found + lowest).astype(y.dtype)
    return np.unique(check_labels(y, warn=False))


def _is_whole(y: Any) -> bool:
    """Tell whether y is a plain array of whole numbers, in which a check would find nothing."""
    return type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biu"


def check_column(y: Any, *, warn: bool = True) -> np.ndarray:
    """Return y of shape (n_samples,), refusing NaN; a column is flattened, and told."""
    if _is_whole(y):
        return np.asarray(y)
    check_array(y, ensure_2d=False, dtype=None, input_name="y", ensure_min_samples=0)
    return np.asarray(column_or_1d(y, warn=warn))


class RealTarget:
    """Real values, one or several per row.

    Parameters
    ----------
    n_outputs : int
        Values per row.
    """

    def __init__(self, n_outputs: int) -> None:
        self.n_outputs = n_outputs

    @classmethod
    def learn(cls, y: Any) -> RealTarget:
        """Read the number of outputs from `y`."""
        return cls(check_values(y).shape[1])

    def encode(self, y: Any) -> np.ndarray:
        """Return values of shape (n_samples, n_outputs).

        Raises
        ------
        ContinuationError
            If y has another number of outputs than this run was started with.
        """
        values = check_values(y)
        if values.shape[1] != self.n_outputs:
            raise ContinuationError(
                f"y has {values.shape[1]} outputs (shape {np.shape(y)}), but this run was fitted on {self.n_outputs}"
            )
        return values

    def encode_batch(self, y: np.ndarray) -> np.ndarray:
        """Return the same as :meth:`encode`, without scikit-learn's checks where they would only look."""
        plain = y.dtype in (np.float32, np.float64) and y.ndim in (1, 2) and y.size == len(y) * self.n_outputs
        return y.reshape(len(y), -1) if plain and np.isfinite(y).all() else self.encode(y)


def check_values(y: Any) -> np.ndarray:
    """Return y as a float array of shape (n_samples, n_outputs)."""
    values = check_array(y, ensure_2d=False, dtype=[np.float64, np.float32], input_name="y", ensure_min_samples=0)
    if values.ndim not in (1, 2):
        raise ValueError(f"y has shape {values.shape}; (n_samples,) or (n_samples, n_outputs) was expected")
    return np.asarray(values.reshape(len(values), -1))
