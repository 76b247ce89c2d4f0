"""The shortest way through a module computes what calling it does, and nobody who listens is passed over."""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from modules import Linear, class_data
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from sktorch_continue import MLP, Callback, TorchClassifier
from sktorch_continue.layers import NEVER_DRAW, Layers, call
from sktorch_continue.testing import assert_same_run

X, Y = class_data()
SHARED = nn.Linear(4, 4)


class OwnSequence(nn.Sequential):
    """A sequence with a step of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1


def compiled() -> nn.Module:
    """Return a sequence of which one layer is compiled in place."""
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    module[0].compile(backend="eager")
    return module


def with_own_forward() -> nn.Module:
    """Return a sequence of which one layer does something else."""
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    module[1].forward = torch.tanh  # type: ignore[method-assign]
    return module


MODULES: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "sequence": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh()), True),
    "sequence of sequences": (lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 3)), nn.Sequential(), nn.ReLU()), True),
    "built-in": (lambda: MLP(4, 3, batch_norm=True, dropout=0.5), True),
    "used twice": (lambda: nn.Sequential(SHARED, nn.ReLU(), SHARED), True),
    "one layer": (lambda: nn.Linear(4, 3), True),
    "own class": (lambda: Linear(4, 3), False),
    "own sequence": (lambda: nn.Sequential(OwnSequence(nn.Linear(4, 3))), False),
    "own forward": (with_own_forward, False),
    "compiled in place": (compiled, False),
    "branches inside": (lambda: nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8)), False),
}


@pytest.mark.parametrize(("make", "walked"), MODULES.values(), ids=MODULES)
def test_the_shortest_way_is_that_of_the_call(make: Callable[[], nn.Module], walked: bool) -> None:
    """Outputs have the same bits, and only plain sequences of torch's own layers are walked."""
    module = make().eval()
    rows = torch.from_numpy(X)
    layers = Layers(module)
    assert torch.equal(layers.forward(rows), module(rows))
    assert (layers.forward.func is not call) == walked  # type: ignore[attr-defined]
    assert layers.float_dtype == torch.float32


def test_layers_in_training_mode_are_found() -> None:
    """Those that are, in a module of which others are not."""
    module = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Dropout(0.5)))
    module[1].eval()
    assert list(map(id, Layers(module).training)) == [id(module), id(module[0])]


@pytest.mark.parametrize(
    ("module", "names"),
    [(nn.Bilinear(4, 4, 3), ["input1", "input2"]), (nn.Sequential(nn.Linear(4, 3)), ["input"])],
    ids=["two inputs", "one by name"],
)
def test_inputs_by_name_reach_a_module_of_torch_by_name(module: nn.Module, names: list[str]) -> None:
    """A dict goes to the arguments of ``forward``, whosever it is."""
    model = TorchClassifier(module, max_epochs=2, random_state=0).fit(dict.fromkeys(names, X), Y)
    with torch.inference_mode():
        wanted = model.module_(**dict.fromkeys(names, torch.from_numpy(X))).softmax(dim=1)
    assert np.array_equal(model.predict_proba(dict.fromkeys(names, X)), wanted.numpy())


def test_a_global_hook_is_called() -> None:
    """Somebody who listens to all modules hears each of them."""
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    heard: list[str] = []
    handle = register_module_forward_hook(lambda layer, *_: heard.append(type(layer).__name__))
    try:
        Layers(module).forward(torch.from_numpy(X))
    finally:
        handle.remove()
    assert heard == ["Linear", "ReLU", "Sequential"]


class Listens(Callback):
    """Counts the forward passes of the first layer, or of the criterion, from some moment on."""

    def __init__(self, at: int, *, criterion: bool = False) -> None:
        self.at, self.criterion = at, criterion
        self.heard = 0

    def listen(self, run: Any) -> None:
        """Register once."""
        if run.n_steps == self.at:
            part = run.criterion if self.criterion else run.module[0]
            part.register_forward_hook(self.count)

    def count(self, part: nn.Module, inputs: Any, output: Any) -> None:
        """Count a training step."""
        self.heard += part.training


class AtStep(Listens):
    """Registers at the beginning of a step."""

    on_step_begin = Listens.listen


class AtEpoch(Listens):
    """Registers between two epochs."""

    on_epoch_end = Listens.listen


@pytest.mark.parametrize("criterion", [False, True], ids=["a layer", "the criterion"])
@pytest.mark.parametrize(("kind", "at"), [(AtStep, 2), (AtEpoch, 3)], ids=["in an epoch", "between epochs"])
def test_a_hook_that_comes_late_hears_the_next_step(kind: type[Listens], at: int, criterion: bool) -> None:
    """A callback may register hooks at any time; the very next forward pass calls them."""
    callback = kind(at, criterion=criterion)
    model = TorchClassifier(batch_size=8, max_epochs=2, callbacks=[("late", callback)], random_state=0).fit(X, Y)
    assert model.callbacks_["late"].heard == 6 - at


