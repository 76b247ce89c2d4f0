"""P1: a run that is cut anywhere ends bit for bit where the uncut run ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from elsewhere import continue_elsewhere
from parts import Stateful, pairs, parameters
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from torch import nn

from sktorch_continue import (
    Callback,
    EarlyStopping,
    EpochScoring,
    Freeze,
    GradientClipping,
    TorchClassifier,
    TorchRegressor,
    Unfreeze,
)
from sktorch_continue.testing import (
    assert_same_run,
    check_continuation,
    first_difference,
    through_checkpoint,
    through_joblib,
    through_memory,
    through_pickle,
)

X, Y = make_classification(60, 6, n_informative=4, n_classes=3, random_state=0)
X = X.astype(np.float32)
WEIGHTS = np.random.RandomState(0).uniform(0.1, 2.0, size=len(X))
CELLS = pairs()


def classifier(**params: object) -> TorchClassifier:
    """Return a classifier whose every part has a state."""
    defaults = {"module": Stateful, "batch_size": 16, "random_state": 0, "validation_fraction": 0.2}
    return TorchClassifier(**{**defaults, **params})


def check_cell(optimizer: str, schedule: str, interval: str, folder: Path) -> None:
    """Check one cell of the matrix, in all ways that lead out of memory and back."""
    estimator = classifier(**parameters(optimizer, schedule, interval))
    check_continuation(estimator, X, Y, cuts=[(2, 1, 3)], through=[through_memory, through_pickle, through_checkpoint])
    whole = clone(estimator).set_params(max_epochs=6).fit(X, Y)
    begun = clone(estimator).set_params(max_epochs=2).fit(X, Y)
    elsewhere = continue_elsewhere(begun, folder, "continue_fit", X, Y, max_epochs=4)
    assert_same_run(whole, elsewhere, X)


@pytest.mark.matrix
@pytest.mark.parametrize(("optimizer", "schedule", "interval"), CELLS)
def test_matrix_of_optimizers_and_schedules(optimizer: str, schedule: str, interval: str, tmp_path: Path) -> None:
    """Every optimizer with every schedule: 2 + 1 + 3 epochs equal 6, through memory, pickle, checkpoint and joblib."""
    check_cell(optimizer, schedule, interval, tmp_path)


@pytest.mark.parametrize(("optimizer", "schedule", "interval"), CELLS[::7])
def test_sample_of_the_matrix(optimizer: str, schedule: str, interval: str, tmp_path: Path) -> None:
    """A sample of the matrix that meets every optimizer and every schedule."""
    check_cell(optimizer, schedule, interval, tmp_path)


def test_the_sample_meets_every_optimizer_and_schedule() -> None:
    """No optimizer, schedule or interval is left to the long matrix alone."""
    sample = CELLS[::7]
    for position in range(3):
        assert {cell[position] for cell in sample} == {cell[position] for cell in CELLS}


@pytest.mark.parametrize(
    "params",
    [
        {"callbacks": [EarlyStopping(patience=2, restore_best=True)], "lr": 0.1},
        {"callbacks": [EarlyStopping("valid_accuracy", patience=3, restore_best=True), EpochScoring("accuracy")]},
        {"callbacks": [GradientClipping(0.05)]},
        {"callbacks": [GradientClipping(max_value=0.01), ("scores", EpochScoring(on="train"))]},
        {"callbacks": [Freeze("layers.0.*", at=2), Unfreeze("layers.0.weight", at=4)]},
        {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.05, "lr_scheduler_interval": "step"},
        {"class_weight": "balanced"},
        {"shuffle": False},
        {"drop_last": True},
        {"validation_fraction": None},
        {"module": None, "module__hidden_layer_sizes": (7, 5), "module__dropout": 0.2, "module__batch_norm": True},
        {"optimizer": "LBFGS", "optimizer__max_iter": 2, "callbacks": [GradientClipping(1.0)]},
    ],
    ids=lambda params: "-".join(f"{name}" for name in params),
)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_boundary(params: dict[str, object], weighted: bool) -> None:
    """Cut at every boundary between epochs and inside them, with callbacks, per-step schedules and weights."""
    if params.get("lr_scheduler") == "OneCycleLR":
        params = {**params, "lr_scheduler__total_steps": 12}
    fit_params = {"sample_weight": WEIGHTS} if weighted else {}
    check_continuation(classifier(**params), X, Y, n_epochs=4, step_cuts=[1, 5, 7], **fit_params)


@pytest.mark.parametrize("way", [through_joblib])
def test_through_joblib(way: object) -> None:
    """joblib carries the same run as pickle."""
    check_continuation(classifier(), X, Y, n_epochs=4, through=[way])


class TwoInputs(nn.Module):
    """Reads two inputs by name."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(9, n_outputs)

    def forward(self, numbers: torch.Tensor, category: torch.Tensor) -> torch.Tensor:
        return self.head(torch.cat([self.norm(numbers), self.embedding(category)], dim=1))


