"""Criteria: building them, the loss of a weighted batch, and what their outputs mean."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sktorch_continue.data.inputs import as_tensor
from sktorch_continue.layers import bare
from sktorch_continue.modules import describe_shape_error
from sktorch_continue.specification import Part, signature_of

FEW_ROWS = 64  # of which a softmax takes no longer than looking for a way around it


class FunctionLoss(nn.Module):
    """A loss function ``function(output, target, **arguments)`` as a criterion."""

    def __init__(self, function: Callable[..., torch.Tensor], arguments: dict[str, Any]) -> None:
        super().__init__()
        self.function = function
        self.arguments = arguments
        if "reduction" in signature_of(function):
            self.reduction = arguments.get("reduction", "mean")

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        arguments = dict(self.arguments)
        if hasattr(self, "reduction"):
            arguments["reduction"] = self.reduction
        return self.function(output, target, **arguments)


class NLLLossOfProbabilities(nn.NLLLoss):
    """``NLLLoss`` of a module that returns probabilities: what skorch's classifier makes of ``NLLLoss``."""

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss; the logarithm is taken of probabilities plus the smallest step above one."""
        return super().forward(torch.log(input + torch.finfo(input.dtype).eps), target)


def build_criterion(part: Part) -> nn.Module:
    """Build a criterion from a class, a factory, an instance (copied) or a loss function of two arguments."""
    factory = part.factory
    if isinstance(factory, nn.Module):
        if part.arguments:
            raise ValueError(
                f"criterion is an instance of {part.label}, so {['criterion__' + n for n in part.arguments]} cannot "
                "be used; give the class instead"
            )
        return copy.deepcopy(factory)
    if not inspect.isclass(factory) and _required_arguments(factory) >= 2:
        return FunctionLoss(factory, part.arguments)
    criterion = part.build("criterion")
    if not isinstance(criterion, nn.Module):
        raise TypeError(f"criterion={part.label} returned {type(criterion).__name__}; a torch.nn.Module was expected")
    return criterion


def _required_arguments(factory: Any) -> int:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in signature_of(factory).values())


def tells_samples(criterion: nn.Module) -> bool:
    """Tell whether a criterion has a reduction that could be left out."""
    return getattr(criterion, "reduction", None) in ("mean", "sum", "none")


def per_sample(criterion: nn.Module) -> nn.Module:
    """Return the same criterion (parameters shared) that gives one loss per element.

    Raises
    ------
    ValueError
        If it has no reduction that could be left out.
    """
    if not tells_samples(criterion):
        reduction = getattr(criterion, "reduction", None)
        raise ValueError(
            f"weights need a loss per sample, but {type(criterion).__name__} has reduction={reduction!r}; 'mean', "
            "'sum' or 'none' was expected: give the criterion a `reduction` attribute that it honours, or train "
            "without sample_weight and class_weight"
        )
    single = copy.copy(criterion)
    vars(single)["reduction"] = "none"
    return single


class BatchLoss:
    """The loss of a batch, and its share in the epoch's mean.

    Parameters
    ----------
    criterion : nn.Module
        Of the run.
    weighted : bool
        Whether batches come with weights.
    """

    def __init__(self, criterion: nn.Module, *, weighted: bool) -> None:
        self.criterion = per_sample(criterion) if weighted else criterion
        self.refresh()
        self.sums = getattr(criterion, "reduction", "mean") == "sum"

    def refresh(self) -> None:
        """Look again whether somebody listens to the criterion."""
        self._loss_of = bare(self.criterion)

    def __call__(self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """Return the scalar loss: the criterion's own, or the weighted mean (sum) of the samples' losses."""
        loss: torch.Tensor = self._loss_of(output, target)
        if weight is None:
            return loss if loss.ndim == 0 else loss.mean()
        losses = loss.reshape(len(target), -1).mean(dim=1)
        total = (losses * weight).sum()
        return total if self.sums else total / weight.sum()

    def share(self, n_rows: int, weight: torch.Tensor | None) -> tuple[Any, Any]:
        """Return what the batch's loss is multiplied by in the epoch's sum, and the sum of its weights."""
        total = float(n_rows) if weight is None else weight.sum()
        return (1.0 if self.sums else total), total


@dataclass(frozen=True)
class Objective:
    """What the criterion is told and what the module's outputs mean.

    Attributes
    ----------
    kind : {"index", "indicator", "real"}
        Class positions (n,) int64; 0 and 1 per label, float (n, k); real values, float (n, k).
    n_outputs : int
        Outputs of the module per row.
    """

    kind: str
    n_outputs: int

    def target(self, encoded: Any, dtype: torch.dtype, *, flat: bool) -> torch.Tensor:
        """Return the encoded target as the criterion reads it; `flat` where the module's output is (n,)."""
        tensor = as_tensor(encoded)
        if self.kind == "index":
            return tensor
        tensor = tensor.to(dtype)
        return tensor.reshape(-1) if flat else tensor.reshape(len(tensor), self.n_outputs)

    def check_output(self, module: nn.Module, output: Any, n_rows: int) -> bool:
        """Refuse an output that does not fit the target; return whether it is flat.

        Raises
        ------
        TypeError
            If it is not a tensor.
        ValueError
            If it has another shape.
        """
        if not isinstance(output, torch.Tensor):
            raise TypeError(f"{type(module).__name__} returned {type(output).__name__}; a tensor was expected")
        shape = tuple(output.shape)
        flat = self.kind != "index" and self.n_outputs == 1 and shape == (n_rows,)
        if not flat and shape != (n_rows, self.n_outputs):
            message = describe_shape_error(module, shape, f"({n_rows}, {self.n_outputs})")
            one_logit = self.kind == "index" and self.n_outputs == 2 and shape in ((n_rows,), (n_rows, 1))
            raise ValueError(f"{message}, or set criterion='BCEWithLogitsLoss' for one logit" if one_logit else message)
        return flat

    def check_meaning(self, output: torch.Tensor, criterion: nn.Module) -> None:
        """Refuse outputs that the criterion would read as something else.

        Raises
        ------
        ValueError
            If ``NLLLoss`` would read numbers above zero as log-probabilities.
        """
        if isinstance(criterion, NLLLossOfProbabilities):
            return
        if isinstance(criterion, nn.NLLLoss) and bool((output > 1e-6).any()):
            raise ValueError(
                f"NLLLoss reads log-probabilities, but the module gives {output.max().item():.4g}; end it with "
                "nn.LogSoftmax(dim=1), or use criterion='CrossEntropyLoss'"
            )

    def most_probable(self, output: torch.Tensor, criterion: nn.Module) -> torch.Tensor:
        """Return the position of the largest of the :meth:`probabilities` of every row, int64 of shape (n,).

        A softmax of many rows takes as long as a small module, and keeps the order of outputs that are not as good as
        equal: it is asked only where they are, or where they are not finite.
        """
        if output.shape[0] < FEW_ROWS or isinstance(criterion, nn.NLLLoss):
            return self.probabilities(output, criterion).argmax(dim=1)
        largest, position = output.max(dim=1)
        margin = 16 * torch.finfo(output.dtype).eps
        unclear = (output > (largest - margin).unsqueeze(1)).sum(dim=1) != 1
        if unclear.any():
            position[unclear] = self.probabilities(output[unclear], criterion).argmax(dim=1)
        return position

    def probabilities(self, output: torch.Tensor, criterion: nn.Module) -> torch.Tensor:
        """Turn outputs into probabilities of shape (n, n_classes or n_labels).

        ``NLLLoss`` reads log-probabilities, ``NLLLossOfProbabilities`` and ``BCELoss`` probabilities; every other
        criterion is taken to read logits.
        """
        output = output if output.ndim == 2 else output.reshape(len(output), -1)
        if isinstance(criterion, NLLLossOfProbabilities):
            return output
        if self.kind == "index":
            return output.exp() if isinstance(criterion, nn.NLLLoss) else output.softmax(dim=1)
        return output if isinstance(criterion, nn.BCELoss) else output.sigmoid()


