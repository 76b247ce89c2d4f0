"""PyTorch estimators for scikit-learn that go on training exactly where they stopped."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# Torch first, then scikit-learn, and both from here rather than from deep inside: together 0.1 s less.
import torch  # noqa: F401

# isort: split
import sklearn.base  # noqa: F401

# isort: split
from sktorch_continue.callbacks import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    EpochScoring,
    Freeze,
    GradientClipping,
    MLflowLogger,
    PrintLog,
    TensorBoardLogger,
    Unfreeze,
)
from sktorch_continue.estimators import TorchClassifier, TorchEstimator, TorchRegressor
from sktorch_continue.estimators.reuse import hot_start
from sktorch_continue.exceptions import (
    CheckpointError,
    ContinuationError,
    ContinuationWarning,
    CorruptCheckpointError,
    DataDriftWarning,
    NonFiniteLossError,
    SktorchContinueError,
)
from sktorch_continue.history import History
from sktorch_continue.modules import MLP
from sktorch_continue.versions import __version__ as __version__

if TYPE_CHECKING:
    from sktorch_continue.continuation import continue_fit, is_continuable
    from sktorch_continue.display import HistoryDisplay, ScheduleDisplay, SearchDisplay
    from sktorch_continue.pipeline import ContinuablePipeline, make_continuable_pipeline
    from sktorch_continue.search import (
        HyperbandSearchCV,
        WarmStartGridSearchCV,
        WarmStartHalvingSearchCV,
        WarmStartRandomizedSearchCV,
    )

__all__ = [
    "MLP",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "ContinuablePipeline",
    "ContinuationError",
    "ContinuationWarning",
    "CorruptCheckpointError",
    "DataDriftWarning",
    "EarlyStopping",
    "EpochScoring",
    "Freeze",
    "GradientClipping",
    "History",
    "HistoryDisplay",
    "HyperbandSearchCV",
    "MLflowLogger",
    "NonFiniteLossError",
    "PrintLog",
    "ScheduleDisplay",
    "SearchDisplay",
    "SktorchContinueError",
    "TensorBoardLogger",
    "TorchClassifier",
    "TorchEstimator",
    "TorchRegressor",
    "Unfreeze",
    "WarmStartGridSearchCV",
    "WarmStartHalvingSearchCV",
    "WarmStartRandomizedSearchCV",
    "continue_fit",
    "hot_start",
    "is_continuable",
    "make_continuable_pipeline",
]

# They import scikit-learn's meta-estimators and searches, or draw, which a network alone does not need.
_WHEN_ASKED_FOR = {
    "continue_fit": "sktorch_continue.continuation",
    "is_continuable": "sktorch_continue.continuation",
    "HistoryDisplay": "sktorch_continue.display",
    "ScheduleDisplay": "sktorch_continue.display",
    "SearchDisplay": "sktorch_continue.display",
    "ContinuablePipeline": "sktorch_continue.pipeline",
    "make_continuable_pipeline": "sktorch_continue.pipeline",
    "HyperbandSearchCV": "sktorch_continue.search",
    "WarmStartGridSearchCV": "sktorch_continue.search",
    "WarmStartHalvingSearchCV": "sktorch_continue.search",
    "WarmStartRandomizedSearchCV": "sktorch_continue.search",
}


def __getattr__(name: str) -> Any:
    if name not in _WHEN_ASKED_FOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHEN_ASKED_FOR[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
