"""What a search trains is the least there is, and what it cannot continue it trains from the start and says so."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from modules import Linear
from optional import made, pd
from scipy.stats import loguniform
from searching import (
    CALIBRATED,
    PIPELINE,
    TRAINED,
    TRANSFORMED,
    VOTING,
    XR,
    YR,
    Counts,
    Sleeps,
    X,
    Y,
    assert_same_search,
    net,
)
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from sktorch_continue import (
    Callback,
    ContinuationWarning,
    HyperbandSearchCV,
    WarmStartGridSearchCV,
    WarmStartHalvingSearchCV,
    WarmStartRandomizedSearchCV,
)
from sktorch_continue.search import engine

COUNTED = net(callbacks=[Counts()])


class ReadsTheEnd(Callback):
    """Lowers the rate in the last epoch, which a longer training has elsewhere."""

    columns = ()
    reads_max_epochs = True

    def on_epoch_begin(self, run: Any) -> None:
        if run.n_epochs == run.max_epochs - 1:
            for group in run.optimizer.param_groups:
                group["lr"] = 0.001


def counted(**params: Any) -> Any:
    """Return a network that counts its epochs, with some other parameters."""
    return net(callbacks=[Counts()], **params)


def trained_by(search: Any, rows: Any = X, target: Any = Y) -> int:
    """Fit a search and return how many epochs were trained meanwhile, counted beside it."""
    TRAINED.clear()
    search.fit(rows, target)
    return len(TRAINED)


def without_refit(cls: Any, *args: Any, **options: Any) -> Any:
    """Return a search that fits no best candidate."""
    return cls(*args, cv=2, scoring="neg_log_loss", refit=False, **options)


# ---- the least there is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budgets",
    [[1, 2, 4], [4, 2, 1], [2, 4, 1, 4], [4, 4, 4], [3], np.array([4, 1, 2]), range(1, 5)],
    ids=str,
)
def test_a_grid_trains_its_largest_budget_once_per_split(budgets: Any) -> None:
    """Whatever the order, the kind and the number of budgets."""
    search = without_refit(WarmStartGridSearchCV, COUNTED, {"max_epochs": budgets, "lr": [0.01, 0.1]})
    assert trained_by(search) == 2 * 2 * max(budgets)
    assert search.reuse_["epochs_trained"].sum() == 2 * 2 * max(budgets)
    assert search.reuse_["epochs_asked"].sum() == 2 * 2 * sum(budgets)


def wrapped(layer: torch.nn.Module) -> torch.nn.Module:
    """Return a module around a layer that is given."""
    return torch.nn.Sequential(layer)


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(counted(criterion__weight=torch.tensor([1.0, 2.0, 3.0])), id="tensor"),
        pytest.param(counted(module=Linear(4, 3)), id="module"),
        pytest.param(counted(module=wrapped, module__layer=torch.nn.Linear(4, 3)), id="module as an argument"),
        pytest.param(counted(criterion=torch.nn.CrossEntropyLoss(torch.ones(3))), id="criterion"),
        pytest.param(counted(module=lambda n_features_in, n_outputs: Linear(n_features_in, n_outputs)), id="lambda"),
        pytest.param(counted(random_state=np.random.RandomState(3)), id="RandomState"),
        pytest.param(counted(validation_fraction=0.2), id="validation"),
        pytest.param(counted(class_weight={0: 1.0, 1: 2.0, 2: 0.5}), id="class weight"),
    ],
)
def test_parameters_of_any_kind_are_recognised(estimator: Any) -> None:
    """Tensors, modules and functions among the parameters keep no candidate from going on."""
    search = without_refit(WarmStartGridSearchCV, estimator, {"max_epochs": [1, 3]})
    assert trained_by(search) == 2 * 3


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(X.tolist(), id="lists"),
        pytest.param(lambda: pd.DataFrame(X, columns=list("abcd")), id="frame"),
        pytest.param(torch.from_numpy(X), id="tensor"),
    ],
)
def test_rows_of_any_kind_are_recognised(rows: Any) -> None:
    """A split of a list, a frame or a tensor is the same data at the next budget."""
    search = without_refit(WarmStartGridSearchCV, COUNTED, {"max_epochs": [1, 3]})
    assert trained_by(search, made(rows)) == 2 * 3


@pytest.mark.parametrize(
    ("estimator", "budget", "members"),
    [
        (PIPELINE, "net__max_epochs", 1),
        (VOTING, "a__max_epochs", 1),
        (TRANSFORMED, "regressor__max_epochs", 1),
        (CALIBRATED, "estimator__max_epochs", 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_networks_inside_train_once_as_well(estimator: Any, budget: str, members: int) -> None:
    """A network goes on wherever it sits; the other networks beside it are trained once."""
    estimator = clone(estimator)
    inside = [name for name in estimator.get_params() if name.split("__")[-1] == "callbacks"]
    estimator.set_params(**{name: [Counts()] for name in inside})
    regression = estimator.__class__.__name__.endswith("Regressor")
    search = WarmStartGridSearchCV(estimator, {budget: [3, 1, 2]}, cv=2, refit=False)
    others = len(inside) - 1
    count = trained_by(search, *((XR, YR) if regression else (X, Y)))
    assert count == 2 * (3 * members + 2 * others)
    assert search.reuse_["epochs_trained"].sum() == count


def test_two_budgets_train_the_largest_of_each() -> None:
    """Four candidates of two networks cost what the largest one costs."""
    estimator = clone(VOTING).set_params(a__callbacks=[Counts()], b__callbacks=[Counts()])
    search = WarmStartGridSearchCV(estimator, {"a__max_epochs": [1, 3], "b__max_epochs": [1, 3]}, cv=2, refit=False)
    assert trained_by(search) <= 2 * (3 + 3 + 1)  # after (1, 3) comes (3, 1), whose second network has gone too far


def test_a_randomized_search_trains_the_largest_budget_drawn() -> None:
    """Per split and setting of the other parameters."""
    drawn = {"max_epochs": [5, 1, 2, 3, 4], "lr": [0.01, 0.1]}
    search = without_refit(WarmStartRandomizedSearchCV, COUNTED, drawn, n_iter=6, random_state=0)
    count = trained_by(search)
    largest: dict[float, int] = {}
    for params in search.cv_results_["params"]:
        largest[params["lr"]] = max(largest.get(params["lr"], 0), params["max_epochs"])
    assert count == 2 * sum(largest.values()) == search.reuse_["epochs_trained"].sum()


@pytest.mark.parametrize("keep_models", [False, True])
def test_rungs_train_what_they_add(keep_models: bool) -> None:
    """A survivor of a rung costs the epochs between two rungs."""
    grid = {"lr": [0.001, 0.01, 0.1, 1.0]}
    search = WarmStartHalvingSearchCV(COUNTED, grid, factor=2, max_resources=4, cv=2, keep_models=keep_models)
    count = trained_by(search) - search.best_params_["max_epochs"]
    assert (search.n_candidates_, search.n_resources_) == ([4, 2, 1], [1, 2, 4])
    assert count == 2 * (4 * 1 + 2 * 1 + 1 * 2) == search.reuse_["epochs_trained"].sum()


def test_rungs_of_equal_size_train_nothing() -> None:
    """Where the first rung is repeated, its survivors are at their epochs already."""
    grid = {"lr": [0.001, 0.01, 0.1, 1.0]}
    search = WarmStartHalvingSearchCV(
        COUNTED, grid, factor=2, min_resources=3, max_resources=3, aggressive_elimination=True, cv=2
    )
    count = trained_by(search) - 3
    assert search.n_resources_ == [3, 3, 3]
    assert count == 2 * 4 * 3 == search.reuse_["epochs_trained"].sum()


def test_brackets_train_what_they_add() -> None:
    """Each bracket costs what its rungs add."""
    search = HyperbandSearchCV(COUNTED, {"lr": loguniform(1e-3, 1)}, max_resources=4, factor=2, cv=2, random_state=0)
    count = trained_by(search) - 4
    assert (search.n_candidates_, search.n_resources_) == ([[4, 2, 1], [3, 1], [3]], [[1, 2, 4], [2, 4], [4]])
    assert count == 2 * ((4 * 1 + 2 * 1 + 1 * 2) + (3 * 2 + 1 * 2) + 3 * 4) == search.reuse_["epochs_trained"].sum()


def test_reuse_has_a_row_per_candidate_and_a_column_per_split() -> None:
    """Asked, trained and saved, in the order of ``cv_results_``."""
    search = WarmStartGridSearchCV(COUNTED, {"max_epochs": [4, 1, 2]}, cv=3).fit(X, Y)
    assert list(search.reuse_) == ["epochs_asked", "epochs_trained", "seconds_saved"]
    assert {name: column.shape for name, column in search.reuse_.items()} == dict.fromkeys(search.reuse_, (3, 3))
    assert search.reuse_["epochs_asked"].tolist() == [[4] * 3, [1] * 3, [2] * 3]
    assert search.reuse_["epochs_trained"].tolist() == [[2] * 3, [1] * 3, [1] * 3]
    assert (search.reuse_["seconds_saved"] > 0).tolist() == [[True] * 3, [False] * 3, [True] * 3]


@pytest.mark.parametrize("after", [False, True], ids=["in the epoch", "after the epoch"])
def test_fit_time_is_that_of_all_epochs(after: bool) -> None:
    """The time of epochs that were found counts as if they had been trained, so that it compares with a cold search."""
    estimator = net(callbacks=[Sleeps(0.01, after=after)])
    search = WarmStartGridSearchCV(estimator, {"max_epochs": [1, 2, 4]}, cv=2).fit(X, Y)
    assert (search.cv_results_["mean_fit_time"] >= [0.01, 0.02, 0.04]).all()
    assert (search.reuse_["seconds_saved"] >= [[0.0], [0.01], [0.02]]).all()


# ---- what cannot go on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            {
                "lr_scheduler": "OneCycleLR",
                "lr_scheduler__max_lr": 0.1,
                "lr_scheduler_interval": "step",
            },
            "OneCycleLR is filled in from max_epochs",
        ),
        ({"lr_scheduler": "CosineAnnealingLR"}, "lr_scheduler__T_max of CosineAnnealingLR is filled in"),
        (
            {"random_state": np.random.RandomState(0), "callbacks": [Counts(), ReadsTheEnd()]},
            "'ReadsTheEnd' may act otherwise",
        ),
    ],
)
@pytest.mark.parametrize("cls", [WarmStartGridSearchCV, WarmStartHalvingSearchCV], ids=["grid", "halving"])
def test_what_reads_the_end_is_trained_from_the_start(cls: Any, params: dict[str, Any], said: str) -> None:
    """A longer training that begins in another way is its own; that is said once, and the results are the cold ones."""
    estimator = net(**{"callbacks": [Counts()], **params})
    budget = {"max_epochs": [2, 1, 4]} if cls is WarmStartGridSearchCV else {}
    rungs = {} if cls is WarmStartGridSearchCV else {"max_resources": 4, "factor": 2}
    warm, cold = (cls(estimator, {"lr": [0.01, 0.1], **budget}, cv=2, continue_on=on, **rungs) for on in ("auto", None))
    with pytest.warns(ContinuationWarning, match=re.escape(said)) as told:
        count = trained_by(warm)
    assert len(told) == 1
    assert count == trained_by(cold)
    assert_same_search(cold, warm, X)
    assert (warm.reuse_["epochs_trained"] == warm.reuse_["epochs_asked"]).all()


def test_no_seed_is_trained_from_the_start_and_said() -> None:
    """Two fits without a seed are two trainings."""
    search = without_refit(WarmStartGridSearchCV, counted(random_state=None), {"max_epochs": [2, 1]})
    with pytest.warns(ContinuationWarning, match="random_state=None draws another seed") as told:
        count = trained_by(search)
    assert len(told) == 1
    assert count == 2 * 3


def test_a_reason_is_said_once_for_all_candidates_that_have_it() -> None:
    """Those that can go on do; every reason is in one warning."""
    grid = {"max_epochs": [1, 3], "lr_scheduler": [None, "CosineAnnealingLR", "LinearLR"], "lr": [0.01, 0.1]}
    search = without_refit(WarmStartGridSearchCV, COUNTED, grid)
    with pytest.warns(ContinuationWarning) as told:
        count = trained_by(search)
    assert [str(w.message).count("CosineAnnealingLR") for w in told] == [1]
    left = {None: 3, "CosineAnnealingLR": 4, "LinearLR": 3 if "LinearLR" not in str(told[0].message) else 4}
    assert count == 2 * 2 * sum(left.values())


@pytest.mark.parametrize("grid", [{"lr": [0.01, 0.1]}, {"max_epochs": [3]}], ids=str)
@pytest.mark.parametrize("params", [{"lr_scheduler": "CosineAnnealingLR"}, {"random_state": None}], ids=str)
def test_where_nothing_was_to_be_continued_nothing_is_said(grid: Any, params: Any) -> None:
    """A reason is told only where it makes a difference."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WarmStartGridSearchCV(net(**params), grid, cv=2).fit(X, Y)


