"""Callbacks: parts of a run that watch it, score it and decide when it ends."""

from sktorch_continue.callbacks.base import HOOKS, Callback
from sktorch_continue.callbacks.checkpoint import Checkpoint
from sktorch_continue.callbacks.csv_logger import CSVLogger
from sktorch_continue.callbacks.early_stopping import EarlyStopping
from sktorch_continue.callbacks.epoch_scoring import EpochScoring
from sktorch_continue.callbacks.freeze import Freeze, Unfreeze
from sktorch_continue.callbacks.gradient_clipping import GradientClipping
from sktorch_continue.callbacks.logger import Logger
from sktorch_continue.callbacks.mlflow_logger import MLflowLogger
from sktorch_continue.callbacks.print_log import PrintLog
from sktorch_continue.callbacks.progress_line import ProgressLine
from sktorch_continue.callbacks.tensorboard_logger import TensorBoardLogger

__all__ = [
    "HOOKS",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "EpochScoring",
    "Freeze",
    "GradientClipping",
    "Logger",
    "MLflowLogger",
    "PrintLog",
    "ProgressLine",
    "TensorBoardLogger",
    "Unfreeze",
]
