"""Shortcuts change no bit, and are taken only where they mean the same as torch's own way."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from modules import real_data
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR
from torch.optim.optimizer import register_optimizer_step_post_hook

from sktorch_continue import GradientClipping, TorchRegressor, shortcuts
from sktorch_continue.callbacks import Callback
from sktorch_continue.criteria import Objective
from sktorch_continue.data import Dataset, Epoch, check_inputs
from sktorch_continue.data.dataset import Precision
from sktorch_continue.progress import BegunEpoch
from sktorch_continue.shortcuts import Update, backward_for, update_of
from sktorch_continue.streams import permutation
from sktorch_continue.testing import assert_same_run, first_difference


def network() -> nn.Sequential:
    """Return a small network with the same weights every time."""
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape))
    return network


def train(module: nn.Module, optimizer: Optimizer, step: Callable[[], Any], n_steps: int = 5) -> None:
    """Take some steps."""
    rows = torch.linspace(-2, 2, 12).reshape(4, 3)
    for _ in range(n_steps):
        optimizer.zero_grad()
        (module(rows) ** 2).mean().backward()
        step()


def everything(module: nn.Module, optimizer: Optimizer) -> list[torch.Tensor]:
    """Return weights and moments."""
    moments = optimizer.state_dict()["state"].values()
    return [*module.parameters(), *(tensor for state in moments for tensor in state.values())]


ARGUMENTS = [
    {},
    {"weight_decay": 0.1},
    {"amsgrad": True},
    {"maximize": True},
    {"betas": (0.5, 0.7), "eps": 1e-3},
]


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
def test_the_shorter_update_ends_at_the_bits_of_the_optimizer(kind: Any, arguments: dict[str, Any]) -> None:
    """Weights, moments and counters are those that ``step`` would have made, and the shorter way was taken."""
    long, short = network(), network()
    optimizers = [kind(module.parameters(), lr=0.1, fused=True, **arguments) for module in (long, short)]
    update = update_of(optimizers[1])
    train(long, optimizers[0], optimizers[0].step)
    train(short, optimizers[1], update)
    assert update._groups is not None
    assert all(map(torch.equal, everything(long, optimizers[0]), everything(short, optimizers[1])))


def test_groups_schedules_and_frozen_parameters_are_as_the_optimizer_has_them() -> None:
    """Each group has its own rate, a schedule changes it, and what is frozen on the way stays as it is."""
    results = []
    for shorten in (False, True):
        module = network()
        groups = [{"params": module[0].parameters()}, {"params": module[2].parameters(), "lr": 0.01}]
        optimizer = Adam(groups, lr=0.1, fused=True)
        schedule = ExponentialLR(optimizer, 0.5)
        update = Update(optimizer, shorten=shorten)
        train(module, optimizer, update, 2)
        schedule.step()
        module[0].weight.requires_grad_(False)
        update.refresh()
        train(module, optimizer, update, 2)
        module[0].weight.requires_grad_(True)
        update.refresh()
        train(module, optimizer, update, 2)
        assert (update._groups is not None) == shorten
        results.append(everything(module, optimizer))
    assert all(map(torch.equal, *results))


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    """A step in which a branch was not taken neither moves nor counts its parameters."""
    results = []
    for shorten in (False, True):
        module = network()
        optimizer = Adam(module.parameters(), lr=0.1, fused=True)
        update = Update(optimizer, shorten=shorten)
        train(module, optimizer, update, 2)
        optimizer.zero_grad()
        (module[0].weight ** 2).sum().backward()
        update()
        train(module, optimizer, update, 2)
        results.append(everything(module, optimizer))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: SGD(parameters, lr=0.1, fused=True),
        lambda parameters: Adam(parameters, lr=0.1, foreach=True),
        lambda parameters: Adam(parameters, lr=torch.tensor(0.1), fused=True),
        lambda parameters: type("MyAdam", (Adam,), {})(parameters, lr=0.1, fused=True),
    ],
    ids=["another optimizer", "not fused", "a tensor as rate", "a subclass"],
)
def test_what_is_not_known_is_stepped_by_itself(make: Callable[[Any], Optimizer]) -> None:
    """An optimizer that could do more than the fused operation is asked to step."""
    module = network()
    optimizer = make(list(module.parameters()))
    update = update_of(optimizer)
    train(module, optimizer, update, 3)
    assert update._groups is None


class Listens(Callback):
    """Counts the steps of the optimizer by a hook of its own."""

    def __init__(self) -> None:
        self.calls = 0

    def listen(self, run: Any) -> None:
        """Register the hook."""
        run.optimizer.register_step_post_hook(self.count)

    def count(self, *args: Any) -> None:
        """Count a step."""
        self.calls += 1


class ListensFromThirdStep(Listens):
    """Begins in the middle of an epoch."""

    def on_step_begin(self, run: Any) -> None:
        """Register at the third step."""
        if run.n_steps == 2:
            self.listen(run)


class ListensFromSecondEpoch(Listens):
    """Begins between two epochs, and does nothing at steps."""

    def on_epoch_end(self, run: Any) -> None:
        """Register after the first epoch."""
        if run.n_epochs == 1:
            self.listen(run)


@pytest.mark.parametrize(("callback", "missed"), [(ListensFromThirdStep(), 2), (ListensFromSecondEpoch(), 6)])
def test_a_hook_that_comes_late_is_called(callback: Listens, missed: int) -> None:
    """A callback may change the optimizer between two steps, or two epochs; the very next step knows."""
    X, y = real_data()
    model = TorchRegressor(batch_size=4, max_epochs=2, callbacks=[("late", callback)], random_state=0).fit(X, y)
    assert model.callbacks_["late"].calls == model.n_steps_ - missed == 12 - missed


class LoadsMoments(Callback):
    """Loads the optimizer's own state into it, which makes new tensors."""

    def on_epoch_end(self, run: Any) -> None:
        """Load."""
        run.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))


