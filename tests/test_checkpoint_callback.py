"""Checkpoint: when it writes, what stays, what it has seen, and whose folder it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modules import Counter, Noisy, class_data
from sklearn.model_selection import cross_validate

from sktorch_continue import (
    Callback,
    Checkpoint,
    CheckpointError,
    ContinuationWarning,
    EarlyStopping,
    EpochScoring,
    TorchClassifier,
)
from sktorch_continue.checkpoint import RunFolder, read_checkpoint
from sktorch_continue.testing import assert_same_run, check_continuation, first_difference

X, Y = class_data(40)


def classifier(*callbacks: Callback, **params: Any) -> TorchClassifier:
    """Return a classifier of 4 epochs of 2 steps."""
    defaults = {"module": Noisy, "batch_size": 16, "max_epochs": 4, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, **params, "callbacks": list(callbacks)})


def stored(folder: Path) -> list[str]:
    """Return what is in a run folder, epochs and steps, in order."""
    names = [path.name for path in reversed(RunFolder(folder).checkpoints())]
    return [f"{int(name[6:12])}/{int(name[18:30])}" for name in names]


class Numbered:
    """Gives every run a folder of its own; a callable that can be pickled."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent

    def __call__(self) -> Path:
        return self.parent / f"run{len(list(self.parent.iterdir()))}"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["2/4", "3/6", "4/8"]),
        ({"keep_last": 1}, ["4/8"]),
        ({"keep_last": None}, ["1/2", "2/4", "3/6", "4/8"]),
        ({"every_n_epochs": 2, "keep_last": None}, ["2/4", "4/8"]),
        ({"every_n_epochs": 3, "keep_last": None}, ["3/6", "4/8"]),
        ({"every_n_epochs": None, "keep_last": None}, ["4/8"]),
        ({"every_n_epochs": None, "every_n_steps": 3, "keep_last": None}, ["1/3", "2/6", "4/8"]),
        ({"every_n_epochs": None, "every_n_seconds": 1e9, "keep_last": None}, ["4/8"]),
        (
            {"every_n_epochs": None, "every_n_seconds": 0, "keep_last": None},
            ["0/1", "0/2", "1/3", "1/4", "2/5", "2/6", "3/7", "3/8", "4/8"],
        ),
    ],
    ids=lambda value: str(value),
)
def test_when_it_writes_and_what_stays(tmp_path, params, expected):
    """Multiples of epochs and steps over all calls, seconds since the last one, always the end; the newest stay."""
    classifier(Checkpoint(tmp_path / "run", **params)).fit(X, Y)
    assert stored(tmp_path / "run") == expected


def test_counting_goes_on_over_calls(tmp_path):
    """Every third epoch is every third of the run, however it was cut."""
    model = classifier(Checkpoint(tmp_path / "run", 3, keep_last=None), max_epochs=2).fit(X, Y)
    model.continue_fit(X, Y).continue_fit(X, Y)
    assert stored(tmp_path / "run") == ["2/4", "3/6", "4/8", "6/12"]


class Decides(Callback):
    """Changes its state and the history's row at every hook the checkpoint uses, and stops at epoch 3."""

    def __init__(self):
        self.seen = 0

    def on_step_end(self, run):
        self.seen += 1

    def on_epoch_end(self, run):
        self.seen += 10
        run.record("decided", run.n_epochs)
        if run.n_epochs == 3:
            run.stop("three is enough")

    def on_train_end(self, run):
        self.seen += 100


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("params", [{}, {"every_n_steps": 1}])
def test_it_sees_what_the_others_decided(tmp_path, first, params):
    """Wherever it stands in the list, the stored run equals the one in memory, a stop and its reason included."""
    checkpoint, others = Checkpoint(tmp_path / "run", **params), [Decides(), EarlyStopping(restore_best=True)]
    model = classifier(*([checkpoint, *others] if first else [*others, checkpoint])).fit(X, Y)
    assert model.n_epochs_ == 3
    newest = read_checkpoint(RunFolder(tmp_path / "run").checkpoints()[0])
    assert first_difference(model._run.state_dict(), newest["run"]) is None
    assert newest["run"]["history"]["calls"][-1]["stopped"] == "three is enough"
    assert newest["run"]["callbacks"]["Decides"]["state"]["seen"] == 6 + 30 + 100


