"""P1 in a search: what was not trained again scores, and is ranked, to the bit as if it had been."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pytest
from modules import Noisy
from scipy.stats import loguniform, randint
from searching import (
    CASES,
    NET,
    ORDERS,
    PIPELINE,
    SEARCHES,
    VOTING,
    Case,
    FailsAt,
    X,
    Y,
    assert_same_search,
    cold_search,
    measure,
    net,
    warm_search,
)
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV

from sktorch_continue import HyperbandSearchCV, WarmStartGridSearchCV, WarmStartRandomizedSearchCV

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning"),
    pytest.mark.filterwarnings("ignore:One or more of the .* scores are non-finite"),
]


# Besides the bare network and the pipeline, what a rung could go wrong with.
IN_RUNGS = {
    "voting": "hyperband",
    "fails in mid-chain": "halving",
    "several scores": "hyperband",
    "weights": "halving",
    "early stopping": "halving",
    "schedule by step": "halving",
    "RandomStates": "hyperband",
}


def sample() -> list[tuple[str, str, str]]:
    """Return every search with the bare network and the pipeline, and a grid or more with every other case."""
    whole = [(case, kind, "mixed") for case in ("bare", "pipeline") for kind in SEARCHES if kind != "grid"]
    grids = [(case, "grid", order) for case, order in zip(CASES, itertools.cycle(ORDERS), strict=False)]
    return [*whole, *grids, *((case, kind, "mixed") for case, kind in IN_RUNGS.items())]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two worker processes of dask.distributed that joblib can send to."""
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
            ) as workers,
            distributed.Client(workers) as client,
        ):
            client.run(_one_thread)
            yield client


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.mark.parametrize(("case", "kind", "order"), sample())
def test_a_search_finds_to_the_bit_what_the_cold_one_finds(case: str, kind: str, order: str) -> None:
    """Every column but times, the best candidate and the refitted model are those of training all from the start."""
    chosen = CASES[case]
    assert_same_search(measure(kind, case, order), warm_search(kind, chosen, ORDERS[order]), chosen.X)


@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize(("case", "kind"), [("bare", "hyperband"), ("pipeline", "grid"), ("early stopping", "halving")])
def test_two_jobs_find_the_same(case: str, kind: str, backend: str) -> None:
    """In two processes or two threads as in one."""
    chosen = CASES[case]
    cold = measure(kind, case, "mixed")
    with joblib.parallel_config(backend):
        warm = warm_search(kind, chosen, ORDERS["mixed"], n_jobs=2)
    assert_same_search(cold, warm, chosen.X)
    assert warm.reuse_["epochs_trained"].sum() < warm.reuse_["epochs_asked"].sum()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("case", "kind"), [("pipeline", "grid"), ("bare", "halving"), ("bare", "hyperband")])
def test_a_cluster_finds_the_same(cluster: Any, case: str, kind: str) -> None:
    """dask.distributed, with two processes that share nothing."""
    chosen = CASES[case]
    cold = measure(kind, case, "mixed")
    with joblib.parallel_config("dask"):
        warm = warm_search(kind, chosen, ORDERS["mixed"])
    assert_same_search(cold, warm, chosen.X)
    assert warm.reuse_["epochs_trained"].sum() < warm.reuse_["epochs_asked"].sum()


