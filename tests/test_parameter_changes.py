"""P3: what continuing does with a changed parameter, row by row of the table in the contract."""

import copy
import functools
import math
import operator
import pickle
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import torch
from modules import (
    Affine,
    Counter,
    Halving,
    Linear,
    Noisy,
    Raise,
    Watching,
    assert_untouched,
    class_data,
    continued_quietly,
    label,
    real_data,
    snapshot,
)
from optional import pd
from torch import nn
from torch.optim import lr_scheduler as lrs

from sktorch_continue import (
    MLP,
    ContinuationError,
    ContinuationWarning,
    EarlyStopping,
    TorchClassifier,
    TorchRegressor,
)
from sktorch_continue.testing import assert_same_run, first_difference, run_state, through_memory, through_pickle

X, Y = class_data()
XR, YR = real_data()
PLATEAU = {"lr_scheduler__patience": 0, "lr_scheduler__threshold": 10.0, "lr_scheduler__factor": 0.5}


def classifier(**params):
    """Return an unfitted classifier whose parts all have a state."""
    return TorchClassifier(**{"module": Noisy, "max_epochs": 2, "batch_size": 8, "random_state": 0, **params})


def regressor(**params):
    """Return an unfitted regressor that takes one whole batch per epoch, in order."""
    defaults = {"module": Linear, "max_epochs": 2, "batch_size": len(XR), "shuffle": False, "random_state": 0}
    return TorchRegressor(**{**defaults, **params})


def one_step_by_hand(estimator, change, criterion=None):
    """Return the weights after one step over all rows, taken with torch alone after ``change(module, optimizer)``."""
    module, optimizer = copy.deepcopy((estimator.module_, estimator.optimizer_))
    optimizer = change(module, optimizer) or optimizer
    optimizer.zero_grad()
    target = torch.from_numpy(YR).to(torch.float32).reshape(-1, 1)
    (criterion or nn.MSELoss())(module.train()(torch.from_numpy(XR.copy())), target).backward()
    optimizer.step()
    return module.state_dict()


# ---- read at every call -------------------------------------------------------------------------------------------


def test_run_length_is_used_by_the_next_call():
    """max_epochs, as parameter or as argument, is the number of epochs the call adds."""
    model = classifier(max_epochs=2).fit(X, Y)
    assert model.set_params(max_epochs=3).continue_fit(X, Y).n_epochs_ == 5
    assert model.continue_fit(X, Y, max_epochs=1).n_epochs_ == 6
    assert model.max_epochs == 3


@pytest.mark.parametrize("max_epochs", [0, -2])
def test_asking_for_nothing_is_refused_with_the_numbers(max_epochs):
    """max_epochs=0 is an error that names how many epochs there are, and changes nothing."""
    model = classifier().fit(X, Y)
    before = snapshot(model)
    with pytest.raises(ValueError, match=f"max_epochs={max_epochs} asks for nothing: the run has 2 epochs"):
        model.continue_fit(X, Y, max_epochs=max_epochs)
    assert_untouched(model, before)


def test_batch_size_is_used_from_the_next_epoch():
    """24 rows are 3 steps of 8, then 6 steps of 4, then 1 step of 100."""
    model = classifier(max_epochs=1).fit(X, Y)
    for batch_size in (4, 100):
        model.set_params(batch_size=batch_size).continue_fit(X, Y)
    assert model.history_["n_steps"] == [3, 9, 10]


def test_drop_last_is_used_from_the_next_epoch():
    """24 rows in batches of 10 are 3 steps, with drop_last 2."""
    model = classifier(max_epochs=1, batch_size=10).fit(X, Y)
    model.set_params(drop_last=True).continue_fit(X, Y)
    assert model.history_["n_steps"] == [3, 5]


def test_shuffle_is_used_from_the_next_epoch():
    """Rows come in an order of the run, then in the order given, then in an order of the run again."""
    Watching.seen.clear()
    model = classifier(module=Watching, max_epochs=1).fit(X, Y)
    model.set_params(shuffle=False).continue_fit(X, Y)
    model.set_params(shuffle=True).continue_fit(X, Y)
    first, second, third = (torch.cat(Watching.seen[i : i + 3]).numpy() for i in (0, 3, 6))
    assert np.array_equal(second, X)
    assert not np.array_equal(first, X)
    assert not np.array_equal(third, X)
    assert not np.array_equal(third, first)


def test_verbose_is_used_by_the_next_call(capsys):
    """Nothing is printed by the first call and three lines or more by the second."""
    model = classifier().fit(X, Y)
    assert capsys.readouterr().out == ""
    model.set_params(verbose=2).continue_fit(X, Y)
    assert "epochs 3 to 4" in capsys.readouterr().out
    model.set_params(verbose=0).continue_fit(X, Y)
    assert capsys.readouterr().out == ""


def test_validation_rows_are_used_from_the_next_epoch():
    """A validation_fraction, X_val, and neither: valid_loss is there for the epochs that had rows."""
    model = classifier(max_epochs=1).fit(X, Y)
    model.set_params(validation_fraction=0.25).continue_fit(X, Y)
    model.set_params(validation_fraction=None).continue_fit(X, Y)
    model.continue_fit(X, Y, X_val=X[:6] + 1, y_val=Y[:6])
    assert ["valid_loss" in row for row in model.history_] == [False, True, False, True]
    assert [record["n_validation_rows"] for record in model.history_.calls] == [0, 6, 0, 6]


