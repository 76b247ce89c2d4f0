"""A search that knows nothing of continuing, in ``hot_start()``: the same bits, and no epoch trained twice."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from searching import (
    CASES,
    NET,
    ORDERS,
    PIPELINE,
    SEARCHES,
    TRAINED,
    VOTING,
    WEIGHTS,
    Counts,
    FailsAt,
    Sleeps,
    X,
    Y,
    assert_same_models,
    assert_same_search,
    measure,
    net,
    options_of,
)
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_score

from sktorch_continue import Callback, ContinuationWarning, EarlyStopping, WarmStartGridSearchCV, hot_start
from sktorch_continue.estimators.stores import store_for
from sktorch_continue.testing import assert_same_run, first_difference, run_state, through_pickle

COUNTED = net(callbacks=[Counts()])
OPTIONS: dict[str, Any] = {"cv": 2, "scoring": "neg_log_loss"}


def counted(**params: Any) -> Any:
    """Return a network that counts its epochs, with some other parameters."""
    return net(callbacks=[Counts()], **params)


def trained_by(estimator: Any, *data: Any, **fit: Any) -> int:
    """Fit an estimator and return how many epochs that trained."""
    TRAINED.clear()
    estimator.fit(*data, **fit)
    return len(TRAINED)


# ---- the same, with less --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("bare", "grid"),
        ("bare", "halving"),
        ("pipeline", "grid"),
        ("voting", "randomized"),
        ("early stopping", "grid"),
        ("schedule by step", "halving"),
        ("weights", "grid"),
    ],
)
def test_a_search_of_scikit_learn_finds_the_same(case: str, kind: str) -> None:
    """Unchanged classes of scikit-learn, every column but times, and the refitted model."""
    chosen = CASES[case]
    make, cls, _, _ = SEARCHES[kind]
    search = make(cls, chosen, ORDERS["mixed"], **options_of(chosen))
    with hot_start():
        search.fit(chosen.X, chosen.y, **chosen.fit)
    assert_same_search(measure(kind, case, "mixed"), search, chosen.X)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_grid_trains_its_largest_budget_once_per_split(n_jobs: int) -> None:
    """From small to large, in this process and in workers; two that ask for the same at once disturb nobody."""
    grid = {"max_epochs": [1, 1, 2, 4]}
    cold = GridSearchCV(NET, grid, **OPTIONS).fit(X, Y)
    TRAINED.clear()
    with hot_start():
        search = GridSearchCV(COUNTED if n_jobs == 1 else NET, grid, n_jobs=n_jobs, **OPTIONS).fit(X, Y)
    if n_jobs == 1:
        assert len(TRAINED) == 2 * 4 + search.best_params_["max_epochs"]
        assert search.best_score_ == cold.best_score_
    else:
        assert_same_search(cold, search, X)


def test_halving_of_scikit_learn_trains_what_it_adds() -> None:
    """Survivors go on from rung to rung."""
    options = {"resource": "max_epochs", "max_resources": 4, "min_resources": 1, "factor": 2, **OPTIONS}
    search = HalvingGridSearchCV(COUNTED, {"lr": [0.003, 0.02, 0.1, 0.3]}, **options)
    TRAINED.clear()
    with hot_start():
        search.fit(X, Y)
    assert len(TRAINED) == 2 * (4 * 1 + 2 * 1 + 1 * 2) + 4


def test_a_loop_of_ones_own() -> None:
    """Each round trains what it adds, and is the fit from scratch, its record included."""
    with hot_start():
        runs = []
        for n_epochs, added in ((1, 1), (3, 2), (4, 1)):
            runs.append(net(max_epochs=n_epochs, callbacks=[Counts(), EarlyStopping("train_loss")]))
            assert trained_by(runs[-1], X, Y) == added
    for found in runs:
        alone = clone(found).fit(X, Y)
        assert_same_run(alone, found, X)
        records = [[{**call, "started": ""} for call in run.history_.calls] for run in (alone, found)]
        assert first_difference(*records) is None


def test_cross_val_score() -> None:
    """Scores of a longer training by folds that were trained before."""
    cold = cross_val_score(clone(PIPELINE).set_params(net__max_epochs=4), X, Y, **OPTIONS)
    short, long = (clone(PIPELINE).set_params(net__max_epochs=n, net__callbacks=[Counts()]) for n in (2, 4))
    with hot_start():
        cross_val_score(short, X, Y, **OPTIONS)
        TRAINED.clear()
        warm = cross_val_score(long, X, Y, **OPTIONS)
    assert first_difference(cold, warm) is None
    assert len(TRAINED) == 2 * 2


def test_a_fitted_estimator_is_fitted_anew() -> None:
    """A second ``fit`` of the same estimator finds its own first one."""
    found = clone(COUNTED)
    with hot_start():
        assert trained_by(found, X, Y) == 2
        assert trained_by(found.set_params(max_epochs=3), X, Y) == 1
        assert trained_by(found.set_params(max_epochs=2), X, Y) == 2  # the furthest is kept; a shorter one starts
    assert_same_run(clone(found).fit(X, Y), found, X)


def test_our_own_search_inside_is_what_it_is_outside() -> None:
    """It keeps its runs to itself, and fits the best from the start."""
    grid = {"max_epochs": [1, 4]}
    with hot_start():
        clone(COUNTED).set_params(max_epochs=1).fit(X, Y)  # the best one could begin here
        search = WarmStartGridSearchCV(COUNTED, grid, **OPTIONS)
        count = trained_by(search, X, Y)
    assert count == 2 * 4 + search.best_params_["max_epochs"]
    assert_same_search(GridSearchCV(COUNTED, grid, **OPTIONS).fit(X, Y), search, X)


def test_one_inside_the_other() -> None:
    """The inner one has its own runs; after it the outer one goes on."""
    first, second, third = (counted(max_epochs=n) for n in (1, 2, 3))
    with hot_start():
        assert trained_by(first, X, Y) == 1
        with hot_start():
            assert trained_by(second, X, Y) == 2
        assert trained_by(third, X, Y) == 2
    assert trained_by(clone(first), X, Y) == 1


# ---- what does not fit is trained from scratch ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "data", "fit"),
    [
        pytest.param({}, (X + 1e-6, Y), {}, id="rows"),
        pytest.param({}, (X[::-1].copy(), Y[::-1].copy()), {}, id="order"),
        pytest.param({}, (X, (Y + 1) % 3), {}, id="target"),
        pytest.param({}, (X, Y), {"sample_weight": WEIGHTS}, id="weights"),
        pytest.param({}, (X, Y), {"X_val": X[:9], "y_val": Y[:9]}, id="validation rows"),
        pytest.param({"lr": 0.04}, (X, Y), {}, id="lr"),
        pytest.param({"batch_size": 12}, (X, Y), {}, id="batch size"),
        pytest.param({"shuffle": False}, (X, Y), {}, id="shuffle"),
        pytest.param({"optimizer": "SGD"}, (X, Y), {}, id="optimizer"),
        pytest.param({"criterion__label_smoothing": 0.1}, (X, Y), {}, id="criterion"),
        pytest.param({"class_weight": "balanced"}, (X, Y), {}, id="class weight"),
        pytest.param({"validation_fraction": 0.2}, (X, Y), {}, id="validation"),
        pytest.param({"lr_scheduler": "StepLR", "lr_scheduler__step_size": 1}, (X, Y), {}, id="schedule"),
        pytest.param({"random_state": 1}, (X, Y), {}, id="seed"),
        pytest.param({"random_state": np.random.RandomState(0)}, (X, Y), {}, id="RandomState"),
        pytest.param({"callbacks": [Counts(), EarlyStopping("train_loss")]}, (X, Y), {}, id="callback"),
        pytest.param({"callbacks": [Counts(), Sleeps(0.0)]}, (X, Y), {}, id="another callback"),
    ],
)
def test_another_training_is_trained_from_scratch(change: Any, data: Any, fit: Any) -> None:
    """Other data, parameters, seed or callbacks; in silence."""
    first, second = clone(COUNTED), clone(COUNTED).set_params(max_epochs=3, **change)
    alone = clone(second).fit(*data, **fit)
    with hot_start(), warnings.catch_warnings():
        warnings.simplefilter("error")
        first.fit(X, Y)
        assert trained_by(second, *data, **fit) == 3
    assert_same_run(alone, second, X)


def test_callbacks_with_other_arguments_are_others() -> None:
    """As are those with another name."""
    with hot_start():
        net(callbacks=[Counts(), EarlyStopping("train_loss", patience=3)]).fit(X, Y)
        for callbacks in (
            [EarlyStopping("train_loss", patience=4)],
            [("stop", EarlyStopping("train_loss", patience=3))],
        ):
            assert trained_by(net(callbacks=[Counts(), *callbacks], max_epochs=3), X, Y) == 3


@pytest.mark.parametrize(
    "params",
    [
        {"random_state": None},
        {"lr_scheduler": "CosineAnnealingLR"},
        {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.1, "lr_scheduler_interval": "step"},
    ],
    ids=str,
)
def test_what_cannot_go_on_is_trained_from_scratch(params: dict[str, Any]) -> None:
    """No seed, or a horizon filled in from ``max_epochs``; in silence."""
    with hot_start():
        assert trained_by(counted(max_epochs=2, **params), X, Y) == 2
        assert trained_by(counted(max_epochs=3, **params), X, Y) == 3


def test_the_same_horizon_is_the_same_training() -> None:
    """A filled-in schedule for as many epochs is found whole."""
    with hot_start():
        first = counted(lr_scheduler="CosineAnnealingLR").fit(X, Y)
        second = clone(first)
        assert trained_by(second, X, Y) == 0
    assert_same_run(first, second, X)


def test_a_seed_that_moves_moves_as_without() -> None:
    """Two fits with one RandomState are two trainings, and what is drawn after them is the same."""
    cold, warm = np.random.RandomState(0), np.random.RandomState(0)
    for state in (cold, warm):
        TRAINED.clear()
        with hot_start():
            runs = [counted(random_state=state).fit(X, Y) for _ in range(2)]
        assert len(TRAINED) == 4
    assert first_difference(cold.get_state(), warm.get_state()) is None
    assert first_difference(*(run_state(run)["module"] for run in runs)) is not None
    with hot_start():
        net(random_state=np.random.RandomState(0), callbacks=[Counts()]).fit(X, Y)
        again = np.random.RandomState(0)
        assert trained_by(counted(max_epochs=3, random_state=again), X, Y) == 1
    alone = np.random.RandomState(0)
    net(random_state=alone).fit(X, Y)
    assert first_difference(alone.get_state(), again.get_state()) is None


ORIGINAL = """
import torch
from torch import nn

