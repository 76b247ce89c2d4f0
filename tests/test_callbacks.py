"""Callbacks: when they are called, what they keep, and what the package's own ones do."""

import copy
import math
import signal

import numpy as np
import pytest
import torch
from modules import Counter, Linear, Noisy, Raise, Watching, class_data, real_data, snapshot
from sklearn.base import clone
from sklearn.metrics import accuracy_score, make_scorer
from torch import nn

from sktorch_continue import (
    Callback,
    CSVLogger,
    EarlyStopping,
    EpochScoring,
    Freeze,
    GradientClipping,
    PrintLog,
    TorchClassifier,
    TorchRegressor,
    Unfreeze,
)
from sktorch_continue.callbacks import HOOKS, ProgressLine
from sktorch_continue.callbacks.runner import Hooks
from sktorch_continue.testing import (
    Interrupt,
    assert_same_run,
    check_continuation,
    first_difference,
    run_state,
    through_memory,
    through_pickle,
)

X, Y = class_data()
XR, YR = real_data()
WAYS = pytest.mark.parametrize("way", [through_memory, through_pickle])


def classifier(**params):
    """Return an unfitted classifier of 3 steps per epoch."""
    return TorchClassifier(**{"module": Linear, "max_epochs": 3, "batch_size": 8, "random_state": 0, **params})