class Compiled(nn.Module):
    """Remembers in a buffer whether its last training step was traced by the compiler."""

    def __init__(self, n_features_in, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_features_in, n_outputs)
        self.register_buffer("traced", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.traced.fill_(1.0 if torch.compiler.is_compiling() else 0.0)
        return self.layer(x)


def test_compile_is_used_from_the_next_epoch(monkeypatch):
    """Steps go through torch.compile in the call that asks for it, and in no other."""
    eager = functools.partial(torch.compile, backend="eager")  # the default backend needs a C++ compiler
    monkeypatch.setattr(torch, "compile", eager)
    model = classifier(module=Compiled, max_epochs=1).fit(X, Y)
    traced = [float(model.module_.traced)]
    for flag in (True, False):
        model.set_params(compile=flag).continue_fit(X, Y)
        traced.append(float(model.module_.traced))
    assert traced == [0.0, 1.0, 0.0]


def test_check_finite_is_used_by_the_next_call():
    """A run that is told not to look goes on over a loss of infinity."""
    model = regressor(lr=1e30, optimizer="SGD", max_epochs=1).fit(XR, YR)
    with pytest.raises(FloatingPointError, match="epoch"):
        model.continue_fit(XR, YR, max_epochs=5)
    assert model.set_params(check_finite=False).continue_fit(XR, YR, max_epochs=5).n_epochs_ >= 6


def test_class_weight_is_used_by_the_next_call():
    """class_weight from the second call on is the same as these weights given to the second call."""
    weights = {0: 1.0, 1: 2.0, 2: 0.5}
    by_class = classifier().fit(X, Y).set_params(class_weight=weights).continue_fit(X, Y)
    by_row = classifier().fit(X, Y).continue_fit(X, Y, sample_weight=np.array([weights[label] for label in Y]))
    assert_same_run(by_class, by_row, X)


def test_random_state_starts_new_streams_from_the_next_epoch():
    """Another seed gives another order; the first call stays as it was; the same seed changes nothing."""
    straight = classifier(max_epochs=4).fit(X, Y)
    same = classifier().fit(X, Y).set_params(random_state=0).continue_fit(X, Y)
    other = classifier().fit(X, Y).set_params(random_state=1).continue_fit(X, Y)
    assert_same_run(same, straight)
    assert other.history_[:2, "train_loss"] == straight.history_[:2, "train_loss"]
    assert other.history_[2:, "train_loss"] != straight.history_[2:, "train_loss"]


def test_device_is_used_from_the_next_epoch():
    """A run moves between devices with its moments and goes on."""
    if not torch.cuda.is_available():
        pytest.skip("needs a second device")
    model = classifier().fit(X, Y).set_params(device="cuda").continue_fit(X, Y)
    assert all(parameter.is_cuda for parameter in model.module_.parameters())
    assert model.optimizer_.state_dict()["state"][0]["exp_avg"].is_cuda
    model.set_params(device="cpu").continue_fit(X, Y)
    assert not any(parameter.is_cuda for parameter in model.module_.parameters())
    assert model.n_epochs_ == 6


# ---- lr and values of the optimizer -------------------------------------------------------------------------------


def group_values(**values):
    """Return a change that puts values into the living groups."""

    def change(module, optimizer):
        optimizer.param_groups[0].update(values)

    return change


def group_values_and_zeros(*names, **values):
    """Return a change that puts values into the groups and starts entries of the state at zero."""

    def change(module, optimizer):
        optimizer.param_groups[0].update(values)
        for parameter in module.parameters():
            optimizer.state[parameter].update({name: torch.zeros_like(parameter) for name in names})

    return change


@pytest.mark.parametrize("way", [through_memory, through_pickle])
@pytest.mark.parametrize(
    ("start", "changed", "by_hand"),
    [
        ({"optimizer": "Adam"}, {"lr": 0.5}, group_values(lr=0.5)),
        ({"optimizer": "Adam"}, {"optimizer__lr": 0.5}, group_values(lr=0.5)),
        ({"optimizer": "Adam"}, {"optimizer__betas": (0.5, 0.6)}, group_values(betas=(0.5, 0.6))),
        ({"optimizer": "Adam"}, {"optimizer__eps": 0.1}, group_values(eps=0.1)),
        ({"optimizer": "Adam"}, {"lr": 0.2, "optimizer__eps": 0.1}, group_values(lr=0.2, eps=0.1)),
        ({"optimizer": "AdamW"}, {"optimizer__weight_decay": 0.9}, group_values(weight_decay=0.9)),
        ({"optimizer": "Adam"}, {"optimizer__maximize": True}, group_values(maximize=True)),
        (
            {"optimizer": "Adam"},
            {"optimizer__amsgrad": True},
            group_values_and_zeros("max_exp_avg_sq", amsgrad=True),
        ),
        ({"optimizer": "Adam", "optimizer__amsgrad": True}, {"optimizer__amsgrad": False}, group_values(amsgrad=False)),
        ({"optimizer": "SGD", "optimizer__momentum": 0.9}, {"optimizer__momentum": 0.5}, group_values(momentum=0.5)),
        ({"optimizer": "SGD", "optimizer__momentum": 0.9}, {"optimizer__nesterov": True}, group_values(nesterov=True)),
        ({"optimizer": "SGD"}, {"optimizer__momentum": 0.9}, group_values(momentum=0.9)),
        ({"optimizer": "SGD", "optimizer__momentum": 0.9}, {"optimizer__momentum": 0.0}, group_values(momentum=0.0)),
        (
            {"optimizer": "RMSprop"},
            {"optimizer__momentum": 0.9},
            group_values_and_zeros("momentum_buffer", momentum=0.9),
        ),
        ({"optimizer": "RMSprop"}, {"optimizer__centered": True}, group_values_and_zeros("grad_avg", centered=True)),
        (
            {"optimizer": "RMSprop"},
            {"optimizer__centered": True, "optimizer__momentum": 0.9},
            group_values_and_zeros("grad_avg", "momentum_buffer", centered=True, momentum=0.9),
        ),
        ({"optimizer": "RMSprop"}, {"optimizer__alpha": 0.5}, group_values(alpha=0.5)),
        ({"optimizer": "Adagrad"}, {"lr": 0.5, "optimizer__weight_decay": 0.1}, group_values(lr=0.5, weight_decay=0.1)),
        ({"optimizer": "Adadelta"}, {"optimizer__rho": 0.5}, group_values(rho=0.5)),
        ({"optimizer": "Rprop"}, {"optimizer__etas": (0.4, 1.5)}, group_values(etas=(0.4, 1.5))),
        ({"optimizer": "NAdam"}, {"optimizer__momentum_decay": 0.1}, group_values(momentum_decay=0.1)),
    ],
    ids=label,
)
def test_optimizer_values_go_into_the_living_groups(start, changed, by_hand, way):
    """lr and optimizer__x are put into the optimizer at hand, moments kept: the next step equals torch's own."""
    model = way(regressor(lr=0.01, **start).fit(XR, YR))
    expected = one_step_by_hand(model, by_hand)
    model.set_params(**changed).continue_fit(XR, YR, max_epochs=1)
    assert first_difference(dict(expected), dict(model.module_.state_dict())) is None


@pytest.mark.parametrize("changed", [{"optimizer__amsgrad": True}, {"optimizer__eps": 0.1}, {"lr": 0.3}])
def test_a_changed_optimizer_is_the_same_optimizer(changed):
    """The living optimizer, not a new one, takes a new value, and its count of steps goes on."""
    model = regressor(optimizer="Adam").fit(XR, YR)
    optimizer = model.optimizer_
    model.set_params(**changed).continue_fit(XR, YR)
    assert model.optimizer_ is optimizer
    assert {float(state["step"]) for state in optimizer.state.values()} == {4.0}


@pytest.mark.parametrize("start", [{"optimizer": "Adam"}, {"optimizer": "RMSprop"}, {"optimizer": "SGD"}])
def test_a_changed_value_goes_on_exactly(start):
    """Values changed in a second call, then cut again or not: the same bits."""
    changed = {
        "Adam": {"optimizer__amsgrad": True},
        "RMSprop": {"optimizer__centered": True, "optimizer__momentum": 0.9},
        "SGD": {"optimizer__momentum": 0.9},
    }[start["optimizer"]]
    whole = classifier(**start).fit(X, Y).set_params(**changed).continue_fit(X, Y, max_epochs=3)
    cut = classifier(**start).fit(X, Y).set_params(**changed).continue_fit(X, Y, max_epochs=1)
    cut = through_pickle(cut).continue_fit(X, Y, max_epochs=2)
    assert_same_run(whole, cut, X)


class Tokens(nn.Module):
    """An embedding with sparse gradients."""

    def __init__(self, n_outputs):
        super().__init__()
        self.embedding = nn.Embedding(10, n_outputs, sparse=True)

    def forward(self, x):
        return self.embedding(x).sum(dim=1)


def test_values_of_an_optimizer_of_sparse_gradients_can_change():
    """SparseAdam takes a new value like every other optimizer."""
    rows = np.arange(48).reshape(24, 2) % 10
    model = classifier(module=Tokens, optimizer="SparseAdam").fit(rows, Y)
    model.set_params(optimizer__betas=(0.5, 0.6)).continue_fit(rows, Y)
    assert model.optimizer_.param_groups[0]["betas"] == (0.5, 0.6)
    assert {int(state["step"]) for state in model.optimizer_.state.values()} == {12}


def test_values_of_an_optimizer_with_a_closure_can_change():
    """LBFGS takes a new value and keeps what it learned about the curvature."""
    model = regressor(optimizer="LBFGS", lr=0.1, optimizer__max_iter=2).fit(XR, YR)
    evaluations = next(iter(model.optimizer_.state.values()))["func_evals"]
    model.set_params(optimizer__max_iter=5, optimizer__history_size=7).continue_fit(XR, YR)
    assert model.optimizer_.param_groups[0]["max_iter"] == 5
    assert model.optimizer_.param_groups[0]["history_size"] == 7
    assert next(iter(model.optimizer_.state.values()))["func_evals"] > evaluations


def test_an_implementation_that_is_asked_for_is_used():
    """optimizer__foreach=True between calls is what a fit with it would use: not the fused implementation."""
    group = regressor(optimizer__foreach=True).fit(XR, YR).optimizer_.param_groups[0]
    changed = regressor().fit(XR, YR).set_params(optimizer__foreach=True).continue_fit(XR, YR).optimizer_
    assert group["foreach"] is True
    for name in ("foreach", "fused"):
        assert bool(changed.param_groups[0][name]) == bool(group[name])


def test_an_invalid_value_is_refused_by_the_optimizer_itself():
    """What torch would refuse in the constructor is refused, and nothing is changed."""
    model = regressor(optimizer="SGD").fit(XR, YR)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"[Nn]esterov"):
        model.set_params(optimizer__nesterov=True, lr=0.7).continue_fit(XR, YR)
    assert_untouched(model, before)


