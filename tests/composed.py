"""Data, networks and questions for the tests of composed estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from modules import Linear
from sklearn.base import clone

from sktorch_continue import TorchClassifier, TorchRegressor
from sktorch_continue.continuation import members

rng = np.random.default_rng(0)
X = rng.normal(size=(36, 4)).astype(np.float32)
XS = X * [1, 10, 0.1, 3] + [0, 5, 1, 0]
Y = np.arange(36) % 3
YLAB = np.array(["a", "b", "c"])[Y]
YB = (X[:, 0] + rng.normal(size=36) > 0).astype(int)
YM = np.stack([YB, X[:, 1] > 0], axis=1).astype(int)
YR = X @ np.array([1.0, -2.0, 0.5, 0.0]) + rng.normal(size=36)
Y2 = np.stack([YR, X[:, 0] ** 2], axis=1)

NET = TorchClassifier(Linear, lr=0.02, batch_size=16, max_epochs=2, random_state=0)
REG = TorchRegressor(Linear, lr=0.02, batch_size=16, max_epochs=2, random_state=0)


def epochs_inside(estimator: Any, epochs: int) -> Any:
    """Return an unfitted copy whose networks train for some epochs."""
    copied = clone(estimator)
    names = [name for name in copied.get_params() if name.split("__")[-1] == "max_epochs"]
    return copied.set_params(**dict.fromkeys(names, epochs))


def networks(estimator: Any) -> list[Any]:
    """Return every network that goes on inside a fitted estimator."""
    inside = members(estimator)
    if inside is None:
        return [estimator] if hasattr(estimator, "n_epochs_") else []
    return [network for member in inside.values() for network in networks(member)]