def test_every_checkpoint_is_the_run_as_it_was_then(tmp_path):
    """The state is copied when it is due, whatever the training does while it is written."""
    states = []

    class Remember(Counter):
        runs_last = True

        def on_epoch_end(self, run):
            states.append(run.session.contents()["run"])

    classifier(("remember", Remember()), Checkpoint(tmp_path / "run", keep_last=None)).fit(X, Y)
    for state, checkpoint in zip(states, reversed(RunFolder(tmp_path / "run").checkpoints()), strict=True):
        loaded = read_checkpoint(checkpoint)["run"]
        loaded["callbacks"].pop("Checkpoint"), state["callbacks"].pop("Checkpoint")
        assert first_difference(state, loaded) is None


# ---- the best -----------------------------------------------------------------------------------------------------


class Scores(Callback):
    """Records given values as a column."""

    columns = ("score",)

    def __init__(self, values):
        self.values = values

    def on_validation_end(self, run):
        run.record("score", self.values[run.n_epochs])


@pytest.mark.parametrize(
    ("values", "mode", "keep_best", "kept", "best"),
    [
        ([1.0, 3.0, 2.0, 0.0], "auto", 1, ["2/4", "4/8"], 2),
        ([1.0, 3.0, 2.0, 0.0], "min", 1, ["4/8"], 4),
        ([1.0, 3.0, 2.0, 0.0], "max", 2, ["2/4", "3/6", "4/8"], 2),
        ([3.0, 3.0, 3.0, 3.0], "max", 1, ["1/2", "4/8"], 1),
        ([float("nan"), 1.0, float("nan"), 0.5], "max", 1, ["2/4", "4/8"], 2),
        ([2.0, 1.0, 1.5, 3.0], "max", 2, ["1/2", "4/8"], 4),
    ],
)
def test_the_best_stay(tmp_path, values, mode, keep_best, kept, best):
    """The best by the monitored column stay beside the newest, due or not; the first of equals wins, NaN never."""
    checkpoint = Checkpoint(tmp_path / "run", 100, keep_last=1, keep_best=keep_best, monitor="score", mode=mode)
    model = classifier(checkpoint, Scores(values)).fit(X, Y)
    assert stored(tmp_path / "run") == kept
    best_path = model.callbacks_["Checkpoint"].best_path
    assert read_checkpoint(best_path)["summary"]["n_epochs"] == best


def test_the_best_of_all_calls_stays(tmp_path):
    """A later call and a resumed run compare with the best ever seen, not with the best of their own."""
    scores = Scores([5.0, 1.0, 2.0, 3.0, 4.0, 6.0])
    checkpoint = Checkpoint(tmp_path / "run", keep_last=1, keep_best=1, monitor="score")
    model = classifier(checkpoint, scores, max_epochs=2).fit(X, Y).continue_fit(X, Y)
    assert stored(tmp_path / "run") == ["1/2", "4/8"]
    fresh = classifier(checkpoint, scores, max_epochs=5).resume_fit(X, Y)
    assert stored(tmp_path / "run") == ["1/2", "5/10"]
    fresh.continue_fit(X, Y, max_epochs=1)
    assert stored(tmp_path / "run") == ["6/12"]
    assert model.callbacks_["Checkpoint"].best[0][0] == 5.0


def test_the_best_checkpoint_loads(tmp_path):
    """``best_path`` goes to from_checkpoint."""
    checkpoint = Checkpoint(tmp_path / "run", keep_last=1, keep_best=1, monitor="valid_accuracy")
    model = classifier(EpochScoring("accuracy"), checkpoint, module=None).fit(X, Y)
    best = TorchClassifier.from_checkpoint(model.callbacks_["Checkpoint"].best_path)
    assert best.history_[-1, "valid_accuracy"] == max(model.history_["valid_accuracy"])


def test_a_column_that_nobody_fills_is_refused(tmp_path):
    """A misspelled monitor is refused before the first step, and leaves no folder locked."""
    model = classifier(Checkpoint(tmp_path / "run", keep_best=1, monitor="valid_los"))
    with pytest.raises(ValueError, match="did you mean 'valid_loss'"):
        model.fit(X, Y)
    assert not hasattr(model, "_run")
    classifier(Checkpoint(tmp_path / "run", keep_best=1)).fit(X, Y)