SCALE = 1.0

def halved(x):
    return x * 0.5

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
    def forward(self, x):
        return self.layer(x)

class Net(nn.Module):
    factor = 1.0
    def __init__(self, n_features_in, n_outputs, p=0.1):
        super().__init__()
        self.block = Block()
        self.drop = nn.Dropout(p)
    @staticmethod
    def twist(x):
        return x + 1
    @property
    def shift(self):
        return 1.0
    @torch.autocast("cpu", enabled=False)
    def decorated(self, x):
        return x * 3
    def forward(self, x):
        return self.decorated(self.drop(self.block(halved(self.twist(x))))) * self.factor + self.shift * SCALE
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("self.factor + self.shift", "self.factor - self.shift", id="forward"),
        pytest.param("p=0.1", "p=0.5", id="default argument"),
        pytest.param("return x + 1", "return x + 2", id="static method"),
        pytest.param("return 1.0", "return 2.0", id="property"),
        pytest.param("return x * 3", "return x * 4", id="decorated method"),
        pytest.param("factor = 1.0", "factor = 2.0", id="class attribute"),
        pytest.param("return self.layer(x)", "return -self.layer(x)", id="class it uses"),
        pytest.param("return x * 0.5", "return x * 0.25", id="function it calls"),
        pytest.param("SCALE = 1.0", "SCALE = 2.0", id="constant it reads"),
    ],
)
def test_edited_code_is_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """A module class of the same name whose code was edited is trained from scratch; the same code goes on."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def edited(code: str) -> Any:
        (tmp_path / "edited_module.py").write_text(code)
        sys.modules.pop("edited_module", None)
        import edited_module

        return edited_module.Net

    assert ORIGINAL.count(old) == 1
    with hot_start(tmp_path / "runs"):
        assert trained_by(counted(module=edited(ORIGINAL)), X, Y) == 2
        assert trained_by(counted(module=edited(ORIGINAL), max_epochs=3), X, Y) == 1
        assert trained_by(counted(module=edited(ORIGINAL.replace(old, new)), max_epochs=4), X, Y) == 4
    sys.modules.pop("edited_module")


# ---- nothing stays --------------------------------------------------------------------------------------------------


def test_the_temporary_folder_goes_with_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an error ends it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with hot_start():
        clone(NET).fit(X, Y)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    with pytest.raises(RuntimeError, match="this rate fails"), hot_start():
        net(callbacks=[FailsAt(1, 0.05)]).fit(X, Y)
    assert not list(tmp_path.iterdir())


def everyone_inside(estimator: Any) -> list[Any]:
    """Return an estimator and all that its parameters and fitted names hold."""
    found = [estimator]
    for value in vars(estimator).values():
        values = value if isinstance(value, list | tuple) else [value]
        values = [entry for item in values for entry in (item if isinstance(item, tuple) else (item,))]
        found += [inner for item in values if hasattr(item, "get_params") for inner in everyone_inside(item)]
    return found


@pytest.mark.parametrize("estimator", [NET, PIPELINE, VOTING], ids=lambda value: type(value).__name__)
def test_what_was_fitted_has_nothing_left_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimator: Any
) -> None:
    """After the context, nothing in a fitted search finds or stores runs, nor does its pickle or its clone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    budget = next(name for name in estimator.get_params() if name.endswith("max_epochs"))
    with hot_start():
        search = GridSearchCV(estimator, {budget: [1, 2]}, **OPTIONS).fit(X, Y)
    assert [inner for inner in everyone_inside(search.best_estimator_) if store_for(inner) is not None] == []
    for again in (search.best_estimator_, clone(search.best_estimator_), through_pickle(search.best_estimator_)):
        again.fit(X, Y)
        assert_same_models(again, clone(search.best_estimator_).fit(X, Y), X)
    assert not list(tmp_path.iterdir())


