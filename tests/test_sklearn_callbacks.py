"""scikit-learn's callbacks: every epoch is a task, alone, in pipelines and in searches, and nothing is disturbed."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from modules import Linear, Noisy, Raise, class_data, real_data, snapshot
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_undisturbed import ForeignDraws, process_state

from sktorch_continue import (
    Callback,
    Checkpoint,
    ContinuablePipeline,
    EarlyStopping,
    EpochScoring,
    HyperbandSearchCV,
    TorchClassifier,
    TorchRegressor,
    WarmStartGridSearchCV,
    WarmStartHalvingSearchCV,
    WarmStartRandomizedSearchCV,
    continue_fit,
    hot_start,
    make_continuable_pipeline,
)
from sktorch_continue.estimators import tasks
from sktorch_continue.estimators.stores import MemoryStore, active
from sktorch_continue.testing import assert_same_run, first_difference

sklearn_callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")
helpers = pytest.importorskip("sklearn.callback.tests._utils")

X, Y = class_data()
XR, YR = real_data()
HOOKS = ("on_fit_task_begin", "on_fit_task_end")


def net(**params):
    """Return an unfitted classifier of 3 steps per epoch."""
    return TorchClassifier(**{"module": Noisy, "max_epochs": 3, "batch_size": 8, "random_state": 0, **params})


def watched(estimator, *callbacks):
    """Return a recorder of scikit-learn's, set on an estimator."""
    recorder = helpers.RecordingCallback()
    estimator.set_callbacks(recorder, *callbacks)
    return recorder


def told(recorder):
    """Return what a recorder was told: hook without its prefix, and name of the task."""
    return [(entry["name"].removeprefix("on_fit_task_"), entry["context"].task_name) for entry in recorder.record]


def epochs(recorder, hook="on_fit_task_end"):
    """Return the entries of the tasks of epochs."""
    return [e for e in recorder.record if e["name"] == hook and e["context"].task_name.startswith("epoch ")]


class Quiet:
    """A callback that asks for nothing."""

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        pass


class Names(Quiet):
    """Keeps the names of the tasks that ended, in itself: a copy of it has a list of its own."""

    def __init__(self):
        self.ended = []

    def on_fit_task_end(self, estimator, context):
        self.ended.append(context.task_name)


class StopsAt(Quiet):
    """Asks to stop when the fitted estimator has so many epochs; handed on to what is inside."""

    max_propagation_depth = None

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        return getattr(fitted_estimator, "n_epochs_", 0) >= self.n_epochs and context.task_name.startswith("epoch ")


# ---- a network alone ----------------------------------------------------------------------------------------------


def test_a_call_is_a_task_and_each_epoch_a_task_inside_it():
    """Set up, the call begins, each epoch begins and ends, the call ends, taken down; numbered from 0."""
    model = net()
    recorder = watched(model)
    model.fit(X, Y)
    inside = [(hook, f"epoch {n}") for n in (1, 2, 3) for hook in ("begin", "end")]
    assert told(recorder) == [("setup", "fit"), ("begin", "fit"), *inside, ("end", "fit"), ("teardown", "fit")]
    assert [entry["context"].task_id for entry in epochs(recorder)] == [0, 1, 2]
    root = recorder.record[0]["context"]
    assert (root.max_subtasks, root.sequential_subtasks, root.estimator_name) == (3, True, "TorchClassifier")
    assert {entry["estimator"] for entry in recorder.record} == {model}


def test_the_fitted_estimator_of_an_epoch_is_the_training_that_ended_there():
    """At the end of epoch n it is what n epochs give, at the beginning n - 1, also when it is looked at later."""
    params = {"validation_fraction": 0.25, "lr_scheduler": "StepLR", "lr_scheduler__step_size": 1}
    model = net(**params)
    recorder = watched(model)
    model.fit(X, Y)
    for n, entry in enumerate(epochs(recorder), start=1):
        assert_same_run(entry["kwargs"]["fitted_estimator"], net(**{**params, "max_epochs": n}).fit(X, Y), X)
    begins = [entry["kwargs"]["fitted_estimator"] for entry in epochs(recorder, "on_fit_task_begin")]
    assert [fitted.n_epochs_ for fitted in begins] == [0, 1, 2]
    assert np.array_equal(begins[2].predict_proba(X), net(**params, max_epochs=2).fit(X, Y).predict_proba(X))
    last = recorder.record[-2]
    assert_same_run(last["kwargs"]["fitted_estimator"], model, X)
    assert last["kwargs"]["fitted_estimator"] is not model