def test_continue_on_none_trains_all_from_the_start() -> None:
    """As scikit-learn's search does, in silence."""
    search = without_refit(WarmStartGridSearchCV, COUNTED, {"max_epochs": [1, 2, 4]}, continue_on=None)
    assert trained_by(search) == 2 * 7
    assert search.reuse_["epochs_trained"].tolist() == [[1, 1], [2, 2], [4, 4]]


def test_continue_on_names_one_of_two_budgets() -> None:
    """The other one starts again."""
    estimator = clone(VOTING).set_params(a__callbacks=[Counts()], b__callbacks=None)
    search = WarmStartGridSearchCV(estimator, {"a__max_epochs": [1, 3]}, cv=2, refit=False, continue_on="a__max_epochs")
    assert trained_by(search) == 2 * 3


def test_an_unknown_scikit_learn_is_searched_cold_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its ``fit`` no longer has the name that is looked for, the search is scikit-learn's."""
    monkeypatch.setattr(engine, "CAN_CHAIN", False)
    warm = WarmStartGridSearchCV(COUNTED, {"max_epochs": [1, 2]}, cv=2)
    with pytest.warns(ContinuationWarning, match="scikit-learn is not known"):
        count = trained_by(warm)
    assert count - warm.best_params_["max_epochs"] == 2 * 3
    assert_same_search(GridSearchCV(COUNTED, {"max_epochs": [1, 2]}, cv=2).fit(X, Y), warm, X)


