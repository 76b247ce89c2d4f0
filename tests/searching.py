"""Data, networks and cases that the tests of searches share, and what it means that two searches found the same."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from composed import networks
from modules import Linear, Noisy, class_data, real_data
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sktorch_continue import (
    Callback,
    EarlyStopping,
    HyperbandSearchCV,
    TorchClassifier,
    TorchRegressor,
    WarmStartGridSearchCV,
    WarmStartHalvingSearchCV,
    WarmStartRandomizedSearchCV,
)
from sktorch_continue.testing import first_difference, run_state

X, Y = class_data(36)
XR, YR = real_data(36)
WEIGHTS = np.random.default_rng(1).uniform(0.2, 2.0, size=36)
GROUPS = np.arange(36) // 6

NET = TorchClassifier(Noisy, max_epochs=2, batch_size=16, lr=0.05, random_state=0)
REG = TorchRegressor(Noisy, max_epochs=2, batch_size=16, lr=0.05, random_state=0)
SMALL = TorchClassifier(Linear, max_epochs=2, batch_size=16, lr=0.05, random_state=0)

# Numbers of the epochs that Counts saw in this process; no list, which would be part of what Counts is.
TRAINED: deque[int] = deque()


class Counts(Callback):
    """Counts the epochs trained in this process, whoever trains them."""

    columns = ()

    def on_epoch_end(self, run: Any) -> None:
        TRAINED.append(run.n_epochs)


class FailsAt(Callback):
    """Raises after some epochs where the rate is a certain one."""

    columns = ()

    def __init__(self, epoch: int, lr: float) -> None:
        self.epoch = epoch
        self.lr = lr

    def on_step_end(self, run: Any) -> None:
        if run.n_epochs == self.epoch and run.optimizer.param_groups[0]["lr"] == self.lr:
            raise RuntimeError("this rate fails")


class Sleeps(Callback):
    """Makes every epoch last at least as long: while it is validated, or when it is over."""

    columns = ()

    def __init__(self, seconds: float, *, after: bool = False) -> None:
        self.seconds = seconds
        self.after = after

    def on_validation_end(self, run: Any) -> None:
        if not self.after:
            time.sleep(self.seconds)

    def on_epoch_end(self, run: Any) -> None:
        if self.after:
            time.sleep(self.seconds)


@dataclass(frozen=True)
class Case:
    """What is searched: estimator, the name of its budget, other parameters, data, and options of search and fit."""

    estimator: Any
    budget: str = "max_epochs"
    space: dict[str, list[Any]] = field(default_factory=lambda: {"lr": [0.02, 0.1]})
    X: Any = field(default_factory=lambda: X)
    y: Any = field(default_factory=lambda: Y)
    options: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)


def net(**params: Any) -> TorchClassifier:
    """Return a classifier with some other parameters."""
    return TorchClassifier(**{**NET.get_params(deep=False), **params})


PIPELINE = Pipeline([("scale", StandardScaler()), ("pca", PCA(3)), ("net", NET)])
VOTING = VotingClassifier([("a", NET), ("b", net(random_state=1))], voting="soft")
TRANSFORMED = TransformedTargetRegressor(REG, transformer=StandardScaler())
CALIBRATED = CalibratedClassifierCV(NET, method="isotonic", cv=2)
STOPPING = {"validation_fraction": 0.25, "callbacks": [EarlyStopping(patience=1, restore_best=True)]}

CASES = {
    "bare": Case(NET),
    "regressor": Case(REG, X=XR, y=YR),
    "pipeline": Case(PIPELINE, "net__max_epochs", {"net__lr": [0.02, 0.1], "pca__n_components": [2, 3]}),
    "voting": Case(VOTING, "a__max_epochs", {"a__lr": [0.02, 0.1]}),
    "transformed target": Case(TRANSFORMED, "regressor__max_epochs", {"regressor__lr": [0.02, 0.1]}, X=XR, y=YR),
    "calibrated": Case(CALIBRATED, "estimator__max_epochs", {"estimator__lr": [0.02, 0.1]}),
    "fails in mid-chain": Case(net(callbacks=[FailsAt(2, 0.02)])),
    "several scores": Case(NET, options={"scoring": ["neg_log_loss", "accuracy"], "refit": "neg_log_loss"}),
    "train scores": Case(NET, options={"return_train_score": True}),
    "weights": Case(NET, fit={"sample_weight": WEIGHTS}),
    "groups": Case(NET, options={"cv": GroupKFold(3)}, fit={"groups": GROUPS}),
    "early stopping": Case(net(**STOPPING), space={"lr": [0.02, 0.5]}),
    "schedule by epoch": Case(net(lr_scheduler="CosineAnnealingLR", lr_scheduler__T_max=6)),
    "schedule by step": Case(
        net(
            lr_scheduler="OneCycleLR",
            lr_scheduler__max_lr=0.1,
            lr_scheduler__total_steps=60,
            lr_scheduler_interval="step",
        )
    ),
    "schedule by loss": Case(
        net(lr_scheduler="ReduceLROnPlateau", lr_scheduler__patience=0, lr_scheduler_monitor="train_loss")
    ),
    "other optimizers": Case(NET, space={"optimizer": ["SGD", torch.optim.RMSprop]}),
    "one RandomState": Case(net(random_state=np.random.RandomState(0))),
    "RandomStates": Case(NET, space={"random_state": [np.random.RandomState(0), np.random.RandomState(1), 0]}),
    "tensor parameter": Case(net(criterion__weight=torch.tensor([1.0, 2.0, 3.0]))),
    "module instance": Case(net(module=Linear(4, 3))),
}

ORDERS = {"up": [1, 2, 4], "down": [4, 2, 1], "mixed": [2, 4, 1, 4]}


def _grid(cls: Any, case: Case, budgets: list[int], **options: Any) -> Any:
    return cls(case.estimator, {**case.space, case.budget: budgets}, **options)


def _drawn(cls: Any, case: Case, budgets: list[int], **options: Any) -> Any:
    return cls(case.estimator, {case.budget: budgets, **case.space}, n_iter=5, random_state=1, **options)


def _rungs(cls: Any, case: Case, budgets: list[int], **options: Any) -> Any:
    limits = {"resource": case.budget, "min_resources": min(budgets), "max_resources": max(budgets), "factor": 2}
    return cls(case.estimator, case.space, **limits, **options)


def _brackets(cls: Any, case: Case, budgets: list[int], **options: Any) -> Any:
    return _rungs(cls, case, budgets, random_state=0, **options)


def _rungs_drawn(cls: Any, case: Case, budgets: list[int], **options: Any) -> Any:
    return _rungs(cls, case, budgets, random_state=0, n_candidates=2, **options)


# By name: how the search is made, the class that is the measure, options that make it cold, the class under test.
SEARCHES: dict[str, tuple[Any, Any, dict[str, Any], Any]] = {
    "grid": (_grid, GridSearchCV, {}, WarmStartGridSearchCV),
    "randomized": (_drawn, RandomizedSearchCV, {}, WarmStartRandomizedSearchCV),
    "halving": (_rungs, HalvingGridSearchCV, {}, WarmStartHalvingSearchCV),
    "halving, drawn": (_rungs_drawn, HalvingRandomSearchCV, {}, WarmStartHalvingSearchCV),
    "halving, cold": (_rungs, WarmStartHalvingSearchCV, {"continue_on": None}, WarmStartHalvingSearchCV),
    "hyperband": (_brackets, HyperbandSearchCV, {"continue_on": None}, HyperbandSearchCV),
}


def options_of(case: Case) -> dict[str, Any]:
    """Return the options of a search over a case: a score that shows every bit."""
    scoring = "neg_mean_squared_error" if case.y is YR else "neg_log_loss"
    return {"cv": 2, "scoring": scoring, **case.options}


def cold_search(kind: str, case: Case, budgets: list[int]) -> Any:
    """Return a fitted search that trains everything from the start."""
    make, cls, cold, _ = SEARCHES[kind]
    return make(cls, case, budgets, **options_of(case), **cold).fit(case.X, case.y, **case.fit)


@cache
def measure(kind: str, case: str, order: str) -> Any:
    """Return the cold search of a case by name; rungs have no order."""
    return cold_search(kind, CASES[case], ORDERS[order])


def warm_search(kind: str, case: Case, budgets: list[int], **more: Any) -> Any:
    """Return a fitted search that trains each epoch once."""
    make, _, _, cls = SEARCHES[kind]
    return make(cls, case, budgets, **options_of(case), **more).fit(case.X, case.y, **case.fit)


def assert_same_results(cold: dict[str, Any], warm: dict[str, Any]) -> None:
    """Raise unless two ``cv_results_`` have the same columns in the same order, bit for bit but for times."""
    assert list(cold) == list(warm)
    for name in cold:
        if name.endswith("_time"):
            continue
        left, right = cold[name], warm[name]
        assert type(left) is type(right), name
        if isinstance(left, np.ma.MaskedArray):
            masks = [np.ma.getmaskarray(column) for column in (left, right)]
            difference = first_difference(*masks, f"mask of {name}")
            assert difference is None, difference
            left, right = (np.ma.getdata(column)[~masks[0]] for column in (left, right))  # below it is no value
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, name
        difference = first_difference(left, right, name)
        assert difference is None, difference


def assert_same_search(cold: Any, warm: Any, rows: Any) -> None:
    """Raise unless two fitted searches found the same and fitted the same model."""
    assert_same_results(cold.cv_results_, warm.cv_results_)
    for name in ("best_index_", "best_score_", "best_params_", "n_splits_", "multimetric_", "classes_"):
        assert hasattr(cold, name) == hasattr(warm, name), name
        if hasattr(cold, name):
            left, right = (np.asarray(getattr(search, name)).tolist() for search in (cold, warm))
            assert first_difference(left, right, name) is None
    assert_same_models(cold.best_estimator_, warm.best_estimator_, rows)


def assert_same_models(left: Any, right: Any, rows: Any) -> None:
    """Raise unless two fitted estimators have the same networks inside and predict the same."""
    runs = [[run_state(network) for network in networks(model)] for model in (left, right)]
    assert runs[0], "no network is inside"
    for model in (left, right):
        for network in networks(model):
            assert "_store" not in vars(network)
    assert first_difference(*runs) is None
    method = "predict_proba" if hasattr(left, "predict_proba") else "predict"
    assert first_difference(getattr(left, method)(rows), getattr(right, method)(rows)) is None
