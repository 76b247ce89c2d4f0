"""How far two outputs of transformers are apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

ROUNDING = 1e-4


def relative_change(before: Any, after: Any) -> float:
    """Return the largest difference of two outputs for the same rows, in units of the spread of its column.

    Outputs of different shape, and those of no numbers that are not equal, are infinitely far apart.
    """
    old, new = _dense(before), _dense(after)
    if old.shape != new.shape:
        return float("inf")
    if old.dtype.kind not in "biuf" or new.dtype.kind not in "biuf":
        return 0.0 if np.array_equal(old, new) else float("inf")
    old, new = old.reshape(len(old), -1).astype(np.float64), new.reshape(len(new), -1).astype(np.float64)
    spread = np.maximum(old.std(axis=0), 1e-3 * np.abs(old).max(initial=0.0))
    difference = np.abs(new - old).max(axis=0, initial=0.0)
    apart = np.divide(difference, spread, out=np.where(difference > 0, np.inf, 0.0), where=spread > 0)
    return float(apart.max(initial=0.0))


def _dense(values: Any) -> np.ndarray:
    return np.asarray(values.toarray() if scipy.sparse.issparse(values) else values)
