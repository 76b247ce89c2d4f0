"""When two values are the same for a training: a digest of content, in any process."""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
from typing import Any

import joblib
from torch import nn

from sktorch_continue.specification import Description, describe, describe_code

LIBRARIES = ("builtins", "torch", "numpy", "scipy", "sklearn", "joblib", "sktorch_continue")


def digest(value: Any) -> str | None:
    """Return a digest of the content of a value, or None where its content cannot be told.

    What pickles is hashed by :func:`joblib.hash`. What does not (a lambda, a class in a function) is described, lambdas
    by their code. A module instance that does not pickle has attributes nobody can compare. Classes of the user count
    with the code of their methods: after an edit they are others.
    """
    try:
        content: Description = joblib.hash(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        if any(isinstance(entry, nn.Module) for entry in _entries(value)):
            return None
        content = describe(value)
    code = {kind.__qualname__: code_of(kind) for kind in map(_coded, _entries(value))}
    return hashlib.sha256(json.dumps([content, code], sort_keys=True).encode()).hexdigest()


def code_of(value: Any) -> Description:
    """Return the code a function or a class has from its user; of a class that of its methods, by class and name."""
    if inspect.isfunction(value):
        return describe_code(value.__code__) if _is_own(value) else None
    return {
        base.__qualname__: {name: code_of(method) for name, method in vars(base).items() if inspect.isfunction(method)}
        for base in value.__mro__
        if _is_own(base)
    }


def _is_own(value: Any) -> bool:
    return value.__module__.partition(".")[0] not in LIBRARIES


def _entries(value: Any) -> list[Any]:
    """Return a value, or what is in a list of callbacks, steps or the like."""
    if isinstance(value, dict):
        return [entry for inner in value.values() for entry in _entries(inner)]
    if isinstance(value, list | tuple):
        return [entry for inner in value for entry in _entries(inner)]
    return [value]


def _coded(value: Any) -> Any:
    return value if inspect.isclass(value) or inspect.isfunction(value) else type(value)
