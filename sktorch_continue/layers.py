"""The layers of a module: what they are, and the shortest way through them.

Torch's own walks over a module take as long as a small prediction, and so does calling one layer after the other with a
look for hooks at each.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

Batch = torch.Tensor | dict[str, torch.Tensor]
Forward = Callable[[Batch], torch.Tensor]

OF_TORCH = ("torch.nn.modules.", "sktorch_continue.modules")
DRAW_IN_EVALUATION = {nn.FractionalMaxPool2d, nn.FractionalMaxPool3d}
NEVER_DRAW = {
    *(nn.Linear, nn.Bilinear, nn.Identity, nn.Flatten, nn.Unflatten, nn.Embedding, nn.EmbeddingBag),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus),
    *(nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Hardtanh, nn.Softmax, nn.LogSoftmax),
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    *(nn.CrossEntropyLoss, nn.NLLLoss, nn.BCEWithLogitsLoss, nn.BCELoss, nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss),
    *(nn.HuberLoss, nn.PoissonNLLLoss, nn.GaussianNLLLoss),
}


class Layers:
    """A module and all below it, in the order of ``module.modules()``; what is used twice is there twice.

    Parameters
    ----------
    module : nn.Module
        The outermost.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._found: list[nn.Module] = []
        waiting = [module]
        while waiting:
            layer = waiting.pop()
            self._found.append(layer)
            if layer._modules:
                waiting += [child for child in reversed(layer._modules.values()) if child is not None]

    @property
    def float_dtype(self) -> torch.dtype:
        """Dtype of the first floating parameter, torch's default where there is none."""
        for layer in self._found:
            for parameter in layer._parameters.values():
                if parameter is not None and parameter.is_floating_point():
                    return parameter.dtype
        return torch.get_default_dtype()

    @property
    def training(self) -> list[nn.Module]:
        """Those that are in training mode."""
        return [layer for layer in self._found if layer.training]

    @cached_property
    def of_torch(self) -> bool:
        """Whether every layer is one of torch's own (or the built-in module) and runs nothing else."""
        for layer in self._found:
            kind: Any = type(layer)
            if not _is_class_of_torch(kind) or "forward" in layer.__dict__:
                return False
            if layer._forward_hooks or layer._forward_pre_hooks:
                return False
            if layer._backward_hooks or layer._backward_pre_hooks:
                return False
        return True

    @property
    def draw_in_evaluation(self) -> bool:
        """Whether random numbers may be drawn in evaluation mode as well."""
        return not self.of_torch or not DRAW_IN_EVALUATION.isdisjoint(map(type, self._found))

    @property
    def never_draw(self) -> bool:
        """Whether it is known that a step through them draws no random number."""
        return self.of_torch and all(type(layer) in NEVER_DRAW or _is_sequence(layer) for layer in self._found)

    @property
    def stay_as_they_are(self) -> bool:
        """Whether it is known that a forward pass in evaluation mode changes nothing in them."""
        return self.never_draw and all(getattr(layer, "max_norm", None) is None for layer in self._found)

    @property
    def listened_to(self) -> bool:
        """Whether somebody is called when a parameter gets its gradient, or by every module there is."""
        parameters = [parameter for layer in self._found for parameter in layer._parameters.values()]
        hooked = any(p is not None and (p._backward_hooks or p._post_accumulate_grad_hooks) for p in parameters)
        return hooked or _somebody_hears_all()

    @property
    def forward(self) -> Forward:
        """What calling the module does: a plain sequence of torch's layers is walked, anything else is called."""
        if not self.of_torch or _somebody_hears_all():
            return functools.partial(call, self.module)
        line: list[Callable[[Any], Any]] = []
        for layer in self._found:
            sequence = _is_sequence(layer)
            if layer._compiled_call_impl is not None or (layer._modules and not sequence):
                return functools.partial(call, self.module)
            if not sequence:
                line.append(_forward_of(layer))
        return functools.partial(_walk, self.module, line)


@functools.cache
def _is_class_of_torch(kind: Any) -> bool:
    return bool(kind.__module__.startswith(OF_TORCH))


def _is_sequence(layer: nn.Module) -> bool:
    return type(layer).forward is nn.Sequential.forward


def _forward_of(layer: nn.Module) -> Callable[[Any], Any]:
    weights: dict[str, Any] = layer._parameters
    if type(layer) is nn.Linear and weights.keys() == {"weight", "bias"}:
        return functools.partial(nn.functional.linear, **weights)  # to look them up takes a fifth of a small product
    return layer.forward


def _somebody_hears_all() -> bool:
    return bool(_has_any_global_hook())  # type: ignore[no-untyped-call]


def _walk(module: nn.Module, line: list[Callable[[Any], Any]], inputs: Any) -> Any:
    if isinstance(inputs, dict):  # which the outermost takes by name
        return call(module, inputs)
    for forward in line:
        inputs = forward(inputs)
    return inputs


def bare(module: nn.Module) -> Callable[..., Any]:
    """Return a module's ``forward`` where calling the module does nothing else, else the module."""
    plain = Layers(module).of_torch and not _somebody_hears_all() and module._compiled_call_impl is None
    return module.forward if plain else module


def call(module: Any, inputs: Batch) -> torch.Tensor:
    """Call a module with one input, or with several by name."""
    output: torch.Tensor = module(**inputs) if isinstance(inputs, dict) else module(inputs)
    return output
