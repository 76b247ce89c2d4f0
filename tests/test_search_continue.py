"""A finished search goes on: with larger budgets or more candidates it ends as if it had them from the start."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from scipy.stats import loguniform
from searching import (
    NET,
    PIPELINE,
    TRAINED,
    WEIGHTS,
    Counts,
    X,
    Y,
    assert_same_models,
    assert_same_results,
    assert_same_search,
    net,
)
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold

from sktorch_continue import (
    ContinuationError,
    HyperbandSearchCV,
    WarmStartGridSearchCV,
    WarmStartHalvingSearchCV,
    WarmStartRandomizedSearchCV,
)
from sktorch_continue.testing import first_difference, through_pickle

COUNTED = net(callbacks=[Counts()])
OPTIONS: dict[str, Any] = {"cv": 2, "scoring": "neg_log_loss"}
FIRST = {"max_epochs": [2, 1], "lr": [0.02, 0.1]}
LARGER = {"max_epochs": [4, 1], "lr": [0.02, 0.1, 0.3]}


def through_joblib(search: Any, folder: Path) -> Any:
    """Return what is loaded after it was stored."""
    joblib.dump(search, folder / "search.joblib")
    return joblib.load(folder / "search.joblib")


def by_candidate(search: Any) -> dict[str, Any]:
    """Return the columns of ``cv_results_``, rows in an order of their own."""
    order = sorted(range(len(search.cv_results_["params"])), key=lambda row: str(search.cv_results_["params"][row]))
    return {
        name: [column[row] for row in order] if isinstance(column, list) else column[order]
        for name, column in search.cv_results_.items()
    }


@pytest.mark.parametrize(("n_jobs", "way"), [(1, "memory"), (1, "pickle"), (2, "pickle"), (1, "joblib")])
def test_a_search_goes_on_as_if_it_had_all_candidates(tmp_path: Path, n_jobs: int, way: str) -> None:
    """Every column but the order of rows, the best candidate and the refitted model; in memory and from a file."""
    search = WarmStartGridSearchCV(NET, FIRST, keep_models=True, n_jobs=n_jobs, **OPTIONS).fit(X, Y)
    search = {"memory": lambda s: s, "pickle": through_pickle, "joblib": lambda s: through_joblib(s, tmp_path)}[way](
        search
    )
    search.continue_fit(X, Y, param_grid=LARGER)
    cold = GridSearchCV(NET, [FIRST, LARGER], **OPTIONS).fit(X, Y)
    places = [cold.cv_results_["params"].index(params) for params in search.cv_results_["params"]]
    kept = {n: [c[i] for i in places] if isinstance(c, list) else c[places] for n, c in cold.cv_results_.items()}
    ranks = ("rank_test_score",)  # the cold search has the candidates of both grids twice
    assert_same_results(
        {n: c for n, c in kept.items() if n not in ranks},
        {n: c for n, c in search.cv_results_.items() if n not in ranks},
    )
    assert search.best_params_ == cold.best_params_
    assert search.best_score_ == cold.best_score_
    assert_same_models(cold.best_estimator_, search.best_estimator_, X)


def test_rows_of_before_come_first_and_none_comes_twice() -> None:
    """Then the new candidates, in their order; ranks are those of all."""
    search = WarmStartGridSearchCV(NET, FIRST, keep_models=True, **OPTIONS).fit(X, Y)
    before = list(search.cv_results_["params"])
    search.continue_fit(X, Y, param_grid=LARGER)
    new = [{"lr": lr, "max_epochs": n} for lr in (0.02, 0.1, 0.3) for n in (4, 1)]
    expected = [*before, *(params for params in new if params not in before)]
    assert search.cv_results_["params"] == expected
    single = [{name: [value] for name, value in params.items()} for params in expected]
    assert_same_search(GridSearchCV(NET, single, **OPTIONS).fit(X, Y), search, X)


def test_only_what_is_missing_is_trained() -> None:
    """Two rates go on from 2 to 4 epochs, the third starts; the best is fitted on all rows."""
    search = WarmStartGridSearchCV(COUNTED, FIRST, keep_models=True, **OPTIONS).fit(X, Y)
    TRAINED.clear()
    search.continue_fit(X, Y, param_grid=LARGER)
    missing = 2 * (2 + 2 + 4)
    assert len(TRAINED) == missing + search.best_params_["max_epochs"]
    assert search.reuse_["epochs_trained"].sum() == missing
    asked = [[params["max_epochs"]] * 2 for params in search.cv_results_["params"]]
    assert search.reuse_["epochs_asked"].tolist() == asked


def test_going_on_several_times_is_going_on_once() -> None:
    """1, 2, 3 and 4 epochs one after the other train 4."""
    search = WarmStartGridSearchCV(COUNTED, {"max_epochs": [1]}, keep_models=True, refit=False, **OPTIONS)
    TRAINED.clear()
    search.fit(X, Y)
    for n_epochs in (2, 3, 4):
        search.continue_fit(X, Y, param_grid={"max_epochs": [n_epochs]})
    assert len(TRAINED) == 2 * 4
    cold = GridSearchCV(COUNTED, {"max_epochs": [1, 2, 3, 4]}, refit=False, **OPTIONS).fit(X, Y)
    assert_same_results(cold.cv_results_, search.cv_results_)


def test_without_a_grid_it_takes_the_parameters_of_the_search() -> None:
    """As a ``fit`` would, with the rows of before first."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [1, 2]}, keep_models=True, **OPTIONS).fit(X, Y)
    search.set_params(param_grid={"max_epochs": [1, 2, 4]}).continue_fit(X, Y)
    assert_same_search(GridSearchCV(NET, {"max_epochs": [1, 2, 4]}, **OPTIONS).fit(X, Y), search, X)
    drawn = {"max_epochs": [1, 2, 3, 4], "lr": loguniform(1e-3, 1e-1)}
    search = WarmStartRandomizedSearchCV(
        COUNTED, drawn, n_iter=2, keep_models=True, random_state=0, refit=False, **OPTIONS
    )
    before = list(search.fit(X, Y).cv_results_["params"])
    search.set_params(n_iter=4).continue_fit(X, Y)
    assert search.cv_results_["params"][:2] == before
    assert len(search.cv_results_["params"]) == 4
    assert (search.reuse_["epochs_trained"][:2] == 0).all()


