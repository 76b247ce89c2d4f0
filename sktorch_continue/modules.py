"""Modules: the built-in one, and building anybody's from a specification."""

from __future__ import annotations

import copy
import re
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from sktorch_continue.exceptions import ContinuationError
from sktorch_continue.layers import Layers
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
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Units of each hidden layer, or of the only one; empty for a linear model.
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
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | type[nn.Module] = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r} is none of {sorted(ACTIVATIONS)}; give an nn.Module subclass")
        one = isinstance(hidden_layer_sizes, int | Integral)
        sizes: Any = [hidden_layer_sizes] if one else hidden_layer_sizes
        layers: list[nn.Module] = []
        width = n_features_in
        for size in sizes:
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


def float_dtype(module: nn.Module) -> torch.dtype:
    """Return the dtype of the first floating parameter, torch's default where there is none."""
    return Layers(module).float_dtype


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
    return {plain_name(name): buffer for name, buffer in module.named_buffers() if name not in kept}


def plain_name(name: str) -> str:
    """Return the name a tensor has in the module that was given to ``torch.compile``."""
    return re.sub(r"(^|\.)_orig_mod\.", r"\1", name)


def state_of(module: nn.Module) -> dict[str, Any]:
    """Return the module's state dictionary; what ``torch.compile`` wraps goes by its plain names."""
    state = module.state_dict()
    if all(name == plain_name(name) for name in state):
        return state
    return OrderedDict((plain_name(name), value) for name, value in state.items())


def load_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Load what :func:`state_of` returned into a module, wrapped the same way or not.

    Raises
    ------
    ContinuationError
        If the state is that of another architecture, naming the differences.
    """
    different = _differences(module, state)
    if different:
        raise ContinuationError(
            f"the run's module is of another architecture than {label_of(module)} here: {'; '.join(different[:5])}"
            + (f"; and {len(different) - 5} more" if len(different) > 5 else "")
        )
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        given = state.get(plain_name(name))
        if given is not None and given.dtype != tensor.dtype and not is_lazy(tensor):
            tensor.data = tensor.data.to(given.dtype)  # torch's default dtype may be another one by now
    names = {plain_name(name): name for name in module.state_dict()}
    if any(name != plain for plain, name in names.items()):
        state = OrderedDict((names.get(name, name), value) for name, value in state.items())
    module.load_state_dict(state)


def alias(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Let parameters and buffers use the memory of the tensors in `state`, tied ones still tied."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        given = state.get(plain_name(name))
        if given is not None and given.shape == tensor.shape and given.dtype == tensor.dtype:
            tensor.data = given


def _differences(module: nn.Module, state: dict[str, Any]) -> list[str]:
    """Return where the tensors of a module differ from those of a state dictionary in name or shape."""
    here = {n: v for n, v in state_of(module).items() if isinstance(v, torch.Tensor) and not is_lazy(v)}
    lazy = {n for n, v in state_of(module).items() if isinstance(v, torch.Tensor) and is_lazy(v)}
    there = {n: v for n, v in state.items() if isinstance(v, torch.Tensor) and n not in lazy}
    found = [f"{name} is in the run only" for name in there if name not in here]
    found += [f"{name} is in the module only" for name in here if name not in there]
    return found + [
        f"{name} is {tuple(there[name].shape)} in the run and {tuple(tensor.shape)} here"
        for name, tensor in here.items()
        if name in there and tensor.shape != there[name].shape
    ]


def describe_shape_error(module: nn.Module, shape: tuple[int, ...], expected: str) -> str:
    """Return the message for an output of the wrong shape."""
    return (
        f"{label_of(module)} returned an output of shape {shape}, but {expected} was expected; take n_outputs in the "
        "module's constructor to be told the size"
    )