def test_the_fitted_estimator_predicts_with_the_best_weights_where_those_are_kept():
    """As an estimator whose fit has ended does."""
    params = {"callbacks": [EarlyStopping("train_loss", mode="max", restore_best=True)], "lr": 0.1}
    model = net(**params)
    recorder = watched(model)
    model.fit(X, Y)
    fitted = [entry["kwargs"]["fitted_estimator"] for entry in epochs(recorder)]
    for n, one in enumerate(fitted, start=1):
        assert_same_run(one, net(**{**params, "max_epochs": n}).fit(X, Y), X)


def test_a_fitted_estimator_goes_on_by_itself():
    """It can be continued, to the same bits, and the run it was taken from does not notice."""

    class GoesOn(Quiet):
        done = ()

        def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
            if context.task_name == "epoch 1":
                self.done = (*self.done, fitted_estimator.continue_fit(X, y, max_epochs=2))

    callback = GoesOn()
    model = net().set_callbacks(callback).fit(X, Y)
    assert_same_run(model, net().fit(X, Y), X)
    assert_same_run(callback.done[0], model, X)


class Built(Linear):
    """Counts how often it is built."""

    count = 0

    def __init__(self, n_features_in, n_outputs):
        super().__init__(n_features_in, n_outputs)
        Built.count += 1


def test_the_fitted_estimator_is_made_only_for_those_who_ask():
    """A callback that does not name it costs no copy; two that do share one per task."""
    counts = []
    for callbacks in ([], [Quiet()], [helpers.RecordingCallback(), helpers.RecordingCallback()]):
        Built.count = 0
        net(module=Built).set_callbacks(*callbacks).fit(X, Y)
        counts.append(Built.count)
    assert counts[1] == counts[0]
    assert counts[2] == counts[0] + 3 + 3 + 1  # begin and end of every epoch, end of the call


def test_without_callbacks_nothing_of_this_is_used(monkeypatch):
    """A call of an estimator on which none is set never comes to the place where tasks are reported."""
    monkeypatch.setattr(tasks, "Tasks", None)
    model = net().fit(X, Y)
    assert model.set_callbacks(Quiet()).set_callbacks() is model
    model.continue_fit(X, Y)
    with pytest.raises(TypeError):
        model.set_callbacks(Quiet()).continue_fit(X, Y)