def test_a_pipeline_goes_on_too() -> None:
    """With the transformers of every split fitted as ever."""
    grid = {"net__max_epochs": [1, 2], "pca__n_components": [2, 3]}
    search = WarmStartGridSearchCV(PIPELINE, grid, keep_models=True, **OPTIONS).fit(X, Y)
    search.set_params(param_grid={**grid, "net__max_epochs": [1, 2, 4]}).continue_fit(X, Y)
    cold = GridSearchCV(PIPELINE, search.param_grid, **OPTIONS).fit(X, Y)
    left, right = by_candidate(cold), by_candidate(search)
    assert_same_results(left, right)
    assert_same_models(cold.best_estimator_, search.best_estimator_, X)


def test_splits_are_drawn_once_for_good() -> None:
    """A splitter without a seed gives a search that goes on the splits it had, through pickle as well."""
    search = WarmStartGridSearchCV(
        COUNTED, {"max_epochs": [2]}, keep_models=True, refit=False, cv=KFold(2, shuffle=True), scoring="neg_log_loss"
    ).fit(X, Y)
    before = dict(search.cv_results_)
    search = through_pickle(search)
    TRAINED.clear()
    search.continue_fit(X, Y, param_grid={"max_epochs": [3]})
    assert len(TRAINED) == 2 * 1
    assert first_difference(before["split0_test_score"][0], search.cv_results_["split0_test_score"][0]) is None


def test_rungs_share_splits_without_a_seed() -> None:
    """A splitter without a seed gives every rung the same splits: scores of equal trainings are equal."""
    search = WarmStartHalvingSearchCV(
        NET,
        {"lr": [0.02, 0.1, 0.3]},
        cv=KFold(2, shuffle=True),
        scoring="neg_log_loss",
        min_resources=2,
        max_resources=2,
        factor=2,
        aggressive_elimination=True,
        continue_on=None,
    ).fit(X, Y)
    rows = {}
    for params, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        assert rows.setdefault(str(params), score) == score