class Recorder(Callback):
    """Writes down every hook in the order they are called."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self, run):
        self.calls.append("train_begin")

    def on_epoch_begin(self, run):
        self.calls.append("epoch_begin")

    def on_step_begin(self, run):
        self.calls.append("step_begin")

    def on_gradients(self, run):
        assert any(parameter.grad is not None for parameter in run.module.parameters())
        self.calls.append("gradients")

    def on_step_end(self, run):
        self.calls.append("step_end")

    def on_validation_end(self, run):
        self.calls.append("validation_end")

    def on_epoch_end(self, run):
        self.calls.append("epoch_end")

    def on_train_end(self, run):
        self.calls.append("train_end")

    def on_exception(self, run, error):
        self.calls.append(type(error).__name__)


STEP = ["step_begin", "gradients", "step_end"]
EPOCH = ["epoch_begin", *STEP * 3, "validation_end", "epoch_end"]


class Column(Callback):
    """Puts given numbers into a column of the history."""

    def __init__(self, name, values):
        self.name = name
        self.values = values

    def on_validation_end(self, run):
        run.record(self.name, self.values[run.n_epochs])


# ---- hooks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation", [{}, {"X_val": X[:6], "y_val": Y[:6]}], ids=["plain", "validation"])
def test_hooks_of_a_whole_call(validation):
    """The order that the documentation states, with validation rows and without, in every call."""
    model = classifier(max_epochs=2, callbacks=[Recorder()]).fit(X, Y, **validation)
    call = ["train_begin", *EPOCH * 2, "train_end"]
    assert model.callbacks_["Recorder"].calls == call
    model.continue_fit(X, Y, **validation)
    assert model.callbacks_["Recorder"].calls == call * 2


def test_gradients_are_seen_at_every_evaluation_of_a_closure():
    """LBFGS evaluates its closure several times in a step; each time on_gradients is called."""
    model = classifier(optimizer="LBFGS", lr=0.1, optimizer__max_iter=3, max_epochs=1, batch_size=24)
    calls = model.set_params(callbacks=[Recorder()]).fit(X, Y).callbacks_["Recorder"].calls
    evaluations = next(iter(model.optimizer_.state.values()))["func_evals"]
    assert evaluations > 1
    assert calls[2:-3] == ["step_begin", *["gradients"] * evaluations, "step_end"]


@pytest.mark.parametrize(("acting", "others_act"), [([], False), ([GradientClipping(max_norm=1.0)], True)])
def test_who_only_watches_a_step_does_not_act(acting, others_act):
    """Watchers at every step leave a step as short as it is without them."""
    hooks = Hooks([ProgressLine(), CSVLogger("unused", every_n_steps=1), *acting])
    assert hooks.of("on_step_end")
    assert hooks.act(["on_step_begin", "on_gradients", "on_step_end"]) is others_act


def test_callbacks_are_called_in_the_order_of_the_list():
    """At each hook the first of the list comes first."""
    order = []

    class First(Callback):
        def on_epoch_end(self, run):
            order.append(type(self).__name__)

    class Second(First):
        pass

    classifier(max_epochs=2, callbacks=[Second(), First()]).fit(X, Y)
    assert order == ["Second", "First"] * 2


class Facts(Callback):
    """Writes down what the run offers."""

    def __init__(self):
        self.seen = []

    def on_train_begin(self, run):
        assert isinstance(run.module, nn.Module)
        assert isinstance(run.criterion, nn.Module)
        assert isinstance(run.optimizer, torch.optim.Optimizer)
        assert run.lr_scheduler is not None
        assert run.callbacks["Facts"] is self
        self.seen.append(("begin", run.n_epochs, run.n_steps, run.max_epochs))

    def on_epoch_end(self, run):
        self.seen.append((run.history[-1]["epoch"], run.n_epochs, run.n_steps, run.max_epochs))


def test_what_a_run_offers():
    """Parts, history, counters over all calls, and the absolute target."""
    model = classifier(max_epochs=2, callbacks=[Facts()], lr_scheduler="LinearLR").fit(X, Y)
    model.continue_fit(X, Y, max_epochs=1)
    assert model.callbacks_["Facts"].seen == [
        ("begin", 0, 0, 2),
        (1, 1, 3, 2),
        (2, 2, 6, 2),
        ("begin", 2, 6, 3),
        (3, 3, 9, 3),
    ]


@pytest.mark.parametrize(("name", "near"), [("on_epoch_ends", "on_epoch_end"), ("on_trainbegin", "on_train_begin")])
def test_a_misspelled_hook_is_an_error_at_class_definition(name, near):
    """The error names the hook that was meant."""
    with pytest.raises(TypeError, match=f"{name} is no hook; did you mean {near}"):
        type("Mine", (Callback,), {name: lambda self, run: None})


def test_every_hook_is_documented_and_does_nothing():
    """The base class has each hook, with a docstring."""
    assert all(getattr(Callback, hook).__doc__ for hook in HOOKS)
    assert len(HOOKS) == 9


@pytest.mark.parametrize(
    ("callbacks", "error", "message"),
    [
        ([Counter(), Counter()], ValueError, "two callbacks are named 'Counter'"),
        ([("a", Counter()), ("a", Recorder())], ValueError, "two callbacks are named 'a'"),
        ([Counter], TypeError, "Callback instance"),
        ([(1, Counter())], TypeError, "Callback instance"),
        (Counter(), TypeError, "a list of Callback instances"),
        ("Counter", TypeError, "a list of Callback instances"),
    ],
    ids=["twice", "name", "class", "number", "one", "text"],
)
def test_callbacks_that_cannot_be_named_are_refused(callbacks, error, message):
    """Two of one name, and what is no callback."""
    with pytest.raises(error, match=message):
        classifier(callbacks=callbacks).fit(X, Y)


# ---- prototypes and state -----------------------------------------------------------------------------------------


def test_prototypes_are_never_changed():
    """Instances given as a parameter stay as they are, over every verb; each run has its own copies."""
    prototypes = [
        Counter(),
        Recorder(),
        EarlyStopping("train_loss", patience=1, restore_best=True),
        EpochScoring("accuracy", on="train"),
        GradientClipping(1.0),
        Freeze("layer.bias", at=2),
        ("thaw", Unfreeze("layer.bias", at=3)),
        PrintLog(sink=len),
    ]
    flat = [entry[1] if isinstance(entry, tuple) else entry for entry in prototypes]
    before = [copy.deepcopy(vars(callback)) for callback in flat]
    model = classifier(callbacks=prototypes).fit(X, Y).continue_fit(X, Y).partial_fit(X, Y)
    clone(model).fit(X, Y)
    assert first_difference(before, [vars(callback) for callback in flat]) is None
    assert not any(callback is prototype for callback, prototype in zip(model.callbacks_.values(), flat, strict=True))


def test_each_fit_starts_with_fresh_callbacks():
    """A second fit does not see the state of the first."""
    model = classifier(callbacks=[Counter()])
    assert model.fit(X, Y).callbacks_["Counter"].steps == 9
    assert model.fit(X, Y).callbacks_["Counter"].steps == 9


@WAYS
def test_state_is_carried_over(way):
    """A callback's state goes on in the next call, in memory and through pickle."""
    model = way(classifier(callbacks=[Counter()]).fit(X, Y)).continue_fit(X, Y, max_epochs=2)
    assert model.callbacks_["Counter"].steps == 15
    assert model.callbacks_["Counter"].losses == model.history_["train_loss"]


