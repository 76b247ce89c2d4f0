"""The number of threads is a part of the run, chosen by what a step has to do, and no business of the process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from modules import class_data
from sklearn.base import clone
from torch import nn

from sktorch_continue import Callback, TorchClassifier, threads
from sktorch_continue.testing import through_checkpoint, through_memory, through_pickle

X, Y = class_data()


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Give the process two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Seen(Callback):
    """Keeps how many threads there are at every step."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_step_end(self, run: Any) -> None:
        """Look."""
        self.counts.append(torch.get_num_threads())


class Wide(nn.Sequential):
    """So many weights that a second thread pays at every step."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__(nn.Linear(n_features_in, 20_000), nn.ReLU(), nn.Linear(20_000, n_outputs))


def classifier(**params: Any) -> TorchClassifier:
    """Return a classifier that trains one epoch of one step."""
    return TorchClassifier(**{"callbacks": [Seen()], "max_epochs": 1, "random_state": 0, **params})


def counts(model: TorchClassifier) -> list[int]:
    """Return how many threads each step had."""
    found: list[int] = model.callbacks_["Seen"].counts
    return found


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, 1),
        ({"module": Wide}, 2),
        ({"num_threads": 2}, 2),
        ({"module": Wide, "num_threads": 1}, 1),
        ({"module": Wide, "num_threads": 3}, 3),
    ],
    ids=str,
)
def test_a_step_has_the_threads_that_suit_it(params: dict[str, Any], expected: int) -> None:
    """A small step has one, a large one those of the process, and who gives a number gets it; then all is as before."""
    model = classifier(**params).fit(X, Y)
    assert counts(model) == [expected]
    assert model.history_.calls[0]["num_threads"] == expected
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("way", [through_memory, through_pickle, through_checkpoint])
def test_a_run_goes_on_with_the_threads_it_began_with(way: Any) -> None:
    """Another number in the process that continues is not asked for, but the parameter is."""
    model = classifier(module=Wide).fit(X, Y)
    torch.set_num_threads(1)
    model = way(model)
    model.continue_fit(X, Y)
    assert counts(model) == [2, 2]
    model.set_params(num_threads=1).continue_fit(X, Y)
    model.set_params(num_threads=None).continue_fit(X, Y)
    assert counts(model) == [2, 2, 1, 2]


class FitsAnother(Callback):
    """Trains another estimator at the end of an epoch."""

    def __init__(self, other: TorchClassifier) -> None:
        self.other = other
        self.after = 0

    def on_epoch_end(self, run: Any) -> None:
        """Fit it."""
        self.other.fit(X, Y)
        self.after = torch.get_num_threads()


def test_a_training_inside_of_another_has_the_threads_of_the_process() -> None:
    """What the outer one has set for itself is not taken for that of the process, and is there again afterwards."""
    outer = classifier(callbacks=[("inner", FitsAnother(classifier(module=Wide)))]).fit(X, Y)
    inner = outer.callbacks_["inner"]
    assert (counts(inner.other), inner.other._run.num_threads, inner.after) == ([2], 2, 1)
    assert (torch.get_num_threads(), threads.of_process()) == (2, 2)


def test_no_more_threads_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that began on a larger machine goes on with what there is."""
    model = classifier(module=Wide).fit(X, Y)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {0})
    torch.set_num_threads(1)
    assert counts(model.continue_fit(X, Y)) == [2, 1]


def test_an_interrupted_run_may_be_finished_with_another_number() -> None:
    """What a machine offers is read anew when a run is resumed, as its device is."""
    model = classifier().fit(X, Y)
    model.set_params(max_epochs=2, num_threads=2).resume_fit(X, Y)
    assert counts(model) == [1, 2]


@pytest.mark.parametrize(
    ("module", "row", "batch_size", "expected"),
    [
        (nn.Linear(50, 10), [50], 128, 1),
        (nn.Linear(50, 10), [50], 10_000, 2),
        (nn.Linear(50, 2000), [50], 1, 2),
        (nn.Linear(50, 10), [7, 50], 8, 2),
        (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.1), nn.LayerNorm(4)), [5], 8, 1),
        (nn.Embedding(9, 4), [3], 8, 1),
        (nn.Conv1d(1, 2, 3), [5], 8, 2),
        (nn.Sequential(nn.MultiheadAttention(4, 2)), [4], 8, 2),
        (nn.LSTM(4, 4), [4], 8, 2),
    ],
    ids=str,
)
def test_only_what_is_known_to_be_cheap_is_small(
    module: nn.Module, row: list[int], batch_size: int, expected: int
) -> None:
    """A layer that works more than once per weight and row, or may, has the threads of the process."""
    assert threads.suited(module, {"": row}, batch_size, 2) == expected


def test_an_error_gives_the_threads_back() -> None:
    """Also a training that fails leaves the process as it was."""
    model = classifier(num_threads=1, optimizer="SGD", lr=1e30, max_epochs=5)
    with pytest.raises(FloatingPointError):
        model.fit(X * np.float32(1e6), Y)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)])
def test_a_number_of_threads_is_a_whole_number_of_one_or_more(value: Any, error: type[Exception]) -> None:
    """Anything else is refused, naming it."""
    with pytest.raises(error, match=f"num_threads={value!r}"):
        clone(classifier(num_threads=value)).fit(X, Y)