@pytest.mark.parametrize(
    ("cls", "more"),
    [
        (WarmStartHalvingSearchCV, {"min_resources": 1}),
        (WarmStartHalvingSearchCV, {"min_resources": "exhaust"}),
        (WarmStartHalvingSearchCV, {"n_candidates": 3, "min_resources": 1}),
        (HyperbandSearchCV, {}),
    ],
    ids=["halving", "exhaust", "drawn", "hyperband"],
)
def test_rungs_go_on_with_more_epochs(cls: Any, more: dict[str, Any]) -> None:
    """The result is that of a search with these parameters; what was evaluated is not again."""
    space = {"lr": [0.003, 0.02, 0.1, 0.3]}
    options = {"factor": 2, "random_state": 0, **OPTIONS, **more}
    search = cls(COUNTED, space, max_resources=4, keep_models=True, **options).fit(X, Y)
    TRAINED.clear()
    search.set_params(max_resources=8).continue_fit(X, Y)
    count = len(TRAINED) - search.best_params_["max_epochs"]
    assert count == search.reuse_["epochs_trained"].sum()
    cold = cls(COUNTED, space, max_resources=8, continue_on=None, **options).fit(X, Y)
    assert_same_search(cold, search, X)
    again = cls(COUNTED, space, max_resources=8, **options).fit(X, Y)
    assert count < again.reuse_["epochs_trained"].sum()


def test_rungs_go_on_with_more_epochs_of_the_estimator() -> None:
    """``max_resources="auto"`` follows the estimator; it is the same search with more of them."""
    search = WarmStartHalvingSearchCV(
        net(max_epochs=2), {"lr": [0.02, 0.1]}, factor=2, min_resources=1, keep_models=True, cv=2
    ).fit(X, Y)
    search.set_params(estimator__max_epochs=4, min_resources=2).continue_fit(X, Y)
    assert search.n_resources_ == [2, 4]
    assert search.reuse_["epochs_trained"].sum() < search.reuse_["epochs_asked"].sum()
    cold = WarmStartHalvingSearchCV(
        net(max_epochs=4), {"lr": [0.02, 0.1]}, factor=2, min_resources=2, cv=2, continue_on=None
    )
    assert_same_search(cold.fit(X, Y), search, X)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "target", "fit"),
    [
        pytest.param(X + 1, Y, {}, id="other rows"),
        pytest.param(X[::-1].copy(), Y[::-1].copy(), {}, id="another order"),
        pytest.param(X, (Y + 1) % 3, {}, id="another target"),
        pytest.param(X, Y, {"sample_weight": WEIGHTS}, id="weights"),
        pytest.param(X[:-1], Y[:-1], {}, id="fewer rows"),
    ],
)
@pytest.mark.parametrize(
    "search",
    [
        WarmStartGridSearchCV(NET, {"max_epochs": [1, 2]}, keep_models=True, **OPTIONS),
        WarmStartHalvingSearchCV(NET, {"lr": [0.02, 0.1]}, factor=2, keep_models=True, **OPTIONS),
    ],
    ids=["grid", "halving"],
)
def test_other_data_are_refused(search: Any, rows: np.ndarray, target: np.ndarray, fit: dict[str, Any]) -> None:
    """Scores on other rows do not compare; the search stays as it was, and goes on with the data it had."""
    search = clone(search).fit(X, Y)
    before = {name: np.array(column) for name, column in search.cv_results_.items()}
    with pytest.raises(ContinuationError, match="the data it was fitted on"):
        search.continue_fit(rows, target, **fit)
    assert first_difference(before, {name: np.array(column) for name, column in search.cv_results_.items()}) is None
    assert (search.continue_fit(X, Y).reuse_["epochs_trained"] == 0).all()


