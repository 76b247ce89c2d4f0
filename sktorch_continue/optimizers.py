"""Optimizers: building them, changing a living one, and loading its state without a change of bits."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, SparseAdam

from sktorch_continue.exceptions import ContinuationError
from sktorch_continue.modules import has_sparse_gradients
from sktorch_continue.specification import Part

IMPLEMENTATIONS = ("fused", "foreach", "differentiable", "capturable")


def trainable(module: nn.Module, criterion: nn.Module) -> list[nn.Parameter]:
    """Return what the optimizer updates: parameters of the module, then those of the criterion."""
    return [*module.parameters(), *criterion.parameters()]


def build_optimizer(part: Part, module: nn.Module, criterion: nn.Module) -> Optimizer:
    """Build an optimizer over all parameters, frozen ones included: they may be thawed later.

    Where torch offers a fused implementation for these parameters it is taken, unless the caller chose one: a
    step of Adam at batch 32 then costs about a third.

    Raises
    ------
    TypeError
        If the factory does not return an optimizer.
    ValueError
        If there is nothing to train.
    """
    parameters = trainable(module, criterion)
    if not parameters:
        raise ValueError(f"{type(module).__name__} has no parameters, so there is nothing to train")
    offered: dict[str, Any] = {}
    chosen = any(part.arguments.get(name) for name in IMPLEMENTATIONS)
    if part.accepts("fused") and not chosen and _can_fuse(module, parameters):
        offered["fused"] = True
    # torch keeps a rate that is a tensor as it is, and schedules write into it
    own = {name: value.clone() for name, value in part.arguments.items() if isinstance(value, torch.Tensor)}
    optimizer = replace(part, arguments={**part.arguments, **own}).build("optimizer", parameters, **offered)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer={part.label} returned {type(optimizer).__name__}; a torch.optim.Optimizer was expected"
        )
    return optimizer


def _can_fuse(module: nn.Module, parameters: list[nn.Parameter]) -> bool:
    dense = not has_sparse_gradients(module)
    return dense and all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def needs_closure(optimizer: Optimizer) -> bool:
    """Tell whether ``step`` asks for a closure (LBFGS)."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def update_groups(optimizer: Optimizer, changed: Mapping[str, Any], fresh: Optimizer) -> None:
    """Put changed arguments into the living parameter groups; moments are kept.

    Parameters
    ----------
    optimizer : Optimizer
        Of the run.
    changed : mapping of str to value
        Arguments as they are now.
    fresh : Optimizer
        Built with the new arguments over copies of the parameters; state it has after one step that the living
        one lacks (``amsgrad``, ``centered``, a first momentum) starts as in a new optimizer.

    Raises
    ------
    ContinuationError
        If the optimizer keeps no such argument in its groups.
    """
    unknown = [name for name in changed if name not in optimizer.param_groups[0]]
    if unknown:
        raise ContinuationError(
            f"{type(optimizer).__name__} does not keep {unknown} in its parameter groups, so a running one cannot take "
            f"the new value; give another optimizer class or factory to start a new one"
        )
    for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
        group.update({name: new[name] for name in {*changed, *IMPLEMENTATIONS} if name in new})
    for old, new in zip(_parameters(optimizer), _parameters(fresh), strict=True):
        if optimizer.state.get(old):
            for name, value in fresh.state.get(new, {}).items():
                optimizer.state[old].setdefault(name, value)


def fresh_groups(part: Part, module: nn.Module, criterion: nn.Module) -> list[dict[str, Any]]:
    """Return what the parameter groups of a new optimizer would hold, without their parameters."""
    groups = build_optimizer(part, module, criterion).param_groups
    return [{name: value for name, value in group.items() if name != "params"} for group in groups]


def shadow(part: Part, module: nn.Module, criterion: nn.Module) -> Optimizer:
    """Build the same optimizer over copies of the parameters and take one step of zero gradients."""
    module, criterion = copy.deepcopy(module), copy.deepcopy(criterion)
    optimizer = build_optimizer(part, module, criterion)
    if needs_closure(optimizer) or isinstance(optimizer, SparseAdam):
        return optimizer  # these make no state that another argument would add to
    for parameter in _parameters(optimizer):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return optimizer


def _parameters(optimizer: Optimizer) -> Iterable[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def load_exact(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load a state and keep every dtype as it was saved.

    ``Optimizer.load_state_dict`` casts state to the dtype of its parameter; a scalar kept in float32 beside a
    float64 parameter (ASGD's ``eta``) would go on in other bits.
    """
    optimizer.load_state_dict(copy.deepcopy(state))
    for index, parameter in enumerate(_parameters(optimizer)):
        saved = state["state"].get(index, {})
        live = optimizer.state[parameter] if saved else {}
        for name, value in saved.items():
            live[name] = _with_dtypes(live[name], value)


def _with_dtypes(live: Any, saved: Any) -> Any:
    if isinstance(saved, torch.Tensor):
        return live.to(saved.dtype)
    if isinstance(saved, list | tuple):
        return type(saved)(_with_dtypes(a, b) for a, b in zip(live, saved, strict=True))
    return live
