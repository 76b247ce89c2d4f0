"""Schedules: the horizon that is filled in, and the three ways a schedule goes on in the next call."""

import functools

import pytest
import torch
from modules import Halving, Linear, assert_untouched, class_data, continued_quietly, label, snapshot
from torch.optim import lr_scheduler as lrs

from sktorch_continue import Callback, ContinuationError, ContinuationWarning, EpochScoring, TorchClassifier
from sktorch_continue.testing import Interrupt, assert_same_run, through_memory, through_pickle

X, Y = class_data()
WAYS = pytest.mark.parametrize("way", [through_memory, through_pickle])
INTERVALS = pytest.mark.parametrize(("interval", "per_epoch"), [("epoch", 1), ("step", 3)])


class Rates(Callback):
    """Remembers rate and momentum of every step."""

    def __init__(self):
        self.rates = []
        self.betas = []

    def on_step_begin(self, run):
        self.rates.append(run.optimizer.param_groups[0]["lr"])
        self.betas.append(run.optimizer.param_groups[0]["betas"][0])


def classifier(**params):
    """Return an unfitted classifier of 3 steps per epoch that remembers its rates."""
    defaults = {"module": Linear, "max_epochs": 3, "batch_size": 8, "random_state": 0, "lr": 0.1}
    return TorchClassifier(**{**defaults, "callbacks": [Rates()], **params})


def rates(model):
    """Return the rate of every step so far."""
    return model.callbacks_["Rates"].rates


def by_torch(make, n_steps, each=1, lr=0.1):
    """Return the rates of torch's own schedule over `n_steps` of it, every one of them used `each` times."""
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = make(optimizer)
    found = []
    for step in range(n_steps):
        found += [optimizer.param_groups[0]["lr"]] * each
        optimizer.step()
        if step < n_steps - 1:
            schedule.step()
    return found


def decay_to_the_end(optimizer, total_steps):
    """A function of the horizon."""
    return lrs.LambdaLR(optimizer, lambda step: 1 - 0.9 * step / total_steps)


def warm_up_then_cosine(optimizer, total_steps):
    """Two schedules in a row, the second as long as what is left."""
    parts = [lrs.LinearLR(optimizer, 0.1, total_iters=2), lrs.CosineAnnealingLR(optimizer, total_steps - 2)]
    return lrs.SequentialLR(optimizer, parts, milestones=[2])


def two_at_once(optimizer, total_steps):
    """Two factors at once, one of them with a horizon."""
    parts = [lrs.LinearLR(optimizer, 1.0, 0.1, total_iters=total_steps), lrs.ExponentialLR(optimizer, 0.9)]
    return lrs.ChainedScheduler(parts)


# What the estimator is given, and the same in torch as a function of (optimizer, horizon).
HORIZONS = {
    "CosineAnnealingLR": ({}, lambda o, n: lrs.CosineAnnealingLR(o, n)),
    "CosineAnnealingLR eta_min": ({"lr_scheduler__eta_min": 0.01}, lambda o, n: lrs.CosineAnnealingLR(o, n, 0.01)),
    "LinearLR": ({}, lambda o, n: lrs.LinearLR(o, total_iters=n)),
    "ConstantLR": ({}, lambda o, n: lrs.ConstantLR(o, total_iters=n)),
    "PolynomialLR": ({"lr_scheduler__power": 2.0}, lambda o, n: lrs.PolynomialLR(o, n, 2.0)),
    "OneCycleLR": ({"lr_scheduler__max_lr": 0.5}, lambda o, n: lrs.OneCycleLR(o, 0.5, total_steps=n)),
    "lambda": ({"lr_scheduler": decay_to_the_end}, decay_to_the_end),
    "SequentialLR": ({"lr_scheduler": warm_up_then_cosine}, warm_up_then_cosine),
    "ChainedScheduler": ({"lr_scheduler": two_at_once}, two_at_once),
}
WITHOUT = {
    "StepLR": ({"lr_scheduler__step_size": 2}, lambda o: lrs.StepLR(o, 2)),
    "ExponentialLR": ({"lr_scheduler__gamma": 0.8}, lambda o: lrs.ExponentialLR(o, 0.8)),
    "MultiStepLR": ({"lr_scheduler__milestones": [1, 4]}, lambda o: lrs.MultiStepLR(o, [1, 4])),
    "CosineAnnealingWarmRestarts": ({"lr_scheduler__T_0": 2}, lambda o: lrs.CosineAnnealingWarmRestarts(o, 2)),
    "CyclicLR": (
        {
            "lr_scheduler__base_lr": 0.01,
            "lr_scheduler__max_lr": 0.5,
            "lr_scheduler__step_size_up": 3,
            "lr_scheduler__cycle_momentum": False,
        },
        lambda o: lrs.CyclicLR(o, 0.01, 0.5, 3, cycle_momentum=False),
    ),
}
EVERY_HORIZON = pytest.mark.parametrize("name", HORIZONS)