def test_state_is_every_attribute_that_is_no_argument():
    """The default state_dict: a copy, without what the constructor is given."""
    counter = Counter(3)
    counter.losses.append(1.0)
    state = counter.state_dict()
    assert state == {"steps": 0, "losses": [1.0]}
    state["losses"].append(2.0)
    assert counter.losses == [1.0]
    other = Counter(5)
    other.load_state_dict(state)
    state["losses"].append(3.0)
    assert (other.start, other.losses) == (5, [1.0, 2.0])


class OwnState(Callback):
    """Says itself what its state is."""

    def __init__(self):
        self.handle = print
        self.average = torch.zeros(2)

    def on_epoch_end(self, run):
        self.average = self.average + run.n_epochs

    def state_dict(self):
        return {"average": self.average}

    def load_state_dict(self, state):
        self.average = state["average"]


@WAYS
def test_own_state_dict_is_used(way):
    """A callback may say what its state is: tensors and plain values."""
    model = way(classifier(callbacks=[("mine", OwnState())], max_epochs=2).fit(X, Y)).continue_fit(X, Y)
    assert model.callbacks_["mine"].average.tolist() == [10.0, 10.0]


def test_repr_shows_the_arguments():
    """As scikit-learn's objects do."""
    assert repr(GradientClipping(2.0)) == "GradientClipping(max_norm=2.0, norm_type=2.0, max_value=None)"


# ---- stop, record, exceptions -------------------------------------------------------------------------------------