def class_objective(criterion: Part, n_classes: int, *, multilabel: bool) -> Objective:
    """Return the objective of a classifier.

    Raises
    ------
    ValueError
        If the criterion cannot read this kind of target.
    """
    reads_indicator = _is_a(criterion.factory, (nn.BCEWithLogitsLoss, nn.BCELoss))
    if multilabel:
        if _is_a(criterion.factory, (nn.CrossEntropyLoss, nn.NLLLoss)):
            raise ValueError(
                f"y is a multilabel indicator, but criterion={criterion.label} expects one class per row; use "
                "criterion=None or 'BCEWithLogitsLoss'"
            )
        return Objective("indicator", n_classes)
    if reads_indicator and n_classes > 2:
        raise ValueError(
            f"criterion={criterion.label} tells two classes apart, but y has {n_classes}; use criterion=None or "
            "'CrossEntropyLoss', or give y as a multilabel indicator"
        )
    return Objective("indicator", 1) if reads_indicator else Objective("index", n_classes)


def real_objective(criterion: Part, n_outputs: int) -> Objective:
    """Return the objective of a regressor.

    Raises
    ------
    ValueError
        If the criterion reads classes.
    """
    if _is_a(criterion.factory, (nn.CrossEntropyLoss, nn.NLLLoss)):
        raise ValueError(f"criterion={criterion.label} reads classes, but y is real-valued; use TorchClassifier")
    return Objective("real", n_outputs)


def _is_a(factory: Any, classes: tuple[type, ...]) -> bool:
    return issubclass(factory, classes) if inspect.isclass(factory) else isinstance(factory, classes)
