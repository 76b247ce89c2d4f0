"""Parameters as plain values a checkpoint can hold, and back: names become objects only where they are trusted.

A name in a file is never imported. It stands for a module, optimizer, schedule or scaler of torch, for a function of
``torch.nn.functional``, for a module or callback of this package, or for something the caller trusts.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from sktorch_continue.callbacks import Callback
from sktorch_continue.exceptions import CheckpointError
from sktorch_continue.specification import label_of

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
ARRAYS = (np.ndarray, np.generic, torch.Tensor)
OF_TORCH = (nn.Module, torch.optim.Optimizer, LRScheduler, torch.amp.GradScaler)
OF_THIS_PACKAGE = (nn.Module, Callback)
TORCH = ("torch.nn.", "torch.optim.", "torch.amp.")
OURS = (*TORCH, "sktorch_continue.")


def to_plain(value: Any) -> dict[str, Any]:
    """Return a parameter as plain values; what only its owner can give again is marked as missing."""
    if isinstance(value, (*PLAIN, *ARRAYS)):
        return {"value": value}
    if isinstance(value, os.PathLike):
        return {"path": os.fspath(value)}
    if isinstance(value, np.random.RandomState):
        return {"random_state": value.get_state()}
    if type(value) in (list, tuple):
        return {type(value).__name__: [to_plain(item) for item in value]}
    if type(value) is dict:
        return {"dict": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    if isinstance(value, Callback) and _can_be_made_again(value):
        return {"callback": _name(type(value)), "arguments": to_plain(_arguments(value))}
    if (inspect.isclass(value) or inspect.isroutine(value)) and "<" not in value.__qualname__:
        return {"name": _name(value)}
    return {"missing": label_of(value)}


def _name(value: Any) -> list[str]:
    return [str(getattr(value, "__module__", None) or "builtins"), value.__qualname__]


def _can_be_made_again(callback: Callback) -> bool:
    parameters = inspect.signature(type(callback)).parameters.values()
    return all(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name in vars(callback) for p in parameters)


def _arguments(callback: Callback) -> dict[str, Any]:
    """Return the arguments of a callback's constructor that differ from its defaults."""
    arguments = {}
    for name, parameter in inspect.signature(type(callback)).parameters.items():
        if vars(callback)[name] is not parameter.default:
            arguments[name] = vars(callback)[name]
    return arguments


class Trust:
    """What names may stand for.

    Parameters
    ----------
    trusted : iterable of class, function or str
        Beyond torch and this package. A str is the name of something that is imported here and now.
    """

    def __init__(self, trusted: Iterable[Any] = ()) -> None:
        given: list[Any] = [trusted] if isinstance(trusted, str) or callable(trusted) else list(trusted)
        objects = [_imported(entry) if isinstance(entry, str) else entry for entry in given]
        places = [("__main__", _name(entry)[0]) for entry in objects]  # a script is ``__main__`` to itself
        self._known = {(m, o.__qualname__): o for o, modules in zip(objects, places, strict=True) for m in modules}

    def from_plain(self, plain: Mapping[str, Any]) -> Any:
        """Return the parameter that :func:`to_plain` described.

        Raises
        ------
        CheckpointError
            For a name that is not trusted, and for what was missing.
        """
        kind: str
        content: Any
        kind, content = next(iter(plain.items()), ("missing", "what is not there"))
        if kind == "value":
            return content
        if kind == "path":
            return Path(content)
        if kind in ("list", "tuple"):
            items = [self.from_plain(item) for item in content]
            return items if kind == "list" else tuple(items)
        if kind == "dict":
            return {self.from_plain(key): self.from_plain(item) for key, item in content}
        if kind == "random_state":
            state = np.random.RandomState()
            state.set_state(content)
            return state
        if kind == "callback":
            callback = self._resolve(content)
            if not (inspect.isclass(callback) and issubclass(callback, Callback)):
                raise CheckpointError(f"{'.'.join(content)} is no Callback")
            return callback(**self.from_plain(plain["arguments"]))
        if kind == "name":
            return self._resolve(content)
        raise CheckpointError(f"{content} cannot be made again from a file")

    def _resolve(self, name: list[str]) -> Any:
        if not (isinstance(name, list) and len(name) == 2 and all(isinstance(part, str) for part in name)):
            raise CheckpointError(f"{name!r} is no name of a class or function")
        module, qualname = name
        if (module, qualname) in self._known:
            return self._known[module, qualname]
        if module.startswith(OURS) and module in sys.modules:  # not getattr: a module may import what it is asked for
            found = vars(sys.modules[module]).get(qualname)
            if found is not None and _is_ours(found, module):
                return found
        raise CheckpointError(f"{module}.{qualname} is a name in a file, and not trusted")


def _is_ours(found: Any, module: str) -> bool:
    if module.startswith(TORCH) and inspect.isclass(found):
        return issubclass(found, OF_TORCH)
    if module == "torch.nn.functional":
        return inspect.isfunction(found) and found.__module__ == module
    return module.startswith("sktorch_continue.") and inspect.isclass(found) and issubclass(found, OF_THIS_PACKAGE)


def _imported(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"trusted has {name!r}, which cannot be imported: {error}") from error