def test_a_clone_made_inside_is_fitted_outside_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither finds runs nor leaves any behind, in a folder that is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with hot_start():
        clone(COUNTED).fit(X, Y)
        made = clone(COUNTED).set_params(max_epochs=3)
    assert trained_by(made, X, Y) == 3
    assert not list(tmp_path.iterdir())
    assert pickle.loads(pickle.dumps(made)).n_epochs_ == 3


def test_a_clone_made_inside_leaves_a_folder_of_ones_own_alone(tmp_path: Path) -> None:
    """A context that is over is over for its clones and their pickles as well, though its folder stays."""
    with hot_start(tmp_path):
        clone(counted(max_epochs=2)).fit(X, Y)
        made = clone(counted(max_epochs=3))
    stored = sorted(tmp_path.rglob("*"))
    assert trained_by(pickle.loads(pickle.dumps(made)), X, Y) == 3
    assert trained_by(made, X, Y) == 3
    assert sorted(tmp_path.rglob("*")) == stored


class StopsAfterTwo(Callback):
    """Ends a run."""

    def on_epoch_end(self, run: Any) -> None:
        if run.n_epochs == 2:
            run.stop("enough")


def test_a_finished_run_is_that_of_the_fit_that_found_it() -> None:
    """A run that a callback ended trains no further in a longer fit, and has the target and parameters of that one."""
    cold = net(max_epochs=5, callbacks=[StopsAfterTwo()]).fit(X, Y)
    with hot_start():
        net(max_epochs=3, callbacks=[StopsAfterTwo()]).fit(X, Y)
        found = net(max_epochs=5, callbacks=[StopsAfterTwo()]).fit(X, Y)
    states = [estimator._run.state_dict() for estimator in (cold, found)]
    for state in states:
        del state["id"]
        for record in (*state["history"]["calls"], *state["history"]["rows"]):
            record.pop("started", None)
            record.pop("duration", None)
    assert first_difference(*states) is None