class StopAt(Callback):
    """Stops when a step has been completed."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, run):
        if run.n_steps == self.step:
            run.stop(f"step {self.step}")


@WAYS
@pytest.mark.parametrize("step", [1, 3, 4, 5, 6])
def test_stop_ends_between_two_steps_and_training_goes_on_from_there(step, way):
    """Stopped in the middle of an epoch or at its end, and continued: the bits of the run that was not stopped."""
    callbacks = [StopAt(step), Counter()]
    model = classifier(module=Noisy, callbacks=callbacks, shuffle=True).fit(X, Y)
    assert model.n_steps_ == step
    assert model.n_epochs_ == step // 3
    assert model.history_.calls[-1]["stopped"] == f"step {step}"
    model = way(model).continue_fit(X, Y, max_epochs=3 - model.n_epochs_)
    assert model.history_.calls[-1]["stopped"] is None
    straight = classifier(module=Noisy, callbacks=[StopAt(None), Counter()]).fit(X, Y)
    assert_same_run(model, straight, X)


def test_a_stopped_call_ends_with_on_train_end():
    """A stop is no exception: on_train_end is called, and the epoch that was cut has no row."""
    model = classifier(callbacks=[StopAt(4), Recorder()]).fit(X, Y)
    assert model.callbacks_["Recorder"].calls == ["train_begin", *EPOCH, "epoch_begin", *STEP, "train_end"]
    assert len(model.history_) == 1


class StopAtOnce(Callback):
    """Stops before the first epoch."""

    def on_train_begin(self, run):
        run.stop("at once")


def test_stop_before_the_first_epoch_trains_nothing():
    """Asked for at on_train_begin, a stop is respected."""
    model = classifier().fit(X, Y)
    before = run_state(model)
    model.set_params(callbacks=[StopAtOnce()]).continue_fit(X, Y)
    assert model.n_steps_ == 9
    assert first_difference(before["module"], run_state(model)["module"]) is None


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize(
    ("hook", "calls"),
    [
        ("on_train_begin", ["train_begin"]),
        ("on_step_begin", ["train_begin", "epoch_begin", "step_begin"]),
        ("on_gradients", ["train_begin", "epoch_begin", "step_begin", "gradients"]),
        ("on_step_end", ["train_begin", "epoch_begin", *STEP]),
        ("on_validation_end", ["train_begin", "epoch_begin", *STEP * 3, "validation_end"]),
        ("on_epoch_end", ["train_begin", *EPOCH]),
    ],
)
def test_exceptions_are_told_and_raised_again(hook, calls, error):
    """on_exception is called for every callback, then the very exception leaves fit; Ctrl-C as well."""
    calls_seen = []

    class Listener(Recorder):
        def on_exception(self, run, error):
            calls_seen.extend([*self.calls, error])

    with pytest.raises(error, match=f"raised at {hook}") as caught:
        classifier(callbacks=[Listener(), Raise(hook, error=error)]).fit(X, Y)
    assert calls_seen == [*calls, caught.value]


def test_no_exception_no_on_exception():
    """The hook is silent in a call that ends well."""
    model = classifier(callbacks=[Recorder()]).fit(X, Y)
    assert set(model.callbacks_["Recorder"].calls) == {hook.removeprefix("on_") for hook in HOOKS} - {"exception"}


class RecordAt(Callback):
    """Records at a hook."""

    def __init__(self, hook):
        self.hook = hook

    def on_train_begin(self, run):
        if self.hook == "on_train_begin":
            run.record("mine", 1.0)

    def on_epoch_begin(self, run):
        if self.hook == "on_epoch_begin":
            run.record("mine", 1.0)

    def on_step_end(self, run):
        if self.hook == "on_step_end":
            run.record("mine", 1.0)

    def on_validation_end(self, run):
        if self.hook == "on_validation_end":
            run.record("mine", 1.0)

    def on_epoch_end(self, run):
        if self.hook == "on_epoch_end":
            run.record("mine", 1.0)


@pytest.mark.parametrize("hook", ["on_validation_end", "on_epoch_end"])
def test_values_are_recorded_where_there_is_a_row(hook):
    """They are a column of the history."""
    assert classifier(callbacks=[RecordAt(hook)]).fit(X, Y).history_["mine"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("hook", ["on_train_begin", "on_epoch_begin", "on_step_end"])
@pytest.mark.parametrize("failed_at", [None, "on_validation_end", "on_epoch_end"])
def test_a_value_recorded_at_another_time_is_an_error(hook, failed_at):
    """In a later epoch, in a later call and after a call that failed with a row open as well."""
    model = classifier()
    if failed_at is None:
        model.fit(X, Y)
    else:
        with pytest.raises(RuntimeError, match=failed_at):
            model.set_params(callbacks=[("raise", Raise(failed_at))]).fit(X, Y)
        model.set_params(callbacks=[("raise", Raise(None))])
    with pytest.raises(RuntimeError, match=r"record\('mine'\): a row exists only at"):
        model.set_params(callbacks=[*(model.callbacks or []), RecordAt(hook)]).continue_fit(X, Y)


# ---- EarlyStopping ------------------------------------------------------------------------------------------------


def stopping(values, *, n_epochs=8, **params):
    """Return a fitted classifier whose column "mine" is watched."""
    callbacks = [EarlyStopping("mine", **params), Column("mine", values)]
    return classifier(callbacks=callbacks, max_epochs=n_epochs, batch_size=24).fit(X, Y)


@pytest.mark.parametrize(
    ("values", "params", "n_epochs", "best_epoch"),
    [
        ([5, 4, 3, 3, 3, 3, 3, 3], {"patience": 2, "mode": "min"}, 5, 3),
        ([5, 4, 3, 3, 3, 3, 3, 3], {"patience": 1, "mode": "min"}, 4, 3),
        ([5, 4, 3, 2, 1, 0, -1, -2], {"patience": 1, "mode": "min"}, 8, 8),
        ([5, 4, 3, 2, 1, 0, -1, -2], {"patience": 3, "mode": "max"}, 4, 1),
        ([5, 4, 3, 2, 1, 0, -1, -2], {"patience": 3}, 4, 1),  # no "loss" and no "error" in the name: larger is better
        ([5, 6, 5, 6, 7, 5, 5, 5], {"patience": 2}, 4, 2),
        ([5, 6, 5, 6, 7, 5, 5, 5], {"patience": 4}, 8, 5),
        ([0, 1, 2, 3, 4, 5, 6, 7], {"patience": 2, "min_delta": 1.5}, 8, 7),
        ([0, 1, 2, 3, 4, 5, 6, 7], {"patience": 2, "min_delta": 1.0}, 8, 7),
        ([0, 1, 2, 3, 4, 5, 6, 7], {"patience": 1, "min_delta": 1.0}, 2, 1),
        ([math.nan] * 8, {"patience": 3}, 3, 0),
        ([math.nan, 1, math.nan, 2, math.nan, math.nan, 0, 0], {"patience": 2}, 6, 4),
    ],
)
def test_early_stopping_counts_epochs_without_improvement(values, params, n_epochs, best_epoch):
    """Patience, min_delta, mode, and NaN, which never is better."""
    model = stopping([float(value) for value in values], **params)
    assert model.n_epochs_ == n_epochs
    assert model.callbacks_["EarlyStopping"].best_epoch == best_epoch
    stopped = model.history_.calls[-1]["stopped"]
    assert (stopped is None) == (n_epochs == 8)
    assert stopped is None or "mine has not improved" in stopped


@pytest.mark.parametrize(("column", "smaller"), [("valid_loss", True), ("zero_one_error", True), ("accuracy", False)])
def test_auto_mode_reads_the_name_of_the_column(column, smaller):
    """Losses and errors get smaller, scores larger."""
    callback = EarlyStopping(column)
    callback.best_score = 1.0
    assert callback.improves(0.5) is smaller
    assert callback.improves(1.5) is not smaller


@WAYS
@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_early_stopping_stops_at_the_same_epoch_cut_or_uncut(cut, way):
    """Epochs without improvement are counted over calls."""
    values = [1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    whole = stopping(values, patience=3, n_epochs=7)
    assert whole.n_epochs_ == 5
    pieces = way(stopping(values, patience=3, n_epochs=cut)).continue_fit(X, Y, max_epochs=7 - cut)
    assert_same_run(pieces, whole, X)


@WAYS
def test_continuing_after_a_stop_counts_anew(way):
    """Another call trains again, for patience epochs against the same best value."""
    model = way(stopping([3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], patience=2))
    assert model.n_epochs_ == 3
    assert way(model.continue_fit(X, Y)).n_epochs_ == 5
    assert model.continue_fit(X, Y).n_epochs_ == 7
    early = model.callbacks_["EarlyStopping"]
    assert (early.best_score, early.best_epoch, early.wait) == (3.0, 1, 2)


@WAYS
def test_predict_uses_the_best_weights_and_training_goes_on_from_the_last(way):
    """restore_best: predict is that of the best epoch, all that follows is that of a run without it."""
    values = [1.0, 3.0, 2.0, 2.0, 4.0, 0.0]
    model = classifier(module=Noisy, callbacks=[EarlyStopping("mine", 9, restore_best=True), Column("mine", values)])
    plain = classifier(module=Noisy, callbacks=[Column("mine", values)])
    predictions = [
        clone(plain).set_params(max_epochs=epochs).fit(X, Y).predict_proba(X) for epochs in range(1, len(values) + 1)
    ]
    model = way(model.set_params(max_epochs=4).fit(X, Y))
    assert first_difference(model.predict_proba(X), predictions[1]) is None
    model = way(model.continue_fit(X, Y, max_epochs=1))
    assert first_difference(model.predict_proba(X), predictions[4]) is None
    model = way(model.continue_fit(X, Y, max_epochs=1))
    assert first_difference(model.predict_proba(X), predictions[4]) is None
    last = plain.set_params(max_epochs=6).fit(X, Y)
    assert first_difference(run_state(model)["module"], run_state(last)["module"]) is None
    assert first_difference(run_state(model)["optimizer"], run_state(last)["optimizer"]) is None


def test_best_weights_are_a_copy():
    """The newest weights move on, those that are kept do not, buffers included."""
    model = classifier(module=Noisy, callbacks=[EarlyStopping("mine", 9, restore_best=True), Column("mine", [1, 0, 0])])
    state = run_state(model.fit(X, Y))
    assert int(state["best"]["norm.num_batches_tracked"]) == 3
    assert int(state["module"]["norm.num_batches_tracked"]) == 9


def test_without_restore_best_predict_uses_the_last_weights():
    """Nothing is kept that was not asked for."""
    model = stopping([1.0, 0.0, 0.0, 0.0], patience=2, n_epochs=4)
    assert run_state(model)["best"] is None


@pytest.mark.parametrize(
    ("params", "error"),
    [({"mode": "down"}, "mode='down'"), ({"patience": 0}, "patience=0"), ({"min_delta": -1.0}, "min_delta=-1.0")],
)
def test_early_stopping_refuses_what_makes_no_sense(params, error):
    """When it is made."""
    with pytest.raises(ValueError, match=error):
        EarlyStopping("train_loss", **params)


def test_early_stopping_refuses_a_loss_nobody_computes():
    """valid_loss without validation rows: refused before the first step, with the ways out."""
    model = classifier(callbacks=[EarlyStopping()])
    with pytest.raises(ValueError, match=r"valid_loss.* set validation_fraction"):
        model.fit(X, Y)
    assert not hasattr(model, "n_steps_")


def test_early_stopping_on_a_column_that_is_not_there():
    """The error names the columns there are."""
    with pytest.raises(ValueError, match=r"'auc' is no column of the history, .*train_loss"):
        classifier(callbacks=[EarlyStopping("auc")]).fit(X, Y)


# ---- EpochScoring -------------------------------------------------------------------------------------------------


def own_scorer(estimator, X, y):
    """Score with a function of the user."""
    return float((estimator.predict(X) == y).mean())


@pytest.mark.parametrize(
    ("scoring", "name"),
    [
        ("accuracy", "accuracy"),
        (own_scorer, "own_scorer"),
        (None, "score"),
        (make_scorer(accuracy_score), "score"),
    ],
    ids=["name", "function", "none", "scorer"],
)
@pytest.mark.parametrize("on", ["train", "valid"])
def test_scores_are_those_of_the_weights_of_the_epoch(scoring, name, on):
    """Train or validation rows, text or callable: the newest row has the score of the estimator as it is now."""
    model = classifier(validation_fraction=0.25, callbacks=[EpochScoring(scoring, on=on)], lr=0.1)
    seen = []

    class Rows(Callback):
        def on_validation_end(self, run):
            seen.append(run.session.scoring_rows(on))

    model.set_params(callbacks=[*model.callbacks, Rows()])
    for epochs in range(1, 4):
        model.fit(X, Y) if epochs == 1 else model.continue_fit(X, Y, max_epochs=1)
        rows, labels = seen[-1]
        assert len(labels) == (6 if on == "valid" else 18)
        assert model.history_[-1][f"{on}_{name}"] == accuracy_score(labels, model.predict(rows))


def test_scores_on_given_validation_rows():
    """X_val and y_val are what is scored, in the form they were given."""
    labels = np.array(["a", "b", "c"])[Y]
    model = classifier(max_epochs=3, callbacks=[EpochScoring("accuracy", name="mine")])
    model.fit(X.tolist(), labels, X_val=X[:7].tolist(), y_val=labels[:7])
    assert model.history_[-1]["mine"] == model.score(X[:7], labels[:7])


def test_scores_are_of_the_newest_weights():
    """Also where predict would use the best ones."""
    params = {"validation_fraction": 0.25, "lr": 0.5, "max_epochs": 6}
    scoring = EpochScoring("neg_log_loss")
    plain = classifier(**params, callbacks=[scoring]).fit(X, Y)
    best = classifier(
        **params, callbacks=[scoring, EarlyStopping("mine", 9, restore_best=True), Column("mine", [1] + [0] * 9)]
    )
    assert best.fit(X, Y).history_["valid_neg_log_loss"] == plain.history_["valid_neg_log_loss"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_score_is_there_for_early_stopping_whatever_the_order(order):
    """Scores are recorded before decisions are taken."""
    callbacks = [EarlyStopping("train_accuracy", 2), EpochScoring("accuracy", on="train")][::order]
    model = classifier(callbacks=callbacks, max_epochs=20, lr=1e-6).fit(X, Y)
    assert model.n_epochs_ < 20
    assert model.callbacks_["EarlyStopping"].best_score == max(model.history_["train_accuracy"])


@WAYS
def test_scores_of_a_regressor(way):
    """A scorer of regression, over both calls."""
    model = TorchRegressor(Linear, max_epochs=2, random_state=0, callbacks=[EpochScoring("r2", on="train")])
    model = way(model.fit(XR, YR)).continue_fit(XR, YR)
    assert model.history_[-1]["train_r2"] == model.score(XR, YR)
    assert len(set(model.history_["train_r2"])) == 4


def test_scoring_rows_that_are_not_there_is_refused():
    """on="valid" without validation rows: refused before the first step, with the ways out."""
    model = classifier(callbacks=[EpochScoring("accuracy")])
    with pytest.raises(ValueError, match=r"'valid_accuracy'.* needs validation rows"):
        model.fit(X, Y)
    assert not hasattr(model, "n_steps_")
    with pytest.raises(ValueError, match="on='test'"):
        EpochScoring("accuracy", on="test")


def test_scoring_changes_nothing():
    """A run that is scored has the weights of one that is not."""
    plain = classifier(module=Noisy, validation_fraction=0.25).fit(X, Y)
    scored = classifier(module=Noisy, validation_fraction=0.25, callbacks=None)
    scored.set_params(callbacks=[EpochScoring(), ("train", EpochScoring("neg_log_loss", on="train"))]).fit(X, Y)
    for part in ("module", "optimizer"):
        assert first_difference(run_state(plain)[part], run_state(scored)[part]) is None


# ---- GradientClipping ---------------------------------------------------------------------------------------------


class Norms(Callback):
    """Writes down the gradients that the optimizer sees."""

    def __init__(self):
        self.gradients = []

    def on_gradients(self, run):
        self.gradients.append(torch.cat([parameter.grad.flatten().clone() for parameter in run.parameters]))


@pytest.mark.parametrize(
    ("clipping", "measure", "bound"),
    [
        (GradientClipping(0.05), lambda g: g.norm(), 0.05),
        (GradientClipping(0.05, norm_type=math.inf), lambda g: g.abs().max(), 0.05),
        (GradientClipping(max_value=0.01), lambda g: g.abs().max(), 0.01),
    ],
    ids=["norm", "other norm", "value"],
)
def test_gradients_are_bounded_before_the_optimizer(clipping, measure, bound):
    """No gradient that the optimizer sees is over the bound, and those that were are on it."""
    model = classifier(callbacks=[("before", Norms()), clipping, ("after", Norms())]).fit(X, Y)
    before, after = (model.callbacks_[name].gradients for name in ("before", "after"))
    assert all(float(measure(gradient)) > bound for gradient in before)
    assert [float(measure(gradient)) for gradient in after] == pytest.approx([bound] * 9, rel=1e-4)


def test_small_gradients_are_not_touched():
    """Under the bound, clipping changes not a bit."""
    assert_same_run(
        classifier(callbacks=[GradientClipping(max_value=1e6)]).fit(X, Y),
        classifier(callbacks=[("GradientClipping", GradientClipping(max_value=1e9))]).fit(X, Y),
    )


@pytest.mark.parametrize("params", [{}, {"max_norm": 1.0, "max_value": 1.0}, {"max_norm": 0.0}, {"max_value": -1.0}])
def test_one_positive_bound_is_needed(params):
    """When it is made."""
    with pytest.raises(ValueError, match="give one positive bound"):
        GradientClipping(**params)


# ---- Freeze and Unfreeze ------------------------------------------------------------------------------------------


class Kept(Callback):
    """Keeps the weights after each epoch."""

    def __init__(self):
        self.weights = []

    def on_epoch_end(self, run):
        self.weights.append({name: p.detach().clone() for name, p in run.module.named_parameters()})


@WAYS
@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_parameters_are_frozen_and_thawed_at_their_epochs(cut, way):
    """Frozen before epoch 3, thawed before epoch 5, counted over calls."""
    callbacks = [Unfreeze("hidden.bias", at=5), Freeze(["hidden.*", "norm.weight"], at=3), Kept()]
    model = classifier(module=Noisy, callbacks=callbacks, max_epochs=cut, lr=0.1).fit(X, Y)
    model = way(model).continue_fit(X, Y, max_epochs=6 - cut)
    weights = model.callbacks_["Kept"].weights
    still = {"hidden.weight": [3, 4, 5, 6], "hidden.bias": [3, 4], "norm.weight": [3, 4, 5, 6], "out.weight": []}
    for name, epochs in still.items():
        moved = [not torch.equal(weights[e - 1][name], weights[e - 2][name]) for e in range(2, 7)]
        assert moved == [epoch not in epochs for epoch in range(2, 7)], name
    assert_same_run(model, classifier(module=Noisy, callbacks=callbacks, max_epochs=6, lr=0.1).fit(X, Y), X)


@WAYS
def test_frozen_parameters_stay_frozen_without_their_callback(way):
    """What is frozen is part of the run."""
    model = classifier(callbacks=[Freeze("*.bias")], lr=0.1).fit(X, Y)
    bias = model.module_.layer.bias.detach().clone()
    with pytest.warns(UserWarning, match="Freeze"):
        model = way(model).set_params(callbacks=None).continue_fit(X, Y)
    assert not model.module_.layer.bias.requires_grad
    assert torch.equal(model.module_.layer.bias, bias)


def test_a_pattern_that_matches_nothing_is_refused():
    """Before the first step, with the names there are."""
    with pytest.raises(ValueError, match=r"Freeze: 'encoder\.\*' matches none of \['layer.weight', 'layer.bias'\]"):
        classifier(callbacks=[Freeze("encoder.*")]).fit(X, Y)
    with pytest.raises(ValueError, match=r"did you mean 'layer\.\*'\?"):
        classifier(callbacks=[Freeze("layer")]).fit(X, Y)
    with pytest.raises(ValueError, match="epochs are counted from 1"):
        Unfreeze("*", at=0)


def test_callbacks_of_the_package_together_continue_exactly():
    """All of them at once, cut at every boundary and in the middle of epochs."""
    callbacks = [
        EarlyStopping("valid_accuracy", 3, restore_best=True),
        EpochScoring("accuracy"),
        GradientClipping(0.5),
        Freeze("hidden.*", at=3),
        Unfreeze("hidden.*", at=4),
    ]
    model = classifier(module=Noisy, callbacks=callbacks, validation_fraction=0.25, lr=0.05)
    check_continuation(model, X, Y, n_epochs=4, step_cuts=[5, 8])


# ---- verbose ------------------------------------------------------------------------------------------------------


def test_verbose_2_prints_a_row_per_epoch(capsys):
    """A call says where it goes from and to; a header, then one line per epoch; a stop says why."""
    model = classifier(verbose=2, max_epochs=2, validation_fraction=0.25, callbacks=[StopAt(None)]).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "call 1: epochs 1 to 2"
    assert lines[1].split() == ["epoch", "n_steps", "lr", "train_loss", "valid_loss", "duration"]
    assert [line.split()[:2] for line in lines[2:]] == [["1", "3"], ["2", "6"]]
    model.set_params(callbacks=[StopAt(9)]).continue_fit(X, Y, max_epochs=4)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "call 2: epochs 3 to 6"
    assert [line.split()[0] for line in lines[2:-1]] == ["3"]
    assert lines[-1] == "stopped after epoch 3: step 9"


def test_verbose_is_no_part_of_the_run(capsys):
    """The display is not among the callbacks, and printing changes nothing."""
    loud = classifier(module=Noisy, verbose=2).fit(X, Y)
    assert loud.callbacks_ == {}
    assert_same_run(loud, classifier(module=Noisy).fit(X, Y), X)
    assert capsys.readouterr().out.count("\n") == 5


def test_a_log_can_go_elsewhere():
    """PrintLog is a callback with a sink of the user's choice."""
    lines = []
    classifier(callbacks=[PrintLog(sink=lines.append)]).fit(X, Y)
    assert len(lines) == 5
    assert lines[0] == "call 1: epochs 1 to 3"