def scheduled(name, **params):
    """Return a classifier with a schedule of the tables, and torch's own."""
    extra, make = (HORIZONS | WITHOUT)[name]
    return classifier(**{"lr_scheduler": name.split()[0], **extra, **params}), make


# ---- the horizon --------------------------------------------------------------------------------------------------


@INTERVALS
@EVERY_HORIZON
def test_a_horizon_that_is_left_out_comes_from_max_epochs(name, interval, per_epoch):
    """Rates are those of torch's schedule over max_epochs epochs, or over as many steps as they have."""
    model, make = scheduled(name, lr_scheduler_interval=interval, max_epochs=4)
    model.fit(X, Y)
    horizon = 4 * per_epoch
    assert rates(model) == by_torch(functools.partial(lambda n, o: make(o, n), horizon), horizon, 3 // per_epoch)


@pytest.mark.parametrize(
    ("schedule", "extra", "attribute"),
    [
        ("CosineAnnealingLR", {}, "T_max"),
        ("LinearLR", {}, "total_iters"),
        ("OneCycleLR", {"lr_scheduler__max_lr": 0.5}, "total_steps"),
        ("OneCycleLR", {"lr_scheduler__max_lr": 0.5, "lr_scheduler__epochs": 5}, "total_steps"),
    ],
)
@pytest.mark.parametrize(
    ("batches", "steps"),
    [
        ({"batch_size": 8}, 3),
        ({"batch_size": 10}, 3),
        ({"batch_size": 10, "drop_last": True}, 2),
        ({"batch_size": 23}, 2),
        ({"batch_size": 1000}, 1),
        ({"batch_size": 8, "validation_fraction": 0.5}, 2),
    ],
    ids=label,
)
def test_a_horizon_by_step_counts_the_steps_there_will_be(schedule, extra, attribute, batches, steps):
    """A ragged last batch is a step, one that is dropped is none, held-out rows are in no step."""
    params = {"lr_scheduler_interval": "step", "max_epochs": 5, "lr_scheduler": schedule, **extra, **batches}
    model = classifier(**params).fit(X, Y)
    assert getattr(model.lr_scheduler_, attribute) == 5 * steps == model.n_steps_


def test_steps_per_epoch_that_is_given_gets_its_epochs():
    """OneCycleLR with steps_per_epoch is told the epochs; by epoch it has one step in each."""
    params = {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.5}
    by_step = classifier(**params, lr_scheduler__steps_per_epoch=4, lr_scheduler_interval="step").fit(X, Y)
    by_epoch = classifier(**params, lr_scheduler__epochs=3).fit(X, Y)
    assert by_step.lr_scheduler_.total_steps == 12
    assert by_epoch.lr_scheduler_.total_steps == 3


def test_rows_of_weight_zero_are_in_no_step():
    """Steps are counted after rows without weight were left out."""
    weight = torch.ones(24).numpy()
    weight[:12] = 0
    model = classifier(lr_scheduler="CosineAnnealingLR", lr_scheduler_interval="step").fit(X, Y, weight)
    assert model.lr_scheduler_.T_max == 6 == model.n_steps_


def test_a_horizon_that_is_given_is_kept():
    """What the user said is not filled in."""
    model = classifier(lr_scheduler="CosineAnnealingLR", lr_scheduler__T_max=11).fit(X, Y)
    assert model.lr_scheduler_.T_max == 11


@WAYS
def test_another_max_epochs_is_no_other_schedule(way):
    """Under "continue" the horizon of the first call stays, whatever max_epochs becomes."""
    model = way(classifier(lr_scheduler="CosineAnnealingLR").fit(X, Y))
    model.set_params(max_epochs=7).continue_fit(X, Y)
    assert model.lr_scheduler_.T_max == 3
    assert rates(model) == by_torch(lambda o: lrs.CosineAnnealingLR(o, 3), 10, 3)


# ---- "continue" ---------------------------------------------------------------------------------------------------


@WAYS
@INTERVALS
@pytest.mark.parametrize("name", [*WITHOUT, *(name for name in HORIZONS if name != "OneCycleLR")])
def test_continue_goes_on_where_it_was(name, interval, per_epoch, way):
    """Rates over both calls are those of torch's schedule, beyond its horizon as well."""
    model, make = scheduled(name, lr_scheduler_interval=interval)
    model = way(model.fit(X, Y)).continue_fit(X, Y, max_epochs=2)
    horizon = (3 * per_epoch,) if name in HORIZONS else ()
    expected = by_torch(lambda optimizer: make(optimizer, *horizon), 5 * per_epoch, 3 // per_epoch)
    assert rates(model) == expected


@INTERVALS
def test_one_cycle_goes_on_while_it_has_room_and_is_refused_after(interval, per_epoch):
    """Three of five epochs, then two, then none: the refusal comes before the first step and names both ways out."""
    model = classifier(
        lr_scheduler="OneCycleLR",
        lr_scheduler__max_lr=0.5,
        lr_scheduler__total_steps=5 * per_epoch,
        lr_scheduler_interval=interval,
    ).fit(X, Y)
    before = snapshot(model)
    with pytest.raises(ContinuationError, match=rf"has {2 * per_epoch} of its steps left, .* needs {3 * per_epoch}"):
        model.continue_fit(X, Y)
    assert_untouched(model, before)
    model.continue_fit(X, Y, max_epochs=2)
    assert rates(model) == by_torch(
        lambda o: lrs.OneCycleLR(o, 0.5, total_steps=5 * per_epoch), 5 * per_epoch, 3 // per_epoch
    )
    with pytest.raises(ContinuationError, match=r"'extend' .* or 'restart'"):
        model.continue_fit(X, Y, max_epochs=1)
    for way_out in ("extend", "restart"):
        model.set_params(lr_scheduler_on_continue=way_out).continue_fit(X, Y, max_epochs=1)
    assert model.n_epochs_ == 7


def one_cycle_last(optimizer):
    """One epoch of warm up, then a cycle of three."""
    parts = [lrs.ConstantLR(optimizer, 1.0, total_iters=1), lrs.OneCycleLR(optimizer, 0.5, total_steps=3)]
    return lrs.SequentialLR(optimizer, parts, milestones=[1])


def one_cycle_beside(optimizer):
    """A cycle of four, and a factor."""
    return lrs.ChainedScheduler([lrs.OneCycleLR(optimizer, 0.5, total_steps=4), lrs.ExponentialLR(optimizer, 1.0)])


@pytest.mark.parametrize("schedule", [one_cycle_last, one_cycle_beside])
def test_one_cycle_inside_another_schedule_is_refused_as_well(schedule):
    """Room for four epochs: three are trained, two more are refused, one more is not."""
    model = classifier(lr_scheduler=schedule).fit(X, Y)
    before = snapshot(model)
    with pytest.raises(ContinuationError, match="has 1 of its steps left"):
        model.continue_fit(X, Y, max_epochs=2)
    assert_untouched(model, before)
    assert model.continue_fit(X, Y, max_epochs=1).n_epochs_ == 4


def test_a_first_fit_that_its_horizon_cannot_hold_is_refused():
    """A OneCycleLR of two steps cannot serve three epochs, and says to leave the horizon out."""
    model = classifier(lr_scheduler="OneCycleLR", lr_scheduler__max_lr=0.5, lr_scheduler__total_steps=2)
    with pytest.raises(ContinuationError, match="leave its horizon out"):
        model.fit(X, Y)
    assert not hasattr(model, "module_")


# ---- "extend" -----------------------------------------------------------------------------------------------------


@WAYS
@INTERVALS
@EVERY_HORIZON
def test_extend_gives_the_rates_of_the_longer_schedule(name, interval, per_epoch, way):
    """From each call on, rates are those that a schedule of all epochs so far would have given there."""
    model, make = scheduled(name, lr_scheduler_interval=interval, lr_scheduler_on_continue="extend")
    model = way(model.fit(X, Y)).continue_fit(X, Y, max_epochs=4)
    model = way(model).continue_fit(X, Y, max_epochs=2)
    expected, done = [], 0
    for epochs in (3, 7, 9):
        longer = by_torch(
            functools.partial(lambda n, o: make(o, n), epochs * per_epoch), epochs * per_epoch, 3 // per_epoch
        )
        expected += longer[done:]
        done = len(longer)
    assert rates(model) == expected


@WAYS
@EVERY_HORIZON
def test_an_extended_schedule_goes_on_exactly(name, way):
    """After an extension the run is the same through memory and pickle, and goes on under "continue"."""
    runs = []
    for travel in (through_memory, way):
        model, _ = scheduled(name, lr_scheduler_on_continue="extend")
        model.fit(X, Y).continue_fit(X, Y, max_epochs=4)
        model = travel(model).set_params(lr_scheduler_on_continue="continue")
        runs.append(model if name == "OneCycleLR" else model.continue_fit(X, Y, max_epochs=2))
    assert_same_run(*runs, X)


def test_extend_stretches_a_horizon_that_was_given():
    """T_max of the user becomes epochs so far + epochs of the call."""
    model = classifier(lr_scheduler="CosineAnnealingLR", lr_scheduler__T_max=3, lr_scheduler_on_continue="extend")
    model.fit(X, Y).continue_fit(X, Y, max_epochs=5)
    assert model.lr_scheduler_.T_max == 8
    assert rates(model)[9:] == by_torch(lambda o: lrs.CosineAnnealingLR(o, 8), 8, 3)[9:]


def test_extend_stretches_the_momentum_that_is_cycled():
    """OneCycleLR sets a momentum too: it is that of the longer cycle."""
    params = {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.5, "lr_scheduler_interval": "step"}
    model = classifier(**params, lr_scheduler_on_continue="extend").fit(X, Y).continue_fit(X, Y, max_epochs=4)
    whole = classifier(**params, max_epochs=7).fit(X, Y)
    assert model.callbacks_["Rates"].betas[9:] == whole.callbacks_["Rates"].betas[9:]


def test_extend_with_another_batch_size_counts_the_steps_there_will_be():
    """By step: 3 epochs of 3 steps are done, 2 of 6 steps are asked for, the horizon is 21."""
    model = classifier(
        lr_scheduler="CosineAnnealingLR", lr_scheduler_interval="step", lr_scheduler_on_continue="extend"
    ).fit(X, Y)
    model.set_params(batch_size=4).continue_fit(X, Y, max_epochs=2)
    assert model.lr_scheduler_.T_max == 21 == model.n_steps_
    assert rates(model)[9:] == by_torch(lambda o: lrs.CosineAnnealingLR(o, 21), 21)[9:]


def test_extend_after_a_cut_epoch_counts_its_steps_once():
    """Cut after step 4 of 3 + 3, three epochs more: epochs so far + epochs of the call are 4 of 3 steps."""
    model = classifier(
        lr_scheduler="CosineAnnealingLR",
        lr_scheduler_interval="step",
        lr_scheduler_on_continue="extend",
        callbacks=[Rates(), Interrupt(4)],
    )
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    model.set_params(callbacks=[Rates(), Interrupt(None)]).continue_fit(X, Y, max_epochs=3)
    assert model.n_steps_ == 12
    assert model.lr_scheduler_.T_max == 12


@pytest.mark.parametrize("name", WITHOUT)
def test_extend_leaves_a_schedule_without_a_horizon_alone(name):
    """Where there is nothing to stretch, "extend" is "continue"."""
    extended, _ = scheduled(name, lr_scheduler_on_continue="extend")
    plain, _ = scheduled(name)
    assert_same_run(extended.fit(X, Y).continue_fit(X, Y), plain.fit(X, Y).continue_fit(X, Y))


def test_extend_with_a_new_lr_is_the_longer_schedule_from_the_new_base():
    """Both changes at once: rates are those of a longer schedule built with the new lr."""
    model = classifier(lr_scheduler="CosineAnnealingLR", lr_scheduler_on_continue="extend").fit(X, Y)
    model.set_params(lr=0.3).continue_fit(X, Y)
    expected = by_torch(lambda o: lrs.CosineAnnealingLR(o, 6), 6, 3, lr=0.3)[9:]
    assert rates(model)[9:] == pytest.approx(expected, rel=1e-12)


# ---- "restart" ----------------------------------------------------------------------------------------------------


@WAYS
@INTERVALS
@pytest.mark.parametrize("name", [*HORIZONS, *WITHOUT])
def test_restart_starts_over_for_the_call(name, interval, per_epoch, way):
    """Each call has the rates of a new schedule over its own epochs."""
    model, make = scheduled(name, lr_scheduler_interval=interval, lr_scheduler_on_continue="restart")
    model = way(model.fit(X, Y)).continue_fit(X, Y, max_epochs=4)
    expected = []
    for epochs in (3, 4):
        horizon = (epochs * per_epoch,) if name in HORIZONS else ()
        expected += by_torch(functools.partial(lambda h, o: make(o, *h), horizon), epochs * per_epoch, 3 // per_epoch)
    assert rates(model) == expected


@pytest.mark.parametrize("name", ["CosineAnnealingLR", "SequentialLR", "StepLR", "LinearLR"])
def test_restart_with_a_new_lr_starts_there(name):
    """Both changes at once: the new schedule starts from the new lr."""
    model, make = scheduled(name, lr_scheduler_on_continue="restart")
    model.fit(X, Y).set_params(lr=0.3).continue_fit(X, Y)
    horizon = (3,) if name in HORIZONS else ()
    assert rates(model)[9:] == by_torch(lambda o: make(o, *horizon), 3, 3, lr=0.3)


def test_restart_keeps_moments_and_weights():
    """Only the schedule starts over."""
    model = classifier(lr_scheduler="StepLR", lr_scheduler__step_size=1, lr_scheduler_on_continue="restart").fit(X, Y)
    optimizer = model.optimizer_
    model.continue_fit(X, Y)
    assert model.optimizer_ is optimizer
    assert {float(state["step"]) for state in optimizer.state.values()} == {18.0}


# ---- ReduceLROnPlateau --------------------------------------------------------------------------------------------

NEVER_BETTER = {"lr_scheduler": "ReduceLROnPlateau", "lr_scheduler__patience": 0, "lr_scheduler__factor": 0.5}


class Column(Callback):
    """Puts given numbers into a column of the history."""

    def __init__(self, name, values):
        self.name = name
        self.values = values

    def on_validation_end(self, run):
        run.record(self.name, self.values[run.n_epochs])


@WAYS
def test_a_plateau_reads_the_column_it_is_told(way):
    """Rates follow the monitored column over both calls, patience counted through."""
    values = [3.0, 3.0, 2.0, 2.0, 2.0, 1.0]
    model = classifier(**NEVER_BETTER, lr_scheduler_monitor="mine", callbacks=[Column("mine", values)], lr=0.8).fit(
        X, Y
    )
    model = way(model).continue_fit(X, Y)
    assert model.history_["lr"] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.1]


def test_a_plateau_reads_a_score_whatever_the_order_of_callbacks():
    """A column of EpochScoring, larger is better: it is there when the schedule steps."""
    model = classifier(
        **{**NEVER_BETTER, "lr_scheduler__mode": "max", "lr_scheduler__threshold": 10.0},
        lr_scheduler_monitor="train_accuracy",
        callbacks=[EpochScoring("accuracy", on="train")],
        lr=0.8,
    ).fit(X, Y)
    best, rate, expected = -float("inf"), 0.8, []
    for score in model.history_["train_accuracy"]:
        expected.append(rate)
        if score > best * 11:
            best = score
        else:
            rate /= 2
    assert model.history_["lr"] == expected


@pytest.mark.parametrize(("fraction", "column"), [(None, "train_loss"), (0.25, "valid_loss")])
def test_a_plateau_reads_the_loss_when_it_is_told_nothing(fraction, column):
    """valid_loss where there are validation rows, else train_loss: the same run as when it is named."""
    runs = [
        classifier(**NEVER_BETTER, validation_fraction=fraction, lr_scheduler_monitor=monitor, lr=2.0, max_epochs=6)
        for monitor in (None, column)
    ]
    assert_same_run(*(model.fit(X, Y) for model in runs))
    assert runs[0].lr_scheduler_.best == min(runs[0].history_[column])


def test_another_monitor_is_read_from_the_next_epoch():
    """lr_scheduler_monitor changes what is read and starts nothing anew."""
    columns = [("a", Column("a", [3.0, 2.0, 1.0, 0.0, 0.0, 0.0])), ("b", Column("b", [9.0] * 6))]
    model = classifier(**NEVER_BETTER, lr_scheduler_monitor="a", callbacks=columns, lr=0.8).fit(X, Y)
    schedule = model.lr_scheduler_
    model.set_params(lr_scheduler_monitor="b").continue_fit(X, Y)
    assert model.lr_scheduler_ is schedule
    assert model.history_["lr"] == [0.8, 0.8, 0.8, 0.8, 0.4, 0.2]


def test_a_plateau_that_reads_no_column_is_an_error_that_names_those_there_are():
    """A column nobody fills."""
    model = classifier(**NEVER_BETTER, lr_scheduler_monitor="valid_auc")
    with pytest.raises(ValueError, match=r"'valid_auc' is no column of the history, .*train_loss"):
        model.fit(X, Y)


def test_a_plateau_by_step_is_refused():
    """There is one row in the history per epoch."""
    with pytest.raises(ValueError, match="lr_scheduler_interval='epoch'"):
        classifier(**NEVER_BETTER, lr_scheduler_interval="step").fit(X, Y)


# ---- anything with the interface of a schedule --------------------------------------------------------------------


@WAYS
@INTERVALS
def test_a_custom_schedule_goes_on(interval, per_epoch, way):
    """An object with step, state_dict and load_state_dict is a schedule."""
    model = classifier(lr_scheduler=Halving, lr_scheduler__by=0.9, lr_scheduler_interval=interval).fit(X, Y)
    model = way(model).continue_fit(X, Y, max_epochs=2)
    expected, rate = [], 0.1
    for _ in range(5 * per_epoch):
        expected += [rate] * (3 // per_epoch)
        rate *= 0.9
    assert rates(model) == expected
    assert model.lr_scheduler_.count == 5 * per_epoch


class OnMetric(Halving):
    """Halves the rate when the metric is above a level."""

    def step(self, metrics):
        """Step on a level."""
        if metrics > 5:
            super().step()


def test_a_custom_schedule_that_reads_a_metric_gets_it():
    """A step(metrics) is given the monitored column."""
    model = classifier(
        lr_scheduler=OnMetric, lr_scheduler_monitor="mine", callbacks=[Column("mine", [9.0, 1.0, 9.0])], lr=0.8
    ).fit(X, Y)
    assert model.history_["lr"] == [0.8, 0.4, 0.4]
    assert model.lr_scheduler_.count == 2


def test_a_custom_schedule_restarts():
    """ "restart" builds a new one from lr."""
    model = classifier(lr_scheduler=Halving, lr_scheduler_on_continue="restart", lr=0.8).fit(X, Y)
    assert model.continue_fit(X, Y).history_["lr"] == [0.8, 0.4, 0.2] * 2


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (lambda optimizer: object(), TypeError, "interface of a"),
        (lrs.StepLR(torch.optim.SGD([torch.zeros(1)], lr=0.1), 1), TypeError, "bound to another optimizer"),
        ("StepLr", ValueError, "'StepLR'"),
        (3, TypeError, "lr_scheduler must be a class"),
    ],
    ids=["object", "instance", "name", "number"],
)
def test_what_is_no_schedule_is_refused(schedule, error, message):
    """The error says what was given and what was expected."""
    with pytest.raises(error, match=message):
        classifier(lr_scheduler=schedule).fit(X, Y)


# ---- partial_fit --------------------------------------------------------------------------------------------------


@INTERVALS
def test_partial_fit_fills_the_horizon_from_max_epochs(interval, per_epoch):
    """Passes are epochs: as many as max_epochs make up the schedule, and rates go on from pass to pass."""
    model = classifier(lr_scheduler="CosineAnnealingLR", lr_scheduler_interval=interval, max_epochs=4)
    for _ in range(4):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    horizon = 4 * per_epoch
    assert rates(model) == by_torch(lambda o: lrs.CosineAnnealingLR(o, horizon), horizon, 3 // per_epoch)


@pytest.mark.parametrize("on_continue", ["extend", "restart"])
def test_partial_fit_goes_on_whatever_is_said_of_continuing(on_continue):
    """A pass neither stretches nor restarts the schedule."""
    model = classifier(lr_scheduler="LinearLR", lr_scheduler_on_continue=on_continue, max_epochs=4)
    for _ in range(3):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    assert rates(model) == by_torch(lambda o: lrs.LinearLR(o, total_iters=4), 3, 3)


def test_partial_fit_without_room_says_what_helps():
    """OneCycleLR is full after max_epochs passes; the ways out that are named are ways out of partial_fit."""
    params = {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.5, "lr_scheduler_on_continue": "extend"}
    model = classifier(**params, max_epochs=2).partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)
    before = snapshot(model)
    with pytest.raises(ContinuationError, match="OneCycleLR has 0 of its steps left") as caught:
        model.partial_fit(X, Y)
    assert_untouched(model, before)
    assert "continue_fit" in str(caught.value)  # 'extend', which is set, helps there only
    assert model.continue_fit(X, Y).n_epochs_ == 4


def test_lr_changes_between_passes():
    """The P3 table holds for partial_fit as well."""
    model = classifier(lr_scheduler="StepLR", lr_scheduler__step_size=1, lr_scheduler__gamma=0.5, lr=0.8)
    model.partial_fit(X, Y, classes=[0, 1, 2]).set_params(lr=0.4).partial_fit(X, Y)
    continued_quietly(model.set_params(lr_scheduler__gamma=0.25), X, Y, max_epochs=2)
    assert model.history_["lr"] == [0.8, 0.2, 0.4, 0.1]


def test_another_schedule_starts_between_passes():
    """With the warning that names what is dropped."""
    model = classifier(lr_scheduler="ExponentialLR", lr_scheduler__gamma=0.5, lr=0.8)
    model.partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y).set_params(lr_scheduler__gamma=0.25)
    with pytest.warns(ContinuationWarning, match="ExponentialLR"):
        model.partial_fit(X, Y)
    assert model.partial_fit(X, Y).history_["lr"] == [0.8, 0.4, 0.8, 0.2]


def test_a_rate_in_a_tensor_stays_what_was_given():
    """Schedules write into such a rate; the parameter keeps its value, and the next fit begins with it."""
    rate = torch.tensor(0.5)
    params = {
        "optimizer__lr": rate,
        "optimizer__foreach": False,
        "lr_scheduler": "StepLR",
        "lr_scheduler__step_size": 1,
    }
    model = TorchClassifier(module=Linear, max_epochs=3, random_state=0, **params).fit(X, Y)
    assert float(rate) == 0.5
    assert model.fit(X, Y).history_[0, "lr"] == 0.5