@pytest.mark.parametrize("replace", [True, False], ids=["replaced", "hooked"])
def test_a_prediction_uses_the_module_as_it_is_now(replace: bool) -> None:
    """A layer that was put in its place, or a hook at it, since the training counts."""
    model = TorchClassifier(max_epochs=1, random_state=0).fit(X, Y)
    model.predict(X)
    if replace:
        model.module_[-1] = nn.Sequential(model.module_[-1], nn.Softplus())
    else:
        model.module_[-1].register_forward_hook(lambda layer, inputs, output: nn.functional.softplus(output))
    with torch.inference_mode():
        wanted = model.module_(torch.from_numpy(X)).softmax(dim=1).numpy()
    assert np.array_equal(model.predict_proba(X), wanted)


@pytest.mark.parametrize(
    ("layer", "draws"),
    [(nn.Dropout(0.5), False), (nn.FractionalMaxPool2d(2, output_size=1), True), (Linear(4, 4), True)],
    ids=["dropout", "fractional pooling", "own class"],
)
def test_who_may_draw_in_evaluation_mode_is_known(layer: nn.Module, draws: bool) -> None:
    """Torch's layers draw nothing there, but for one; what others do is not known."""
    assert Layers(nn.Sequential(layer)).draw_in_evaluation is draws


QUIET: dict[type[nn.Module], tuple[Any, tuple[int, ...]]] = {
    nn.Bilinear: ((2, 2, 3), (4, 2)),
    nn.Unflatten: ((1, (2, 2)), (4, 4)),
    nn.Conv1d: ((2, 3, 3), (4, 2, 5)),
    nn.ConvTranspose1d: ((2, 3, 3), (4, 2, 5)),
    nn.GroupNorm: ((2, 4), (4, 4, 3)),
    nn.BatchNorm2d: ((2,), (4, 2, 3, 3)),
    nn.BatchNorm3d: ((2,), (4, 2, 3, 3, 3)),
    nn.RMSNorm: ((5,), (4, 5)),
    nn.LayerNorm: ((5,), (4, 5)),
    **{kind: ((2, 3, 3), (4, 2, 5, 5)) for kind in (nn.Conv2d, nn.ConvTranspose2d)},
    **{kind: ((2, 3, 3), (4, 2, 5, 5, 5)) for kind in (nn.Conv3d, nn.ConvTranspose3d)},
    **{kind: ((5, 3), (4, 5)) for kind in (nn.Linear, nn.BatchNorm1d)},
    **{kind: ((2,), (4, 2, 6)) for kind in (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d)},
    **{kind: ((2,), (4, 2, 6, 6)) for kind in (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)},
    **{kind: ((2,), (4, 2, 6, 6, 6)) for kind in (nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d)},
    **{kind: ((1,), (4, 3)) for kind in (nn.Softmax, nn.LogSoftmax)},
}


@pytest.mark.parametrize("kind", sorted(NEVER_DRAW, key=lambda kind: kind.__name__))
def test_layers_that_are_known_not_to_draw_do_not(kind: type[nn.Module]) -> None:
    """A step through them leaves the stream where it was, which is then not put in place for it."""
    arguments, shape = QUIET.get(kind, ((), (4, 5)))
    if kind in (nn.Embedding, nn.EmbeddingBag):
        layer, inputs = kind(5, 2), (torch.arange(4).reshape(2, 2),)
    elif kind.__module__.endswith(".loss"):
        layer, inputs = kind(), (torch.rand(4, 3, requires_grad=True), torch.rand(4, 3))
        inputs = (inputs[0], torch.tensor([0, 1, 2, 0])) if kind is nn.NLLLoss else inputs
        inputs = (*inputs, torch.rand(4, 3)) if kind is nn.GaussianNLLLoss else inputs
    else:
        layer = kind(*arguments)
        inputs = tuple(torch.rand(shape, requires_grad=True) for _ in range(1 + (kind is nn.Bilinear)))
    before = torch.get_rng_state()
    layer.train()(*inputs).sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
    assert Layers(nn.Sequential(layer)).never_draw


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.RReLU(), nn.MultiheadAttention(4, 2, dropout=0.5), nn.GRU(4, 4), Linear(4, 4)]
)
def test_of_other_layers_it_is_not_known_that_they_do_not_draw(layer: nn.Module) -> None:
    """The stream is put in place for them at every step."""
    assert not Layers(nn.Sequential(layer)).never_draw


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_plain_sequence_draws_the_same_after_a_cut(dropout: float) -> None:
    """Where nobody but torch's own layers may draw, they do so from the position in the run."""
    whole, cut = (
        TorchClassifier(module__dropout=dropout, batch_size=8, max_epochs=n, random_state=0).fit(X, Y) for n in (3, 1)
    )
    torch.manual_seed(7)
    assert_same_run(whole, cut.continue_fit(X, Y, max_epochs=2), X)


