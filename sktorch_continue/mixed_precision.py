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


def check(dtype: torch.dtype | None, scaler: Part | None, module: nn.Module, optimizer: Optimizer) -> None:
    """Refuse what would have no effect, or cannot work.

    Raises
    ------
    ValueError
        For autocast of a module that is not float32, or on a device that has no such dtype; for a scaler with an
        optimizer that evaluates the loss itself.
    """
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    if dtype is not None and modules.float_dtype(module) != torch.float32:
        raise ValueError(
            f"autocast={str(dtype).removeprefix('torch.')!r} is for a module in float32, and this one is in "
            f"{modules.float_dtype(module)}; give X as float32 (X.astype('float32')), or a module with such weights"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            autocast(dtype, device)
        except (RuntimeError, UserWarning) as error:
            raise ValueError(f"autocast={str(dtype)!r} cannot be used on {device.type}: {error}") from error
    if scaler is not None and optimizers.needs_closure(optimizer):
        raise ValueError(
            f"grad_scaler={scaler.label} cannot scale for {type(optimizer).__name__}, which evaluates the loss several "
            "times per step; use another optimizer, or grad_scaler=None"
        )


def build_scaler(part: Part | None, device: torch.device) -> Any:
    """Build a gradient scaler for a device, or return None.

    Raises
    ------
    TypeError
        If the factory takes no such arguments, or returns something else.
    """
    if part is None:
        return None
    offered = {"device": device.type} if part.accepts("device") else {}
    scaler = part.build("grad_scaler", **offered)
    if not isinstance(scaler, torch.amp.GradScaler):
        raise TypeError(
            f"grad_scaler={part.label} returned {type(scaler).__name__}; a torch.amp.GradScaler was expected"
        )
    return scaler


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