@pytest.mark.parametrize(
    ("change", "other", "back"),
    [(torch.set_num_threads, 2, 1), (torch.set_default_dtype, torch.float64, torch.float32)],
    ids=["threads", "dtype"],
)
def test_what_decides_bits_in_the_process_makes_another_training(change: Any, other: Any, back: Any) -> None:
    """A run of another number of threads, or of another default dtype, is not gone on with."""
    with hot_start():
        trained_by(counted(max_epochs=1), X, Y)
        change(other)
        try:
            assert trained_by(counted(max_epochs=2), X, Y) == 2
        finally:
            change(back)


def test_runs_in_a_folder_of_ones_own_stay(tmp_path: Path) -> None:
    """A later context with the same folder finds them, one with another does not."""
    for n_epochs, folder, trained in ((2, "one", 2), (3, "one", 1), (3, "two", 3), (3, "one", 0)):
        with hot_start(tmp_path / folder):
            assert trained_by(counted(max_epochs=n_epochs), X, Y) == trained


SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
from searching import TRAINED, Counts, X, Y, net
from sktorch_continue import hot_start
with hot_start(sys.argv[1]):
    found = net(callbacks=[Counts()], max_epochs=5).fit(X, Y)
print(len(TRAINED), found.n_epochs_)
"""


def test_another_process_goes_on(tmp_path: Path) -> None:
    """What was trained here is found there, and what was trained there is found here."""
    with hot_start(tmp_path):
        counted(max_epochs=2).fit(X, Y)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path)],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
            check=False,
        )
        assert done.stdout.split() == ["3", "5"], done.stderr
        found = counted(max_epochs=5)
        assert trained_by(found, X, Y) == 0
    assert_same_run(clone(found).fit(X, Y), found, X)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_run_is_told_and_trained_again(tmp_path: Path, damage: str) -> None:
    """Its epochs are lost, nothing else."""
    with hot_start(tmp_path):
        counted().fit(X, Y)
    (file,) = tmp_path.rglob("module.safetensors")
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-9] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    found = counted(max_epochs=3)
    with hot_start(tmp_path), pytest.warns(ContinuationWarning, match="trained again"):
        assert trained_by(found, X, Y) == 3
    assert_same_run(clone(found).fit(X, Y), found, X)


def test_a_fit_that_fails_raises_as_ever_and_leaves_no_run() -> None:
    """The next one with the same parameters starts."""

    class Breaks(Callback):
        def on_epoch_end(self, run: Any) -> None:
            if run.n_epochs == 2:
                raise RuntimeError("breaks")

    with hot_start():
        for _ in range(2):
            TRAINED.clear()
            with pytest.raises(RuntimeError, match="breaks"):
                net(callbacks=[Counts(), Breaks()], max_epochs=4).fit(X, Y)
            assert len(TRAINED) == 2


def test_parameters_that_cannot_be_are_refused_as_ever() -> None:
    """With the message of ``fit``."""
    with hot_start(), pytest.raises(ValueError, match="max_epochs"):
        net(max_epochs=0).fit(X, Y)
    with hot_start(), pytest.raises(ValueError, match="names no Module"):
        net(criterion="Nothing").fit(X, Y)