CALLS = {
    "fit": (lambda: net(module=ForeignDraws), lambda m: m.fit(X, Y)),
    "fit with everything": (
        lambda: net(
            validation_fraction=0.25,
            callbacks=[EpochScoring(), EarlyStopping(restore_best=True)],
            lr_scheduler="CosineAnnealingLR",
            class_weight="balanced",
        ),
        lambda m: m.fit(X, Y),
    ),
    "weights": (net, lambda m: m.fit(X, Y, sample_weight=np.arange(24) % 3)),
    "LBFGS": (lambda: net(optimizer="LBFGS"), lambda m: m.fit(X, Y)),
    "refit": (lambda: net().fit(X[::-1], Y[::-1]), lambda m: m.fit(X, Y)),
    "warm start": (lambda: net(warm_start=True).fit(X, Y), lambda m: m.fit(X, Y)),
    "continue_fit": (lambda: net().fit(X, Y), lambda m: m.set_params(lr=0.1).continue_fit(X, Y)),
    "partial_fit": (lambda: net().fit(X, Y), lambda m: m.partial_fit(X, Y)),
    "first partial_fit": (net, lambda m: m.partial_fit(X, Y, classes=[0, 1, 2])),
    "resume_fit": (lambda: net().fit(X, Y), lambda m: m.set_params(max_epochs=5).resume_fit(X, Y)),
    "regression": (
        lambda: TorchRegressor(Noisy, max_epochs=3, batch_size=8, random_state=0),
        lambda m: m.fit(XR, YR),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_callbacks_that_score_and_copy_change_no_bit(name):
    """A ScoringMonitor and a recorder that takes every fitted estimator: run, predictions and process are the same."""
    make, call = CALLS[name]
    silent = call(make())
    random_states = process_state()
    scoring = "r2" if name == "regression" else "accuracy"
    loud = make().set_callbacks(sklearn_callback.ScoringMonitor(scoring=scoring), helpers.RecordingCallback())
    call(loud)
    assert first_difference(random_states, process_state()) is None
    if name != "first partial_fit":
        assert_same_run(loud, silent, X if name != "regression" else XR)
    assert first_difference(loud._run.state_dict()["module"], silent._run.state_dict()["module"]) is None
    assert loud.history_.calls[-1]["stopped"] is None
    assert set(vars(loud)) - set(vars(silent)) == {"_skl_callbacks"}


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda m: m.continue_fit(X, Y, max_epochs=2), ["continue_fit", "epoch 4", "epoch 5"]),
        (lambda m: m.set_params(warm_start=True).fit(X, Y), ["continue_fit", "epoch 4", "epoch 5", "epoch 6"]),
        (lambda m: m.partial_fit(X, Y), ["partial_fit", "epoch 4"]),
        (lambda m: m.set_params(max_epochs=4).resume_fit(X, Y), ["resume_fit", "epoch 4"]),
        (lambda m: m.resume_fit(X, Y), ["resume_fit"]),
        (lambda m: m.fit(X, Y), ["fit", "epoch 1", "epoch 2", "epoch 3"]),
    ],
    ids=["continue_fit", "warm start", "partial_fit", "resume_fit", "resume_fit of a finished run", "refit"],
)
def test_a_call_reports_its_own_epochs_counted_on(call, names):
    """Epochs of before are no tasks of a later call; all that begins ends."""
    model = net().fit(X, Y)
    recorder = watched(model)
    call(model)
    assert [name for hook, name in told(recorder) if hook == "begin"] == names
    assert sorted(name for hook, name in told(recorder) if hook == "end") == sorted(names)
    assert recorder.record[0]["context"].max_subtasks == len(names) - 1
    assert_same_run(recorder.record[-2]["kwargs"]["fitted_estimator"], model, X)


def test_an_epoch_that_was_cut_goes_on_as_one_task():
    """Cut in the middle of epoch 2, it is begun again as a task by the next call, and ends as in the uncut run."""
    model = net(callbacks=[Raise("on_step_end", 5)])
    with pytest.raises(RuntimeError, match="on_step_end"):
        model.fit(X, Y)
    recorder = watched(model.set_params(callbacks=[]))
    with pytest.warns(UserWarning, match="Raise"):
        model.continue_fit(X, Y, max_epochs=2)
    assert [name for hook, name in told(recorder) if hook == "begin"] == ["continue_fit", "epoch 2", "epoch 3"]
    assert_same_run(epochs(recorder)[0]["kwargs"]["fitted_estimator"], net(max_epochs=2).fit(X, Y), X)


class StopAtStep(Callback):
    """Stops the run in the middle of an epoch."""

    def on_step_end(self, run):
        if run.n_steps == 5:
            run.stop("enough")


def test_an_epoch_that_is_stopped_in_the_middle_ends_as_a_task():
    """Every task that began has ended when the call has."""
    model = net(callbacks=[StopAtStep()])
    recorder = watched(model)
    model.fit(X, Y)
    assert [e["context"].task_name for e in epochs(recorder)] == ["epoch 1", "epoch 2"]
    assert recorder.count_hooks("on_fit_task_begin") == recorder.count_hooks("on_fit_task_end") == 3
    assert model.history_.calls[-1]["stopped"] == "enough"


def test_the_data_of_a_task_is_what_is_trained_on():
    """Rows held out for validation and rows of weight zero are not among X, y and sample_weight."""
    weight = np.tile([0, 1, 2, 3], 6)
    model = net(validation_fraction=0.25)
    recorder = watched(model)
    model.fit(X, Y, sample_weight=weight)
    for entry in recorder.record[1:-1]:
        given = entry["kwargs"]
        places = [int(np.flatnonzero((row == X).all(axis=1))[0]) for row in given["X"]]
        assert len(places) == model.history_.calls[-1]["n_rows"] < 18
        assert np.array_equal(given["y"], Y[places])
        assert np.array_equal(given["metadata"]["sample_weight"], weight[places])
        assert 0 not in given["metadata"]["sample_weight"]