def momentum_sgd(params, lr):
    """An optimizer factory that is not a class."""
    return torch.optim.SGD(params, lr=lr, momentum=0.9)


@pytest.mark.parametrize("factory", [momentum_sgd, functools.partial(torch.optim.SGD, momentum=0.9)])
def test_lr_of_a_callable_optimizer_goes_into_the_living_groups(factory):
    """A callable as optimizer takes a new lr as a class does: moments are kept."""
    model = regressor(optimizer=factory, lr=0.01).fit(XR, YR)
    expected = one_step_by_hand(model, group_values(lr=0.5))
    model.set_params(lr=0.5).continue_fit(XR, YR, max_epochs=1)
    assert first_difference(dict(expected), dict(model.module_.state_dict())) is None


# ---- lr under a schedule ------------------------------------------------------------------------------------------


def sequential(optimizer):
    """Warm up over 2, then decay."""
    parts = [lrs.LinearLR(optimizer, 0.5, total_iters=2), lrs.ExponentialLR(optimizer, 0.5)]
    return lrs.SequentialLR(optimizer, parts, milestones=[2])


def chained(optimizer):
    """Two factors at once."""
    return lrs.ChainedScheduler([lrs.ConstantLR(optimizer, 0.5, total_iters=4), lrs.ExponentialLR(optimizer, 0.9)])


def reciprocal(t):
    """A factor."""
    return 1 / (1 + t)