# ---- exactness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"every_n_steps": 1, "keep_best": 2}])
def test_a_run_with_checkpoints_continues_exactly(tmp_path, params):
    """Writing checkpoints changes nothing that is trained, and its own state is part of the run."""
    checkpoint = Checkpoint(Numbered(tmp_path), **params)
    check_continuation(classifier(checkpoint), X, Y, n_epochs=3, step_cuts=[3])
    with_it = classifier(checkpoint).fit(X, Y)
    assert with_it.history_["train_loss"] == classifier().fit(X, Y).history_["train_loss"]


# ---- folders ------------------------------------------------------------------------------------------------------


def test_folds_write_apart(tmp_path):
    """A function as path gives every fit of a search a folder of its own."""
    checkpoint = Checkpoint(Numbered(tmp_path))
    found = cross_validate(classifier(checkpoint), X, Y, cv=3, return_estimator=True, error_score="raise")
    for fold, model in enumerate(found["estimator"]):
        again = classifier(checkpoint).load_checkpoint(tmp_path / f"run{fold}")
        assert_same_run(model, again, X)


def test_two_checkpoints_of_one_run_write_apart(tmp_path):
    """Two instances under two names have a folder each."""
    often, seldom = Checkpoint(tmp_path / "often"), ("seldom", Checkpoint(tmp_path / "seldom", 4))
    model = classifier(often, seldom).fit(X, Y)
    assert (stored(tmp_path / "often"), stored(tmp_path / "seldom")) == (["2/4", "3/6", "4/8"], ["4/8"])
    assert_same_run(model, classifier(often, seldom).resume_fit(X, Y), X)
    with pytest.raises(CheckpointError, match="another training is writing"):
        classifier(Checkpoint(tmp_path / "one"), ("two", Checkpoint(tmp_path / "one"))).fit(X, Y)


def test_a_single_checkpoint_is_no_run_folder(tmp_path):
    """A folder that save_checkpoint wrote is not written into."""
    classifier().fit(X, Y).save_checkpoint(tmp_path / "c")
    with pytest.raises(CheckpointError, match="a single checkpoint and not the folder of a run"):
        classifier(Checkpoint(tmp_path / "c")).fit(X, Y)
    assert classifier().load_checkpoint(tmp_path / "c").n_epochs_ == 4


def test_the_prototype_is_not_changed(tmp_path):
    """The instance that was passed knows no folder and no best, and can be passed again."""
    prototype = Checkpoint(tmp_path / "run", keep_best=1)
    before = dict(vars(prototype))
    model = classifier(prototype).fit(X, Y)
    assert vars(prototype) == before
    assert model.callbacks_["Checkpoint"].folder == str(tmp_path / "run")


def test_a_relative_path_is_where_the_training_began(tmp_path, monkeypatch):
    """The folder is made absolute when training begins."""
    monkeypatch.chdir(tmp_path)
    model = classifier(Checkpoint("run", keep_best=1)).fit(X, Y)
    monkeypatch.chdir("/")
    assert read_checkpoint(model.callbacks_["Checkpoint"].best_path)["summary"]["estimator"] == "TorchClassifier"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"path": 3}, TypeError, "path=3"),
        ({"every_n_epochs": 0}, ValueError, "every_n_epochs=0"),
        ({"every_n_steps": -1}, ValueError, "every_n_steps=-1"),
        ({"every_n_steps": 1.5}, ValueError, "every_n_steps=1.5"),
        ({"every_n_seconds": -1}, ValueError, "every_n_seconds=-1"),
        ({"every_n_seconds": float("nan")}, ValueError, "every_n_seconds=nan"),
        ({"keep_last": 0}, ValueError, "keep_last=0"),
        ({"keep_best": -1}, ValueError, "keep_best=-1"),
        ({"mode": "most"}, ValueError, "mode='most'"),
        ({"on_error": "ignore"}, ValueError, "on_error='ignore'"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments, error, words):
    """The argument, its value and what was expected are named."""
    with pytest.raises(error, match=words):
        Checkpoint(**{"path": "run", **arguments})