def test_a_new_column_gets_a_new_header(capsys):
    """Where validation rows come in, the header is printed again in that call."""
    model = classifier(verbose=2, max_epochs=1).fit(X, Y)
    model.continue_fit(X, Y, X_val=X[:5], y_val=Y[:5])
    out = capsys.readouterr().out
    assert out.count("train_loss") == 2
    assert out.count("valid_loss") == 1


def test_nothing_a_callback_does_to_a_failed_call_stays():
    """A callback that freezes, keeps best weights and records, then fails before the first step: all undone."""

    class Meddler(Callback):
        def on_epoch_begin(self, run):
            run.keep_best()
            run.stop("meddling")
            for parameter in run.module.parameters():
                parameter.requires_grad_(False)
            run.optimizer.param_groups[0]["lr"] = 9.0
            raise RuntimeError("meddled")

    model = classifier(callbacks=[Counter()]).fit(X, Y)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="meddled"):
        model.set_params(callbacks=[Counter(), Meddler()]).continue_fit(X, Y)
    assert first_difference(before, snapshot(model)) is None


def test_module_is_in_training_mode_for_steps_and_only_then():
    """A scorer and validation see the module in evaluation mode; steps in training mode, all rows once an epoch."""
    Watching.seen.clear()
    model = classifier(
        module=Watching, validation_fraction=0.25, callbacks=[EpochScoring(), ("t", EpochScoring(on="train"))]
    )
    model.fit(X, Y)
    assert len(Watching.seen) == 9
    assert len(Watching.rows_seen()) == 18


