"""Arrays and data sets to batches: what came in, which rows it holds, and the order they are trained in."""

from sktorch_continue.data.dataset import Batches, Dataset, Epoch
from sktorch_continue.data.inputs import Inputs, check_inputs
from sktorch_continue.data.split import HeldOut
from sktorch_continue.data.targets import ClassTarget, RealTarget

__all__ = ["Batches", "ClassTarget", "Dataset", "Epoch", "HeldOut", "Inputs", "RealTarget", "check_inputs"]
