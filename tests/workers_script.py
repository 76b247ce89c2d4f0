"""A user's script: its module class is in ``__main__``, and scikit-learn trains it in two worker processes."""

import sys

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate

from sktorch_continue import EarlyStopping, TorchClassifier
from sktorch_continue.testing import assert_same_run


class Net(torch.nn.Module):
    def __init__(self, n_features_in, n_outputs):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(n_features_in, 8), torch.nn.Dropout(0.1), torch.nn.ReLU(), torch.nn.Linear(8, n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


def net():
    """Return the estimator."""
    return TorchClassifier(
        Net,
        max_epochs=3,
        lr=0.01,
        validation_fraction=0.2,
        callbacks=[EarlyStopping(restore_best=True)],
        random_state=0,
    )


def composed(n_jobs):
    """Yield the ensembles that train it."""
    members = [("net", net()), ("line", LogisticRegression(max_iter=500))]
    yield BaggingClassifier(net(), 2, n_jobs=n_jobs, random_state=0)
    yield VotingClassifier(members, voting="soft", n_jobs=n_jobs)
    yield StackingClassifier(members, cv=2, n_jobs=n_jobs)
    yield CalibratedClassifierCV(net(), cv=2, n_jobs=n_jobs)


def main():
    """Compare one process with two; print what was equal."""
    torch.set_num_threads(1)
    X, y = load_iris(return_X_y=True)
    for one, two in zip(composed(1), composed(2), strict=True):
        assert np.array_equal(one.fit(X, y).predict_proba(X), two.fit(X, y).predict_proba(X)), type(one)
        print(type(one).__name__)
    one, two = (
        cross_validate(net(), X, y, cv=2, n_jobs=n_jobs, return_estimator=True, error_score="raise")["estimator"]
        for n_jobs in (1, 2)
    )
    for here, there in zip(one, two, strict=True):
        assert isinstance(there.module_, Net)
        assert_same_run(here, there, X)
        assert_same_run(here.continue_fit(X, y), there.continue_fit(X, y), X)
    print("cross_validate")


if __name__ == "__main__":
    sys.exit(main())
