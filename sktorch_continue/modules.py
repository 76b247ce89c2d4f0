"""Modules: the built-in one, and building anybody's from a specification."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from sktorch_continue.specification import Part, label_of

ACTIVATIONS = {"identity": nn.Identity, "logistic": nn.Sigmoid, "relu": nn.ReLU, "tanh": nn.Tanh}


class MLP(nn.Sequential):
    """Multi-layer perceptron, the module used when none is given.

    Parameters
    ----------
    n_features_in : int
        Columns of X.
    n_outputs : int
        Classes, labels or real values per row.
    hidden_layer_sizes : sequence of int, default=(100,)
        Units of each hidden layer; empty for a linear model.
    activation : {"relu", "tanh", "logistic", "identity"} or nn.Module subclass, default="relu"
        After each hidden layer.
    dropout : float, default=0.0
        Probability after each activation.
    batch_norm : bool, default=False
        Normalize before each activation.
    dtype : torch.dtype, optional
        Of the weights; the precision of X when the estimator builds it, as in scikit-learn's MLP.
    """

    def __init__(
        self,
        n_features_in: int,
        n_outputs: int,
        *,
        hidden_layer_sizes: Sequence[int] = (100,),
        activation: str | type[nn.Module] = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r} is none of {sorted(ACTIVATIONS)}; give an nn.Module subclass")
        layers: list[nn.Module] = []
        width = n_features_in
        for size in hidden_layer_sizes:
            layers.append(nn.Linear(width, size, dtype=dtype))
            if batch_norm:
                layers.append(nn.BatchNorm1d(size, dtype=dtype))
            layers.append(ACTIVATIONS[activation]() if isinstance(activation, str) else activation())
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        layers.append(nn.Linear(width, n_outputs, dtype=dtype))
        super().__init__(*layers)


def build_module(part: Part, sizes: dict[str, Any]) -> nn.Module:
    """Build or copy a module.

    Parameters
    ----------
    part : Part
        A class, a callable, or an instance (copied: its weights are the start).
    sizes : dict
        ``n_features_in``, ``n_outputs`` and the like; passed where the constructor takes them and they were not
        given.

    Raises
    ------
    ValueError
        If arguments are given for an instance.
    TypeError
        If a callable does not return a module.
    """
    if isinstance(part.factory, nn.Module):
        if part.arguments:
            raise ValueError(
                f"module is an instance of {part.label}, so {['module__' + n for n in part.arguments]} cannot be "
                "used; give the class instead, or an instance built with them"
            )
        return copy.deepcopy(part.factory)
    known = {name: size for name, size in sizes.items() if part.accepts(name)}
    module = part.build("module", **known)
    if not isinstance(module, nn.Module):
        raise TypeError(f"module={part.label} returned {type(module).__name__}; a torch.nn.Module was expected")
    return module


def is_uninitialized(module: nn.Module) -> bool:
    """Tell whether a lazy layer still waits for its first batch."""
    return any(is_lazy(tensor) for tensor in [*module.parameters(), *module.buffers()])


def call(module: Any, inputs: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
    """Call a module with one input, or with several by name."""
    output = module(**inputs) if isinstance(inputs, dict) else module(inputs)
    return output


def float_dtype(module: nn.Module) -> torch.dtype:
    """Return the dtype of the first floating parameter, torch's default where there is none."""
    dtypes = (p.dtype for p in module.parameters() if p.is_floating_point())
    return next(dtypes, torch.get_default_dtype())


def keeps_integers(module: nn.Module) -> bool:
    """Tell whether the module reads integers: it has an embedding."""
    return any(isinstance(layer, nn.Embedding | nn.EmbeddingBag) for layer in module.modules())


def has_sparse_gradients(module: nn.Module) -> bool:
    """Tell whether an embedding gives sparse gradients."""
    return any(getattr(layer, "sparse", False) is True for layer in module.modules())


def has_batch_norm(module: nn.Module) -> bool:
    """Tell whether a layer normalizes over the rows of a batch."""
    return any(isinstance(layer, _BatchNorm) for layer in module.modules())


def transient_buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the buffers that ``state_dict`` leaves out."""
    kept = module.state_dict(keep_vars=True)
    return {name: buffer for name, buffer in module.named_buffers() if name not in kept}


def describe_shape_error(module: nn.Module, shape: tuple[int, ...], expected: str) -> str:
    """Return the message for an output of the wrong shape."""
    return (
        f"{label_of(module)} returned an output of shape {shape}, but {expected} was expected; take n_outputs in the "
        "module's constructor to be told the size"
    )
