"""PyTorch estimators for scikit-learn that go on training exactly where they stopped."""

from sktorch_continue.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freeze,
    GradientClipping,
    PrintLog,
    Unfreeze,
)
from sktorch_continue.continuation import continue_fit, is_continuable
from sktorch_continue.display import HistoryDisplay
from sktorch_continue.estimators import TorchClassifier, TorchEstimator, TorchRegressor
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
from sktorch_continue.pipeline import ContinuablePipeline, make_continuable_pipeline

__version__ = "0.1.0.dev0"

__all__ = [
    "MLP",
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
    "NonFiniteLossError",
    "PrintLog",
    "SktorchContinueError",
    "TorchClassifier",
    "TorchEstimator",
    "TorchRegressor",
    "Unfreeze",
    "continue_fit",
    "is_continuable",
    "make_continuable_pipeline",
]