def test_weights_are_part_of_the_data() -> None:
    """A search that was fitted with weights goes on with the same ones."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [1]}, keep_models=True, **OPTIONS).fit(
        X, Y, sample_weight=WEIGHTS
    )
    with pytest.raises(ContinuationError, match="the data it was fitted on"):
        search.continue_fit(X, Y, param_grid={"max_epochs": [2]})
    search.continue_fit(X, Y, param_grid={"max_epochs": [2]}, sample_weight=WEIGHTS)
    cold = GridSearchCV(NET, {"max_epochs": [1, 2]}, **OPTIONS).fit(X, Y, sample_weight=WEIGHTS)
    assert_same_search(cold, search, X)


@pytest.mark.parametrize("cls", [WarmStartGridSearchCV, WarmStartHalvingSearchCV])
def test_a_search_that_kept_nothing_is_refused(cls: Any) -> None:
    """Unless asked to, a search keeps no models; nor has one that is not fitted."""
    search = cls(NET, {"lr": [0.02, 0.1]}, **OPTIONS)
    with pytest.raises(NotFittedError):
        search.continue_fit(X, Y)
    with pytest.raises(ContinuationError, match="fit it with keep_models=True"):
        search.fit(X, Y).continue_fit(X, Y)


def test_a_new_fit_forgets_what_was_kept() -> None:
    """What can go on is the newest ``fit``."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [1]}, keep_models=True, **OPTIONS).fit(X, Y)
    search.set_params(keep_models=False).fit(X, Y)
    with pytest.raises(ContinuationError, match="keep_models=True"):
        search.continue_fit(X, Y)


def test_what_is_no_grid_is_refused_and_nothing_changed() -> None:
    """As scikit-learn refuses it."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [1]}, keep_models=True, **OPTIONS).fit(X, Y)
    with pytest.raises(TypeError, match="Parameter grid"):
        search.continue_fit(X, Y, param_grid={"max_epochs": 2})
    search.continue_fit(X, Y, param_grid={"max_epochs": [2]})
    assert_same_search(GridSearchCV(NET, {"max_epochs": [1, 2]}, **OPTIONS).fit(X, Y), search, X)


def test_a_search_that_failed_while_it_went_on_is_what_it_was() -> None:
    """It keeps results and models, and goes on afterwards, exactly."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [1, 2]}, keep_models=True, **OPTIONS).fit(X, Y)
    scores = search.cv_results_["mean_test_score"].copy()
    search.set_params(error_score="raise")
    with pytest.raises((ValueError, TypeError)):
        search.continue_fit(X, Y, param_grid={"max_epochs": [3], "batch_size": [16, "many"]})
    assert first_difference(scores, search.cv_results_["mean_test_score"]) is None
    search.set_params(error_score=np.nan).continue_fit(X, Y, param_grid={"max_epochs": [4]})
    assert_same_search(GridSearchCV(NET, {"max_epochs": [1, 2, 4]}, **OPTIONS).fit(X, Y), search, X)


@pytest.mark.parametrize("cv", [3, KFold(2, shuffle=True, random_state=0)], ids=["three", "shuffled"])
def test_another_splitter_is_refused_or_used(cv: Any) -> None:
    """It is never passed over in silence, where what comes first was scored on the splits of before."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [1]}, keep_models=True, **OPTIONS).fit(X, Y)
    search.set_params(cv=cv)
    try:
        search.continue_fit(X, Y, param_grid={"max_epochs": [2]})
    except ContinuationError:
        return
    cold = GridSearchCV(NET, {"max_epochs": [1, 2]}, **{**OPTIONS, "cv": cv}).fit(X, Y)
    assert_same_search(cold, search, X)


def test_a_search_without_networks_goes_on_too() -> None:
    """Its scores are kept, and only new candidates are fitted."""
    search = WarmStartGridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, keep_models=True, **OPTIONS).fit(X, Y)
    search.continue_fit(X, Y, param_grid={"C": [1.0, 10.0]})
    cold = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0, 10.0]}, **OPTIONS).fit(X, Y)
    assert_same_results(cold.cv_results_, search.cv_results_)
    assert not hasattr(search, "reuse_")


def test_a_clone_has_nothing_to_go_on_with() -> None:
    """It is a search that was never fitted."""
    search = clone(WarmStartGridSearchCV(NET, {"max_epochs": [1]}, keep_models=True, **OPTIONS).fit(X, Y))
    assert not hasattr(search, "_kept")
    with pytest.raises(NotFittedError):
        search.continue_fit(X, Y)


@pytest.mark.parametrize("cls", [WarmStartGridSearchCV, WarmStartHalvingSearchCV], ids=["grid", "halving"])
def test_what_goes_to_a_worker_carries_no_models(cls: Any) -> None:
    """scikit-learn sends the search along with every task; what it has kept is not in there."""
    search = cls(NET, {"lr": [0.02, 0.1, 0.3]}, keep_models=True, **OPTIONS).fit(X, Y)
    del search._kept  # as while its tasks run
    assert b"search.kept" not in pickle.dumps(search)
