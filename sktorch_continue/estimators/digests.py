"""When two values are the same for a training: a digest of content, in any process."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from joblib.hashing import NumpyHasher
from sklearn.base import BaseEstimator
from torch import nn
from torch.nn.parameter import is_lazy
from torch.utils.data import Dataset

from sktorch_continue import threads
from sktorch_continue.estimators.storage import CALLBACK_ATTRIBUTES
from sktorch_continue.specification import describe_code
from sktorch_continue.versions import __version__, versions

LIBRARIES = {"builtins", "torch", "numpy", "scipy", "sklearn", "joblib", "pandas", "polars", "sktorch_continue"}
PLAIN = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, type(None))
CONTENT = (np.ndarray, np.generic, torch.Tensor, torch.dtype, torch.device, nn.Module)
OF_EVERY_CLASS = {"__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__qualname__"}
OF_EVERY_CLASS |= {
    "__dataclass_fields__",
    "__dataclass_params__",
    "__abstractmethods__",
    "_abc_impl",
    "__slotnames__",
    "__firstlineno__",
    "__static_attributes__",
}


def digest(value: Any) -> str | None:
    """Return a digest of the content of a value, or None where it has something in it whose content cannot be told.

    Arrays, frames, estimators and whatever else pickles are hashed as joblib does it, tensors and modules by their
    content; that of a data set of torch cannot be told, as files may change behind it. A function or class of the user
    counts with all it is made of: code, defaults, what it closes over, class attributes, and the functions, classes and
    plain values of its module that it reads, so that after an edit it is another one. All that is taken as it was when
    it was first met in this process; what it reads from elsewhere (a file, the environment) is not seen.
    """
    try:
        return str(_ContentHasher().hash(value))
    except Exception:  # anything may be raised by what an object of the user does when it is pickled
        return None


def combine(*parts: Any) -> str:
    """Return one digest of several plain values."""
    return hashlib.sha256("/".join(map(repr, parts)).encode()).hexdigest()


def facts_of_process() -> tuple[Any, ...]:
    """Return what decides bits beside data and parameters."""
    return __version__, versions(), threads.of_process(), torch.get_default_dtype()


class _ContentHasher(NumpyHasher):
    """joblib's, with content in the place of what it would hash by name or by address.

    Parameters
    ----------
    inline : bool
        Whether functions and classes of the user are hashed as they are now, or as they were first met.
    """

    def __init__(self, *, inline: bool = False) -> None:
        super().__init__(hash_name="sha1")
        self._inline = inline
        self._replaced: dict[int, tuple[int, Any]] = {}

    def save(self, obj: Any) -> None:
        """Hash what stands for `obj`; the second time, where it was met the first time."""
        stands_for = self._content(obj)
        if stands_for is None:
            super().save(obj)
        elif id(obj) in self._replaced:
            super().save(("again", self._replaced[id(obj)][0]))
        else:
            self._replaced[id(obj)] = (len(self._replaced), obj)  # kept alive, so that no other has its address
            super().save(stands_for())

    def _content(self, obj: Any) -> Callable[[], Any] | None:
        if isinstance(obj, torch.Tensor):
            return lambda: _of_tensor(obj)
        if (inspect.isfunction(obj) or inspect.isclass(obj)) and _is_own(obj):
            return lambda: _of_definition(obj) if self._inline else _as_first_met(obj)
        if isinstance(obj, BaseEstimator):
            return lambda: _of_estimator(obj)
        if isinstance(obj, Dataset):
            raise TypeError(f"what {type(obj).__name__} reads may change behind it")
        return None


def _as_first_met(definition: Any) -> str:
    """Return the digest of a function or class from when it was first asked for.

    What code reads may also be what it writes: a class that counts its calls is no other class after each of them.
    """
    if definition not in _first_met:
        _first_met[definition] = str(_ContentHasher(inline=True).hash(definition))
    return _first_met[definition]


_first_met: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def _of_definition(definition: Any) -> tuple[Any, ...]:
    return _of_class(definition) if inspect.isclass(definition) else _of_function(definition)


def _of_tensor(tensor: torch.Tensor) -> tuple[Any, ...]:
    facts = ("tensor", type(tensor).__qualname__, str(tensor.dtype), str(tensor.device), tensor.requires_grad)
    if is_lazy(tensor):
        return facts
    content = tensor.detach().cpu().contiguous()
    return (*facts, list(tensor.shape), content.reshape(-1).view(torch.uint8).numpy())


def _of_estimator(estimator: BaseEstimator) -> tuple[Any, ...]:
    """Return class and attributes, but for callbacks of scikit-learn, which decide nothing and may keep count."""
    attributes: dict[str, Any] = estimator.__getstate__()
    return ("estimator", type(estimator), {n: v for n, v in attributes.items() if n not in CALLBACK_ATTRIBUTES})


def _of_function(function: Any) -> tuple[Any, ...]:
    cells = [_contents(cell) for cell in function.__closure__ or ()]
    defaults = (function.__defaults__, function.__kwdefaults__)
    read = dict(_read_by(function.__code__, function.__globals__))
    attributes = {name: value for name, value in vars(function).items() if name != "__wrapped__"}
    return ("function", _name(function), describe_code(function.__code__), defaults, cells, read, attributes)


def _of_class(kind: type) -> tuple[Any, ...]:
    bases = [(_name(base), _own_attributes(base) if _is_own(base) else None) for base in kind.__mro__]
    return ("class", bases)


def _own_attributes(base: type) -> dict[str, Any]:
    return {name: _inside(value) for name, value in vars(base).items() if name not in OF_EVERY_CLASS}


def _inside(attribute: Any) -> Any:
    """Return what an entry of a class is made of."""
    if isinstance(attribute, staticmethod | classmethod):
        return (type(attribute).__name__, attribute.__func__)
    if isinstance(attribute, property):
        return ("property", attribute.fget, attribute.fset, attribute.fdel)
    if isinstance(attribute, functools.cached_property):
        return ("cached", attribute.func)
    if inspect.ismemberdescriptor(attribute) or inspect.isgetsetdescriptor(attribute):
        return "slot"
    return (type(attribute).__name__, attribute.__wrapped__) if hasattr(attribute, "__wrapped__") else attribute


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "empty"


def _read_by(code: CodeType, namespace: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what code may read from its module, or from a module of the user that it names."""
    for name in code.co_names:
        value = namespace.get(name)
        if isinstance(value, ModuleType):
            if _is_own(value):
                inner = ((f"{name}.{n}", vars(value).get(n)) for n in code.co_names)
                yield from ((n, v) for n, v in inner if _counts(v))
        elif name in namespace and _counts(value):
            yield name, value
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _read_by(constant, namespace)


def _counts(value: Any) -> bool:
    if inspect.isfunction(value) or inspect.isclass(value):
        return _is_own(value)
    return isinstance(value, PLAIN + CONTENT)


def _is_own(value: Any) -> bool:
    """Tell whether a class, function or module is the user's, or of a library whose version is no fact here."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
    top = name.partition(".")[0]
    return top not in LIBRARIES and top not in sys.stdlib_module_names


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
