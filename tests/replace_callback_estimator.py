"""A pytest plugin: the estimator that scikit-learn's tests of callbacks fit is a network of ours.

It has the name, the parameters and the fitted name of the one it replaces, since the tests use them, and it can be
fitted without data.
"""

import numpy as np
import sklearn.callback.tests._utils as helpers

from sktorch_continue import TorchRegressor


class MaxIterEstimator(TorchRegressor):
    """A small network whose ``max_iter`` is the number of epochs."""

    def __init__(self, max_iter=20, computation_intensity=0.001, **parameters):
        super().__init__(**{"module__hidden_layer_sizes": (2,), "random_state": 0, **parameters})
        self.max_iter = max_iter
        self.computation_intensity = computation_intensity

    def fit(self, X=None, y=None, sample_weight=None):
        """Train for ``max_iter`` epochs, on rows of our own where none are given."""
        if X is None:
            X, y = np.arange(12.0).reshape(6, 2), np.arange(6.0)
        self.max_epochs = self.max_iter
        return super().fit(X, y, sample_weight)

    def __getattr__(self, name):
        if name == "n_iter_":  # no property: a test gives one to a copy of an estimator
            return self.n_epochs_
        raise AttributeError(name)


helpers.MaxIterEstimator = MaxIterEstimator
