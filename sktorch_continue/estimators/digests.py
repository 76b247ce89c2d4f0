"""When two values are the same for a training: a digest of content, in any process."""

from __future__ import annotations

import hashlib
import inspect
import pickle
from typing import Any

import torch
from joblib.hashing import NumpyHasher
from torch.nn.parameter import is_lazy

from sktorch_continue.specification import Description, describe, describe_code

LIBRARIES = ("builtins", "torch", "numpy", "scipy", "sklearn", "joblib", "pandas", "polars", "sktorch_continue")


def digest(value: Any) -> str | None:
    """Return a digest of the content of a value, or None where it has something in it whose content cannot be told.

    Arrays, frames, estimators and whatever else pickles are hashed as joblib does it; in addition tensors and modules,
    lambdas, and classes in functions. Classes and functions of the user count with their code: after an edit they are
    others.
    """
    try:
        return str(_ContentHasher(hash_name="sha1").hash(value))
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError):
        return None


class _ContentHasher(NumpyHasher):
    def save(self, obj: Any) -> None:
        """Hash what stands for `obj`."""
        if isinstance(obj, torch.Tensor):
            obj = _of_tensor(obj)
        elif inspect.isfunction(obj) and _is_own(obj):
            obj = ("function", describe(obj), describe_code(obj.__code__))
        elif inspect.isclass(obj) and _is_own(obj):
            obj = ("class", f"{obj.__module__}.{obj.__qualname__}", code_of(obj))
        super().save(obj)


def _of_tensor(tensor: torch.Tensor) -> tuple[Any, ...]:
    facts = ("tensor", str(tensor.dtype), str(tensor.device), tensor.requires_grad)
    if is_lazy(tensor):
        return facts
    content = tensor.detach().cpu().contiguous()
    return (*facts, list(tensor.shape), content.reshape(-1).view(torch.uint8).numpy())


def code_of(kind: type) -> Description:
    """Return the code of the methods that a class has from its user, by class and name."""
    return {
        base.__qualname__: {n: describe_code(m.__code__) for n, m in vars(base).items() if inspect.isfunction(m)}
        for base in kind.__mro__
        if _is_own(base)
    }


def _is_own(value: Any) -> bool:
    return (value.__module__ or "").partition(".")[0] not in LIBRARIES


def combine(*parts: Any) -> str:
    """Return one digest of several values that all have one."""
    return hashlib.sha256("/".join(map(repr, parts)).encode()).hexdigest()
