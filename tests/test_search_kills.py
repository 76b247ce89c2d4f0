"""A search that is killed, started again: it finds the same, and what it had finished it does not train again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from searching import NET, TRAINED, Counts, X, Y, assert_same_results, assert_same_search, net
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV

from sktorch_continue import (
    Callback,
    CheckpointError,
    ContinuationWarning,
    WarmStartGridSearchCV,
    WarmStartHalvingSearchCV,
)
from sktorch_continue.estimators import stores

SCRIPT = Path(__file__).with_name("search_script.py")
OPTIONS: dict[str, Any] = {"cv": 2, "scoring": "neg_log_loss"}
GRID = {"max_epochs": [1, 2, 4], "lr": [0.02, 0.1]}
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="each start is a fork")


def killed(folder: Path, kind: str, n_jobs: int, kills: int, seed: int) -> dict[str, Any]:
    """Return what was found by killing searches so many times."""
    command = [sys.executable, str(SCRIPT), str(folder), kind, *map(str, (n_jobs, kills, seed))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"\n{kind}, n_jobs={n_jobs}: {found['kills']} kills of {found['searches']} searches")
    return found


@needs_fork
@pytest.mark.parametrize("kind", ["grid", "halving"])
def test_a_killed_search_finds_the_same_and_trains_no_epoch_twice(tmp_path: Path, kind: str) -> None:
    """Two kills; ``make kills`` does 20 of each kind with one and two workers."""
    found = killed(tmp_path, kind, 1, 2, seed=1)
    assert found["problems"] == []
    assert found["kills"] == 2


@needs_fork
@pytest.mark.kills
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("kind", ["grid", "halving"])
def test_a_search_killed_twenty_times(tmp_path: Path, kind: str, n_jobs: int) -> None:
    """The same scores, and no epoch of a finished chain twice, at whatever moments."""
    found = killed(tmp_path, kind, n_jobs, 20, seed=7)
    assert found["problems"] == []
    assert found["kills"] >= 20


# ---- interrupts that can be placed ----------------------------------------------------------------------------------


class Interrupts(Callback):
    """Raises Ctrl-C after an epoch, once."""

    columns = ()
    left: list[int] = []  # noqa: RUF012

    def on_epoch_begin(self, run: Any) -> None:
        if self.left and len(TRAINED) == self.left[0]:
            self.left.pop()
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 3, 8, 11, 13])
@pytest.mark.parametrize("cls", [WarmStartGridSearchCV, WarmStartHalvingSearchCV], ids=["grid", "halving"])
def test_an_interrupt_costs_no_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cls: Any, after: int) -> None:
    """The search that is started again trains what the first one had left."""
    monkeypatch.setattr(stores, "SECONDS_BETWEEN_WRITES", 0.0)
    estimator = net(callbacks=[Counts(), Interrupts()])
    grid = GRID if cls is WarmStartGridSearchCV else {"lr": [0.003, 0.02, 0.1, 0.3]}
    options = {**OPTIONS, **({} if cls is WarmStartGridSearchCV else {"factor": 2, "max_resources": 4})}
    whole = 2 * 2 * 4 if cls is WarmStartGridSearchCV else 2 * (4 * 1 + 2 * 1 + 1 * 2)
    first, second = (cls(estimator, grid, checkpoint_dir=tmp_path, refit=False, **options) for _ in range(2))
    TRAINED.clear()
    Interrupts.left[:] = [after]
    with pytest.raises(KeyboardInterrupt):
        first.fit(X, Y)
    assert len(TRAINED) == after
    second.fit(X, Y)
    assert len(TRAINED) == whole
    assert_same_results(cls(estimator, grid, refit=False, **options).fit(X, Y).cv_results_, second.cv_results_)


# ---- the folder -----------------------------------------------------------------------------------------------------


@pytest.fixture
def counted() -> Any:
    """A network that counts its epochs."""
    TRAINED.clear()
    return net(callbacks=[Counts()])


def in_folder(estimator: Any, folder: Path, **options: Any) -> WarmStartGridSearchCV:
    """Return a fitted search that keeps its scores in a folder; TRAINED has what it trained."""
    TRAINED.clear()
    search = WarmStartGridSearchCV(estimator, GRID, **{"checkpoint_dir": folder, "refit": False, **OPTIONS, **options})
    return search.fit(X, Y)


def test_a_finished_search_is_looked_up(tmp_path: Path, counted: Any) -> None:
    """Started again it trains the best candidate alone."""
    first = in_folder(counted, tmp_path, refit=True)
    again = in_folder(counted, tmp_path, refit=True)
    assert len(TRAINED) == again.best_params_["max_epochs"]
    assert_same_search(first, again, X)
    assert again.reuse_["epochs_trained"].sum() == 0
    assert (again.reuse_["epochs_asked"] == first.reuse_["epochs_asked"]).all()
    assert (again.cv_results_["mean_fit_time"] == first.cv_results_["mean_fit_time"]).all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_folder_changes_no_result(tmp_path: Path, n_jobs: int) -> None:
    """Every column is that of the cold search, the first time and the second."""
    cold = GridSearchCV(NET, GRID, return_train_score=True, **OPTIONS).fit(X, Y)
    for _ in range(2):
        warm = in_folder(NET, tmp_path, refit=True, return_train_score=True, n_jobs=n_jobs)
        assert_same_search(cold, warm, X)


def test_a_wider_grid_trains_what_is_new(tmp_path: Path, counted: Any) -> None:
    """Scores that are there are taken for every search that asks for them."""
    in_folder(counted, tmp_path)
    TRAINED.clear()
    grid = {**GRID, "lr": [0.02, 0.1, 0.3]}
    WarmStartGridSearchCV(counted, grid, checkpoint_dir=tmp_path, refit=False, **OPTIONS).fit(X, Y)
    assert len(TRAINED) == 2 * 4


@pytest.mark.parametrize("keep_models", [False, True])
@pytest.mark.parametrize("cls", [WarmStartGridSearchCV, WarmStartHalvingSearchCV], ids=["grid", "halving"])
def test_runs_leave_the_folder_with_the_search(tmp_path: Path, cls: Any, keep_models: bool) -> None:
    """Unless models are to be kept; scores stay."""
    grid = GRID if cls is WarmStartGridSearchCV else {"lr": [0.02, 0.1]}
    cls(NET, grid, checkpoint_dir=tmp_path, keep_models=keep_models, **OPTIONS).fit(X, Y)
    assert bool(list(tmp_path.rglob("module.safetensors"))) == keep_models
    assert list((tmp_path / "scores").iterdir())


@pytest.mark.parametrize("after", [3, 5, 13])
@pytest.mark.parametrize("cls", [WarmStartGridSearchCV, WarmStartHalvingSearchCV], ids=["grid", "halving"])
def test_runs_of_a_killed_search_leave_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cls: Any, after: int
) -> None:
    """Also those of candidates whose scores are looked up, and that go no further."""
    monkeypatch.setattr(stores, "SECONDS_BETWEEN_WRITES", 0.0)
    halving = {"factor": 2, "max_resources": 4, "refit": False, **OPTIONS}
    space, options = ({"lr": [0.003, 0.02, 0.1, 0.3]}, halving) if cls is WarmStartHalvingSearchCV else (GRID, OPTIONS)
    search = cls(net(callbacks=[Counts(), Interrupts()]), space, checkpoint_dir=tmp_path, **options)
    TRAINED.clear()
    Interrupts.left[:] = [after]
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert list(tmp_path.rglob("module.safetensors"))
    search.fit(X, Y)
    assert not list(tmp_path.rglob("module.safetensors"))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 99}',
        '{"format": 1, "asked": 1, "trained": 1, "seconds": 0.0, "result": {}}',
        '{"format": 1, "asked": 1, "trained": 1, "seconds": 0.0, "result": {"test_scores": {"scores": 1}}}',
        b"\xff\xfe\x00",
    ],
    ids=str,
)
def test_damaged_scores_are_told_and_found_out_again(tmp_path: Path, counted: Any, content: str | bytes) -> None:
    """One candidate on one split is trained again; the others are looked up."""
    first = in_folder(counted, tmp_path)
    file = sorted((tmp_path / "scores").iterdir())[0]
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.warns(ContinuationWarning, match="found out again"):
        again = in_folder(counted, tmp_path)
    assert 1 <= len(TRAINED) <= 4
    assert_same_results(first.cv_results_, again.cv_results_)
    in_folder(counted, tmp_path)  # without a warning: it is whole again
    assert not TRAINED


@pytest.mark.parametrize("keep", ["half", "none"])
def test_a_damaged_checkpoint_is_told_and_its_epochs_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    """An unfinished chain then begins anew, and ends the same."""
    monkeypatch.setattr(stores, "SECONDS_BETWEEN_WRITES", 0.0)
    estimator = net(callbacks=[Counts(), Interrupts()])
    TRAINED.clear()
    Interrupts.left[:] = [3]
    with pytest.raises(KeyboardInterrupt):
        in_folder(estimator, tmp_path)
    (file,) = tmp_path.rglob("module.safetensors")
    file.write_bytes(file.read_bytes()[: 40 if keep == "half" else 0])
    with pytest.warns(ContinuationWarning, match="trained again"):
        search = in_folder(estimator, tmp_path)
    assert len(TRAINED) == 2 * 2 * 4
    assert_same_results(GridSearchCV(NET, GRID, refit=False, **OPTIONS).fit(X, Y).cv_results_, search.cv_results_)


@pytest.mark.parametrize(
    ("params", "options", "rows", "target"),
    [
        pytest.param({}, {}, X + 1, Y, id="other rows"),
        pytest.param({}, {}, X, (Y + 1) % 3, id="another target"),
        pytest.param({"batch_size": 12}, {}, X, Y, id="another parameter"),
        pytest.param({"random_state": 1}, {}, X, Y, id="another seed"),
        pytest.param({}, {"cv": 3}, X, Y, id="other splits"),
    ],
)
def test_another_search_in_the_same_folder(
    tmp_path: Path, counted: Any, params: Any, options: Any, rows: np.ndarray, target: np.ndarray
) -> None:
    """It takes nothing from the one before, and both can be started again."""
    in_folder(counted, tmp_path)
    TRAINED.clear()
    other = WarmStartGridSearchCV(
        counted.set_params(**params), GRID, **{"checkpoint_dir": tmp_path, **OPTIONS, **options}
    ).fit(rows, target)
    splits = options.get("cv", 2)
    assert len(TRAINED) == splits * 2 * 4 + other.best_params_["max_epochs"]
    cold = GridSearchCV(counted, GRID, **{**OPTIONS, **options}).fit(rows, target)
    assert_same_search(cold, other, rows)
    in_folder(net(callbacks=[Counts()]), tmp_path)
    assert not TRAINED


@pytest.mark.parametrize("options", [{"scoring": "accuracy"}, {"return_train_score": True}], ids=str)
def test_another_score_is_found_out(tmp_path: Path, counted: Any, options: dict[str, Any]) -> None:
    """What was not scored is not looked up."""
    in_folder(counted, tmp_path)
    again = in_folder(counted, tmp_path, **options)
    cold = GridSearchCV(counted, GRID, refit=False, **{**OPTIONS, **options}).fit(X, Y)
    assert_same_results(cold.cv_results_, again.cv_results_)


SCORERS = """
def score(y_true, y_pred):
    return float((y_true == y_pred).mean())