FACTORS = {
    "LambdaLR": ({"lr_scheduler__lr_lambda": reciprocal}, lambda t: 1 / (1 + t)),
    "MultiplicativeLR": ({"lr_scheduler__lr_lambda": reciprocal}, lambda t: 1 / math.factorial(t + 1)),
    "StepLR": ({"lr_scheduler__step_size": 2, "lr_scheduler__gamma": 0.5}, lambda t: 0.5 ** (t // 2)),
    "MultiStepLR": ({"lr_scheduler__milestones": [1, 4]}, lambda t: 0.1 ** sum(t >= m for m in (1, 4))),
    "ExponentialLR": ({"lr_scheduler__gamma": 0.9}, lambda t: 0.9**t),
    "ConstantLR": ({"lr_scheduler__factor": 0.5, "lr_scheduler__total_iters": 4}, lambda t: 0.5 if t < 4 else 1.0),
    "LinearLR": (
        {"lr_scheduler__start_factor": 0.25, "lr_scheduler__total_iters": 8},
        lambda t: 0.25 + 0.75 * min(t, 8) / 8,
    ),
    "PolynomialLR": (
        {"lr_scheduler__total_iters": 40, "lr_scheduler__power": 2.0},
        lambda t: (1 - min(t, 40) / 40) ** 2,
    ),
    "CosineAnnealingLR": ({"lr_scheduler__T_max": 40}, lambda t: (1 + math.cos(math.pi * t / 40)) / 2),
    "CosineAnnealingWarmRestarts": (
        {"lr_scheduler__T_0": 4},
        lambda t: (1 + math.cos(math.pi * (t % 4) / 4)) / 2,
    ),
    "SequentialLR": ({"lr_scheduler": sequential}, lambda t: (0.5, 0.75)[t] if t < 2 else 0.5 ** (t - 2)),
    "ChainedScheduler": ({"lr_scheduler": chained}, lambda t: 0.9**t * (0.5 if t < 4 else 1.0)),
    "ReduceLROnPlateau": (PLATEAU, lambda t: 0.5**t),
}


@pytest.mark.parametrize("way", [through_memory, through_pickle])
@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("schedule", FACTORS)
def test_a_new_lr_is_the_base_rate_and_the_factor_stays(schedule, interval, way):
    """Rate = base rate x factor of the position, before and after the base rate changed, twice."""
    if schedule == "ReduceLROnPlateau" and interval == "step":
        pytest.skip("a plateau is seen per epoch")
    arguments, factor = FACTORS[schedule]
    params = {"lr_scheduler": schedule, **arguments, "lr_scheduler_interval": interval}
    model = classifier(module=Linear, lr=0.1, **params).fit(X, Y)
    model = way(model).set_params(lr=0.3).continue_fit(X, Y)
    model = way(model).set_params(lr=0.05).continue_fit(X, Y, max_epochs=3)
    per_epoch = 3 if interval == "step" else 1
    bases = [0.1, 0.1, 0.3, 0.3, 0.05, 0.05, 0.05]
    assert model.history_["lr"] == pytest.approx([base * factor(per_epoch * t) for t, base in enumerate(bases)])


@pytest.mark.parametrize("schedule", FACTORS)
def test_a_new_lr_leaves_moments_and_position_alone(schedule):
    """The same optimizer and schedule go on under a new base rate, and cut or uncut is the same from there."""
    arguments, _ = FACTORS[schedule]
    model = classifier(
        lr_scheduler=arguments.get("lr_scheduler", schedule),
        **{k: v for k, v in arguments.items() if k != "lr_scheduler"},
    )
    model.fit(X, Y)
    parts = model.optimizer_, model.lr_scheduler_
    whole = model.set_params(lr=0.02).continue_fit(X, Y, max_epochs=3)
    assert (whole.optimizer_, whole.lr_scheduler_) == parts
    cut = classifier(**{k: v for k, v in model.get_params().items() if k.startswith("lr_scheduler")}).fit(X, Y)
    cut = through_pickle(cut).set_params(lr=0.02).continue_fit(X, Y, max_epochs=1)
    assert_same_run(whole, through_pickle(cut).continue_fit(X, Y, max_epochs=2), X)


OWN_RATES = {
    "OneCycleLR": {"lr_scheduler__max_lr": 0.5, "lr_scheduler__total_steps": 9},
    "CyclicLR": {
        "lr_scheduler__base_lr": 0.01,
        "lr_scheduler__max_lr": 0.5,
        "lr_scheduler__step_size_up": 2,
        "lr_scheduler__cycle_momentum": False,
    },
}


@pytest.mark.parametrize("schedule", OWN_RATES)
def test_a_schedule_that_sets_its_rates_itself_warns_that_lr_has_no_effect(schedule):
    """OneCycleLR and CyclicLR: a new lr is said to have no effect, and has none."""
    straight = classifier(lr_scheduler=schedule, **OWN_RATES[schedule], max_epochs=4).fit(X, Y)
    model = classifier(lr_scheduler=schedule, **OWN_RATES[schedule]).fit(X, Y)
    with pytest.warns(ContinuationWarning, match=rf"lr=0\.7 has no effect: {schedule}"):
        model.set_params(lr=0.7).continue_fit(X, Y)
    assert_same_run(model, straight, X)


def one_cycle_in_a_row(optimizer):
    """A schedule that sets its rates itself, inside another."""
    parts = [lrs.ConstantLR(optimizer, 1.0, total_iters=1), lrs.OneCycleLR(optimizer, 0.5, total_steps=9)]
    return lrs.SequentialLR(optimizer, parts, milestones=[1])


def test_a_schedule_that_sets_its_rates_itself_is_found_inside_another():
    """SequentialLR with a OneCycleLR in it warns as well."""
    model = classifier(lr_scheduler=one_cycle_in_a_row).fit(X, Y)
    with pytest.warns(ContinuationWarning, match=r"lr=0\.7 has no effect: SequentialLR"):
        model.set_params(lr=0.7).continue_fit(X, Y)


def test_a_new_lr_changes_the_rate_under_a_custom_schedule():
    """A schedule that multiplies the rate goes on from the new base rate with its factor kept."""
    model = classifier(lr_scheduler=Halving, lr=0.1).fit(X, Y)
    model.set_params(lr=0.4).continue_fit(X, Y)
    assert model.history_["lr"] == pytest.approx([0.1, 0.05, 0.1, 0.05])


# ---- another optimizer, criterion or schedule ---------------------------------------------------------------------


def test_another_optimizer_starts_now():
    """Adam to SGD: a warning names what is dropped, the first step is SGD's from the same weights, history goes on."""
    model = regressor(lr=0.1, callbacks=[Counter()]).fit(XR, YR)
    rows = copy.deepcopy(model.history_[:])
    expected = one_step_by_hand(model, lambda module, _: torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9))
    model.set_params(optimizer="SGD", optimizer__momentum=0.9)
    with pytest.warns(ContinuationWarning, match=r"optimizer Adam is replaced by SGD\(.*moments are dropped"):
        model.continue_fit(XR, YR, max_epochs=1)
    assert type(model.optimizer_) is torch.optim.SGD
    assert first_difference(dict(expected), dict(model.module_.state_dict())) is None
    assert model.history_[:2] == rows
    assert model.callbacks_["Counter"].steps == 3


@pytest.mark.parametrize("schedule", FACTORS)
def test_a_schedule_goes_on_over_another_optimizer(schedule):
    """The schedule keeps its position when the optimizer is replaced, with a new lr at the same time as well."""
    arguments, factor = FACTORS[schedule]
    model = classifier(module=Linear, lr=0.1, **{"lr_scheduler": schedule, **arguments}).fit(X, Y)
    with pytest.warns(ContinuationWarning, match="optimizer Adam is replaced by RMSprop"):
        model.set_params(optimizer="RMSprop").continue_fit(X, Y)
    with pytest.warns(ContinuationWarning, match="optimizer RMSprop is replaced by SGD"):
        model.set_params(optimizer="SGD", lr=0.3).continue_fit(X, Y)
    bases = [0.1] * 4 + [0.3] * 2
    assert model.history_["lr"] == pytest.approx([base * factor(t) for t, base in enumerate(bases)])


def a_group_per_parameter(parameters, lr):
    """Return an optimizer in which every parameter has its own learning rate."""
    return torch.optim.SGD([{"params": [parameter]} for parameter in parameters], lr=lr)


def test_a_schedule_over_other_groups_is_refused():
    """An optimizer with another number of groups: the schedule's rates would be nobody's; nothing is changed."""
    model = classifier(module=Linear, lr_scheduler="ExponentialLR", lr_scheduler__gamma=0.5).fit(X, Y)
    model.set_params(optimizer=a_group_per_parameter)
    known = snapshot(model)
    with pytest.raises(ContinuationError, match=r"ExponentialLR sets the learning rates of 1 .* new optimizer has 2"):
        model.continue_fit(X, Y)
    assert_untouched(model, known)
    with pytest.warns(ContinuationWarning):
        model.set_params(lr_scheduler=None, lr_scheduler__gamma=None).continue_fit(X, Y)
    assert len(model.optimizer_.param_groups) == 2


def test_one_cycle_goes_on_over_another_optimizer():
    """Rates and cycled momentum of the epochs after the change are those of the uncut schedule."""
    params = {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.5, "lr_scheduler__total_steps": 9}
    straight = classifier(module=Linear, **params, max_epochs=3).fit(X, Y)
    model = classifier(module=Linear, **params).fit(X, Y)
    betas = model.optimizer_.param_groups[0]["betas"]
    seen = []

    class Betas(Counter):
        def on_step_begin(self, run):
            seen.append(run.optimizer.param_groups[0]["betas"])

    with pytest.warns(ContinuationWarning, match="replaced by AdamW"):
        model.set_params(optimizer="AdamW", callbacks=[Betas()]).continue_fit(X, Y, max_epochs=1)
    assert model.history_["lr"] == straight.history_["lr"]
    assert seen[0] == betas


def test_another_criterion_starts_now_and_moments_are_kept():
    """L1Loss instead of MSELoss: a warning names both, the next step is Adam's own with the moments at hand."""
    model = regressor(lr=0.1).fit(XR, YR)
    expected = one_step_by_hand(model, lambda *_: None, nn.L1Loss())
    with pytest.warns(ContinuationWarning, match=r"criterion MSELoss is replaced by L1Loss"):
        model.set_params(criterion="L1Loss").continue_fit(XR, YR, max_epochs=1)
    assert type(model.criterion_) is nn.L1Loss
    assert first_difference(dict(expected), dict(model.module_.state_dict())) is None


def test_another_argument_of_the_criterion_starts_now():
    """criterion__x is part of the criterion: a new one starts with it, and the warning shows it."""
    model = regressor(criterion="HuberLoss", criterion__delta=1.0, lr=0.1).fit(XR, YR)
    expected = one_step_by_hand(model, lambda *_: None, nn.HuberLoss(delta=0.1))
    with pytest.warns(ContinuationWarning, match=r"HuberLoss is replaced by HuberLoss\(delta=0\.1\)"):
        model.set_params(criterion__delta=0.1).continue_fit(XR, YR, max_epochs=1)
    assert first_difference(dict(expected), dict(model.module_.state_dict())) is None


def test_a_criterion_with_parameters_starts_the_same_way_every_time():
    """The weights of a new criterion come from the run's seed: two equal runs stay equal."""
    runs = []
    for foreign_seed in (1, 2):
        model = regressor().fit(XR, YR)
        torch.manual_seed(foreign_seed)
        runs.append(continued_quietly(model.set_params(criterion=Affine), XR, YR))
    assert_same_run(*runs)


def test_a_criterion_with_parameters_keeps_the_moments_of_the_module():
    """Its parameters join the optimizer; the module's moments and count of steps go on."""
    model = continued_quietly(regressor().fit(XR, YR).set_params(criterion=Affine), XR, YR)
    steps = [float(model.optimizer_.state[p]["step"]) for p in model.optimizer_.param_groups[0]["params"]]
    assert steps == [4.0, 4.0, 2.0]
    assert_same_run(through_pickle(model).continue_fit(XR, YR), model.continue_fit(XR, YR))


def test_a_criterion_of_another_kind_of_target_is_refused():
    """A criterion that reads the module's outputs otherwise cannot go on; both kinds are named."""
    y = Y % 2
    model = classifier().fit(X, y)
    before = snapshot(model)
    with pytest.raises(ContinuationError, match="criterion=BCEWithLogitsLoss reads 1 outputs"):
        model.set_params(criterion="BCEWithLogitsLoss").continue_fit(X, y)
    assert_untouched(model, before)


@pytest.mark.parametrize("way", [through_memory, through_pickle])
@pytest.mark.parametrize("before", [name for name in FACTORS if name != "StepLR"])
def test_another_schedule_starts_now(before, way):
    """Whatever schedule it follows, a new one starts at lr, with a warning that names the one dropped."""
    arguments, _ = FACTORS[before]
    model = way(classifier(module=Linear, lr=0.1, **{"lr_scheduler": before, **arguments}).fit(X, Y))
    for name in arguments:
        if name != "lr_scheduler":
            delattr(model, name)
    model.set_params(lr_scheduler="StepLR", lr_scheduler__step_size=1)
    with pytest.warns(ContinuationWarning, match=r"lr_scheduler .* is dropped and StepLR\(step_size=1\) starts now"):
        model.continue_fit(X, Y)
    assert model.history_[2:, "lr"] == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize("successor", [None, "ExponentialLR"])
@pytest.mark.parametrize("before", OWN_RATES)
def test_lr_counts_again_after_a_schedule_that_set_its_rates_itself(before, successor):
    """After OneCycleLR or CyclicLR the next schedule, or none, starts at lr, as its warning says."""
    model = classifier(module=Linear, lr=0.1, lr_scheduler=before, **OWN_RATES[before]).fit(X, Y)
    for name in OWN_RATES[before]:
        delattr(model, name)
    if successor is not None:
        model.set_params(lr_scheduler__gamma=0.5)
    with pytest.warns(ContinuationWarning, match=rf"{before}\(.*from lr=0\.1"):
        model.set_params(lr_scheduler=successor).continue_fit(X, Y)
    assert model.history_[2:, "lr"] == pytest.approx([0.1, 0.1] if successor is None else [0.1, 0.05])


@pytest.mark.parametrize(
    ("params", "name", "value"),
    [
        ({"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.5, "lr_scheduler__total_steps": 9}, "momentum", 0.6),
        ({"lr_scheduler": "CyclicLR", "lr_scheduler__base_lr": 0.01, "lr_scheduler__max_lr": 0.5}, "momentum", 0.6),
    ],
)
def test_momentum_counts_again_after_a_schedule_that_cycled_it(params, name, value):
    """What get_params says of the optimizer is used once nothing cycles it any more."""
    model = classifier(module=Linear, optimizer="SGD", optimizer__momentum=value, **params).fit(X, Y)
    for extra in [extra for extra in params if extra != "lr_scheduler"]:
        delattr(model, extra)
    continued_quietly(model.set_params(lr_scheduler=None), X, Y)
    assert model.optimizer_.param_groups[0][name] == value


def test_another_argument_of_the_schedule_starts_it_anew():
    """lr_scheduler__x is part of the schedule: a new one starts at lr."""
    model = classifier(lr=0.1, lr_scheduler="ExponentialLR", lr_scheduler__gamma=0.5).fit(X, Y)
    with pytest.warns(ContinuationWarning, match=r"ExponentialLR\(gamma=0\.5\) is dropped and ExponentialLR\(gamma=0"):
        model.set_params(lr_scheduler__gamma=0.1).continue_fit(X, Y)
    assert model.history_["lr"] == pytest.approx([0.1, 0.05, 0.1, 0.01])


def test_another_interval_starts_the_schedule_anew():
    """lr_scheduler_interval is part of the schedule."""
    model = classifier(lr=0.1, lr_scheduler="ExponentialLR", lr_scheduler__gamma=0.5).fit(X, Y)
    with pytest.warns(ContinuationWarning, match="is dropped and"):
        model.set_params(lr_scheduler_interval="step").continue_fit(X, Y)
    assert model.history_["lr"] == pytest.approx([0.1, 0.05, 0.1, 0.1 / 8])


def test_a_first_schedule_starts_without_a_warning():
    """Nothing is dropped when there was no schedule: it starts at lr, its horizon that of the call."""
    model = classifier(lr=0.1).fit(X, Y)
    model.set_params(lr_scheduler="CosineAnnealingLR").continue_fit(X, Y, max_epochs=4)
    cosine = [0.1 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)]
    assert model.history_["lr"] == pytest.approx([0.1, 0.1, *cosine])


def test_no_schedule_any_more_goes_on_at_lr():
    """lr_scheduler=None drops the schedule with a warning, and the rate is lr again, a new one too."""
    model = classifier(lr=0.1, lr_scheduler="ExponentialLR", lr_scheduler__gamma=0.5).fit(X, Y)
    delattr(model, "lr_scheduler__gamma")
    with pytest.warns(ContinuationWarning, match=r"ExponentialLR\(gamma=0\.5\) is dropped and none starts now"):
        model.set_params(lr_scheduler=None, lr=0.02).continue_fit(X, Y)
    assert model.lr_scheduler_ is None
    assert model.history_["lr"] == pytest.approx([0.1, 0.05, 0.02, 0.02])


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": "SGD"},
        {"criterion": "MultiMarginLoss"},
        {"lr_scheduler": "ExponentialLR", "lr_scheduler__gamma": 0.5},
        {"optimizer": "SGD", "criterion": "MultiMarginLoss", "lr_scheduler": "StepLR", "lr_scheduler__step_size": 1},
    ],
    ids=lambda changed: "+".join(changed),
)
def test_the_rest_goes_on_when_a_part_is_replaced(changed):
    """Weights, buffers, held-out rows, callbacks and history are where they were; what follows is exact."""
    params = {"validation_fraction": 0.25, "callbacks": [Counter()], "lr_scheduler": "LinearLR", "max_epochs": 3}
    model = classifier(**params).fit(X, Y)
    before = run_state(model)
    continued_quietly(model.set_params(**changed), X, Y)
    assert first_difference(before["held_out"], run_state(model)["held_out"]) is None
    assert run_state(model)["history"]["rows"][:3] == before["history"]["rows"]
    assert model.callbacks_["Counter"].steps == model.n_steps_
    assert float(model.module_.norm.num_batches_tracked) == model.n_steps_

    cut = through_pickle(classifier(**params).fit(X, Y)).set_params(**changed)
    continued_quietly(cut, X, Y, max_epochs=3 if "lr_scheduler" in changed else 1)
    if "lr_scheduler" not in changed:
        cut = through_pickle(cut).continue_fit(X, Y, max_epochs=2)
    assert_same_run(cut, model, X)