class CountsCalls(nn.Linear):
    """A layer that counts how often it is called, in training or not."""

    def __init__(self) -> None:
        super().__init__(4, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x)


def test_a_module_is_tried_on_a_copy() -> None:
    """What it does before the first step leaves no trace in it."""
    model = TorchClassifier(CountsCalls, batch_size=8, max_epochs=2, random_state=0).fit(X, Y)
    assert model.module_.calls == model.n_steps_ == 6


def with_noise_on_gradients() -> nn.Module:
    """Return a sequence of torch's layers, with a hook that adds noise from three streams to a gradient."""
    module = nn.Sequential(nn.Linear(4, 3))

    def noisy(gradient: torch.Tensor) -> torch.Tensor:
        return gradient + 0.1 * torch.randn_like(gradient) + random.random() + float(np.random.random())

    module[0].weight.register_hook(noisy)
    return module


def with_noise_after_steps(parameters: Any, lr: float) -> torch.optim.Optimizer:
    """Return an optimizer of torch's with a hook that adds noise to the weights, as Langevin dynamics does."""
    optimizer = torch.optim.SGD(parameters, lr=lr)

    def noisy(stepped: torch.optim.Optimizer, *_: Any) -> None:
        for parameter in stepped.param_groups[0]["params"]:
            parameter.data.add_(0.1 * torch.randn_like(parameter) + random.random())

    optimizer.register_step_post_hook(noisy)
    return optimizer


def noise_on_every_output(layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    """Add noise, as somebody may who listens to all modules."""
    return output + 0.1 * torch.randn_like(output) + random.random()


LISTENERS: dict[str, dict[str, Any]] = {
    "to a gradient": {"module": with_noise_on_gradients},
    "to the optimizer": {"module": nn.Sequential(nn.Linear(4, 3)), "optimizer": with_noise_after_steps},
    "to all modules": {"module": nn.Sequential(nn.Linear(4, 3))},
}


@pytest.mark.parametrize("to", LISTENERS)
def test_who_listens_may_draw(to: str) -> None:
    """A hook is no layer, and what it draws is as exact after a cut as what a layer does."""
    whole, cut = (TorchClassifier(**LISTENERS[to], batch_size=8, random_state=0) for _ in range(2))
    with contextlib.ExitStack() as listening:
        if to == "to all modules":
            listening.callback(register_module_forward_hook(noise_on_every_output).remove)
        whole.set_params(max_epochs=3).fit(X, Y)
        cut.set_params(max_epochs=1).fit(X, Y)
        random.seed(3)
        torch.manual_seed(3)
        cut.continue_fit(X, Y, max_epochs=2)
    assert_same_run(whole, cut, X)


@pytest.mark.parametrize(
    ("layer", "stays"),
    [
        (MLP(4, 3, batch_norm=True), True),
        (nn.Embedding(4, 3), True),
        (nn.Embedding(4, 3, max_norm=1.0), False),
        (Linear(4, 3), False),
    ],
    ids=["built-in", "embedding", "embedding of bounded norm", "own class"],
)
def test_who_stays_as_it_is_is_known(layer: nn.Module, stays: bool) -> None:
    """An embedding may write into its weights in evaluation mode as well; it is tried on a copy, as others are."""
    assert Layers(nn.Sequential(layer)).stay_as_they_are is stays


class Replaces(Callback):
    """Puts another weight, that learns as well, into the first layer after an epoch."""

    def on_epoch_end(self, run: Any) -> None:
        """Replace it once."""
        if run.n_epochs == 1:
            run.module[0].weight = nn.Parameter(torch.zeros_like(run.module[0].weight))


def test_a_weight_that_was_replaced_between_epochs_is_the_one_that_is_used() -> None:
    """The way through the layers is looked for again where a callback may have changed them."""
    model = TorchClassifier(nn.Sequential(nn.Linear(4, 3)), optimizer="SGD", lr=0.0, max_epochs=2, random_state=0)
    model.set_params(callbacks=[Replaces()]).fit(X, Y)
    bias = model.module_[0].bias.detach().expand(len(X), 3)
    wanted = nn.functional.cross_entropy(bias, torch.from_numpy(Y))
    assert model.history_[-1]["train_loss"] == pytest.approx(float(wanted), rel=1e-6)


def test_predicting_with_a_pooling_that_draws_leaves_the_streams_alone() -> None:
    """The process's stream stands where it stood."""
    module = nn.Sequential(nn.FractionalMaxPool2d(2, output_size=2), nn.Flatten(), nn.Linear(4, 3))
    images = np.random.default_rng(0).normal(size=(24, 1, 5, 5)).astype(np.float32)
    model = TorchClassifier(functools.partial(nn.Sequential, *module), max_epochs=1, random_state=0).fit(images, Y)
    before = torch.get_rng_state()
    model.predict(images)
    assert torch.equal(torch.get_rng_state(), before)
