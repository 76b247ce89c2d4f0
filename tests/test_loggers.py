"""Loggers: every epoch, every call and every step is logged once, however the run was cut."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from killed_logs import EPOCHS, STEPS_PER_EPOCH
from logs import calls, events, scalars, table, texts
from modules import Noisy, Raise, class_data
from sklearn.base import clone
from sklearn.model_selection import cross_validate

from sktorch_continue import (
    Callback,
    Checkpoint,
    ContinuationWarning,
    CSVLogger,
    EarlyStopping,
    EpochScoring,
    MLflowLogger,
    TensorBoardLogger,
    TorchClassifier,
)
from sktorch_continue.callbacks.runner import Hooks
from sktorch_continue.testing import Interrupt, assert_same_run, check_continuation

X, Y = class_data(40)
KINDS = {"csv": CSVLogger, "tensorboard": TensorBoardLogger}
needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
INSTALLED = ["csv", pytest.param("tensorboard", marks=needs_tensorboard)]


def classifier(*callbacks, **params):
    """Return a classifier of 3 epochs of 2 steps."""
    defaults = {"module": Noisy, "batch_size": 16, "max_epochs": 3, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, **params, "callbacks": list(callbacks)})


def epochs_in(folder: Path, kind: str) -> list[int]:
    """Return the epochs of a log, in order, after looking whether all columns agree on them."""
    if kind == "csv":
        return [int(row["epoch"]) for row in table(folder / "epochs.csv")]
    found = scalars(folder)
    assert [step for step, _ in found["train_loss"]] == [step for step, _ in found["lr"]]
    return [step for step, _ in found["train_loss"]]


def steps_in(folder: Path, kind: str) -> list[int]:
    """Return the steps of a log, in order."""
    if kind == "csv":
        return [int(row["step"]) for row in table(folder / "steps.csv")]
    return [step for step, _ in scalars(folder)["step/loss"]]


def calls_in(folder: Path, kind: str) -> list[int]:
    """Return the calls of a log, in order."""
    return [call["call"] for call in calls(folder)] if kind == "csv" else [step for step, _ in texts(folder)]


def assert_complete(model: TorchClassifier, folder: Path, kind: str, every: int | None = 1) -> None:
    """Raise unless a log has each epoch, call and step once, and what the history says of them."""
    rows, history = {}, model.history_
    assert epochs_in(folder, kind) == [row["epoch"] for row in history]
    assert calls_in(folder, kind) == [call["call"] for call in history.calls]
    for name in history.columns:
        if kind == "csv":
            rows[name] = [float(row[name]) if row[name] else None for row in table(folder / "epochs.csv")]
            assert rows[name] == history[name]
        elif name != "epoch":
            single = [(row["epoch"], float(np.float32(row[name]))) for row in history if name in row]
            assert scalars(folder)[name] == single
    if every is not None:
        assert steps_in(folder, kind) == list(range(every, model.n_steps_ + 1, every))


# ---- what is logged -------------------------------------------------------------------------------------------------


def test_csv_has_the_numbers_of_the_history(tmp_path):
    """The numeric columns of every epoch, exactly; scores of callbacks and wall-clock times included."""
    model = classifier(CSVLogger(tmp_path / "log"), EpochScoring("accuracy")).fit(X, Y)
    rows = table(tmp_path / "log" / "epochs.csv")
    assert list(rows[0]) == model.history_.columns
    assert [{name: float(cell) for name, cell in row.items()} for row in rows] == list(model.history_)
    assert not (tmp_path / "log" / "steps.csv").exists()


@needs_tensorboard
def test_a_call_is_logged_with_parameters_data_and_versions(tmp_path):
    """Once per call: what was asked, on which rows, with which parameters and libraries."""
    model = classifier(CSVLogger(tmp_path / "csv"), TensorBoardLogger(tmp_path / "tb")).fit(X, Y)
    model.set_params(batch_size=8).continue_fit(X, Y, max_epochs=1)
    first, second = calls(tmp_path / "csv")
    assert (first["verb"], second["verb"], second["max_epochs"]) == ("fit", "continue_fit", 4)
    assert second["changed"] == {"batch_size": [16, 8]}
    assert (first["parameters"]["batch_size"], second["parameters"]["batch_size"]) == (16, 8)
    assert first["versions"] == model.history_.calls[0]["versions"]
    assert first["fingerprint"] == model.history_.calls[0]["fingerprint"]
    (one, text), (two, _) = texts(tmp_path / "tb")
    assert (one, two) == (1, 2)
    assert "| parameter batch_size | 16 |" in text
    assert "| versions |" in text


class Odd(Callback):
    """Records what is no number, at the latest moment."""

    def on_epoch_end(self, run):
        run.record("word", "text")
        run.record("none", None)
        run.record("late", np.float32(0.5))
        run.record("nan", math.nan)


@pytest.mark.parametrize("kind", INSTALLED)
def test_only_numbers_are_logged_and_late_ones_as_well(tmp_path, kind):
    """A column recorded at on_epoch_end, by a callback that stands behind the logger, is in the log."""
    classifier(KINDS[kind](tmp_path / "log"), Odd()).fit(X, Y)
    if kind == "csv":
        row = table(tmp_path / "log" / "epochs.csv")[0]
        assert (row["late"], row["nan"]) == ("0.5", "nan")
        assert not {"word", "none"} & set(row)
    else:
        found = scalars(tmp_path / "log")
        assert found["late"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
        assert not {"word", "none"} & set(found)


def test_steps_have_their_own_rate_and_loss(tmp_path):
    """With every step logged, the weighted mean of an epoch's losses is its train_loss; lr is that of the step."""
    model = classifier(
        CSVLogger(tmp_path / "log", 1),
        lr_scheduler="ExponentialLR",
        lr_scheduler__gamma=0.5,
        lr_scheduler_interval="step",
    ).fit(X, Y)
    rows = table(tmp_path / "log" / "steps.csv")
    assert [(row["step"], row["epoch"]) for row in rows] == [(str(n), str((n + 1) // 2)) for n in range(1, 7)]
    assert [float(row["lr"]) for row in rows] == [1e-3 * 0.5**n for n in range(6)]
    losses = np.array([float(row["loss"]) for row in rows]).reshape(3, 2)
    assert losses @ [16, 14] / 30 == pytest.approx(model.history_["train_loss"], rel=1e-12)


def test_a_logged_step_stands_for_those_before_it(tmp_path):
    """Every second of 4 steps: the loss is the mean over the rows since the last that was logged in the epoch."""
    for every in (1, 2):
        classifier(CSVLogger(tmp_path / str(every), every), batch_size=8, max_epochs=1).fit(X, Y)
    single = [float(row["loss"]) for row in table(tmp_path / "1" / "steps.csv")]
    pairs = [float(row["loss"]) for row in table(tmp_path / "2" / "steps.csv")]
    assert pairs == pytest.approx([(single[0] + single[1]) / 2, (single[2] * 8 + single[3] * 6) / 14], rel=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "mlflow"])
def test_no_hook_of_a_step_is_called_where_no_steps_are_logged(tmp_path, kind):
    """Without every_n_steps a logger costs nothing between two epochs; with it, its hooks are called."""
    make = MLflowLogger if kind == "mlflow" else lambda **kw: KINDS[kind](tmp_path, **kw)
    assert not Hooks([make()]).of("on_step_end")
    assert not Hooks([make()]).of("on_step_begin")
    assert Hooks([make(every_n_steps=2)]).of("on_step_end")


def test_a_checkpoint_per_epoch_has_no_hook_of_a_step(tmp_path):
    """Only every_n_steps and every_n_seconds ask at every step."""
    assert not Hooks([Checkpoint(tmp_path)]).of("on_step_end")
    assert Hooks([Checkpoint(tmp_path, every_n_seconds=60)]).of("on_step_end")


@pytest.mark.parametrize("kind", INSTALLED)
def test_a_logger_changes_nothing(tmp_path, kind):
    """The run with it and the run without it are the same."""
    assert_same_run(classifier(KINDS[kind](tmp_path, 1)).fit(X, Y), classifier().fit(X, Y))


# ---- cut and continued ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INSTALLED)
def test_cuts_between_epochs_and_in_them(tmp_path, kind):
    """In memory, through pickle and through a checkpoint, the run is exact, and so is the log."""
    check_continuation(classifier(KINDS[kind](tmp_path / "log", 1)), X, Y, n_epochs=3, cuts=[(1, 2)], step_cuts=[3, 4])


def through_pickle(model):
    """Return the model after a round through pickle."""
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("kind", INSTALLED)
@pytest.mark.parametrize("way", [lambda model: model, through_pickle], ids=["memory", "pickle"])
@pytest.mark.parametrize("every", [None, 1, 3])
def test_continued_in_memory_and_through_pickle(tmp_path, kind, way, every):
    """fit, continue_fit and partial_fit go on with one log."""
    model = classifier(KINDS[kind](tmp_path / "log", every)).fit(X, Y)
    model = way(model).continue_fit(X, Y, max_epochs=2)
    model = way(model).partial_fit(X, Y)
    assert_complete(model, tmp_path / "log", kind, every)


@pytest.mark.parametrize("kind", INSTALLED)
@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("first", [True, False])
def test_interrupted_in_memory(tmp_path, kind, at, first):
    """A step that is completed is logged, also where another callback raises right after it."""
    logger, cut = KINDS[kind](tmp_path / "log", 1), Interrupt(at)
    model = classifier(*([cut, logger] if first else [logger, cut]))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert steps_in(tmp_path / "log", kind) == list(range(1, at + 1))
    model.resume_fit(X, Y)
    assert_complete(model, tmp_path / "log", kind)


@pytest.mark.parametrize("kind", INSTALLED)
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("kept", [{"every_n_epochs": 1}, {"every_n_epochs": 2}, {"every_n_steps": 1}], ids=str)
def test_back_at_a_checkpoint(tmp_path, kind, last, kept):
    """A log that is further than the checkpoint is cut back, wherever the two stand in the list."""
    logger, store = KINDS[kind](tmp_path / "log", 1), Checkpoint(tmp_path / "run", keep_last=None, **kept)
    model = classifier(*([store, logger] if last else [logger, store])).fit(X, Y)
    for checkpoint in sorted((tmp_path / "run").glob("epoch*"), reverse=True):
        again = clone(model).set_params(callbacks=[KINDS[kind](tmp_path / "log", 1)])
        with pytest.warns(ContinuationWarning, match="Checkpoint"):
            again.load_checkpoint(checkpoint)
        again.continue_fit(X, Y, max_epochs=1)
        assert_complete(again, tmp_path / "log", kind)


@pytest.mark.parametrize("kind", INSTALLED)
def test_a_call_that_took_no_step_is_not_logged(tmp_path, kind):
    """It is undone, in the log as well; of a run that came to no step nothing is left."""
    folder = tmp_path / "log"
    with pytest.raises(ValueError, match="valid_los"):
        classifier(KINDS[kind](folder, 1), EarlyStopping("valid_los")).fit(X, Y)
    model = classifier(KINDS[kind](folder, 1)).fit(X, Y)
    assert Path(model.callbacks_[KINDS[kind].__name__].folder) == folder
    with pytest.raises(RuntimeError, match="raised"):
        model.set_params(callbacks=[*model.callbacks, Raise("on_step_begin")]).continue_fit(X, Y)
    model.set_params(callbacks=model.callbacks[:1]).continue_fit(X, Y)
    assert_complete(model, folder, kind)
    assert not (tmp_path / "log-2").exists()


@pytest.mark.parametrize("kind", INSTALLED)
def test_a_logger_that_comes_later_has_all_epochs(tmp_path, kind):
    """Epochs and calls from before are taken from the history."""
    model = classifier().fit(X, Y)
    model.set_params(callbacks=[KINDS[kind](tmp_path)]).continue_fit(X, Y)
    assert_complete(model, tmp_path, kind, every=None)


@pytest.mark.parametrize("kind", INSTALLED)
def test_columns_that_come_later(tmp_path, kind):
    """A score that is recorded from the second call on has empty cells before; nothing is logged twice."""
    logger = KINDS[kind](tmp_path / "log", 1)
    model = classifier(logger).fit(X, Y)
    stored = pickle.dumps(model)
    for _ in range(2):  # the second time from a state that is older than the new column
        model = pickle.loads(stored).set_params(callbacks=[logger, EpochScoring("accuracy")])
        model.continue_fit(X, Y, max_epochs=1)
        assert_complete(model, tmp_path / "log", kind)
    assert model.history_["valid_accuracy"][:3] == [None] * 3


@pytest.mark.parametrize("kind", INSTALLED)
def test_a_log_that_is_gone_is_made_again(tmp_path, kind):
    """Epochs and calls come from the history; that the steps from before cannot, is told."""
    model = classifier(KINDS[kind](tmp_path / "log", 1)).fit(X, Y)
    for path in (tmp_path / "log").iterdir():
        path.unlink()
    with pytest.warns(ContinuationWarning, match="steps only from step 7 on"):
        model.continue_fit(X, Y)
    assert_complete(model, tmp_path / "log", kind, every=None)
    assert steps_in(tmp_path / "log", kind) == [7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("kind", INSTALLED)
def test_two_copies_of_a_run(tmp_path, kind):
    """The log is that of the copy which trained last, complete in its epochs."""
    model = classifier(KINDS[kind](tmp_path / "log")).fit(X, Y)
    copy = pickle.loads(pickle.dumps(model))
    for one in (model, copy, model):
        one.continue_fit(X, Y, max_epochs=2)
        assert_complete(one, tmp_path / "log", kind, every=None)


# ---- whose folder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INSTALLED)
def test_each_run_has_a_folder(tmp_path, kind):
    """Further runs log beside the first; each goes on in its own."""
    models = [classifier(KINDS[kind](tmp_path / "log", 1), max_epochs=n).fit(X, Y) for n in (1, 2, 3)]
    for model, name in zip(models, ("log", "log-2", "log-3"), strict=True):
        model.continue_fit(X, Y, max_epochs=1)
        assert_complete(model, tmp_path / name, kind)


@pytest.mark.parametrize("kind", INSTALLED)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_folds_log_side_by_side(tmp_path, kind, n_jobs):
    """Also where workers begin at once."""
    logger = KINDS[kind](tmp_path / "log", 1)
    found = cross_validate(classifier(logger), X, Y, cv=3, n_jobs=n_jobs, return_estimator=True)
    folders = {model.callbacks_[KINDS[kind].__name__].folder: model for model in found["estimator"]}
    assert sorted(Path(folder).name for folder in folders) == ["log", "log-2", "log-3"]
    for folder, model in folders.items():
        assert_complete(model, Path(folder), kind)


class Numbered:
    """Gives every run a folder of its own; a callable that can be pickled."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent

    def __call__(self) -> Path:
        return self.parent / f"run{len(list(self.parent.iterdir()))}"


@pytest.mark.parametrize("kind", INSTALLED)
def test_a_function_as_path_is_asked_once_per_run(tmp_path, kind):
    """Every run has the folder it returned, and goes on there."""
    model = classifier(KINDS[kind](Numbered(tmp_path), 1))
    for name in ("run0", "run1"):
        one = pickle.loads(pickle.dumps(clone(model).fit(X, Y))).continue_fit(X, Y, max_epochs=1)
        assert_complete(one, tmp_path / name, kind)


@pytest.mark.parametrize("kind", INSTALLED)
def test_another_path_has_the_whole_history(tmp_path, kind):
    """A path that is set between two calls is used from the next one on; the old log stays."""
    model = classifier(KINDS[kind](tmp_path / "one")).fit(X, Y)
    model.set_params(callbacks=[KINDS[kind](tmp_path / "two")]).continue_fit(X, Y)
    assert_complete(model, tmp_path / "two", kind, every=None)
    assert epochs_in(tmp_path / "one", kind) == [1, 2, 3]


@pytest.mark.parametrize("kind", INSTALLED)
def test_a_folder_somebody_writes_to_is_not_taken(tmp_path, kind):
    """A second training that begins meanwhile, even of the same run, logs beside it."""

    class Meanwhile(Callback):
        def on_epoch_end(self, run):
            if run.n_epochs == 2:
                classifier(KINDS[kind](tmp_path / "log", 1)).resume_fit(X, Y)

    model = classifier(KINDS[kind](tmp_path / "log", 1), Meanwhile()).fit(X, Y)
    assert_complete(model, tmp_path / "log", kind)
    assert epochs_in(tmp_path / "log-2", kind) == [1, 2, 3]


@needs_tensorboard
def test_files_of_the_user_stay(tmp_path):
    """A folder with an epochs.csv of somebody else is not touched, and event files of others neither."""
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "epochs.csv").write_text("mine")
    (tmp_path / "log" / "events.out.tfevents.1.host").write_bytes(b"")
    model = classifier(CSVLogger(tmp_path / "log"), TensorBoardLogger(tmp_path / "log")).fit(X, Y)
    assert (tmp_path / "log" / "epochs.csv").read_text() == "mine"
    assert (tmp_path / "log" / "events.out.tfevents.1.host").exists()
    assert_complete(model, tmp_path / "log-2", "csv", every=None)
    assert_complete(model, tmp_path / "log", "tensorboard", every=None)


# ---- killed ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory):
    """Return the folder of a run that was killed five times and is finished."""
    pytest.importorskip("tensorboard")
    if not hasattr(os, "fork"):
        pytest.skip("each start is a fork")
    folder = tmp_path_factory.mktemp("killed")
    killed(folder)
    return folder


def killed(folder: Path, uri: str = "") -> None:
    """Run the script that is killed five times and finished."""
    script = Path(__file__).with_name("killed_logs.py")
    done = subprocess.run([sys.executable, str(script), str(folder), uri], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [-9] * 5 + [0], done.stderr


def test_a_run_that_is_killed_and_resumed_five_times_is_logged_once(killed_run):
    """SIGKILL, half-written entries included: steps 1 to n and epochs 1 to n once each, as if nothing had happened."""
    for kind in KINDS:
        folder = killed_run / kind
        assert steps_in(folder, kind) == list(range(1, EPOCHS * STEPS_PER_EPOCH + 1))
        assert epochs_in(folder, kind) == list(range(1, EPOCHS + 1))
    with pytest.warns(ContinuationWarning, match="are dropped"):
        model = TorchClassifier.from_checkpoint(killed_run / "checkpoints", module=Noisy, callbacks=None)
    for kind in KINDS:
        assert_complete(model, killed_run / kind, kind)
    assert sorted(path.name for path in killed_run.iterdir()) == ["checkpoints", "csv", "tensorboard"]


def test_tensorboard_itself_shows_every_step_once(killed_run):
    """What its own reader, which drops events it takes for orphaned, makes of the files of the killed run."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = reader.EventAccumulator(str(killed_run / "tensorboard")).Reload()
    assert [event.step for event in shown.Scalars("train_loss")] == list(range(1, EPOCHS + 1))
    assert [event.step for event in shown.Scalars("step/loss")] == list(range(1, EPOCHS * STEPS_PER_EPOCH + 1))
    assert [event.step for event in shown.Tensors("parameters")] == calls_in(killed_run / "tensorboard", "tensorboard")


@needs_tensorboard
def test_a_running_tensorboard_forgets_what_was_cut(tmp_path):
    """After a cut the log goes on in a new file that begins with the step from which on nothing before it counts."""
    model = classifier(TensorBoardLogger(tmp_path, 1)).fit(X, Y)
    stored = pickle.dumps(model)
    model.continue_fit(X, Y)
    assert len(list(tmp_path.glob("events*"))) == 1
    pickle.loads(stored).continue_fit(X, Y)
    assert len(list(tmp_path.glob("events*"))) == 2
    (start,) = [event for event in events(tmp_path) if event.HasField("session_log")]
    assert start.step == 7


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_that_cannot_be_meant(kind):
    """Told when the logger is made."""
    with pytest.raises(TypeError, match="path=3"):
        KINDS[kind](3)
    for wrong in (0, -1, 1.5, "often"):
        with pytest.raises(ValueError, match="every_n_steps"):
            KINDS[kind]("log", wrong)


@pytest.mark.parametrize(
    ("module", "extra", "make"),
    [("tensorboard.compat.proto.event_pb2", "tensorboard", TensorBoardLogger), ("mlflow", "mlflow", MLflowLogger)],
)
def test_a_library_that_is_not_there(tmp_path, monkeypatch, module, extra, make):
    """The error names the extra; nothing was touched."""
    monkeypatch.setitem(sys.modules, module, None)
    logger = make(tmp_path / "log") if extra == "tensorboard" else make()
    model = classifier(logger)
    with pytest.raises(ImportError, match=rf"sktorch-continue\[{extra}\]"):
        model.fit(X, Y)
    assert not hasattr(model, "history_")
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_no_library_of_a_logger():
    """Neither tensorboard nor mlflow, until a training begins that needs them."""
    code = "import sys, sktorch_continue; print({'tensorboard', 'mlflow', 'skorch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