def test_moments_that_were_replaced_between_epochs_are_those_that_move() -> None:
    """A callback may load a state into the optimizer; training goes on from it, and in it."""
    X, y = real_data()
    plain, loaded = (
        TorchRegressor(batch_size=4, max_epochs=3, callbacks=callbacks, random_state=0).fit(X, y)
        for callbacks in ([], [LoadsMoments()])
    )
    assert first_difference(plain.optimizer_.state_dict(), loaded.optimizer_.state_dict()) is None
    assert all(map(torch.equal, plain.module_.parameters(), loaded.module_.parameters()))


def test_a_hook_of_all_optimizers_hears_the_steps_of_the_run_alone() -> None:
    """Nothing is tried out where somebody listens to every optimizer."""
    shortcuts._fused_works.cache_clear()
    heard: list[Any] = []
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: heard.append(optimizer))
    try:
        model = TorchRegressor(max_epochs=3, random_state=0).fit(*real_data())
    finally:
        handle.remove()
    assert [optimizer is model.optimizer_ for optimizer in heard] == [True] * model.n_steps_


def test_gradients_are_those_of_backward() -> None:
    """Both ways to compute gradients give the same bits."""
    gradients = []
    for backward in (torch.Tensor.backward, backward_for(torch.device("cpu"))):
        module = network()
        backward((module(torch.linspace(-2, 2, 12).reshape(4, 3)) ** 2).mean())
        gradients.append([parameter.grad for parameter in module.parameters()])
    assert backward is not torch.Tensor.backward
    assert all(map(torch.equal, *gradients))


def test_a_loss_without_gradients_is_refused_as_torch_does() -> None:
    """A module with nothing to train gets torch's own error."""
    with pytest.raises(RuntimeError, match="does not require grad"):
        backward_for(torch.device("cpu"))(torch.tensor(1.0))


class Draws(Callback):
    """Keeps a number drawn from each of the process's streams after every epoch."""

    def __init__(self) -> None:
        self.drawn: list[Any] = []

    def on_epoch_end(self, run: Any) -> None:
        """Draw."""
        self.drawn.append([random.random(), float(np.random.rand()), float(torch.rand(()))])


def test_what_a_callback_draws_depends_on_the_position_alone() -> None:
    """Streams that torch's own layers do not read stand where the epoch ends, cut before or not."""
    X, y = real_data()
    whole, cut = (TorchRegressor(callbacks=[Draws()], random_state=0) for _ in range(2))
    whole.set_params(max_epochs=3).fit(X, y)
    cut.set_params(max_epochs=1).fit(X, y)
    random.seed(5)
    np.random.seed(5)
    cut.continue_fit(X, y, max_epochs=2)
    assert cut.callbacks_["Draws"].drawn == whole.callbacks_["Draws"].drawn


def test_losses_read_late_sum_to_the_same() -> None:
    """Sums that are read from the device once per epoch have the bits of those read at every step."""
    now, late = BegunEpoch(), BegunEpoch()
    for loss in torch.linspace(0, 1, 7):
        now.add(loss.item(), 3.0, 3.0)
        late.add_later(loss, 3.0, torch.tensor(3.0))
    assert late.weight_sum == 0.0
    late.settle()
    late.settle()
    assert (late.loss_sum, late.weight_sum) == (now.loss_sum, now.weight_sum)