def test_scores_are_those_of_a_training_that_ended_there():
    """ScoringMonitor logs the call and each epoch, equal to the bit; a continued run has a log of its own."""
    monitor = sklearn_callback.ScoringMonitor(scoring=("accuracy", "neg_log_loss"))
    model = net().set_callbacks(monitor).fit(X, Y).continue_fit(X, Y, max_epochs=1)
    first, second = monitor.get_logs(select="all")
    assert [(row["task_name"], row["task_id_path"]) for row in first.data] == [
        ("fit", (0,)),
        ("epoch 1", (0, 0)),
        ("epoch 2", (0, 1)),
        ("epoch 3", (0, 2)),
    ]
    assert [row["task_name"] for row in second.data] == ["continue_fit", "epoch 4"]
    rows = [*first.data[1:], second.data[1]]
    for n, row in enumerate(rows, start=1):
        assert row["accuracy"] == net(max_epochs=n).fit(X, Y).score(X, Y)
    assert second.data[0]["accuracy"] == model.score(X, Y)


# ---- stopping -----------------------------------------------------------------------------------------------------


def test_a_wish_to_stop_is_honoured():
    """The run ends after that epoch, says why, is finished for resume_fit, and goes on with continue_fit."""
    model = net(max_epochs=6).set_callbacks(StopsAt(2)).fit(X, Y)
    assert model.n_epochs_ == 2
    assert model.history_.calls[-1]["stopped"] == "a callback of scikit-learn asked for it"
    assert model.resume_fit(X, Y).n_epochs_ == 2
    model.set_callbacks().continue_fit(X, Y, max_epochs=1)
    assert_same_run(model, net().fit(X, Y), X)


def test_the_reason_of_a_callback_of_the_run_goes_first():
    """Where both stop after the same epoch, the record has the reason that came first."""

    class Stop(Callback):
        def on_epoch_end(self, run):
            run.stop("mine")

    assert net(callbacks=[Stop()]).set_callbacks(StopsAt(1)).fit(X, Y).history_.calls[-1]["stopped"] == "mine"


def test_a_checkpoint_knows_of_the_wish(tmp_path):
    """What is on disk after that epoch is finished as well, and holds no callback of scikit-learn."""

    class Dies(Callback):
        runs_last = True

        def on_epoch_end(self, run):
            if run.n_epochs == 2:
                raise KeyboardInterrupt

    callbacks = [Checkpoint(tmp_path), Dies()]
    with pytest.raises(KeyboardInterrupt):
        net(max_epochs=6, callbacks=callbacks).set_callbacks(StopsAt(2)).fit(X, Y)
    found = net(max_epochs=6, callbacks=callbacks[:1])
    with pytest.warns(UserWarning, match="Dies"):
        found.resume_fit(X, Y)
    assert found.n_epochs_ == 2
    assert not hasattr(found, "_skl_callbacks")
    assert not any(b"_skl_callbacks" in path.read_bytes() for path in tmp_path.rglob("*.json"))


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_a_run_that_was_stopped_on_request_is_not_taken_up(where, tmp_path):
    """Callbacks are no parameters: the same fit without them trains all its epochs."""
    store = MemoryStore()
    with hot_start(tmp_path) if where == "folder" else active(store):
        stopped = net(max_epochs=6).set_callbacks(StopsAt(2)).fit(X, Y)
        store.settle()
        whole = net(max_epochs=6).fit(X, Y)
    assert (stopped.n_epochs_, whole.n_epochs_) == (2, 6)
    assert_same_run(whole, net(max_epochs=6).fit(X, Y), X)


# ---- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail_at", ["setup", *HOOKS, "teardown"])
def test_a_callback_that_fails_leaves_the_estimator_sound(fail_at):
    """The error comes through, the callback is taken down; before the first step the estimator is as it was."""
    model = net().fit(X, Y)
    before, callback = snapshot(model), helpers.FailingCallback(fail_at=fail_at)
    with pytest.raises(ValueError, match=f"Failing callback failed at {fail_at}"):
        model.set_callbacks(callback).continue_fit(X, Y)
    assert callback.count_hooks("setup") == callback.count_hooks("teardown") == 1
    assert not {name for name in vars(model) if "callback_ctx" in name or "teardown" in name or "fit_ctx" in name}
    if fail_at in ("setup", "on_fit_task_begin"):
        assert first_difference(before, snapshot(model)) is None
    model.set_callbacks().continue_fit(X, Y, max_epochs=6 - model.n_epochs_ or 1)
    assert_same_run(model, net(max_epochs=model.n_epochs_).fit(X, Y), X)


