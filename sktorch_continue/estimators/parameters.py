"""What parameters may be, and the specification they make."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from sktorch_continue.callbacks import Callback
from sktorch_continue.mixed_precision import dtype_of, name_of
from sktorch_continue.modules import MLP
from sktorch_continue.specification import Part, Specification, describe, resolve

BUILT_FROM = (
    "module",
    "criterion",
    "optimizer",
    "lr",
    "lr_scheduler",
    "lr_scheduler_interval",
    "lr_scheduler_monitor",
    "autocast",
    "grad_scaler",
)
ON_CONTINUE = ("continue", "extend", "restart")
INTERVALS = ("epoch", "step")
OF_LOADER = (
    "num_workers",
    "collate_fn",
    "sampler",
    "worker_init_fn",
    "multiprocessing_context",
    "pin_memory",
    "prefetch_factor",
    "persistent_workers",
    "timeout",
)
NOT_OF_LOADER = {
    "batch_size": "set the parameter batch_size",
    "shuffle": "set the parameter shuffle",
    "drop_last": "set the parameter drop_last",
    "batch_sampler": "set batch_size, and dataloader__sampler for the order",
    "generator": "set random_state: order and draws are functions of it and of the epoch",
    "dataset": "give the data set to fit",
}


def check_parameters(params: dict[str, Any]) -> None:
    """Refuse parameters of the wrong type or range.

    Raises
    ------
    TypeError, ValueError
        Naming parameter, value and what was expected.
    """
    _check_integer(params, "batch_size", 1)
    _check_integer(params, "verbose", 0)
    if params["num_threads"] is not None:
        _check_integer(params, "num_threads", 1)
    for name in ("shuffle", "warm_start", "drop_last", "check_finite", "compile"):
        if not isinstance(params[name], bool | np.bool_ | numbers.Integral) or params[name] not in (0, 1):
            raise TypeError(f"{name}={params[name]!r}; True or False was expected")
    loader_arguments(params)
    lr = params["lr"]
    if not isinstance(lr, numbers.Real) or isinstance(lr, bool) or not 0 <= float(lr) < float("inf"):
        raise ValueError(f"lr={lr!r}; a finite number of at least 0 was expected")
    fraction = params["validation_fraction"]
    if fraction is not None and not (isinstance(fraction, numbers.Real) and 0 < float(fraction) < 1):
        raise ValueError(f"validation_fraction={fraction!r}; None or a number between 0 and 1 was expected")
    for name, allowed in (("lr_scheduler_interval", INTERVALS), ("lr_scheduler_on_continue", ON_CONTINUE)):
        if params[name] not in allowed:
            raise ValueError(f"{name}={params[name]!r} is none of {allowed}")


def loader_arguments(params: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of the DataLoader among parameters.

    Raises
    ------
    TypeError, ValueError
        For one that is not the caller's to give, and for a number of workers that is none.
    """
    given = _arguments(params, "dataloader__")
    for name in given:
        if name in NOT_OF_LOADER:
            raise ValueError(f"dataloader__{name} is decided by the estimator: {NOT_OF_LOADER[name]}")
        if name not in OF_LOADER:
            raise TypeError(f"dataloader__{name} is no argument of the DataLoader that can be given: {list(OF_LOADER)}")
    if "num_workers" in given:
        _check_integer(params, "dataloader__num_workers", 0)
    return given


def _check_integer(params: dict[str, Any], name: str, least: int) -> None:
    value = params[name]
    if not isinstance(value, numbers.Integral) or (isinstance(value, bool) and name != "verbose"):
        raise TypeError(f"{name}={value!r} of type {type(value).__name__}; an integer of at least {least} was expected")
    if value < least:
        raise ValueError(f"{name}={value!r}; an integer of at least {least} was expected")


def check_epochs(max_epochs: Any, n_epochs: int) -> int:
    """Return how many epochs a call is to train.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it asks for nothing.
    """
    if not isinstance(max_epochs, numbers.Integral) or isinstance(max_epochs, bool):
        raise TypeError(f"max_epochs={max_epochs!r} of type {type(max_epochs).__name__}; an integer was expected")
    if max_epochs < 1:
        raise ValueError(
            f"max_epochs={max_epochs} asks for nothing: the run has {n_epochs} epochs and would train from {n_epochs} "
            f"to {n_epochs + max_epochs}; give max_epochs of at least 1"
        )
    return int(max_epochs)


