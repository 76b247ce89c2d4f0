"""resume_fit: the run that was interrupted ends where it would have ended, and nothing else is trained."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from data_helpers import refused
from modules import Counter, Noisy, Raise, class_data
from sklearn.base import clone

from sktorch_continue import (
    Checkpoint,
    CheckpointError,
    ContinuationError,
    ContinuationWarning,
    EarlyStopping,
    TorchClassifier,
)
from sktorch_continue.testing import (
    Interrupt,
    assert_same_run,
    first_difference,
    run_state,
    through_checkpoint,
    through_memory,
    through_pickle,
)

X, Y = class_data(40)
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2.0, len(X))


def classifier(**params: Any) -> TorchClassifier:
    """Return a classifier of 4 epochs of 2 steps, whose every part has a state."""
    defaults = {"module": Noisy, "batch_size": 16, "max_epochs": 4, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, **params, "callbacks": [*params.get("callbacks", []), Interrupt(None)]})


def interrupted(model: TorchClassifier, step: int, verb: str = "fit", **fit_params: Any) -> TorchClassifier:
    """Return the estimator after Ctrl-C at a step."""
    callbacks = model.callbacks
    model.set_params(callbacks=[*callbacks[:-1], Interrupt(step)])
    with pytest.raises(KeyboardInterrupt):
        getattr(model, verb)(X, Y, **fit_params)
    return model.set_params(callbacks=callbacks)


@pytest.mark.parametrize("step", range(1, 8))
@pytest.mark.parametrize("way", [through_memory, through_pickle, through_checkpoint])
def test_resuming_at_any_step_is_exact(step, way):
    """Whatever step was the last one, the run ends bit for bit where the uninterrupted one ends."""
    model = way(interrupted(classifier(), step))
    assert model.n_steps_ == step
    assert_same_run(classifier().fit(X, Y), model.resume_fit(X, Y), X)


@pytest.mark.parametrize(
    "params",
    [
        {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.1, "lr_scheduler_interval": "step"},
        {"lr_scheduler": "CosineAnnealingLR", "lr_scheduler_on_continue": "extend"},
        {"lr_scheduler": "LinearLR", "lr_scheduler_on_continue": "restart", "lr_scheduler_interval": "step"},
        {"optimizer": "LBFGS", "lr": 0.1},
        {"drop_last": True, "shuffle": False},
        {"callbacks": [EarlyStopping(patience=1, restore_best=True), Counter()]},
    ],
    ids=lambda params: "-".join(params),
)
def test_schedules_filled_in_and_callbacks_resume_as_they_were_planned(tmp_path, params):
    """A horizon filled in from max_epochs is that of the whole, and is not extended or restarted by resuming."""
    whole = classifier(**params).fit(X, Y)
    assert_same_run(whole, interrupted(classifier(**params), 3).resume_fit(X, Y), X)
    stored = interrupted(
        classifier(
            **params,
        ),
        3,
    )
    stored.save_checkpoint(tmp_path / "c")
    assert_same_run(whole, classifier(**params).resume_fit(X, Y, path=tmp_path / "c"), X)


@pytest.mark.parametrize("step", range(1, 12))
def test_a_schedule_with_an_end_resumes_where_the_last_batch_is_short(step):
    """Steps of an epoch that was cut are counted as they were taken, also after its last one, which had fewer rows."""
    schedule = {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.1, "lr_scheduler_interval": "step"}
    params = {**schedule, "batch_size": 13}  # 13, 13 and 4 of 30 rows
    whole = classifier(**params).fit(X, Y)
    assert whole.n_steps_ == 12
    assert_same_run(whole, interrupted(classifier(**params), step).resume_fit(X, Y), X)


@pytest.mark.parametrize(
    "fit_params",
    [
        {"sample_weight": WEIGHTS},
        {"X_val": X[:9], "y_val": Y[:9]},
        {"X_val": X[:9], "y_val": Y[:9], "sample_weight_val": WEIGHTS[:9]},
    ],
    ids=lambda fit_params: "-".join(fit_params),
)
def test_weights_and_given_validation_rows_resume(fit_params):
    """Everything ``fit`` takes, ``resume_fit`` takes."""
    whole = classifier().fit(X, Y, **fit_params)
    assert_same_run(whole, interrupted(classifier(), 5, **fit_params).resume_fit(X, Y, **fit_params), X)


@pytest.mark.parametrize("verb", ["continue_fit", "partial_fit"])
def test_other_verbs_are_resumed_to_their_own_target(verb):
    """An interrupted continue_fit or partial_fit is finished to the total it was started for."""
    model = classifier(max_epochs=2)
    whole = getattr(classifier(max_epochs=2).fit(X, Y), verb)(X, Y)
    cut = interrupted(model.fit(X, Y), 5, verb).resume_fit(X, Y)
    assert cut.n_epochs_ == whole.n_epochs_ > 2
    assert_same_run(whole, cut, X)


def test_resuming_starts_a_run_where_there_is_none(tmp_path):
    """The first start is that of fit, with and without a path."""
    whole = classifier().fit(X, Y)
    assert_same_run(whole, classifier().resume_fit(X, Y), X)
    assert_same_run(whole, classifier().resume_fit(X, Y, path=tmp_path / "run"), X)
    assert classifier().load_checkpoint(tmp_path / "run").n_epochs_ == 4


@pytest.mark.parametrize("ended", ["target", "early stopping"])
def test_a_finished_run_trains_nothing_and_writes_nothing(tmp_path, ended):
    """Whether its target or a callback ended it, resuming leaves estimator and folder as they are."""
    stopping = [EarlyStopping("train_loss", patience=1, min_delta=9.0)] if ended == "early stopping" else []
    params = {"callbacks": [Checkpoint(tmp_path / "run"), *stopping]}
    model = classifier(**params).resume_fit(X, Y)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    before = model._run.state_dict()
    assert model.n_epochs_ == (2 if stopping else 4)
    assert model.resume_fit(X, Y) is model
    assert first_difference(before, model._run.state_dict()) is None
    again = classifier(**params).resume_fit(X, Y)
    assert first_difference(before, again._run.state_dict()) is None
    if stopping:
        assert classifier(**params, max_epochs=9).resume_fit(X, Y).n_epochs_ == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == files


def test_a_larger_total_is_trained_to_and_a_smaller_one_is_not(tmp_path):
    """The total is the larger of what the run was started for and ``max_epochs``."""
    model = classifier(max_epochs=2).resume_fit(X, Y, path=tmp_path / "run")
    assert clone(model).set_params(max_epochs=1).resume_fit(X, Y, path=tmp_path / "run").n_epochs_ == 2
    longer = clone(model).set_params(max_epochs=4).resume_fit(X, Y, path=tmp_path / "run")
    assert_same_run(classifier().fit(X, Y), longer, X)
    assert longer.history_.calls[-1]["changed"] == {"max_epochs": [2, 4]}


def test_a_larger_total_than_the_schedule_holds_names_the_ways_out():
    """A OneCycleLR planned for the first total is refused to go past it, and can be extended."""
    params = {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.1, "max_epochs": 2}
    model = classifier(**params).fit(X, Y).set_params(max_epochs=4)
    with refused(model, ContinuationError, "'extend' or 'restart'"):
        model.resume_fit(X, Y)
    assert model.set_params(lr_scheduler_on_continue="extend").resume_fit(X, Y).n_epochs_ == 4


def test_each_resuming_that_trains_leaves_a_record():
    """Verb, target and data of the call are recorded, and its epochs carry its number."""
    model = interrupted(classifier(), 5).resume_fit(X, Y)
    assert [record["verb"] for record in model.history_.calls] == ["fit", "resume_fit"]
    assert [record["n_epochs"] for record in model.history_.calls] == [2, 4]
    assert model.history_["call"] == [1, 1, 2, 2]
    assert model.history_.calls[0]["fingerprint"] == model.history_.calls[1]["fingerprint"]


@pytest.mark.parametrize("where", ["memory", "checkpoint"])
@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"batch_size": 8}, "batch_size was 16 and is now 8"),
        ({"shuffle": False}, "shuffle was True and is now False"),
        ({"lr": 0.5}, "lr was 0.001 and is now 0.5"),
        ({"optimizer": "SGD"}, "optimizer was 'Adam' and is now 'SGD'"),
        ({"optimizer__weight_decay": 0.1}, "optimizer__weight_decay was None and is now 0.1"),
        ({"criterion__label_smoothing": 0.1}, "criterion__label_smoothing"),
        ({"lr_scheduler": "ExponentialLR", "lr_scheduler__gamma": 0.9}, "lr_scheduler was None"),
        ({"validation_fraction": 0.5}, "validation_fraction was 0.25 and is now 0.5"),
        ({"class_weight": {0: 2.0}}, "class_weight was None"),
        ({"random_state": 1}, "random_state was 0 and is now 1"),
        ({"module": None}, "module"),
    ],
)
def test_other_parameters_are_refused(tmp_path, where, now, words):
    """What decides the training must be what it was; the difference is named and nothing is changed."""
    model = interrupted(classifier(), 3)
    if where == "checkpoint":
        model.save_checkpoint(tmp_path / "c")
        model = clone(model)
    model.set_params(**now)
    before = run_state(model) if where == "memory" else None
    with pytest.raises(ContinuationError, match=words):
        model.resume_fit(X, Y, **({"path": tmp_path / "c"} if where == "checkpoint" else {}))
    if before is not None:
        assert first_difference(before, run_state(model)) is None
    else:
        assert not hasattr(model, "_run")


@pytest.mark.parametrize("where", ["memory", "checkpoint"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((X[:30], Y[:30]), "n_rows was 30 and is now"),
        ((X[::-1].copy(), Y[::-1].copy()), "fingerprint was"),
        ((X, (Y + 1) % 3), "fingerprint was"),
        ((X, Y, WEIGHTS), "fingerprint was"),
        ((X + 1, Y), "n_validation_rows was 10 and is now 0"),
        ((X[:, :3], Y), "features|shapes"),
        ((X, Y + 1), "classes \\[3\\]"),
    ],
    ids=["fewer", "reordered", "other labels", "weighted", "moved", "narrow", "unseen"],
)
def test_other_data_is_refused(tmp_path, where, data, words):
    """Other rows, another order, other targets or weights are named, before anything is changed."""
    model = interrupted(classifier(), 3)
    model.save_checkpoint(tmp_path / "c")
    before = run_state(model)
    if where == "checkpoint":
        model = clone(model)
    with pytest.raises(ValueError, match=words):
        model.resume_fit(*data, **({"path": tmp_path / "c"} if where == "checkpoint" else {}))
    if where == "memory":
        assert first_difference(before, run_state(model)) is None
        assert_same_run(classifier().fit(X, Y), model.resume_fit(X, Y), X)
    else:
        assert not hasattr(model, "_run")


def test_other_validation_rows_are_refused():
    """Another X_val is another split."""
    model = interrupted(classifier(), 3, X_val=X[:9], y_val=Y[:9])
    with pytest.raises(ContinuationError, match="validation_fingerprint was"):
        model.resume_fit(X, Y, X_val=X[1:10], y_val=Y[1:10])
    model.resume_fit(X, Y, X_val=X[:9], y_val=Y[:9])


def test_who_watches_and_where_may_change():
    """Verbosity, callbacks and checks are read anew when a run is resumed."""
    model = interrupted(classifier(), 3)
    model.set_params(check_finite=False, callbacks=[*model.callbacks, Counter()]).resume_fit(X, Y)
    assert model.callbacks_["Counter"].steps == 5
    assert model.history_["train_loss"] == classifier().fit(X, Y).history_["train_loss"]


def test_the_further_of_memory_and_folder_goes_on(tmp_path):
    """After an error the memory may be ahead of the newest checkpoint; a copy loaded from earlier is behind it."""
    callbacks = [Checkpoint(tmp_path / "run"), Raise("on_step_end", time=5)]
    model = classifier(callbacks=callbacks)
    with pytest.raises(RuntimeError):
        model.fit(X, Y)
    assert model.n_steps_ == 5
    early = pickle.dumps(model)
    with pytest.warns(ContinuationWarning, match="Raise"):
        model.set_params(callbacks=[callbacks[0], Interrupt(None)]).resume_fit(X, Y)
    assert model.history_.calls[-1]["n_epochs"] == 4
    assert_same_run(classifier(callbacks=[Checkpoint(tmp_path / "other")]).fit(X, Y), model, X)
    behind = pickle.loads(early).set_params(callbacks=model.callbacks).resume_fit(X, Y)
    assert first_difference(model._run.state_dict(), behind._run.state_dict()) is None


def test_two_runs_are_not_mixed(tmp_path):
    """An estimator that holds one run does not take another one from a folder."""
    classifier().resume_fit(X, Y, path=tmp_path / "run")
    model = classifier().fit(X, Y)
    with refused(model, ContinuationError, "another", "clone(estimator).resume_fit"):
        model.resume_fit(X, Y, path=tmp_path / "run")


def test_a_single_checkpoint_can_be_resumed_from(tmp_path):
    """The path of one checkpoint is where to go on from; nothing is written beside it."""
    interrupted(classifier(), 3).save_checkpoint(tmp_path / "c")
    model = classifier().resume_fit(X, Y, path=tmp_path / "c")
    assert_same_run(classifier().fit(X, Y), model, X)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_run_moves_to_another_folder(tmp_path):
    """``path`` says where to read, the callback where to write on."""
    interrupted(classifier(callbacks=[Checkpoint(tmp_path / "old", every_n_steps=1)]), 3)
    model = classifier(callbacks=[Checkpoint(tmp_path / "new")]).resume_fit(X, Y, path=tmp_path / "old")
    assert_same_run(classifier(callbacks=[Checkpoint(tmp_path / "third")]).fit(X, Y), model, X)
    assert classifier(callbacks=[Checkpoint(tmp_path / "new")]).resume_fit(X, Y).n_epochs_ == 4


def test_a_path_function_is_asked_once_in_the_life_of_a_run(tmp_path):
    """Looking for a run to resume, starting one and continuing it ask for the folder once."""
    asked = []

    def folder():
        asked.append(1)
        return tmp_path / f"run{len(asked)}"

    model = classifier(callbacks=[Checkpoint(folder)]).resume_fit(X, Y)
    model.continue_fit(X, Y, max_epochs=1)
    assert len(asked) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run1"]


def test_path_and_callback_go_on_from_the_further_of_both(tmp_path):
    """Reading from one folder and writing to another works at every restart, not only at the first."""
    interrupted(classifier(callbacks=[Checkpoint(tmp_path / "a", every_n_steps=1)]), 3)
    into = Checkpoint(tmp_path / "b", every_n_steps=1)
    model = classifier(callbacks=[into])
    model.set_params(callbacks=[into, Interrupt(6)])
    with pytest.raises(KeyboardInterrupt):
        model.resume_fit(X, Y, path=tmp_path / "a")
    again = classifier(callbacks=[into]).resume_fit(X, Y, path=tmp_path / "a")
    assert again.history_.calls[-1]["call"] == 3
    assert classifier(callbacks=[into]).resume_fit(X, Y, path=tmp_path / "a").n_epochs_ == 4
    assert_same_run(classifier(callbacks=[Checkpoint(tmp_path / "c", every_n_steps=1)]).fit(X, Y), again, X)


def test_a_pass_of_partial_fit_is_resumed_to_its_own_end():
    """An interrupted pass is finished as one pass, whatever max_epochs says, and however often it is interrupted."""
    model = classifier(max_epochs=50, validation_fraction=None)
    model.set_params(callbacks=[Interrupt(1)])
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[Interrupt(2)]).resume_fit(X, Y)
    model.set_params(callbacks=[Interrupt(None)])
    assert model.resume_fit(X, Y).n_epochs_ == 1
    assert model.resume_fit(X, Y).n_epochs_ == 1


def test_a_step_that_was_cut_in_two_is_told(tmp_path):
    """An error inside the optimizer may leave weights between two steps: not stored, and told when it goes on."""

    class Breaks(torch.optim.SGD):
        fails = False

        def step(self, closure=None):
            super().step(closure)
            if Breaks.fails:
                raise RuntimeError("inside the step")

    model = classifier(optimizer=Breaks, lr=0.1).fit(X, Y)
    Breaks.fails = True
    with pytest.raises(RuntimeError):
        model.continue_fit(X, Y)
    Breaks.fails = False
    with pytest.raises(CheckpointError, match="cut in two"):
        model.save_checkpoint(tmp_path / "c")
    with pytest.warns(ContinuationWarning, match="between two steps"):
        model.continue_fit(X, Y)
    model.save_checkpoint(tmp_path / "c")


def test_a_lambda_with_a_set_is_the_same_in_another_process(tmp_path):
    """The order of a set literal differs from process to process; what the code means does not."""
    script = "from sktorch_continue.specification import describe; print(describe(lambda x: x in {'a', 'b', 'c', 'd'}))"
    shown = {
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(shown) == 1


class BreaksOnce(torch.optim.SGD):
    """Fails once inside a step, when the weights have been moved."""

    left = -1

    def step(self, closure=None):
        super().step(closure)
        BreaksOnce.left -= 1
        if BreaksOnce.left == 0:
            raise RuntimeError("inside the step")


def test_a_run_that_was_cut_inside_a_step_goes_on_from_its_checkpoint(tmp_path):
    """Memory that stands between two steps is no place to go on from where the folder has one."""
    params = {"optimizer": BreaksOnce, "lr": 0.1}
    whole = classifier(**params, callbacks=[Checkpoint(tmp_path / "whole", every_n_steps=1)]).fit(X, Y)
    BreaksOnce.left = 5
    model = classifier(**params, callbacks=[Checkpoint(tmp_path / "run", every_n_steps=1)])
    with pytest.raises(RuntimeError):
        model.fit(X, Y)
    assert model.n_steps_ == 4
    assert_same_run(whole, model.resume_fit(X, Y), X)