def test_a_call_that_is_refused_tells_nobody():
    """Bad input is refused before any callback is set up."""
    model = net()
    recorder = watched(model)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X * np.nan, Y)
    assert recorder.record == []
    assert set(vars(model)) - set(vars(net())) == {"_skl_callbacks"}


# ---- where they are kept ------------------------------------------------------------------------------------------


def test_callbacks_stay_with_an_estimator_and_its_clones_and_are_no_parameter():
    """As scikit-learn's own estimators have them: the same instance in a clone, a copy in a pickle."""
    recorder = helpers.RecordingCallback()
    model = net().set_callbacks(recorder).fit(X, Y)
    assert clone(model)._skl_callbacks == [recorder]
    assert recorder not in model.get_params().values()
    restored = pickle.loads(pickle.dumps(model))
    assert type(restored._skl_callbacks[0]) is helpers.RecordingCallback
    assert not hasattr(model.export(), "_skl_callbacks")
    assert clone(net()).set_callbacks(recorder).set_callbacks().__dict__.keys() == net().__dict__.keys()


def test_what_a_hook_pickles_has_nothing_of_the_call_around_it():
    """Neither the estimator nor the fitted one, so that they can be written to disk at every epoch."""

    class Pickles(Quiet):
        seen = ()

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            for one in (estimator, fitted_estimator):
                self.seen += (pickle.loads(pickle.dumps(one)),)

        def __reduce__(self):
            return Pickles, ()

    globals()["Pickles"] = Pickles
    Pickles.__qualname__ = "Pickles"
    callback = Pickles()
    net().set_callbacks(callback).fit(X, Y)
    assert len(callback.seen) == 8
    assert not [name for one in callback.seen for name in vars(one) if "ctx" in name or "teardown" in name]
    assert_same_run(callback.seen[3], net(max_epochs=2).fit(X, Y), X)


# ---- pipelines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [make_pipeline, make_continuable_pipeline])
def test_epochs_are_tasks_inside_the_last_step_of_a_pipeline(make):
    """A callback on the pipeline is handed on; one on the network sees the whole path."""
    inner = helpers.RecordingCallback()
    pipe = make(StandardScaler(), net().set_callbacks(inner))
    recorder = helpers.RecordingAutoPropagatedCallback()
    pipe.set_callbacks(recorder).fit(X, Y)
    assert recorder.count_hooks("on_fit_task_end") == recorder.count_hooks("on_fit_task_begin") == 1 + 1 + 1 + 3
    assert (recorder.count_hooks("setup"), recorder.count_hooks("teardown")) == (1, 1)
    task = epochs(inner)[0]["context"]
    assert (task.parent.source_task_name, task.parent.parent.task_name) == ("fit-final-estimator", "fit")
    assert_same_run(pipe[-1], make(StandardScaler(), net()).fit(X, Y)[-1])
    assert pipe[-1]._skl_callbacks == [inner]


@pytest.mark.parametrize(
    ("call", "verb", "names"),
    [
        (lambda p: p.continue_fit(X, Y, max_epochs=2), "continue_fit", ["epoch 4", "epoch 5"]),
        (lambda p: p.continue_fit(X, Y, max_epochs=1, transformers="partial_fit"), "continue_fit", ["epoch 4"]),
        (lambda p: p.partial_fit(X, Y), "partial_fit", ["epoch 4"]),
        (lambda p: p.set_params(net__max_epochs=4).resume_fit(X, Y), "resume_fit", ["epoch 4"]),
    ],
    ids=["continue_fit", "transformers that learn", "partial_fit", "resume_fit"],
)
def test_a_pipeline_that_goes_on_hands_its_callbacks_on(call, verb, names):
    """The epochs that are added are tasks inside its last step; the network is what it is without."""
    steps = [("scale", StandardScaler()), ("net", net())]
    pipe, plain = (ContinuablePipeline(steps=clone_steps(steps)).fit(X, Y) for _ in range(2))
    recorder = helpers.RecordingAutoPropagatedCallback()
    call(pipe.set_callbacks(recorder))
    assert [entry["context"].task_name for entry in epochs(recorder)] == names
    assert epochs(recorder)[0]["context"].parent.parent.task_name == verb
    assert (recorder.count_hooks("setup"), recorder.count_hooks("teardown")) == (1, 1)
    assert recorder.count_hooks("on_fit_task_begin") == recorder.count_hooks("on_fit_task_end") == 2 + len(names)
    call(plain)
    assert_same_run(pipe["net"], plain["net"])
    assert not [name for part in (pipe, pipe["net"]) for name in vars(part) if "ctx" in name]
    assert not hasattr(pipe["net"], "_skl_callbacks")


