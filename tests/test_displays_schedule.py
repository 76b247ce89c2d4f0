"""ScheduleDisplay: the rates it shows are those that training uses, and the run is left alone."""

import numpy as np
import pytest
import torch
from modules import Halving, Linear, class_data, continued_quietly, label
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktorch_continue import Callback, ContinuationError, HistoryDisplay, ScheduleDisplay, TorchClassifier
from sktorch_continue.testing import Interrupt, first_difference, run_state, through_pickle

plt = pytest.importorskip("matplotlib.pyplot")

X, Y = class_data()
WAYS = ("continue", "extend", "restart")

SCHEDULES = [
    {"lr_scheduler": None},
    {"lr_scheduler": "StepLR", "lr_scheduler__step_size": 2},
    {"lr_scheduler": "ExponentialLR", "lr_scheduler__gamma": 0.9},
    {"lr_scheduler": "LinearLR"},
    {"lr_scheduler": "PolynomialLR"},
    {"lr_scheduler": "CosineAnnealingLR"},
    {"lr_scheduler": "CosineAnnealingLR", "lr_scheduler__T_max": 3},
    {"lr_scheduler": "CosineAnnealingWarmRestarts", "lr_scheduler__T_0": 2},
    {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.1, "lr_scheduler__total_steps": 50},
    {"lr_scheduler": "CyclicLR", "lr_scheduler__base_lr": 0.01, "lr_scheduler__max_lr": 0.1},
    {"lr_scheduler": "LambdaLR", "lr_scheduler__lr_lambda": lambda n: 1 / (1 + n)},
    {"lr_scheduler": Halving},
]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class SeeRates(Callback):
    """Keeps the rates of every step and every epoch."""

    columns = ()

    def __init__(self):
        self.steps = []
        self.epochs = []

    def on_step_begin(self, run):
        self.steps.append([float(group["lr"]) for group in run.optimizer.param_groups])

    def on_epoch_begin(self, run):
        self.epochs.append([float(group["lr"]) for group in run.optimizer.param_groups])


def classifier(**params):
    """Return an unfitted classifier of 3 steps per epoch that keeps its rates."""
    fixed = {"module": Linear, "lr": 0.05, "max_epochs": 4, "batch_size": 8, "random_state": 0}
    return TorchClassifier(**{**fixed, "callbacks": [SeeRates()], **params})


def used(model, before=0):
    """Return the rates that training used, after the first `before` points."""
    seen = model.callbacks_["SeeRates"]
    return (seen.steps if model.lr_scheduler_interval == "step" else seen.epochs)[before:]


def two_groups(params, lr=0.1):
    """Return an optimizer whose groups have rates of their own."""
    weight, bias = params
    return torch.optim.SGD([{"params": [weight], "lr": lr}, {"params": [bias], "lr": lr / 4}])