def direct(estimator, X, y):
    return float((y == estimator.predict(X)).mean())
"""


@pytest.mark.parametrize("wrapped", [True, False], ids=["make_scorer", "callable"])
def test_an_edited_score_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Any, wrapped: bool
) -> None:
    """Scores are not looked up under the name of a function that does something else now."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def scorer(code: str) -> Any:
        (tmp_path / "edited_score.py").write_text(code)
        sys.modules.pop("edited_score", None)
        import edited_score

        return make_scorer(edited_score.score) if wrapped else edited_score.direct

    first = in_folder(counted, tmp_path / "kept", scoring=scorer(SCORERS))
    again = in_folder(counted, tmp_path / "kept", scoring=scorer(SCORERS.replace("==", "!=")))
    sys.modules.pop("edited_score")
    summed = first.cv_results_["split0_test_score"] + again.cv_results_["split0_test_score"]
    assert np.allclose(summed, 1.0)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_failures_are_tried_again(tmp_path: Path, counted: Any) -> None:
    """The error score of a failed fit is nothing to keep."""
    grid = {"max_epochs": [2], "batch_size": [16, 0]}
    for _ in range(2):
        search = WarmStartGridSearchCV(counted, grid, checkpoint_dir=tmp_path, refit=False, **OPTIONS)
        with pytest.warns(FitFailedWarning, match="fits failed"):
            search.fit(X, Y)
        assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path, counted: Any) -> None:
    """Before anything is trained."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError):
        in_folder(counted, tmp_path / "file" / "kept")
    assert not TRAINED
