"""scikit-learn's tools around our estimators: they run, and two jobs give what one gives."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from composed import NET, REG, YR, X, Y
from sklearn.base import clone
from sklearn.feature_selection import RFE
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.model_selection import cross_val_predict, cross_validate, learning_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from torch import nn

from sktorch_continue import TorchClassifier
from sktorch_continue.testing import first_difference, run_state

PIPE = make_pipeline(StandardScaler(), NET)


def weights(estimator: TorchClassifier) -> np.ndarray:
    """Return how much each column matters to a linear module, for RFE."""
    return estimator.module_.layer.weight.detach().abs().sum(dim=0).numpy()


def cross_validated(n_jobs: int) -> Any:
    """Return scores and runs of every fold."""
    found = cross_validate(PIPE, X, Y, cv=2, n_jobs=n_jobs, return_estimator=True, return_train_score=True)
    return [found["test_score"], found["train_score"], [run_state(pipe[-1]) for pipe in found["estimator"]]]


def predicted(n_jobs: int) -> Any:
    """Return a prediction for every row by a network that has not seen it."""
    return cross_val_predict(NET, X, Y, cv=2, n_jobs=n_jobs, method="predict_proba")


def curve(n_jobs: int) -> Any:
    """Return scores by number of rows."""
    return learning_curve(REG, X, YR, cv=2, n_jobs=n_jobs, train_sizes=[0.5, 1.0])[1:]


def permuted(n_jobs: int) -> Any:
    """Return what is lost when a column is shuffled."""
    found = permutation_importance(clone(REG).fit(X, YR), X, YR, n_repeats=2, random_state=0, n_jobs=n_jobs)
    return found["importances"]


@pytest.mark.parametrize("tool", [cross_validated, predicted, curve, permuted])
def test_two_jobs_give_what_one_gives(tool: Callable[[int], Any]) -> None:
    """With a seed, the number of jobs changes no bit of scores, predictions or runs."""
    assert first_difference(tool(1), tool(2)) is None


def test_partial_dependence() -> None:
    """Averages of predictions over a grid, for classes and values."""
    for estimator, target in ((clone(NET), Y), (clone(REG), YR)):
        found = partial_dependence(estimator.fit(X, target), X, [0, 1], grid_resolution=4)
        assert np.isfinite(found["average"]).all()


def test_recursive_feature_elimination() -> None:
    """RFE asks a function for the importances, and the networks are built anew for fewer columns."""
    for estimator, getter in ((NET, weights), (clone(NET).set_params(module=None), hidden_weights)):
        found = RFE(estimator, n_features_to_select=2, importance_getter=getter).fit(X, Y)
        assert found.support_.sum() == 2
        assert found.predict(X).shape == Y.shape
        assert found.estimator_.n_features_in_ == 2


def hidden_weights(estimator: TorchClassifier) -> np.ndarray:
    """Return how much each column matters to the first layer of the built-in module."""
    first = next(layer for layer in estimator.module_.modules() if isinstance(layer, nn.Linear))
    return first.weight.detach().abs().sum(dim=0).numpy()


def test_self_training() -> None:
    """Rows without a label get one, and the same run comes out twice."""
    partly = np.where(np.arange(len(Y)) % 4 == 0, -1, Y)
    first, second = (SelfTrainingClassifier(NET, threshold=0.4, max_iter=3).fit(X, partly) for _ in range(2))
    assert first.predict(X).shape == Y.shape
    assert first_difference(first.predict_proba(X), second.predict_proba(X)) is None


def test_callbacks_of_scikit_learn_can_be_set_where_it_has_them():
    """From 1.9 on a network has set_callbacks; before that it has no such method."""
    has_them = importlib.util.find_spec("sklearn.callback") is not None
    assert hasattr(TorchClassifier(), "set_callbacks") == has_them