def test_dict_input() -> None:
    """A module with several inputs continues exactly."""
    data = {"numbers": X, "category": np.arange(len(X)) % 5}
    check_continuation(classifier(module=TwoInputs), data, Y, n_epochs=4, step_cuts=[4])


class Lazy(nn.Module):
    """Learns its width from the first batch, and keeps a buffer its state dictionary leaves out."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.Dropout(0.2), nn.Linear(8, n_outputs))
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen += len(x)
        return self.layers(x) * (1 + 1e-3 * self.seen)


def test_lazy_module_and_transient_buffer() -> None:
    """Lazy layers are built from the first rows, and non-persistent buffers travel with the run."""
    check_continuation(classifier(module=Lazy), X, Y, n_epochs=4, step_cuts=[4])


class HostNoise(nn.Module):
    """Draws from the streams of NumPy and Python, which torch does not seed."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features_in, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        import random

        scale = 1 + 0.1 * np.random.rand() + 0.1 * random.random() if self.training else 1.0
        return self.linear(x * scale)


def test_noise_of_numpy_and_python() -> None:
    """Noise drawn outside torch is a function of seed and position too, also inside an epoch that was cut."""
    check_continuation(classifier(module=HostNoise), X, Y, n_epochs=4, step_cuts=[1, 5, 7])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_regression(dtype: type, n_targets: int) -> None:
    """Regression continues exactly in both precisions."""
    data, target = make_regression(50, 5, n_targets=n_targets, random_state=0)
    estimator = TorchRegressor(batch_size=16, random_state=0, optimizer="ASGD", optimizer__t0=3, lr=0.01)
    target /= np.abs(target).max()
    check_continuation(estimator, data.astype(dtype), target, n_epochs=4, step_cuts=[5])


def test_multilabel() -> None:
    """Multilabel targets continue exactly."""
    target = (np.column_stack([Y, Y + 1, Y + 2]) % 3 > 0).astype(int)
    check_continuation(classifier(), X, target, n_epochs=4)


def test_instance_module_is_copied_and_continued() -> None:
    """A module instance is the start of the run; the instance itself is not trained."""
    prototype = Stateful(6, 3)
    before = {name: tensor.clone() for name, tensor in prototype.state_dict().items()}
    check_continuation(classifier(module=prototype), X, Y, n_epochs=4)
    assert first_difference(before, dict(prototype.state_dict())) is None


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_step() -> None:
    """A compiled training step is exact with itself across cuts."""
    estimator = classifier(compile=True, module=None, validation_fraction=None)
    check_continuation(estimator, X, Y, n_epochs=3, cuts=[(1, 2)], through=[through_memory, through_pickle])


def test_continue_fit_finishes_an_epoch_that_was_cut() -> None:
    """After an interrupt the begun epoch is finished first, and counts as one of the epochs asked for."""
    estimator = classifier(callbacks=[], max_epochs=3)
    whole = classifier(max_epochs=3).fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        estimator.set_params(callbacks=[StopAt(4)]).fit(X, Y)
    assert (estimator.n_epochs_, estimator.n_steps_) == (1, 4)
    with pytest.warns(match="StopAt"):
        estimator.set_params(callbacks=None).continue_fit(X, Y, max_epochs=2)
    assert_same_run(whole, estimator, X)


class StopAt(Callback):
    """Interrupts after a step; a user's callback, defined outside the package."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step_end(self, run: object) -> None:
        if run.n_steps == self.at:
            raise KeyboardInterrupt


def test_warm_start_fit_is_continue_fit() -> None:
    """``fit`` under ``warm_start`` and ``continue_fit`` are the same."""
    warm = classifier(warm_start=True, max_epochs=2).fit(X, Y).fit(X, Y)
    other = classifier(max_epochs=2).fit(X, Y).continue_fit(X, Y)
    assert_same_run(warm, other, X)
    assert warm.n_epochs_ == 4


def test_partial_fit_is_one_epoch() -> None:
    """Passes of ``partial_fit`` over the same rows are the epochs of ``fit``."""
    passes = classifier(validation_fraction=None)
    for _ in range(3):
        passes.partial_fit(X, Y, classes=[0, 1, 2])
    assert_same_run(classifier(validation_fraction=None, max_epochs=3).fit(X, Y), passes, X)