def check_device(device: Any) -> torch.device:
    """Return the device.

    Raises
    ------
    ValueError
        If torch knows no such device or this machine has none.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ValueError(f"device={device!r} cannot be used here: {error}") from error
    return found


def make_specification(params: dict[str, Any], default_criterion: type[nn.Module]) -> Specification:
    """Turn parameters into what a run is built from.

    Parameters
    ----------
    params : dict
        From ``get_params(deep=False)``.
    default_criterion : type
        What ``criterion=None`` stands for.
    """
    module = params["module"]
    criterion = default_criterion if params["criterion"] is None else params["criterion"]
    if not isinstance(criterion, nn.Module):
        criterion = resolve(criterion, torch.nn, nn.Module, "criterion")
    if module is not None and not callable(module):
        raise TypeError(
            f"module={module!r} of type {type(module).__name__}; None, an nn.Module subclass or instance, or a "
            "callable that returns a module was expected"
        )
    schedule, dtype = params["lr_scheduler"], dtype_of(params["autocast"])
    return Specification(
        module=Part(MLP if module is None else module, _arguments(params, "module__")),
        criterion=Part(criterion, _arguments(params, "criterion__")),
        optimizer=_optimizer_part(params),
        lr=float(_arguments(params, "optimizer__").get("lr", params["lr"])),
        lr_scheduler=None if schedule is None else schedule_part(params),
        lr_scheduler_interval=params["lr_scheduler_interval"],
        lr_scheduler_monitor=params["lr_scheduler_monitor"],
        autocast=dtype,
        grad_scaler=_scaler_part(params),
        callbacks=name_callbacks(params["callbacks"]),
        parameters={name: describe(value) for name, value in sorted({**params, "autocast": name_of(dtype)}.items())},
        built_from={name: value for name, value in params.items() if decides(name)},
    )


def belongs(name: str, part: str) -> bool:
    """Tell whether a parameter is that of a part, or one of its double-underscore ones."""
    return name == part or name.startswith(f"{part}__")


def decides(name: str) -> bool:
    """Tell whether a run is built from a parameter; all others are read at every call."""
    return any(belongs(name, part) for part in BUILT_FROM)


def _arguments(params: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}


def _optimizer_part(params: dict[str, Any]) -> Part:
    optimizer = params["optimizer"]
    if isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer is an instance of {type(optimizer).__name__}, bound to other parameters; give its class and "
            "optimizer__x arguments"
        )
    part = Part(resolve(optimizer, torch.optim, torch.optim.Optimizer, "optimizer"), _arguments(params, "optimizer__"))
    if part.accepts("lr"):
        part.arguments.setdefault("lr", float(params["lr"]))
    return part


def schedule_part(params: dict[str, Any]) -> Part:
    """Return what a schedule is built from.

    Raises
    ------
    TypeError, ValueError
        For what is no schedule, or one that cannot step when it is to.
    """
    schedule = params["lr_scheduler"]
    if isinstance(schedule, torch.optim.lr_scheduler.LRScheduler):
        raise TypeError(
            f"lr_scheduler is an instance of {type(schedule).__name__}, bound to another optimizer; give its class and "
            "lr_scheduler__x arguments, or a callable that takes the optimizer"
        )
    factory = resolve(schedule, torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler, "lr_scheduler")
    plateau = isinstance(factory, type) and issubclass(factory, torch.optim.lr_scheduler.ReduceLROnPlateau)
    if plateau and params["lr_scheduler_interval"] == "step":
        raise ValueError(
            "ReduceLROnPlateau reads a column of the history, which has one row per epoch; use "
            "lr_scheduler_interval='epoch'"
        )
    return Part(factory, _arguments(params, "lr_scheduler__"))


def _scaler_part(params: dict[str, Any]) -> Part | None:
    scaler, arguments = params["grad_scaler"], _arguments(params, "grad_scaler__")
    if scaler is None:
        if arguments:
            raise ValueError(
                f"{[f'grad_scaler__{name}' for name in arguments]} need a scaler; set grad_scaler='GradScaler'"
            )
        return None
    if isinstance(scaler, torch.amp.GradScaler):
        raise TypeError("grad_scaler is an instance, whose scale would be shared; give its class and grad_scaler__x")
    if scaler != "GradScaler" and not callable(scaler):
        raise ValueError(
            f"grad_scaler={scaler!r}; None, 'GradScaler', or a class or callable that returns one was expected"
        )
    return Part(torch.amp.GradScaler if scaler == "GradScaler" else scaler, arguments)


def name_callbacks(callbacks: Iterable[Any] | None) -> dict[str, Callback]:
    """Return the prototypes by name.

    Raises
    ------
    TypeError
        If an entry is neither a callback nor a (name, callback) pair.
    ValueError
        If two have one name.
    """
    if callbacks is not None and not isinstance(callbacks, list | tuple):
        raise TypeError(
            f"callbacks={callbacks!r} of type {type(callbacks).__name__}; a list of Callback instances or of (name, "
            "callback) pairs was expected"
        )
    named: dict[str, Callback] = {}
    for entry in callbacks or ():
        name, callback = entry if isinstance(entry, tuple) and len(entry) == 2 else (type(entry).__name__, entry)
        if not isinstance(callback, Callback) or not isinstance(name, str):
            raise TypeError(
                f"callbacks has {entry!r}; a sktorch_continue.callbacks.Callback instance or a (name, callback) pair "
                "was expected" + (f"; did you mean {entry.__name__}()?" if isinstance(entry, type) else "")
            )
        if name in named:
            raise ValueError(
                f"two callbacks are named {name!r}; give one of them another name: callbacks=[('{name}2', ...), ...]"
            )
        named[name] = callback
    return named