def clone_steps(steps):
    """Return steps with copies of their estimators."""
    return [(name, clone(step)) for name, step in steps]


def test_a_pipeline_that_resumes_in_another_process_hands_its_callbacks_on(tmp_path):
    """Unfitted, it fits its transformers and resumes its last step; all of it is told."""
    interrupted = make_continuable_pipeline(StandardScaler(), net(callbacks=[Checkpoint(tmp_path), StopAtEpoch()]))
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(X, Y)
    recorder = helpers.RecordingAutoPropagatedCallback()
    pipe = make_continuable_pipeline(StandardScaler(), net(callbacks=[Checkpoint(tmp_path), StopAtEpoch(9)]))
    pipe.set_callbacks(recorder).resume_fit(X, Y)
    assert [entry["context"].task_name for entry in epochs(recorder)] == ["epoch 3"]
    assert pipe[-1].n_epochs_ == 3


class StopAtEpoch(Callback):
    """Ctrl-C after an epoch."""

    def __init__(self, epoch=2):
        self.epoch = epoch

    def on_epoch_end(self, run):
        if run.n_epochs == self.epoch:
            raise KeyboardInterrupt


def test_a_search_that_goes_on_hands_its_callbacks_on():
    """continue_fit of a fitted search tells of the epochs of its best estimator."""
    recorder = helpers.RecordingAutoPropagatedCallback()
    search = GridSearchCV(net(), {"lr": [0.01, 0.1]}, cv=2).fit(X, Y).set_callbacks(recorder)
    continue_fit(search, X, Y, max_epochs=2)
    assert [entry["context"].task_name for entry in epochs(recorder)] == ["epoch 4", "epoch 5"]


def test_members_that_go_on_as_copies_tell_the_same_callbacks():
    """Not copies of them, whose logs would be gone."""
    names = Names()
    voting = VotingClassifier([("a", net().set_callbacks(names)), ("b", net(lr=0.1))]).fit(X, Y)
    names.ended.clear()
    continue_fit(voting, X, Y, max_epochs=1)
    assert names.ended == ["epoch 4", "continue_fit"]
    assert voting.estimators_[0]._skl_callbacks == [names]


# ---- searches -----------------------------------------------------------------------------------------------------

SEARCHES = {
    "grid": lambda estimator, **k: WarmStartGridSearchCV(estimator, {"max_epochs": [1, 2, 4], "lr": [0.01, 0.1]}, **k),
    "randomized": lambda estimator, **k: WarmStartRandomizedSearchCV(
        estimator, {"max_epochs": [1, 2, 3], "lr": loguniform(1e-3, 1e-1)}, n_iter=4, random_state=0, **k
    ),
    "halving": lambda estimator, **k: WarmStartHalvingSearchCV(
        estimator, {"lr": [0.01, 0.1, 0.2, 0.3]}, factor=2, max_resources=4, **k
    ),
    "hyperband": lambda estimator, **k: HyperbandSearchCV(
        estimator, {"lr": loguniform(1e-3, 1e-1)}, factor=2, max_resources=4, random_state=0, **k
    ),
}
TIMES = re.compile("time")


