"""The faces: scikit-learn estimators over a run."""

from sktorch_continue.estimators.base import TorchEstimator
from sktorch_continue.estimators.classifier import TorchClassifier
from sktorch_continue.estimators.regressor import TorchRegressor

__all__ = ["TorchClassifier", "TorchEstimator", "TorchRegressor"]
