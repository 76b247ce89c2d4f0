"""The checks of sktorch_continue.testing find what they are there to find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sktorch_continue import TorchClassifier, TorchRegressor
from sktorch_continue.testing import assert_same_run, check_continuation, first_difference, through_joblib

X = np.random.RandomState(0).randn(30, 4).astype(np.float32)
Y = np.arange(30) % 3


@pytest.mark.parametrize(
    ("left", "right", "path"),
    [
        ({"a": [1, {"b": torch.zeros(2, 3)}]}, {"a": [1, {"b": torch.eye(2, 3)}]}, "a.1.b: 2 of 6 elements differ"),
        ({"a": 0.0}, {"a": -0.0}, "a: 0.0 != -0.0"),
        ([1, 2], [1], "value: length 2 != 1"),
        ({"a": 1}, {"b": 1}, "keys ['a', 'b'] are on one side only"),
        ({"a": 1}, {"a": 1.0}, "a: int 1 != float 1.0"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64), "torch.float32 (2,) != torch.float64 (2,)"),
        (np.array(["a", "b"]), np.array(["a", "c"]), "1: 'b' != 'c'"),
        (len, max, "is not"),
        (nn.Linear, nn.ReLU, "is not"),
    ],
)
def test_first_difference_names_the_place(left: object, right: object, path: str) -> None:
    """The first difference is told with its path and both values."""
    assert path in str(first_difference(left, right))


@pytest.mark.parametrize(
    "value",
    [
        {"a": [float("nan"), None, "x", (1, 2)]},
        torch.tensor([float("nan")]),
        np.array(["a"]),
        torch.zeros(0),
        torch.zeros(0, dtype=torch.bfloat16),
        len,
    ],
)
def test_equal_values_do_not_differ(value: object) -> None:
    """NaN equals NaN, and containers are compared by content."""
    assert first_difference(value, value) is None


def test_wall_clock_is_passed_over() -> None:
    """How long something took is no part of a run."""
    assert first_difference({"duration": 1.0}, {"duration": 2.0}) is None


class Forgetful(nn.Module):
    """Keeps a state where no state dictionary looks."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features_in, n_outputs)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        return self.linear(x) * (1 + 0.1 * self.calls)


def test_a_module_that_forgets_is_found() -> None:
    """A module whose state is a plain attribute continues in memory and not through pickle; the check says so."""
    estimator = TorchClassifier(Forgetful, random_state=0)
    with pytest.raises(AssertionError, match=r"cut \(1, 2\) through_joblib: the runs differ at module\.linear\.weight"):
        check_continuation(estimator, X, Y, n_epochs=3, through=[through_joblib])


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"random_state": None}, "random_state=None"),
        ({"random_state": 0, "lr_scheduler": "CosineAnnealingLR"}, "T_max"),
    ],
)
def test_what_cannot_be_compared_is_refused(params: dict[str, object], words: str) -> None:
    """Two fits without a seed, or a horizon that depends on the cut, would differ for other reasons."""
    with pytest.raises(ValueError, match=words):
        check_continuation(TorchClassifier(**params), X, Y, n_epochs=2)


def test_different_predictions_are_told() -> None:
    """Runs that are equal but predict differently differ."""
    left = TorchRegressor(random_state=0, max_epochs=1).fit(X, Y)
    right = TorchRegressor(random_state=0, max_epochs=1).fit(X, Y)
    right._newest = True
    assert_same_run(left, right, X)
    right.module_[-1].bias.data.add_(1)
    with pytest.raises(AssertionError, match="module"):
        assert_same_run(left, right, X)