@pytest.mark.searches
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("jobs", ["1", "2", "threading", "dask"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", SEARCHES)
@pytest.mark.parametrize("case", CASES)
def test_every_search_with_every_case(cluster: Any, case: str, kind: str, order: str, jobs: str) -> None:
    """The full cross of cases, searches, orders of budgets, and workers."""
    chosen = CASES[case]
    backend = {"dask": "dask", "threading": "threading"}.get(jobs, "loky")
    cold = measure(kind, case, order)
    with joblib.parallel_config(backend, n_jobs=1 if jobs == "1" else 2):
        warm = warm_search(kind, chosen, ORDERS[order])
    assert_same_search(cold, warm, chosen.X)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_list_of_grids(n_jobs: int) -> None:
    """Grids that share candidates, or do not name the budget, with masked columns as scikit-learn has them."""
    grids = [
        {"max_epochs": [4, 1], "lr": [0.05, 0.1]},
        {"batch_size": [8, 12]},
        {"batch_size": [8], "max_epochs": [3, 2, 4]},
    ]
    cold, warm = (cls(NET, grids, cv=2, n_jobs=n_jobs) for cls in (GridSearchCV, WarmStartGridSearchCV))
    assert_same_search(cold.fit(X, Y), warm.fit(X, Y), X)


def test_candidates_from_distributions() -> None:
    """Budgets and rates are drawn as scikit-learn draws them."""
    drawn = {"max_epochs": randint(1, 5), "lr": loguniform(1e-3, 1e-1)}
    options = {"n_iter": 5, "random_state": 3, "cv": 2, "scoring": "neg_log_loss"}
    cold, warm = (cls(NET, drawn, **options).fit(X, Y) for cls in (RandomizedSearchCV, WarmStartRandomizedSearchCV))
    assert_same_search(cold, warm, X)


def test_brackets_of_distributions() -> None:
    """Hyperband draws the same candidates, and keeps the same ones, however they are trained."""
    cold, warm = (
        HyperbandSearchCV(
            PIPELINE, {"net__lr": loguniform(1e-3, 1)}, max_resources=8, factor=2, cv=2, random_state=0, continue_on=on
        ).fit(X, Y)
        for on in (None, "auto")
    )
    assert_same_search(cold, warm, X)
    assert warm.best_params_["net__max_epochs"] == 8


@pytest.mark.parametrize(
    ("steps", "budgets"),
    [
        pytest.param(VOTING, {"a__max_epochs": [1, 3], "b__max_epochs": [2, 4]}, id="other seeds"),
        pytest.param(
            VotingClassifier([("a", NET), ("b", NET)], voting="soft"),
            {"a__max_epochs": [1, 3], "b__max_epochs": [2, 4]},
            id="equal networks",
        ),
        pytest.param(
            VotingClassifier([("a", NET), ("b", net(max_epochs=5))], voting="soft"),
            {"a__max_epochs": [3, 1]},
            id="equal but for the budget",
        ),
    ],
)
def test_two_budgets_at_once(steps: Any, budgets: dict[str, list[int]]) -> None:
    """Networks side by side stand where their own budget says, also where they are one training."""
    cold, warm = (
        cls(steps, budgets, cv=2, scoring="neg_log_loss").fit(X, Y) for cls in (GridSearchCV, WarmStartGridSearchCV)
    )
    assert_same_search(cold, warm, X)


@pytest.mark.parametrize("seeds", [[np.random.RandomState(0), np.random.RandomState(1)], [0, 1]])
def test_seeds_stay_apart_beside_what_does_not_pickle(seeds: list[Any]) -> None:
    """Candidates with a lambda among their parameters differ in the seed as any others do."""
    estimator = net(module=lambda n_features_in, n_outputs: Noisy(n_features_in, n_outputs))
    case = Case(estimator, space={"random_state": seeds})
    assert_same_search(cold_search("grid", case, [1, 2]), warm_search("grid", case, [1, 2]), X)


@pytest.mark.parametrize("budget", [0, -1, 2.5, "many", None, [2]])
def test_a_budget_that_cannot_be_fails_as_in_scikit_learn(budget: Any) -> None:
    """It gets the error score, and the others theirs."""
    case = Case(NET, space={"lr": [0.05]})
    assert_same_search(cold_search("grid", case, [2, budget, 1]), warm_search("grid", case, [2, budget, 1]), X)


def test_error_score_raise_raises_what_the_fit_raises() -> None:
    """The first failing fit ends the search."""
    case = CASES["fails in mid-chain"]
    search = WarmStartGridSearchCV(case.estimator, {"max_epochs": [1, 4], "lr": [0.02]}, cv=2, error_score="raise")
    with pytest.raises(RuntimeError, match="this rate fails"):
        search.fit(X, Y)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"factor": 3},
        {"min_resources": "exhaust"},
        {"min_resources": "smallest", "factor": 1.5},
        {"min_resources": 2},
        {"min_resources": 4},
        {"min_resources": 4, "aggressive_elimination": True},
        {"min_resources": 2, "aggressive_elimination": True},
        {"cv": KFold(2, shuffle=True, random_state=0)},
    ],
    ids=str,
)
def test_rungs_are_those_of_scikit_learn(options: dict[str, Any]) -> None:
    """Numbers of rungs, candidates and epochs, the rows and the best row agree with HalvingGridSearchCV."""
    _, scikit, _, ours = SEARCHES["halving"]
    options = {"resource": "max_epochs", "max_resources": 4, "factor": 2, "cv": 2, **options}
    cold, warm = (
        cls(NET, {"lr": [0.001, 0.01, 0.1, 0.5, 1.0]}, scoring="neg_log_loss", **options).fit(X, Y)
        for cls in (scikit, ours)
    )
    numbers = [name for name in vars(cold) if name.startswith("n_") and name.endswith("_")]
    for name in (*numbers, "max_resources_", "min_resources_"):
        assert getattr(cold, name) == getattr(warm, name), name
    assert_same_search(cold, warm, X)


def test_without_a_network_it_is_scikit_learns_search() -> None:
    """An estimator that nothing can be continued in is searched as ever, without a word."""
    from sklearn.linear_model import LogisticRegression

    cold, warm = (
        cls(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X, Y) for cls in (GridSearchCV, WarmStartGridSearchCV)
    )
    for name in ("params", "split0_test_score", "rank_test_score"):
        assert list(cold.cv_results_[name]) == list(warm.cv_results_[name])
    assert not hasattr(warm, "reuse_")


def test_candidates_that_fail_do_not_survive() -> None:
    """They are the worst of their rung, as in scikit-learn, whatever their place."""
    estimator = net(callbacks=[FailsAt(0, 0.02), ("later", FailsAt(1, 0.1))])
    options = {"resource": "max_epochs", "max_resources": 4, "min_resources": 1, "factor": 2, "cv": 2}
    _, scikit, _, ours = SEARCHES["halving"]
    cold, warm = (
        cls(estimator, {"lr": [0.02, 0.05, 0.1, 0.3]}, scoring="neg_log_loss", **options).fit(X, Y)
        for cls in (scikit, ours)
    )
    assert_same_search(cold, warm, X)
    assert np.isnan(warm.cv_results_["mean_test_score"]).any()
    assert warm.best_params_["lr"] in (0.05, 0.3)