def test_interrupt_in_any_step_is_raised_again_and_the_run_goes_on():
    """Ctrl-C leaves the run at its last completed step."""
    model = classifier(callbacks=[Counter(), Interrupt(5)])
    with pytest.raises(KeyboardInterrupt, match="after step 5"):
        model.fit(X, Y)
    assert model.n_steps_ == 5
    model.set_params(callbacks=[Counter(), Interrupt(None)]).continue_fit(X, Y, max_epochs=2)
    assert_same_run(model, classifier(callbacks=[Counter(), Interrupt(None)]).fit(X, Y), X)


class Interrupted(torch.optim.Adam):
    """Ctrl-C arrives while the fifth step of the optimizer is taken."""

    count = 0

    def step(self, closure=None):
        """Step, then receive the signal."""
        super().step(closure)
        Interrupted.count += 1
        if Interrupted.count == 5:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_the_optimizer_steps_leaves_the_run_between_two_steps():
    """The weights that were moved and the count of steps agree: continued, the run is the one never interrupted."""
    Interrupted.count = 0
    model = classifier(optimizer=Interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    model.continue_fit(X, Y, max_epochs=3 - model.n_epochs_)
    Interrupted.count = 99
    assert_same_run(model, classifier(optimizer=Interrupted).fit(X, Y), X)