# ---- callbacks ----------------------------------------------------------------------------------------------------


class OtherCounter(Counter):
    """Another class."""


@pytest.mark.parametrize("way", [through_memory, through_pickle])
def test_known_callbacks_keep_their_state_and_new_ones_start(way):
    """Matched by name and class, whatever the order of the list; a new argument is used."""
    model = way(classifier(callbacks=[("a", Counter()), ("b", Counter(5))]).fit(X, Y))
    model.set_params(callbacks=[("c", Counter()), ("b", Counter(7)), ("a", Counter())]).continue_fit(X, Y)
    steps = {name: callback.steps for name, callback in model.callbacks_.items()}
    assert steps == {"c": 6, "b": 12, "a": 12}
    assert model.callbacks_["b"].start == 7


def test_dropped_callbacks_are_named():
    """A callback that is missing is dropped with a warning that names it; the others keep their state."""
    model = classifier(callbacks=[("a", Counter()), ("b", Counter())]).fit(X, Y)
    with pytest.warns(ContinuationWarning, match=r"callbacks \['a'\] are dropped"):
        model.set_params(callbacks=[("b", Counter())]).continue_fit(X, Y)
    assert list(model.callbacks_) == ["b"]
    assert model.callbacks_["b"].steps == 12


def test_dropped_best_weights_are_given_up():
    """Without the callback that keeps best weights, predict uses the newest."""
    model = classifier(callbacks=[EarlyStopping("train_loss", restore_best=True)], lr=0.5).fit(X, Y)
    assert run_state(model)["best"] is not None
    with pytest.warns(ContinuationWarning, match="EarlyStopping"):
        model.set_params(callbacks=None).continue_fit(X, Y)
    plain = classifier(lr=0.5, max_epochs=4).fit(X, Y)
    assert first_difference(model.predict_proba(X), plain.predict_proba(X)) is None


