"""Checkpoint: when it writes, what stays, what it has seen, and whose folder it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from modules import Counter, Noisy, class_data
from sklearn.model_selection import cross_validate

from sktorch_continue import Callback, Checkpoint, CheckpointError, EarlyStopping, EpochScoring, TorchClassifier
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