# ---- what is refused ------------------------------------------------------------------------------------------------

GRID = {"lr": [0.01, 0.1]}
HALVING = {"max_resources": 4, "factor": 2, "cv": 2}


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (WarmStartGridSearchCV(COUNTED, {"max_epochs": [1, 2]}, continue_on="lr"), "continue_on='lr'"),
        (
            WarmStartGridSearchCV(PIPELINE, {"net__max_epochs": [1, 2]}, continue_on="a__max_epochs"),
            "'net__max_epochs'",
        ),
        (WarmStartGridSearchCV(LogisticRegression(), {"C": [1.0]}, continue_on="max_epochs"), "no network"),
        (WarmStartGridSearchCV(COUNTED, {"max_epochs": [1]}, continue_on=3), "continue_on"),
        (WarmStartGridSearchCV(COUNTED, {"max_epochs": [1]}, keep_models="yes"), "keep_models"),
        (WarmStartGridSearchCV(COUNTED, {"max_epochs": [1]}, checkpoint_dir=3), "checkpoint_dir"),
        (WarmStartHalvingSearchCV(COUNTED, {**GRID, "max_epochs": [1]}, **HALVING), "'max_epochs' is the resource"),
        (HyperbandSearchCV(PIPELINE, {"net__max_epochs": [1]}, **HALVING), "'net__max_epochs' is the resource"),
        (WarmStartHalvingSearchCV(LogisticRegression(), {"C": [1.0]}, **HALVING), "no network"),
        (WarmStartHalvingSearchCV(VOTING, {"a__lr": [0.1]}, **HALVING), "several networks"),
        (WarmStartHalvingSearchCV(COUNTED, GRID, resource="lr", **HALVING), "'lr' is the number of epochs of no"),
        (WarmStartHalvingSearchCV(COUNTED, GRID, resource="n_samples", **HALVING), "'n_samples'"),
        (WarmStartHalvingSearchCV(COUNTED, GRID, min_resources=5, **HALVING), "min_resources=5 is more than"),
        (HyperbandSearchCV(COUNTED, GRID, min_resources=5, **HALVING), "min_resources=5 is more than"),
        (
            WarmStartHalvingSearchCV(COUNTED, GRID, n_candidates="exhaust", min_resources="exhaust", **HALVING),
            "each follow from the other",
        ),
        (WarmStartHalvingSearchCV(COUNTED, {"lr": loguniform(0.1, 1)}, n_candidates="grid", **HALVING), "'grid' needs"),
        (WarmStartHalvingSearchCV(COUNTED, GRID, max_resources=0), "max_resources"),
        (WarmStartHalvingSearchCV(COUNTED, GRID, factor=1), "factor"),
        (WarmStartHalvingSearchCV(net(max_epochs=2.5), GRID), "max_epochs=2.5"),
        (WarmStartHalvingSearchCV(COUNTED, GRID, scoring=["accuracy"], refit=False, **HALVING), "who survives"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_search_that_cannot_be_meant_is_refused(search: Any, said: str) -> None:
    """A ValueError that says what was given, before anything is trained."""
    TRAINED.clear()
    with pytest.raises(ValueError, match=re.escape(said)):
        search.fit(X, Y)
    assert not TRAINED
    assert not hasattr(search, "cv_results_")


@pytest.mark.parametrize("resource", ["max_epochs", "net__max_epochs"])
def test_the_resource_is_found_by_its_short_and_its_full_name(resource: str) -> None:
    """Candidates have it by its full name."""
    search = WarmStartHalvingSearchCV(PIPELINE, {"net__lr": [0.01, 0.1]}, resource=resource, **HALVING).fit(X, Y)
    assert [params["net__max_epochs"] for params in search.cv_results_["params"]] == [2, 2, 4]


def test_the_resource_of_one_of_several_networks() -> None:
    """Its full name says which one is meant."""
    search = WarmStartHalvingSearchCV(VOTING, {"a__lr": [0.01, 0.1]}, resource="b__max_epochs", **HALVING).fit(X, Y)
    assert search.best_estimator_.named_estimators_["b"].n_epochs_ == 4
    assert search.best_estimator_.named_estimators_["a"].n_epochs_ == 2


def test_a_pipeline_in_the_grid_is_searched_too() -> None:
    """A network that comes with the candidate goes on as well."""
    steps = Pipeline([("scale", "passthrough"), ("net", "passthrough")])
    grid = {"net": [COUNTED], "net__max_epochs": [1, 3], "scale": ["passthrough"]}
    search = WarmStartGridSearchCV(steps, grid, cv=2, refit=False, scoring="accuracy")
    assert trained_by(search) == 2 * 3