def test_a_known_name_with_another_class_is_refused():
    """One name stands for one class; both are named and nothing is changed."""
    model = classifier(callbacks=[("a", Counter())]).fit(X, Y)
    before = snapshot(model)
    with pytest.raises(ContinuationError, match="'a' was a Counter and is now a OtherCounter"):
        model.set_params(callbacks=[("a", OtherCounter())], lr=0.9).continue_fit(X, Y)
    assert_untouched(model, before)


# ---- module -------------------------------------------------------------------------------------------------------


class Maker:
    """Bound methods of one object are different factories."""

    def plain(self, n_features_in, n_outputs):
        """Return a layer."""
        return nn.Linear(n_features_in, n_outputs)

    def squashed(self, n_features_in, n_outputs):
        """Return a layer and a squashing of it."""
        return nn.Sequential(nn.Linear(n_features_in, n_outputs), nn.Tanh())


@dataclass
class Recipe:
    """A callable that is compared by value and therefore has no hash."""

    width: int

    def __call__(self, n_features_in, n_outputs):
        """Return layers."""
        return nn.Sequential(nn.Linear(n_features_in, self.width), nn.Linear(self.width, n_outputs))


def taking_anything(n_features_in, n_outputs, thing):
    """Return a layer, whatever it is given."""
    return nn.Linear(n_features_in, n_outputs)


def layer_of(value):
    """Return an instance with all weights at `value`."""
    layer = nn.Linear(4, 3)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, value)
    return layer


@pytest.mark.parametrize("way", [through_memory, through_pickle])
@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ({"module": Noisy}, {"module": Linear}, ("Noisy", "Linear", "module was")),
        ({"module": Linear}, {"module": None}, ("Linear", "MLP")),
        ({"module": Linear}, {"module__scale": 2.0}, ("module__scale was not given and is now 2.0",)),
        ({"module": Linear, "module__scale": 1.0}, {"module__scale": 2.0}, ("module__scale was 1.0 and is now 2.0",)),
        (
            {"module": None},
            {"module__hidden_layer_sizes": (7, 7)},
            ("module__hidden_layer_sizes was not given", "7, 7"),
        ),
        ({"module": layer_of(0.0)}, {"module": layer_of(0.1)}, ("module was",)),
        ({"module": Recipe(5)}, {"module": Recipe(6)}, ("Recipe",)),
        ({"module": Maker().plain}, {"module": Maker().squashed}, ("plain", "squashed")),
    ],
    ids=label,
)
def test_another_module_is_refused(before, after, names, way):
    """module and module__x: the error is a ValueError naming old value, new value and the way out."""
    model = way(classifier(**before).fit(X, Y))
    untouched = snapshot(model)
    with pytest.raises(ContinuationError) as caught:
        model.set_params(**after, lr=0.9).continue_fit(X, Y)
    assert isinstance(caught.value, ValueError)
    for name in (*names, "Set it back", "clone(estimator)"):
        assert name in str(caught.value)
    assert_untouched(model, untouched)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Fraction(1, 2), Fraction(1, 3)),
        (torch.Tensor.relu, torch.Tensor.tanh),
        (1 + 2j, 1 + 3j),
        (b"one", b"two"),
        (np.sin, np.cos),
        (range(3), range(4)),
        (operator.itemgetter(0), operator.itemgetter(1)),
        (np.arange(3), np.arange(1, 4)),
        (torch.float32, torch.float64),
        ({"a": 1}, {"a": 2}),
    ],
    ids=label,
)
def test_another_module_argument_of_any_type_is_refused(before, after):
    """Values without a __dict__ differ as well: none of them is taken for the other."""
    model = classifier(module=taking_anything, module__thing=before).fit(X, Y)
    with pytest.raises(ContinuationError, match="module__thing"):
        model.set_params(module__thing=after).continue_fit(X, Y)