@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=label)
def test_before_training(schedule, interval):
    """Exactly the rates of fit; they do not depend on data."""
    model = classifier(**schedule, lr_scheduler_interval=interval)
    by_step = interval == "step" and model.lr_scheduler is not None
    display = ScheduleDisplay.from_estimator(model, steps_per_epoch=3)
    trained = model.fit(X, Y)
    if model.lr_scheduler is None:
        model.lr_scheduler_interval = "epoch"
    assert display.rates["fit"].tolist() == used(trained)
    assert display.epochs.tolist() == ((1 + np.arange(12) / 3).tolist() if by_step else [1, 2, 3, 4])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("interval", ["epoch", "step"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=label)
def test_a_continuation(schedule, interval, way):
    """Exactly the rates of continue_fit."""
    model = classifier(**schedule, lr_scheduler_interval=interval, lr_scheduler_on_continue=way).fit(X, Y)
    before = len(used(model))
    display = ScheduleDisplay.from_estimator(model, max_epochs=6)
    continued_quietly(model, X, Y, max_epochs=6)
    assert display.rates[way].tolist() == used(model, before)
    assert display.epochs[0] == 5


CHANGES = [
    {"lr": 0.5},
    {"lr": 0.5, "max_epochs": 7, "batch_size": 5, "drop_last": True},
    {"optimizer__weight_decay": 0.1},
    {"optimizer": "SGD"},
    {"optimizer": "SGD", "lr": 0.3},
    {"criterion": "MultiMarginLoss"},
    {"lr_scheduler": "LinearLR"},
    {"lr_scheduler": None, "lr": 0.2},
    {"lr_scheduler_interval": "epoch"},
    {"optimizer": two_groups, "lr_scheduler": "LinearLR"},
    {"callbacks": [SeeRates(), Interrupt(None)]},
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", CHANGES, ids=label)
def test_a_continuation_with_changed_parameters(change, way):
    """What was set since the last call counts."""
    model = classifier(lr_scheduler="CosineAnnealingLR", lr_scheduler_interval="step", lr_scheduler_on_continue=way)
    model.fit(X, Y)
    seen = {name: len(getattr(model.callbacks_["SeeRates"], name)) for name in ("steps", "epochs")}
    model.set_params(**change)
    display = ScheduleDisplay.from_estimator(model)
    continued_quietly(model, X, Y)
    assert display.rates[way].tolist() == used(model, seen[f"{model.lr_scheduler_interval}s"])


@pytest.mark.parametrize("way", WAYS)
def test_an_epoch_that_was_cut(way):
    """The continuation begins in the middle of it."""
    model = classifier(
        lr_scheduler="CosineAnnealingLR",
        lr_scheduler_interval="step",
        lr_scheduler_on_continue=way,
        callbacks=[SeeRates(), Interrupt(4)],
    )
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    model.set_params(callbacks=[SeeRates(), Interrupt(None)])
    before = len(used(model))
    display = ScheduleDisplay.from_estimator(model)
    continued_quietly(model, X, Y)
    assert display.rates[way].tolist() == used(model, before)
    assert display.epochs[0] == 2 + 1 / 3


def test_groups_with_rates_of_their_own():
    """A column for each; two that are equal are one line."""
    model = classifier(optimizer=two_groups, lr_scheduler="CosineAnnealingLR").fit(X, Y)
    display = ScheduleDisplay.from_estimator(model, on_continue="restart")
    before = len(used(model))
    model.set_params(lr_scheduler_on_continue="restart").continue_fit(X, Y)
    assert display.rates["restart"].tolist() == used(model, before)
    assert display.rates["restart"].shape == (4, 2)
    drawn = [list(line.get_ydata()) for line in display.ax_.get_lines()]
    assert all(column.tolist() in drawn for column in display.rates["restart"].T)


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_the_run_is_left_alone(interval):
    """Every part and every stream is as it was, and so is what training gives afterwards."""
    params = {"optimizer": "SGD", "optimizer__momentum": 0.9, "lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.1}
    model = classifier(**params, lr_scheduler_interval=interval, lr_scheduler_on_continue="extend").fit(X, Y)
    twin = through_pickle(model)
    model.set_params(optimizer__momentum=0.5, lr=0.3, criterion="MultiMarginLoss")
    twin.set_params(optimizer__momentum=0.5, lr=0.3, criterion="MultiMarginLoss")
    before, parts, stream = run_state(model), [id(p) for p in vars(model._run).values()], torch.get_rng_state()
    ScheduleDisplay.from_estimator(model)
    assert first_difference(before, run_state(model)) is None
    assert [id(part) for part in vars(model._run).values()] == parts
    assert torch.equal(stream, torch.get_rng_state())
    continued_quietly(model, X, Y)
    continued_quietly(twin, X, Y)
    assert first_difference(run_state(model), run_state(twin)) is None


def test_a_rate_in_a_tensor_is_left_alone():
    """Schedules write into it where it lies, so the display has one of its own."""
    params = {"optimizer": "Adam", "optimizer__lr": torch.tensor(0.1), "optimizer__capturable": False}
    model = classifier(**params, optimizer__foreach=False, lr_scheduler="ExponentialLR", lr_scheduler__gamma=0.5)
    model.fit(X, Y)
    rate = float(model.optimizer_.param_groups[0]["lr"])
    ScheduleDisplay.from_estimator(model)
    assert isinstance(model.optimizer_.param_groups[0]["lr"], torch.Tensor)
    assert float(model.optimizer_.param_groups[0]["lr"]) == rate


def test_an_unfitted_estimator_is_left_alone():
    """It stays unfitted, and no random number is drawn."""
    model, stream = classifier(lr_scheduler="CosineAnnealingLR"), torch.get_rng_state()
    attributes = dict(vars(model))
    ScheduleDisplay.from_estimator(model)
    assert vars(model) == attributes
    assert torch.equal(stream, torch.get_rng_state())


def drawn(display):
    """Return the labels in the legend."""
    return display.ax_.get_legend_handles_labels()[1]


def test_the_picture_of_a_continuation():
    """What was trained, each way to go on, the one that is set solid, and where the run stands."""
    model = classifier(lr_scheduler="CosineAnnealingLR", lr_scheduler_on_continue="extend").fit(X, Y)
    display = ScheduleDisplay.from_estimator(model)
    lines = {line.get_label(): line for line in display.ax_.get_lines()}
    assert drawn(display) == ["trained", "continue", "extend (set)", "restart"]
    assert lines["trained"].get_ydata().tolist() == model.history_["lr"]
    assert {name: lines[name].get_linestyle() for name in drawn(display)[1:]} == {
        "continue": ":",
        "extend (set)": "-",
        "restart": ":",
    }
    assert [line.get_xdata()[0] for line in display.ax_.get_lines() if line.get_linestyle() == "--"] == [4.5]
    assert display.ax_.get_title(loc="right") == "CosineAnnealingLR, per epoch"


def test_ways_that_are_alike_are_one_line():
    """Where a schedule has no horizon, extend is continue."""
    model = classifier(lr_scheduler="StepLR", lr_scheduler__step_size=3).fit(X, Y)
    assert drawn(ScheduleDisplay.from_estimator(model)) == ["trained", "continue (set), extend", "restart"]


def test_a_way_that_would_be_refused():
    """It is named; where nothing else is left to draw, the error is that of the call."""
    model = classifier(lr_scheduler="OneCycleLR", lr_scheduler__max_lr=0.1).fit(X, Y)
    display = ScheduleDisplay.from_estimator(model)
    assert list(display.rates) == ["extend", "restart"]
    assert "continue: refused" in drawn(display)
    with pytest.raises(ContinuationError) as of_call:
        model.continue_fit(X, Y)
    assert display.refused == {"continue": str(of_call.value)}
    with pytest.raises(ContinuationError, match="0 of its steps left"):
        ScheduleDisplay.from_estimator(model, on_continue="continue")


def test_what_a_call_would_refuse():
    """Is refused here, in the same words."""
    model = classifier().fit(X, Y).set_params(module__scale=2.0)
    with pytest.raises(ContinuationError, match="another module"):
        ScheduleDisplay.from_estimator(model)
    with pytest.raises(ValueError, match="max_epochs=0 asks for nothing"):
        ScheduleDisplay.from_estimator(classifier(), max_epochs=0)
    with pytest.raises(ContinuationError, match="exported for serving"):
        ScheduleDisplay.from_estimator(classifier().fit(X, Y).export())


@pytest.mark.parametrize("fit", [False, True])
def test_a_schedule_that_reads_the_history(fit):
    """Nobody knows its rates before."""
    model = classifier(lr_scheduler="ReduceLROnPlateau")
    with pytest.raises(ValueError, match="not known before the epochs are trained"):
        ScheduleDisplay.from_estimator(model.fit(X, Y) if fit else model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on_continue": "again"}, "is none of"),
        ({"on_continue": "extend"}, "has no run to go on"),
        ({"steps_per_epoch": 0}, "at least 1"),
        ({"steps_per_epoch": 2.5}, "at least 1"),
        ({}, "give steps_per_epoch"),
    ],
    ids=label,
)
def test_arguments_that_cannot_be_meant(arguments, message):
    """Refused with what was expected."""
    with pytest.raises(ValueError, match=message):
        ScheduleDisplay.from_estimator(classifier(lr_scheduler="LinearLR", lr_scheduler_interval="step"), **arguments)


def test_other_rows_than_those_of_the_newest_call():
    """steps_per_epoch says how many batches there will be."""
    model = classifier(lr_scheduler="LinearLR", lr_scheduler_interval="step").fit(X, Y)
    before = len(used(model))
    display = ScheduleDisplay.from_estimator(model, steps_per_epoch=6, on_continue="continue")
    model.continue_fit(np.concatenate([X, X]), np.concatenate([Y, Y]))
    assert display.rates["continue"].tolist() == used(model, before)


def test_a_pipeline_and_axes_of_ones_own():
    """The network is found; the axes are drawn on."""
    pipeline = make_pipeline(StandardScaler(), classifier(lr_scheduler="LinearLR"))
    figure, ax = plt.subplots()
    display = ScheduleDisplay.from_estimator(pipeline, ax=ax)
    assert (display.figure_, display.ax_) == (figure, ax)
    ScheduleDisplay.from_estimator(clone(pipeline).fit(X, Y), ax=ax)
    figure.draw_without_rendering()
    frame, legend = ax.get_window_extent(), ax.get_legend().get_window_extent()
    assert frame.x0 <= legend.x0 <= legend.x1 <= frame.x1
    assert ScheduleDisplay.from_estimator(clone(pipeline).fit(X, Y), on_continue="restart").rates.keys() == {"restart"}


def test_what_was_forecast_is_in_the_history():
    """Both pictures show one truth."""
    model = classifier(lr_scheduler="CosineAnnealingLR", lr_scheduler_on_continue="restart").fit(X, Y)
    forecast = ScheduleDisplay.from_estimator(model).rates["restart"][:, 0].tolist()
    (rates,) = (line for line in HistoryDisplay.from_estimator(model.continue_fit(X, Y)).axes_["lr"].get_lines()[:1])
    assert rates.get_ydata().tolist()[4:] == forecast