@pytest.mark.parametrize("n_rows", [1, 3000, 30_000])
def test_predictions_in_batches_are_those_of_the_module(n_rows: int) -> None:
    """Rows in one batch or in many: every row has its own output, in order."""
    X, y = real_data()
    model = TorchRegressor(max_epochs=1, random_state=0).fit(X, y)
    rows = np.random.default_rng(0).normal(size=(n_rows, X.shape[1])).astype(np.float32)
    with torch.inference_mode():
        wanted = model.module_(torch.from_numpy(rows)).numpy()[:, 0]
    np.testing.assert_allclose(model.predict(rows), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spoiled", [np.nan, np.inf, -np.inf])
def test_a_plain_array_is_still_checked(spoiled: float) -> None:
    """What is passed by the short way is refused by scikit-learn's checks where there is something to refuse."""
    X, y = real_data()
    model = TorchRegressor(max_epochs=1, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="is expecting 4 features"):
        model.predict(X[:, :2])
    X = X.copy()
    X[3, 1] = spoiled
    with pytest.raises(ValueError, match=r"contains (NaN|infinity)"):
        model.predict(X)


def test_a_fitted_module_is_in_evaluation_mode() -> None:
    """Called by hand, it computes what ``predict`` does."""
    X, y = real_data()
    model = TorchRegressor(module__dropout=0.5, max_epochs=1, random_state=0).fit(X, y)
    assert not any(layer.training for layer in model.module_.modules())


def test_importing_the_package_imports_nothing_heavy() -> None:
    """Scorers, splitters and locks are imported by those who use them."""
    script = "import sys, sktorch_continue; print([n for n in sys.argv[1:] if n in sys.modules])"
    heavy = ["sklearn.metrics", "sklearn.model_selection", "filelock", "matplotlib", "safetensors.torch"]
    found = subprocess.run([sys.executable, "-c", script, *heavy], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", [np.float32, np.float64, bool], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("batch_size", [3, 16, 64])
@pytest.mark.parametrize("named", [False, True])
def test_batches_that_are_gathered_together_lie_as_if_alone(kind: Any, batch_size: int, named: bool) -> None:
    """Every batch begins where an allocation of torch's could, has its rows, and none of the others'."""
    X = (np.arange(200 * 8).reshape(200, 8) % 97 % 5).astype(kind)
    inputs = check_inputs(TorchRegressor(), {"x": X, "z": X[:, :1]} if named else X, reset=True)
    precision = Precision(torch.float32, lambda: True, torch.device("cpu"))
    target, weight = torch.arange(200), torch.arange(200.0)
    order = permutation(0, 0, 200)
    for start in (0, 2 * batch_size):
        epoch = Epoch(seed=0, number=0, shuffle=True, start=start, stop=200)
        batches = list(Dataset(inputs, target, weight, None).batches(precision, batch_size, epoch))
        for (found, *others), rows in zip(batches, order[start:].split(batch_size), strict=True):
            tensors = [*(found.values() if named else [found]), *others]
            chosen = torch.from_numpy(X)[rows]
            expected = [chosen, *([chosen[:, :1]] if named else []), rows, rows]
            assert all(tensor.data_ptr() % 64 == 0 for tensor in tensors)
            assert all(torch.equal(t, e.to(t.dtype)) for t, e in zip(tensors, expected, strict=True))


class WritesIntoItsInput(nn.Module):
    """Puts something that is trained into the batch it was given, as masked models do."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(()))
        self.layer = nn.Linear(n_features_in, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x[:, 0] = self.token
        return self.layer(x)


def test_a_module_may_write_into_its_batch() -> None:
    """Batches that were gathered at once and one by one train alike, and X is left alone."""
    X, y = real_data(64)
    before = X.copy()
    model = TorchRegressor(WritesIntoItsInput, batch_size=16, max_epochs=2, random_state=0).fit(X, y)
    model.continue_fit(X, y)
    assert np.array_equal(X, before)
    assert model.n_steps_ == 16


class LearnsItsScale(nn.Module):
    """A criterion with a parameter whose gradient is the 1 that backward begins with."""

    def __init__(self) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(1))

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).square().mean() + self.log_variance.squeeze()


def test_a_gradient_that_is_changed_in_place_changes_no_other_training() -> None:
    """Clipping in one run leaves the bits of the next one as they were."""
    X, y = real_data()
    plain = TorchRegressor(max_epochs=2, random_state=0).fit(X, y)
    TorchRegressor(criterion=LearnsItsScale, callbacks=[GradientClipping(1e-3)], max_epochs=1).fit(X, y)
    assert_same_run(plain, TorchRegressor(max_epochs=2, random_state=0).fit(X, y), X)


def test_a_gradient_that_is_changed_in_place_changes_no_later_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it in the same run: it ends where torch's own backward leads it."""
    X, y = real_data()

    def clipped() -> TorchRegressor:
        params = {"criterion": LearnsItsScale, "callbacks": [GradientClipping(1e-3)], "optimizer": "SGD"}
        return TorchRegressor(batch_size=4, max_epochs=2, random_state=0, **params).fit(X, y)

    short = clipped()
    monkeypatch.setattr(shortcuts, "_engine_works", lambda: False)
    assert_same_run(clipped(), short, X)


@pytest.mark.parametrize("n_rows", [5, 500])
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e30, np.inf], ids=str)
def test_the_class_predicted_is_the_most_probable_one(n_rows: int, scale: float) -> None:
    """Also where outputs are as good as equal, or infinite: the first of equal probabilities."""
    objective = Objective("index", 4)
    output = torch.randn(n_rows, 4, generator=torch.Generator().manual_seed(0)) * scale
    output[::7] = float("nan")
    output[1::7, 1:3] = output[1::7, :1] + 1e-9
    criterion = nn.CrossEntropyLoss()
    wanted = objective.probabilities(output, criterion).argmax(dim=1)
    assert torch.equal(objective.most_probable(output, criterion), wanted)
