"""A user's own subclass is an estimator like the package's, and a user's module may keep things."""

from __future__ import annotations

from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from sktorch_continue import ContinuationWarning, EpochScoring, TorchClassifier, TorchRegressor
from sktorch_continue.testing import check_continuation

X = np.random.RandomState(0).randn(30, 4).astype(np.float32)
Y = np.arange(30) % 3


class Scaled(TorchRegressor):
    """Adds a parameter and passes the others on."""

    def __init__(self, module: Any = None, *, alpha: float = 1.0, **parameters: Any) -> None:
        super().__init__(module, **parameters)
        self.alpha = alpha


def test_parameters_of_a_subclass_that_passes_them_on() -> None:
    """All parameters are seen, cloned, searched and continued with."""
    model = Scaled(alpha=2.0, lr=0.05, max_epochs=3, random_state=0, module__dropout=0.1)
    params = clone(model).get_params()
    assert (params["alpha"], params["lr"], params["module__dropout"]) == (2.0, 0.05, 0.1)
    assert "lr=0.05" in repr(model)
    check_continuation(model, X, Y, n_epochs=3)
    search = GridSearchCV(model, {"alpha": [1.0, 2.0], "lr": [0.1]}, cv=2).fit(X, Y)
    assert search.best_estimator_.lr == 0.1


def test_an_unknown_parameter_of_a_subclass_is_an_error() -> None:
    """Passing on does not open the door to misspelled names."""
    with pytest.raises(TypeError, match="did you mean 'max_epochs'"):
        Scaled(max_epoch=3)


def test_another_function_is_another_schedule() -> None:
    """A lambda with another constant inside is told from the one before."""
    model = TorchRegressor(max_epochs=2, random_state=0, lr_scheduler=lambda o: LambdaLR(o, lambda e: 0.9**e))
    model.fit(X, Y).set_params(lr_scheduler=lambda o: LambdaLR(o, lambda e: 0.1**e))
    with pytest.warns(ContinuationWarning, match="is dropped"):
        model.continue_fit(X, Y)
    assert model.history_["lr"] == pytest.approx([1e-3, 9e-4, 1e-3, 1e-4])


class Caching(nn.Module):
    """Keeps a tensor it made in the forward pass."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features_in, n_outputs)
        self.norm = nn.BatchNorm1d(n_outputs)
        self.positions: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.positions is None or len(self.positions) < len(x):
            self.positions = torch.arange(len(x), dtype=x.dtype)[:, None] * 1e-3
        return self.norm(self.linear(x + self.positions[: len(x)]))


def test_a_tensor_cached_while_predicting_serves_in_training() -> None:
    """Validation and prediction leave nothing behind that training could not use."""
    model = TorchRegressor(Caching, batch_size=8, max_epochs=2, validation_fraction=0.25, random_state=0).fit(X, Y)
    model.predict(np.concatenate([X, X]))
    assert model.continue_fit(X, Y).n_epochs_ == 4


def test_prediction_keeps_the_mode_of_every_layer() -> None:
    """A layer the user put into evaluation mode stays there."""
    model = TorchRegressor(Caching, max_epochs=1, random_state=0).fit(X, Y)
    model.module_.train()
    model.module_.norm.eval()
    model.predict(X)
    assert [layer.training for layer in model.module_.modules()] == [True, True, False]


def scored_in_threads(estimator: Any, X: Any, y: Any) -> float:
    """Score twice at the same time."""
    jobs = (joblib.delayed(estimator.score)(X, y) for _ in range(2))
    return float(np.mean(joblib.Parallel(2, backend="threading")(jobs)))


def test_a_scorer_may_use_threads() -> None:
    """A prediction in a thread does not wait for the training that waits for it."""
    model = TorchClassifier(max_epochs=2, callbacks=[EpochScoring(scored_in_threads, on="train")], random_state=0)
    assert len(model.fit(X, Y).history_["train_scored_in_threads"]) == 2


def test_an_argument_left_by_another_class_can_be_removed() -> None:
    """The message says how, and it works."""
    model = TorchClassifier(optimizer="SGD", optimizer__momentum=0.9, max_epochs=1, random_state=0).fit(X, Y)
    with pytest.raises(TypeError, match=r"del estimator\.optimizer__momentum"):
        model.set_params(optimizer="Adam").continue_fit(X, Y)
    del model.optimizer__momentum
    with pytest.warns(ContinuationWarning, match="optimizer SGD is replaced by Adam"):
        model.continue_fit(X, Y)