def scores(search):
    """Return the results of a search but for times."""
    return {name: list(column) for name, column in search.cv_results_.items() if not TIMES.search(name)}


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("name", SEARCHES)
def test_candidates_folds_and_epochs_are_nested_in_a_search(name, n_jobs):
    """Each epoch that is trained is a task below its evaluation, in whichever worker; results are those without."""
    search = SEARCHES[name](net(module=Linear), cv=2, n_jobs=n_jobs)
    recorder = helpers.RecordingAutoPropagatedCallback()
    search.set_callbacks(recorder).fit(X, Y)
    trained = int(search.reuse_["epochs_trained"].sum())
    assert trained < search.reuse_["epochs_asked"].sum() or name == "randomized"
    assert len(epochs(recorder)) == trained + search.best_estimator_.n_epochs_
    assert recorder.count_hooks("on_fit_task_begin") == recorder.count_hooks("on_fit_task_end")
    assert (recorder.count_hooks("setup"), recorder.count_hooks("teardown")) == (1, 1)
    parents = {entry["context"].parent.source_task_name for entry in epochs(recorder)}
    assert parents == {"candidate-split-evaluation", "refit-with-best-params"}
    plain = SEARCHES[name](net(module=Linear), cv=2).fit(X, Y)
    assert first_difference(scores(search), scores(plain)) is None
    assert_same_run(search.best_estimator_, plain.best_estimator_, X)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_progress_bar_of_scikit_learn_comes_to_its_end(name, capsys):
    """Every bar of every level is at 100 %."""
    pytest.importorskip("rich")
    bar = sklearn_callback.ProgressBar(max_propagation_depth=None)
    os.environ["COLUMNS"] = "200"
    try:
        search = SEARCHES[name](make_pipeline(StandardScaler(), net(module=Linear)), cv=2)
        renamed = {"param_grid", "param_distributions"} & set(search.get_params())
        grid = {f"torchclassifier__{key}": value for key, value in getattr(search, *renamed).items()}
        search.set_params(**{renamed.pop(): grid}).set_callbacks(bar).fit(X, Y)
    finally:
        del os.environ["COLUMNS"]
    shown = capsys.readouterr().out
    assert "TorchClassifier - fit" in shown
    assert "100%" in shown
    assert not re.search(r"\b[0-9]{1,2}%", shown)


class Counting:
    """A callback of scikit-learn's kind that keeps count in itself."""

    def __init__(self):
        self.tasks = 0

    def setup(self, *args, **kwargs):
        """Nothing to set up."""

    def teardown(self, *args, **kwargs):
        """Nothing to take down."""

    def on_fit_task_begin(self, *args, **kwargs):
        """Count."""
        self.tasks += 1

    def on_fit_task_end(self, *args, **kwargs):
        """Ask for nothing."""
        return False


@pytest.mark.parametrize("where", ["alone", "in a pipeline"])
def test_a_callback_that_keeps_count_makes_no_other_training(where):
    """Survivors of a rung go on although the callback on the network has another count by then."""
    estimator, prefix = net(module=Linear).set_callbacks(Counting()), ""
    if where == "in a pipeline":
        estimator, prefix = make_pipeline(StandardScaler(), estimator), "torchclassifier__"
    rates = {f"{prefix}lr": [0.01, 0.03, 0.1, 0.3]}
    search = WarmStartHalvingSearchCV(estimator, rates, max_resources=4, factor=2, cv=2).fit(X, Y)
    assert search.n_resources_ == [1, 2, 4]
    assert search.reuse_["epochs_trained"].sum() == 2 * (4 * 1 + 2 * 1 + 1 * 2)


