"""Tiny data, tiny modules and the promise of a refusal, for the tests of inputs, targets and bad input."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sktorch_continue import TorchClassifier, TorchRegressor
from sktorch_continue.testing import assert_same_run, first_difference, through_pickle

N_ROWS, N_FEATURES = 24, 4
X = np.random.default_rng(0).normal(size=(N_ROWS, N_FEATURES))
LABELS = np.arange(N_ROWS) % 3
BINARY = (X[:, 0] > 0).astype(int)
INDICATOR = (X[:, :3] > 0).astype(int)
VALUES = X @ np.array([1.0, -2.0, 0.5, 0.0])
SEVERAL_VALUES = X[:, :2] * 2.0


class Column(nn.Module):
    """One layer; the output has shape (n, n_outputs)."""

    def __init__(self, n_features_in: int = N_FEATURES, n_outputs: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(n_features_in, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Flat(Column):
    """The same layer; the output has shape (n,)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).squeeze(1)


class Normed(nn.Module):
    """Batch norm keeps averages, dropout draws noise; an input above 100 makes the output NaN."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_features_in)
        self.dropout = nn.Dropout(0.2)
        self.layer = nn.Linear(n_features_in, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        safe = 0.0 * (100.0 - x.max()).log()
        return self.layer(self.dropout(self.norm(x))) + safe


class NumbersAndCodes(nn.Module):
    """Two inputs: real numbers and the code of a category."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.codes = nn.Embedding(6, 3)
        self.head = nn.Linear(N_FEATURES + 3, n_outputs)

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([numbers, self.codes(codes)], dim=1))


def classifier(**params: Any) -> TorchClassifier:
    """Return a classifier of a few steps."""
    return TorchClassifier(**{"max_epochs": 2, "batch_size": 8, "random_state": 0, **params})


def regressor(**params: Any) -> TorchRegressor:
    """Return a regressor of a few steps."""
    return TorchRegressor(**{"max_epochs": 2, "batch_size": 8, "random_state": 0, **params})


@cache
def _trained(kind: str) -> Any:
    params = {"module": Normed, "lr_scheduler": "StepLR", "lr_scheduler__step_size": 2}
    if kind == "classifier":
        return classifier(**params).fit(X, LABELS)
    return regressor(**params).fit(X, VALUES)


def fitted(kind: str = "classifier") -> tuple[Any, Any]:
    """Return a fitted estimator whose every part has a state, and its twin."""
    return through_pickle(_trained(kind)), through_pickle(_trained(kind))


def snapshot(estimator: Any) -> dict[str, Any]:
    """Return a copy of all an estimator holds: parameters, fitted names and the whole run."""
    attributes = {name: _plain(value) for name, value in vars(estimator).items() if name != "_run"}
    run = estimator._run.state_dict() if "_run" in vars(estimator) else None
    return copy.deepcopy({"attributes": attributes, "run": run})


def _plain(value: Any) -> Any:
    """Return arrays of labels and names as lists."""
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind not in "biuf" else value


@contextmanager
def refused(estimator: Any, error: type[Exception], *words: str) -> Iterator[None]:
    """Expect an error of a class, with words in its message, that leaves the estimator as it was."""
    before = snapshot(estimator)
    with pytest.raises(error) as caught:
        yield
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} are missing from {str(caught.value)!r}"
    difference = first_difference(before, snapshot(estimator))
    assert difference is None, difference


def assert_goes_on_like(estimator: Any, twin: Any, y: Any) -> None:
    """Compare an estimator with its twin now, and after both went on."""
    assert_same_run(estimator, twin, X)
    assert_same_run(estimator.continue_fit(X, y, max_epochs=2), twin.continue_fit(X, y, max_epochs=2), X)