def test_a_refused_module_can_be_set_back():
    """The way out that the error names works, and the run is the one that was never disturbed."""
    model = classifier().fit(X, Y)
    with pytest.raises(ContinuationError, match="Set it back"):
        model.set_params(module=Linear).continue_fit(X, Y)
    model.set_params(module=Noisy).continue_fit(X, Y)
    assert_same_run(model, classifier(max_epochs=4).fit(X, Y), X)


# ---- equal values -------------------------------------------------------------------------------------------------


def test_every_equal_value_can_be_set():
    """set_params(**get_params()) changes nothing."""
    model = classifier(lr_scheduler="StepLR", lr_scheduler__step_size=1, callbacks=[Counter()]).fit(X, Y)
    model.set_params(**model.get_params()).continue_fit(X, Y)
    assert model.history_.calls[-1]["changed"] == {}


@pytest.mark.parametrize("way", [through_memory, through_pickle])
@pytest.mark.parametrize(
    ("before", "equal"),
    [
        ({"optimizer": "Adam"}, {"optimizer": torch.optim.Adam}),
        ({"optimizer": torch.optim.RMSprop}, {"optimizer": "RMSprop"}),
        ({"criterion": None}, {"criterion": nn.CrossEntropyLoss}),
        ({"criterion": "CrossEntropyLoss"}, {"criterion": None}),
        ({"criterion": nn.CrossEntropyLoss()}, {"criterion": nn.CrossEntropyLoss()}),
        ({"module": None}, {"module": MLP}),
        ({"module": None, "module__hidden_layer_sizes": (5, 4)}, {"module__hidden_layer_sizes": [5, 4]}),
        ({"module": None, "module__dropout": 0.5}, {"module__dropout": np.float64(0.5)}),
        ({"module": layer_of(0.1)}, {"module": layer_of(0.1)}),
        ({"lr": 0.01}, {"lr": np.float64(0.01)}),
        ({"lr": 1}, {"lr": 1.0}),
        ({"optimizer__betas": (0.8, 0.9)}, {"optimizer__betas": [0.8, 0.9]}),
        ({"optimizer__eps": 1e-7}, {"optimizer__eps": np.float64(1e-7)}),
        ({}, {"optimizer__eps": 1e-8}),
        (
            {"lr_scheduler": "MultiStepLR", "lr_scheduler__milestones": (1, 3)},
            {"lr_scheduler": lrs.MultiStepLR, "lr_scheduler__milestones": [1, 3]},
        ),
        (
            {"lr_scheduler": "LambdaLR", "lr_scheduler__lr_lambda": functools.partial(pow, 0.5)},
            {"lr_scheduler__lr_lambda": functools.partial(pow, 0.5)},
        ),
        ({"callbacks": [Counter()]}, {"callbacks": (("Counter", Counter()),)}),
        ({"batch_size": 8}, {"batch_size": np.int64(8)}),
        ({"random_state": 0}, {"random_state": np.int32(0)}),
        ({"module": taking_anything, "module__thing": float("nan")}, {"module__thing": float("nan")}),
        ({"module": taking_anything, "module__thing": Maker()}, {"module__thing": Maker()}),
        ({"module": Recipe(5)}, {"module": Recipe(5)}),
    ],
    ids=label,
)
def test_an_equal_value_changes_nothing(before, equal, way):
    """A name for its class, a tuple for a list, an equal instance: no warning, and the bits of the uncut run."""
    straight = classifier(**before, max_epochs=4).fit(X, Y)
    model = way(classifier(**before).fit(X, Y)).set_params(**equal).continue_fit(X, Y)
    assert_same_run(model, straight, X)


def test_equal_lambdas_change_nothing():
    """Two lambdas of the same code are equal; another number in it is another schedule."""
    model = classifier(lr=0.1, lr_scheduler="LambdaLR", lr_scheduler__lr_lambda=lambda t: 0.5**t).fit(X, Y)
    model.set_params(lr_scheduler__lr_lambda=lambda t: 0.5**t).continue_fit(X, Y)
    with pytest.warns(ContinuationWarning, match="LambdaLR"):
        model.set_params(lr_scheduler__lr_lambda=lambda t: 0.25**t).continue_fit(X, Y)
    assert model.history_["lr"] == pytest.approx([0.1, 0.05, 0.025, 0.0125, 0.1, 0.025])


# ---- data that cannot go on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["continue_fit", "partial_fit", "fit"])
@pytest.mark.parametrize(
    ("rows", "target", "message"),
    [
        (X[:, :3], Y, "3 features"),
        (X, np.where(Y == 2, 5, Y), r"\[5\]"),
        (X, np.eye(3, dtype=int)[Y], "multilabel"),
        (X, Y[:-1], "inconsistent numbers of samples"),
        (X.reshape(24, 2, 2), Y, "features|shapes"),
    ],
)
def test_other_data_is_refused_before_anything_is_changed(rows, target, message, verb):
    """Number of features, unseen classes, another kind of y: refused in every verb, parameters changed or not."""
    model = classifier(warm_start=True).fit(X, Y)
    before = snapshot(model)
    model.set_params(lr=0.9, optimizer="SGD", callbacks=[Counter()])
    with pytest.raises(ValueError, match=message):
        getattr(model, verb)(rows, target)
    assert_untouched(model, before)


@pytest.mark.parametrize("target", [np.stack([YR, YR], axis=1), np.stack([YR, YR, YR], axis=1)])
def test_another_number_of_outputs_is_refused(target):
    """A regressor of one output does not take several."""
    model = regressor().fit(XR, YR)
    before = snapshot(model)
    with pytest.raises(ContinuationError, match=rf"y has {target.shape[1]} outputs .* fitted on 1"):
        model.set_params(lr=0.9).continue_fit(XR, target)
    assert_untouched(model, before)


@pytest.mark.parametrize("columns", [list("abce"), list("abdc")])
def test_other_feature_names_are_refused(columns):
    """Renamed and reordered columns are refused by name."""
    model = classifier().fit(pd.DataFrame(X, columns=list("abcd")), Y)
    before = snapshot(model)
    with pytest.raises(ValueError, match="feature names"):
        model.set_params(lr=0.9).continue_fit(pd.DataFrame(X, columns=columns), Y)
    assert_untouched(model, before)


def test_another_number_of_labels_is_refused():
    """A multilabel run does not take another number of labels."""
    labels = np.eye(3, dtype=int)[Y]
    model = classifier().fit(X, labels)
    before = snapshot(model)
    with pytest.raises(ContinuationError, match=r"2 labels, .* fitted on 3"):
        model.continue_fit(X, labels[:, :2])
    assert_untouched(model, before)


