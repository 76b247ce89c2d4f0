"""A small program of a user, for `mypy --strict` (see test_typing.py): no error, and these types."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from sktorch_continue import (
    MLP,
    Callback,
    Checkpoint,
    CheckpointError,
    ContinuablePipeline,
    ContinuationError,
    CSVLogger,
    EarlyStopping,
    EpochScoring,
    Freeze,
    GradientClipping,
    History,
    HistoryDisplay,
    HyperbandSearchCV,
    ScheduleDisplay,
    SearchDisplay,
    TorchClassifier,
    TorchRegressor,
    WarmStartGridSearchCV,
    WarmStartHalvingSearchCV,
    WarmStartRandomizedSearchCV,
    continue_fit,
    hot_start,
    is_continuable,
    make_continuable_pipeline,
)
from sktorch_continue.continuation import Job, advance, members
from sktorch_continue.testing import assert_same_run, check_continuation

X = np.random.default_rng(0).normal(size=(60, 4))
y = (X[:, 0] > 0).astype(int)


class Net(nn.Module):
    """A module of the user's own."""

    def __init__(self, n_features_in: int, n_outputs: int, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features_in, width), nn.ReLU(), nn.Linear(width, n_outputs))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layers(X)
        return output


class StopBelow(Callback):
    """A callback of the user's own, whose hook names no type of the package."""

    columns = ("seen",)

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.seen = 0

    def on_validation_end(self, run: Any) -> None:
        self.seen += 1
        run.record("seen", self.seen)

    def on_epoch_end(self, run: Any) -> None:
        if run.newest("train_loss") < self.limit:
            run.stop("low enough")


class Quiet(TorchClassifier):
    """A subclass of the user's own."""

    def certain(self, X: Any) -> np.ndarray:
        """Return which rows are certain."""
        certain: np.ndarray = self.predict_proba(X).max(axis=1) > 0.9
        return certain


class Holder:
    """A meta-estimator of the user's own."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator


@members.register(Holder)
def _(estimator: Holder) -> dict[str, Any]:
    return {"estimator": estimator.estimator}


@advance.register(Holder)
def _(estimator: Holder, job: Job) -> None:
    advance(estimator.estimator, job.mapped(lambda X, y: (X, y)))


def a_network(folder: Path) -> TorchClassifier:
    """Train, look, continue, store, load."""
    model = TorchClassifier(
        Net,
        module__width=4,
        max_epochs=2,
        validation_fraction=0.2,
        callbacks=[StopBelow(0.1), ("scores", EpochScoring("accuracy")), EarlyStopping(patience=3)],
    )
    model.set_params(callbacks=[Freeze("layers.0.*")], lr=1e-4)
    assert_type(model.fit(X, y, sample_weight=None, X_val=X[:5], y_val=y[:5]), TorchClassifier)
    assert_type(model.continue_fit(X, y, max_epochs=2), TorchClassifier)
    assert_type(model.partial_fit(X, y, classes=[0, 1]), TorchClassifier)
    assert_type(model.resume_fit(X, y, path=folder / "run"), TorchClassifier)
    assert_type(Quiet().fit(X, y), Quiet)
    assert_type(model.predict(X), np.ndarray)
    assert_type(model.predict_proba(X), np.ndarray)
    assert_type(model.n_epochs_, int)
    assert_type(model.module_, nn.Module)
    assert_type(model.optimizer_, torch.optim.Optimizer)
    assert_type(model.callbacks_["EarlyStopping"], Callback)
    assert_type(model.history_, History)
    assert_type(model.history_.columns, list[str])
    print(model.history_[-1, "valid_loss"], model.history_["lr"][:3], model.history_.calls[-1]["changed"])
    model.save_checkpoint(folder / "once")
    try:
        assert_type(TorchClassifier.from_checkpoint(folder / "once", module=Net), TorchClassifier)
        assert_type(model.load_checkpoint(folder / "once"), TorchClassifier)
    except (CheckpointError, ContinuationError) as error:
        print(error)
    assert_type(model.export(), TorchClassifier)
    return model


def a_regressor() -> None:
    """One in whose place a module instance is trained, on a schedule."""
    model = TorchRegressor(
        MLP(n_features_in=4, n_outputs=1),
        criterion=nn.HuberLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        lr_scheduler="OneCycleLR",
        lr_scheduler__max_lr=0.1,
        lr_scheduler_interval="step",
        callbacks=[Checkpoint("runs/typed"), CSVLogger("logs"), GradientClipping(1.0)],
        device="cpu",
        autocast="bfloat16",
        grad_scaler="GradScaler",
        num_threads=1,
        dataloader__num_workers=2,
        random_state=0,
    )
    assert_type(model.fit(X, X[:, 0]), TorchRegressor)
    assert_type(model.fit(TensorDataset(torch.zeros(4, 4), torch.zeros(4))), TorchRegressor)
    assert_type(model.partial_fit(X, X[:, 0]), TorchRegressor)
    assert_type(model.predict(X), np.ndarray)
    check_continuation(model, X, X[:, 0], n_epochs=2)
    assert_same_run(model, model, X)


def composed(model: TorchClassifier) -> None:
    """Pipelines, whatever else, and searches."""
    pipe = ContinuablePipeline([("net", model)])
    assert_type(pipe.continue_fit(X, y, max_epochs=2, transformers="frozen"), ContinuablePipeline)
    assert_type(pipe.partial_fit(X, y, classes=[0, 1]), ContinuablePipeline)
    assert_type(pipe.resume_fit(X, y), ContinuablePipeline)
    assert_type(make_continuable_pipeline(model), ContinuablePipeline)
    assert_type(is_continuable(pipe), bool)
    assert_type(continue_fit(model, X, y, max_epochs=2), TorchClassifier)
    grid = WarmStartGridSearchCV(model, {"lr": [1e-3, 1e-2], "max_epochs": [2, 4]}, cv=2, keep_models=True)
    assert_type(grid.fit(X, y), WarmStartGridSearchCV)
    assert_type(grid.continue_fit(X, y, param_grid={"max_epochs": [8]}), WarmStartGridSearchCV)
    drawn = WarmStartRandomizedSearchCV(model, {"lr": [1e-3, 1e-2]}, n_iter=2, random_state=0)
    assert_type(drawn.fit(X, y), WarmStartRandomizedSearchCV)
    assert_type(WarmStartHalvingSearchCV(model, {"lr": [1e-3, 1e-2]}).fit(X, y), WarmStartHalvingSearchCV)
    assert_type(HyperbandSearchCV(model, {"lr": [1e-3, 1e-2]}, random_state=0).fit(X, y), HyperbandSearchCV)
    with hot_start():
        model.fit(X, y)
    assert_type(HistoryDisplay.from_estimator(model), HistoryDisplay)
    assert_type(ScheduleDisplay.from_estimator(model, max_epochs=5), ScheduleDisplay)
    assert_type(SearchDisplay.from_search(grid), SearchDisplay)
