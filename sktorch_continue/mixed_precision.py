"""Mixed precision: a forward pass under autocast, and gradients scaled so that small ones survive in float16.

Both are part of a run, since they decide bits: the dtype as a parameter, the scale and its counter as state.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sktorch_continue import modules, optimizers
from sktorch_continue.specification import Part

FACTORS, COUNTS = ("scale", "growth_factor", "backoff_factor"), ("growth_interval", "_growth_tracker")
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def dtype_of(value: Any) -> torch.dtype | None:
    """Return the dtype that a parameter ``autocast`` means.

    Raises
    ------
    ValueError
        If it is neither None nor a dtype of half precision or its name.
    """
    found = DTYPES.get(value) if isinstance(value, str) else value
    if value is not None and found not in DTYPES.values():
        raise ValueError(f"autocast={value!r}; None, {', '.join(map(repr, DTYPES))} or such a torch.dtype was expected")
    return found


def autocast(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context of a forward pass; it may be entered again and again."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


def check_autocast(dtype: torch.dtype | None, module: nn.Module) -> None:
    """Refuse autocast where it would have no effect, or cannot work.

    Raises
    ------
    ValueError
        For a module that is not float32, or on a device that has no such dtype.
    """
    if dtype is None:
        return
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    found = modules.float_dtype(module)
    if found != torch.float32:
        raise ValueError(
            f"autocast={name_of(dtype)!r} is for a module in float32, and this one is in {found}; "
            "give X as float32 (X.astype('float32')), or a module with such weights"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            autocast(dtype, device)
        except (RuntimeError, UserWarning) as error:
            raise ValueError(f"autocast={name_of(dtype)!r} cannot be used on {device.type}: {error}") from error


def name_of(dtype: torch.dtype | None) -> str | None:
    """Return the name a parameter has for a dtype."""
    return None if dtype is None else str(dtype).removeprefix("torch.")


def check_scaler(part: Part | None, module: nn.Module, optimizer: Optimizer) -> None:
    """Refuse a scaler where gradients cannot be scaled.

    Raises
    ------
    ValueError
        For an optimizer that evaluates the loss itself, or weights in float16.
    """
    if part is None:
        return
    if optimizers.needs_closure(optimizer):
        raise ValueError(
            f"grad_scaler={part.label} cannot scale for {type(optimizer).__name__}, which evaluates the loss several "
            "times per step; use another optimizer, or grad_scaler=None"
        )
    if modules.float_dtype(module) == torch.float16:
        raise ValueError(
            f"grad_scaler={part.label} needs weights in float32, and this module is in float16; leave them in float32 "
            "and set autocast='float16'"
        )


def build_scaler(part: Part | None, device: torch.device) -> Any:
    """Build a gradient scaler for a device, or return None.

    Raises
    ------
    TypeError
        If the factory takes no such arguments, or returns something else.
    ValueError
        For arguments that no gradient can be scaled with.
    """
    if part is None:
        return None
    given = part.arguments.get("device", device.type)
    if torch.device(given).type != device.type:
        raise ValueError(f"grad_scaler__device={given!r}, but the run is on {device.type}; leave it out")
    offered = {"device": device.type} if part.accepts("device") else {}
    try:
        scaler = part.build("grad_scaler", **offered)
    except AssertionError as error:  # as torch checks them
        raise ValueError(f"grad_scaler={part.label} refuses {part.arguments}: {error}") from error
    if not isinstance(scaler, torch.amp.GradScaler):
        raise TypeError(
            f"grad_scaler={part.label} returned {type(scaler).__name__}; a torch.amp.GradScaler was expected"
        )
    if not is_sound(scaler.state_dict()):
        raise ValueError(
            f"grad_scaler={part.label} begins with {scaler.state_dict()}; finite numbers above zero were expected"
        )
    return scaler


def is_sound(state: Any) -> bool:
    """Tell whether this may be the state of a scaler, or of one that is not enabled."""
    if state in (None, {}):
        return True
    if not isinstance(state, dict) or set(state) != {*FACTORS, *COUNTS}:
        return False
    return all(_in_range(state[name]) > 0 for name in FACTORS) and all(
        type(state[name]) is int and _in_range(state[name]) >= 0 for name in COUNTS
    )


def _in_range(value: Any) -> float:
    """Return a number that torch takes, or -1 for what it does not."""
    largest = {int: torch.iinfo(torch.int32).max, float: torch.finfo(torch.float32).max}.get(type(value))
    return value if largest is not None and value <= largest else -1


class ScaledUpdate:
    """Backward and update of a step with scaled gradients.

    Gradients are brought back to their size before callbacks see them. A step whose gradients overflow moves no
    weight and makes the scale smaller; it counts as a step.

    Parameters
    ----------
    scaler : torch.amp.GradScaler
        Of the run.
    optimizer : Optimizer
        Of the run.
    """

    def __init__(self, scaler: torch.amp.GradScaler, optimizer: Optimizer) -> None:
        self._scaler = scaler
        self._optimizer = optimizer

    def gradients(self, loss: torch.Tensor) -> None:
        """Compute the gradients of a loss."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)

    def refresh(self) -> None:
        """Look again at the optimizer: it is asked at every step anyway."""

    def __call__(self) -> None:
        """Update the weights, unless a gradient is infinite or NaN, and the scale."""
        self._optimizer._opt_called = True  # type: ignore[attr-defined]  # a schedule asks; this may be a step left out
        self._scaler.step(self._optimizer)
        self._scaler.update()