def test_best_path_before_anything_is_stored():
    """There is no best checkpoint before there is one."""
    assert Checkpoint("run").best_path is None


# ---- what is stored is whole ----------------------------------------------------------------------------------------


class Aliasing(Callback):
    """Hands out the array it works on, as torch's modules do."""

    def __init__(self):
        self.counts = np.zeros(3)
        self.seen = set()

    def on_step_end(self, run):
        self.counts += 1
        self.seen.add(run.n_steps)

    def state_dict(self):
        return {"counts": self.counts, "seen": self.seen}

    def load_state_dict(self, state):
        self.counts, self.seen = state["counts"].copy(), set(state["seen"])


def test_what_a_callback_works_on_is_copied(tmp_path):
    """A state that is the callback's own array or set is stored as it was when it was due."""
    classifier(Aliasing(), Checkpoint(tmp_path / "run", every_n_steps=1, keep_last=None), max_epochs=20).fit(X, Y)
    for checkpoint in RunFolder(tmp_path / "run").checkpoints():
        contents = read_checkpoint(checkpoint)
        state, steps = contents["run"]["callbacks"]["Aliasing"]["state"], contents["summary"]["n_steps"]
        assert state["counts"].tolist() == [steps] * 3
        assert state["seen"] == set(range(1, steps + 1))


class Fails(Callback):
    """Learns of every epoch, but for one at which it fails."""

    def __init__(self, at=None):
        self.at = at
        self.epochs = []

    def on_epoch_end(self, run):
        if run.n_epochs == self.at:
            raise ConnectionError("no network")
        self.epochs.append(run.n_epochs)


def test_an_epoch_that_a_callback_failed_at_is_not_stored(tmp_path):
    """The run is resumed from before it, so that the callback learns of every epoch."""
    with pytest.raises(ConnectionError):
        classifier(Fails(at=2), Checkpoint(tmp_path / "run")).fit(X, Y)
    assert stored(tmp_path / "run") == ["1/2"]
    model = classifier(Fails(), Checkpoint(tmp_path / "run")).resume_fit(X, Y)
    assert model.callbacks_["Fails"].epochs == [1, 2, 3, 4]


def test_a_failed_write_is_none_of_the_best(tmp_path):
    """Under on_error="warn" a best checkpoint that could not be written leaves its place to the next."""

    class Unstorable(Callback):
        def on_epoch_end(self, run):
            self.kept = object() if run.n_epochs == 2 else None

    scores = Scores([1.0, 3.0, 2.0, 0.0])
    checkpoint = Checkpoint(tmp_path / "run", 100, None, None, 1, 1, "score", on_error="warn")
    with pytest.warns(ContinuationWarning, match="goes on without this checkpoint"):
        model = classifier(Unstorable(), scores, checkpoint, max_epochs=4).fit(X, Y)
    assert [value for value, _ in model.callbacks_["Checkpoint"].best] == [2.0]
    assert read_checkpoint(model.callbacks_["Checkpoint"].best_path)["summary"]["n_epochs"] == 3


def test_a_call_that_took_no_step_stores_nothing(tmp_path):
    """Ctrl-C before the first step of a call leaves folder and run as they were."""

    class AtOnce(Callback):
        def __init__(self, on=False):
            self.on = on

        def on_epoch_begin(self, run):
            if self.on:
                raise KeyboardInterrupt

    model = classifier(AtOnce(), Checkpoint(tmp_path / "run")).fit(X, Y)
    before = stored(tmp_path / "run")
    model.set_params(callbacks=[AtOnce(on=True), Checkpoint(tmp_path / "run")], lr=0.5)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            model.continue_fit(X, Y)
    assert stored(tmp_path / "run") == before
    model.set_params(callbacks=[AtOnce(), Checkpoint(tmp_path / "run")], lr=1e-3).resume_fit(X, Y)


def test_in_a_search_the_way_out_is_named(tmp_path):
    """One path for several runs is refused with the words that lead on."""
    with pytest.raises(CheckpointError, match="a function as path, which is called once per run"):
        cross_validate(classifier(Checkpoint(tmp_path / "run")), X, Y, cv=2, error_score="raise")