def test_a_monitor_on_the_network_logs_the_epochs_a_chain_adds():
    """Of 1, 2 and 4 epochs on two splits each epoch is scored once, with the path to its candidate."""
    monitor = sklearn_callback.ScoringMonitor(scoring="accuracy")
    estimator = net(module=Linear).set_callbacks(monitor)
    search = WarmStartGridSearchCV(estimator, {"max_epochs": [1, 2, 4]}, cv=2, refit=False).fit(X, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"].startswith("epoch ")]
    assert sorted(row["task_name"] for row in rows) == [f"epoch {n}" for n in (1, 1, 2, 2, 3, 3, 4, 4)]
    plain = WarmStartGridSearchCV(net(module=Linear), {"max_epochs": [1, 2, 4]}, cv=2, refit=False).fit(X, Y)
    assert first_difference(scores(search), scores(plain)) is None


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_wish_to_stop_gives_what_scikit_learns_search_gives(n_jobs):
    """Candidates of 2, 4 and 8 epochs that are stopped at 3: the same scores as without chains."""
    grid = {"max_epochs": [2, 4, 8], "lr": [0.01, 0.1]}
    ours = WarmStartGridSearchCV(net(), grid, cv=2, n_jobs=n_jobs).set_callbacks(StopsAt(3)).fit(X, Y)
    theirs = GridSearchCV(net(), grid, cv=2).set_callbacks(StopsAt(3)).fit(X, Y)
    assert first_difference(scores(ours), scores(theirs)) is None
    assert ours.best_estimator_.n_epochs_ == min(3, ours.best_params_["max_epochs"])


def test_a_search_that_is_started_again_reports_what_it_finds(tmp_path):
    """A task whose score is there begins and ends, and no epoch of it is reported."""
    grid, recorder = {"max_epochs": [1, 2]}, helpers.RecordingAutoPropagatedCallback()
    WarmStartGridSearchCV(net(), grid, cv=2, checkpoint_dir=tmp_path).fit(X, Y)
    search = WarmStartGridSearchCV(net(), grid, cv=2, checkpoint_dir=tmp_path, refit=False)
    search.set_callbacks(recorder).fit(X, Y)
    done = [entry for entry in recorder.record if entry["context"].task_name == "candidate-split-evaluation"]
    assert [entry["name"] for entry in done] == [*HOOKS] * 4
    assert epochs(recorder) == []


def test_models_that_a_search_keeps_hold_no_callback():
    """They go on in the next call of the search, and are told of what they add by the callbacks of that call."""
    recorder = helpers.RecordingAutoPropagatedCallback()
    search = WarmStartGridSearchCV(net(), {"max_epochs": [1, 2]}, cv=2, keep_models=True, refit=False)
    search.set_callbacks(recorder).fit(X, Y)
    kept = [found.fitted for store in search._kept._stores.values() for found in store._found.values()]
    assert len(kept) == 2
    assert not [name for fitted in kept for name in vars(fitted) if "callback" in name and name != "callbacks"]
    recorder.record.clear()
    search.continue_fit(X, Y, param_grid={"max_epochs": [3]})
    assert [entry["context"].task_name for entry in epochs(recorder)] == ["epoch 3"] * 2


def test_a_search_goes_to_a_worker_without_what_it_keeps():
    """Its splitter refers to the models that are kept between rungs; what is pickled of it is the splitter."""
    search = SEARCHES["halving"](net(module=Linear), cv=StratifiedKFold(2), keep_models=True).fit(X, Y)
    assert type(pickle.loads(pickle.dumps(search))._checked_cv_orig) is StratifiedKFold
    del search._kept
    assert b"MemoryStore" not in pickle.dumps(search)


# ---- scikit-learn's own tests -------------------------------------------------------------------------------------

PLUGIN = "replace_callback_estimator"
# What our epochs are called, and what a training adds to them, decide what these expect.
OTHER_NAMES = "not logged_values and not score_after_fit and not monitor_no_callback_support"
LONG = "not processes and not loky and not fresh_process and not outside_main and not 2]"


def run_their_tests(folder, plugins, modules, chosen):
    """Run tests of scikit-learn in a process of their own; return how many passed."""
    named = [part for plugin in plugins for part in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *named, "--rootdir", str(folder)]
    found = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]), "OMP_NUM_THREADS": "1", "PATH": ""}
    command += ["-k", chosen, "--pyargs", *modules]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=found)
    assert done.returncode == 0, done.stdout
    return int(re.search(r"(\d+) passed", done.stdout)[1])


@pytest.mark.peers
def test_scikit_learn_tests_of_callbacks_pass_with_a_network(tmp_path):
    """Its tests of callbacks, with a network where they have an estimator of their own."""
    assert run_their_tests(tmp_path, [PLUGIN], ["sklearn.callback"], f"{OTHER_NAMES} and {LONG}") > 40


@pytest.mark.peers
def test_scikit_learn_tests_of_callbacks_in_pipelines_and_searches_pass_with_a_network(tmp_path):
    """Its Pipeline and its four searches around a network."""
    modules = ["sklearn.tests.test_pipeline", "sklearn.model_selection.tests.test_search"]
    assert run_their_tests(tmp_path, [PLUGIN], modules, "callbacks") > 20


@pytest.mark.peers
def test_scikit_learn_tests_of_callbacks_in_pipelines_and_searches_pass_with_ours(tmp_path):
    """Our Pipeline and searches around a network; a candidate that is drawn twice is trained once."""
    modules = ["sklearn.tests.test_pipeline", "sklearn.model_selection.tests.test_search"]
    chosen = "callbacks and not (propagation and search1)"
    assert run_their_tests(tmp_path, [PLUGIN, "replace_pipeline", "replace_searches"], modules, chosen) > 20