def test_other_classes_of_partial_fit_are_refused():
    """classes= that differ from the run's are refused."""
    model = classifier().fit(X, Y)
    before = snapshot(model)
    with pytest.raises(ContinuationError, match=r"\[0, 1\] differ from those of this run, \[0, 1, 2\]"):
        model.partial_fit(X, Y, classes=[0, 1])
    assert_untouched(model, before)


# ---- a call that fails --------------------------------------------------------------------------------------------

CHANGES = {
    "nothing": {},
    "lr": {"lr": 0.7},
    "values": {"optimizer__amsgrad": True, "optimizer__betas": (0.5, 0.6)},
    "optimizer": {"optimizer": "SGD", "lr": 0.7},
    "criterion": {"criterion": "MultiMarginLoss"},
    "schedule": {"lr_scheduler": "ExponentialLR", "lr_scheduler__gamma": 0.5},
    "no schedule": {"lr_scheduler": None},
    "extend": {"lr_scheduler_on_continue": "extend"},
    "restart": {"lr_scheduler_on_continue": "restart", "lr": 0.7},
    "split": {"validation_fraction": 0.5, "batch_size": 4, "random_state": 3},
}
FAILURES = (
    "on_train_begin",
    "on_epoch_begin",
    "on_step_begin",
    "on_gradients",
    "early stopping",
    "drop_last",
    "weights",
)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_failed_call_leaves_the_run_as_it_was(change, failure):
    """Whatever had changed, and wherever before the first step it fails: not a bit of the run is other."""
    params = {"validation_fraction": 0.25, "lr_scheduler": "LinearLR", "callbacks": [Counter()], "max_epochs": 3}
    model = classifier(**params).fit(X, Y)
    before, kept = snapshot(model), model.get_params()
    model.set_params(**CHANGES[change])
    data = {"X": X, "y": Y}
    if failure.startswith("on_"):
        model.set_params(callbacks=[Counter(), Raise(failure)])
    elif failure == "early stopping":
        model.set_params(callbacks=[EarlyStopping("valid_loss")], validation_fraction=None)
    elif failure == "drop_last":
        model.set_params(drop_last=True, batch_size=1000)
    else:
        data["sample_weight"] = np.full(len(X), -1.0)
    with pytest.raises((RuntimeError, ValueError)):
        continued_quietly(model, **data)
    assert_untouched(model, before)
    model.set_params(**{name: kept.get(name) for name in (*kept, *CHANGES[change]) if name in kept})
    for name in set(CHANGES[change]) - set(kept):
        delattr(model, name)
    twin = classifier(**params).fit(X, Y)
    assert_same_run(model.continue_fit(X, Y), twin.continue_fit(X, Y), X)


@pytest.mark.parametrize(
    "changed", [{}, {"lr": 0.7}, {"optimizer__amsgrad": True}, {"optimizer": "SGD", "optimizer__momentum": 0.9}]
)
def test_a_schedule_without_room_leaves_the_run_as_it_was(changed):
    """OneCycleLR without room is refused before the first step, and what had changed is undone."""
    model = classifier(lr_scheduler="OneCycleLR", lr_scheduler__max_lr=0.5).fit(X, Y)
    before = snapshot(model)
    with pytest.raises(ContinuationError, match="OneCycleLR has 0 of its steps left"):
        continued_quietly(model.set_params(**changed), X, Y)
    assert_untouched(model, before)


def test_an_error_inside_the_first_step_of_lbfgs_leaves_the_run_as_it_was():
    """LBFGS moves weights between evaluations of its closure: a failed step undoes that as well."""
    model = regressor(optimizer="LBFGS", lr=0.1).fit(XR, YR)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="raised at on_gradients"):
        model.set_params(callbacks=[Raise("on_gradients", time=3)]).continue_fit(XR, YR)
    assert_untouched(model, before)


def test_a_failed_first_fit_leaves_an_unfitted_estimator():
    """No fitted name appears when the first step was never completed."""
    model = classifier(callbacks=[Raise("on_gradients")])
    names = set(vars(model))
    with pytest.raises(RuntimeError, match="raised at on_gradients"):
        model.fit(X, Y)
    assert set(vars(model)) == names
    assert not hasattr(model, "module_")


def test_a_failed_new_fit_leaves_the_run_at_hand():
    """fit on a fitted estimator replaces the run once a step is completed, not before."""
    model = classifier().fit(X, Y)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="raised at on_step_begin"):
        model.set_params(callbacks=[Raise("on_step_begin")]).fit(X[:, :3], Y)
    assert_untouched(model, before)
    assert model.predict(X).shape == Y.shape


# ---- the record ---------------------------------------------------------------------------------------------------


def test_the_record_of_a_call_names_what_changed():
    """history_.calls: parameter -> [before, now], for the parameters that changed since the call before."""
    model = classifier(lr=0.1).fit(X, Y)
    model.set_params(max_epochs=3, batch_size=4, lr=0.2).continue_fit(X, Y)
    model.continue_fit(X, Y)
    continued_quietly(model.set_params(optimizer="SGD", optimizer__momentum=0.9), X, Y)
    changed = [record["changed"] for record in model.history_.calls]
    assert changed[0] == {}
    assert changed[1] == {"batch_size": [8, 4], "lr": [0.1, 0.2], "max_epochs": [2, 3]}
    assert changed[2] == {}
    assert changed[3] == {"optimizer": ["Adam", "SGD"], "optimizer__momentum": [None, 0.9]}


def test_the_record_is_made_of_plain_values():
    """What a record says of a parameter outlasts the object: numbers, text, lists and dictionaries of Python."""
    model = classifier(lr=np.float64(0.1)).fit(X, Y)
    model.set_params(lr=np.float64(0.2), callbacks=[Counter()], module=Noisy).continue_fit(X, Y)

    def types(value):
        if isinstance(value, dict):
            return set().union(*(types(item) for item in value.values()), {type(key) for key in value})
        return set().union(*(types(item) for item in value)) if isinstance(value, list) else {type(value)}

    assert types(model.history_.calls) <= {str, int, float, bool, type(None)}


def test_a_refused_call_leaves_no_record():
    """What was refused before the first step is not part of the run's history."""
    model = classifier().fit(X, Y)
    with pytest.raises(ContinuationError):
        model.set_params(module=Linear).continue_fit(X, Y)
    assert len(model.history_.calls) == 1


def test_changes_are_compared_with_the_run_and_not_with_the_object():
    """Parameters set before a pickle, without a call, are changes of the next call."""
    model = classifier(lr=0.1).fit(X, Y).set_params(lr=0.2)
    model = pickle.loads(pickle.dumps(model)).continue_fit(X, Y)
    assert model.history_["lr"] == [0.1, 0.1, 0.2, 0.2]
    assert model.history_.calls[-1]["changed"] == {"lr": [0.1, 0.2]}
