"""Parameters as plain values: what to build, and a description that can be compared and stored."""

from __future__ import annotations

import difflib
import functools
import hashlib
import inspect
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

Description = Any  # None, bool, int, float, str, and lists and dictionaries of those

_DEEPEST = 8


@dataclass(frozen=True)
class Part:
    """One thing to build.

    Attributes
    ----------
    factory : class, callable or instance
        Resolved from the parameter; a name has become the class it names.
    arguments : dict
        The double-underscore parameters, without their prefix.
    """

    factory: Any
    arguments: dict[str, Any]

    def describe(self) -> Description:
        """Return factory and arguments as plain values."""
        return {"factory": describe(self.factory), "arguments": describe(self.arguments)}

    @property
    def label(self) -> str:
        """A short name for messages."""
        return label_of(self.factory)

    def build(self, parameter: str, *args: Any, **offered: Any) -> Any:
        """Call the factory with `args`, the arguments, and what is `offered` where the caller did not give it.

        Raises
        ------
        TypeError
            If it takes no such argument, or needs one that was not given, in terms of ``parameter__x``.
        """
        arguments = {**offered, **self.arguments}
        taken = signature_of(self.factory)
        try:
            if taken:
                _signature(self.factory).bind(*args, **arguments)
        except TypeError as error:
            unknown = [f"{parameter}__{name}" for name in arguments if name not in taken]
            needed = [f"{parameter}__{n}" for n, p in list(taken.items())[len(args) :] if p.default is p.empty]
            missing = [name for name in needed if name.removeprefix(f"{parameter}__") not in arguments]
            raise TypeError(
                f"{parameter}={self.label} "
                + (f"takes no {', '.join(unknown)}" if unknown else f"needs {', '.join(missing)}")
                + f"; its arguments are {list(taken)[len(args) :]} ({error})"
                + (f". What another class left behind goes with `del estimator.{unknown[0]}`" if unknown else "")
            ) from error
        return self.factory(*args, **arguments)

    def accepts(self, name: str) -> bool:
        """Tell whether the factory has a parameter of this name."""
        return name in signature_of(self.factory)


@dataclass(frozen=True)
class Specification:
    """Everything a run is built from, and its description.

    Attributes
    ----------
    module, criterion, optimizer : Part
        To build; the optimizer's arguments contain ``lr`` where it takes one.
    lr : float
        Learning rate before any schedule.
    lr_scheduler : Part or None
        To build.
    lr_scheduler_interval : {"epoch", "step"}
        When the schedule steps.
    lr_scheduler_monitor : str or None
        Column a plateau schedule reads.
    autocast : torch.dtype or None
        Of the forward pass.
    grad_scaler : Part or None
        To build.
    callbacks : dict of str to Callback
        Prototypes by name.
    parameters : dict of str to Description
        Every parameter of the estimator, for the record of a call.
    built_from : dict of str to object
        Those that decide what is built, as they were given, for a checkpoint.
    parts : dict of str to Description
        What decides whether a part is another one; the learning rate, which a living optimizer takes, is not in it.
    """

    module: Part
    criterion: Part
    optimizer: Part
    lr: float
    lr_scheduler: Part | None
    lr_scheduler_interval: str
    lr_scheduler_monitor: str | None
    autocast: torch.dtype | None
    grad_scaler: Part | None
    callbacks: dict[str, Any]
    parameters: dict[str, Description]
    built_from: dict[str, Any]
    parts: dict[str, Description] = field(init=False)

    def __post_init__(self) -> None:
        schedule = None if self.lr_scheduler is None else self.lr_scheduler.describe()
        optimizer = Part(self.optimizer.factory, {k: v for k, v in self.optimizer.arguments.items() if k != "lr"})
        parts = {
            "module": self.module.describe(),
            "criterion": self.criterion.describe(),
            "optimizer": optimizer.describe(),
            "lr_scheduler": schedule and {**schedule, "interval": self.lr_scheduler_interval},
            "grad_scaler": None if self.grad_scaler is None else self.grad_scaler.describe(),
        }
        object.__setattr__(self, "parts", parts)

    def describe(self) -> Description:
        """Return the description kept in a run's state."""
        return {"parts": self.parts, "parameters": self.parameters}


def resolve(value: Any, namespace: ModuleType, base: type, parameter: str) -> Any:
    """Return the class that `value` names, or `value` itself.

    Raises
    ------
    ValueError
        If a name is not that of a subclass of `base` in `namespace`.
    TypeError
        If `value` is neither a name nor callable.
    """
    if isinstance(value, str):
        found = getattr(namespace, value, None)
        if inspect.isclass(found) and issubclass(found, base) and found is not base:
            return found
        names = [n for n, v in vars(namespace).items() if inspect.isclass(v) and issubclass(v, base) and v is not base]
        near = difflib.get_close_matches(value, names, n=3) or [n for n in names if value.lower() in n.lower()]
        raise ValueError(
            f"{parameter}={value!r} names no {base.__name__} in {namespace.__name__}"
            + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "; give the class itself")
        )
    if not callable(value):
        raise TypeError(
            f"{parameter} must be a class, a callable or the name of a class in {namespace.__name__}; got "
            f"{value!r} of type {type(value).__name__}"
        )
    return value


def signature_of(factory: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a callable; empty where Python cannot tell."""
    try:
        return dict(_signature(factory).parameters)
    except (TypeError, ValueError):
        return {}


def _signature(factory: Any) -> inspect.Signature:
    lasting = inspect.isclass(factory) or inspect.isfunction(factory)
    return _known_signature(factory) if lasting else inspect.signature(factory)


@functools.lru_cache(maxsize=128)
def _known_signature(factory: Hashable) -> inspect.Signature:
    return inspect.signature(factory)  # type: ignore[arg-type]  # a millisecond for some of torch's


def label_of(value: Any) -> str:
    """Return the name a reader knows `value` by."""
    if value is None:
        return "None"
    named = value if inspect.isclass(value) or inspect.isroutine(value) else type(value)
    return str(named.__name__)


def describe(value: Any, _depth: int = 0) -> Description:
    """Return `value` as plain values; equal descriptions mean equal values, in any process.

    Classes and functions are described by name, lambdas and local functions by their code as well, arrays and
    modules by a digest of their content, other objects by class and attributes.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value != value:
        return "nan"  # which does not equal itself
    if value is None:
        return value
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)  # a member of an enumeration as what it stands for
    if _depth > _DEEPEST:
        return _qualified(type(value))
    deeper: Callable[[Any], Description] = functools.partial(describe, _depth=_depth + 1)
    if isinstance(value, Mapping):
        return {str(key): deeper(item) for key, item in value.items()}
    if isinstance(value, bytes | complex | range):
        return repr(value)
    if isinstance(value, list | tuple):
        return [deeper(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((deeper(item) for item in value), key=repr)
    if isinstance(value, torch.device | torch.dtype):
        return str(value)
    if isinstance(value, np.ndarray | torch.Tensor):
        return _describe_array(value)
    if inspect.isfunction(value):
        return _describe_function(value, deeper)
    if inspect.ismethod(value):
        return {"method": _describe_function(value.__func__, deeper), "of": deeper(value.__self__)}
    if inspect.isclass(value) or inspect.isroutine(value):
        return _qualified(value)
    if isinstance(value, functools.partial):
        return {"partial": deeper(value.func), "args": deeper(value.args), "keywords": deeper(value.keywords)}
    if isinstance(value, nn.Module):
        weights = {name: deeper(tensor) for name, tensor in value.state_dict().items()}
        return {"class": _qualified(type(value)), "repr": repr(value), "weights": weights}
    if isinstance(value, np.random.RandomState | np.random.Generator | torch.Generator):
        return _qualified(type(value))  # its position moves with every draw
    if isinstance(value, torch.utils.data.Dataset):
        return _qualified(type(value))  # a sampler's; what it reads is not the sampler's
    return {"class": _qualified(type(value)), "content": _describe_content(value, deeper)}


def same_architecture(before: Any, now: Any) -> bool:
    """Tell whether two descriptions of a module mean one architecture.

    The file a class stands in does not matter (a script is ``__main__`` to itself), nor do the weights of an instance:
    the run brings its own.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        ignored = {"weights"} if "repr" in before else set()
        names = {*before, *now} - ignored
        return all(same_architecture(before.get(name), now.get(name)) for name in names)
    if isinstance(before, str) and isinstance(now, str):
        return before == now or _of_script(before, now) or _of_script(now, before)
    return bool(before == now)


def _of_script(one: str, other: str) -> bool:
    return one.startswith("__main__.") and other.rpartition(".")[2] == one.rpartition(".")[2]


def in_words(description: Description) -> str:
    """Return a description for a message: what has code or weights goes by its name."""
    if isinstance(description, dict):
        for kind in ("function", "class"):
            if isinstance(description.get(kind), str):
                return f"{kind} {description[kind]}"
    return repr(description)


def _describe_content(value: Any, deeper: Callable[[Any], Description]) -> Description:
    attributes = getattr(value, "__dict__", None)
    if attributes:
        return deeper(attributes)
    try:
        return deeper(value.__reduce_ex__(4)[1:3])  # what a copy is made of
    except TypeError:
        return repr(value)


def _qualified(value: Any) -> str:
    return f"{getattr(value, '__module__', None) or ''}.{value.__qualname__}"


def _describe_array(value: Any) -> Description:
    if isinstance(value, torch.Tensor):
        if is_lazy(value):
            return "uninitialized"
        value = value.detach().cpu()
        value = value.view(torch.uint8) if value.dtype == torch.bfloat16 and value.ndim else value
        value = value.numpy()
    digest = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=8).hexdigest()
    return {"array": list(value.shape), "dtype": str(value.dtype), "digest": digest}


def _describe_function(value: Any, deeper: Callable[[Any], Description]) -> Description:
    if "<" not in value.__qualname__:
        return _qualified(value)
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    return {
        "function": _qualified(value),
        "code": describe_code(value.__code__),
        "defaults": deeper([value.__defaults__, value.__kwdefaults__]),
        "closure": deeper(cells),
    }


def _describe_constant(value: Any) -> Description:
    if isinstance(value, frozenset):  # whose order changes from process to process
        return ["frozenset", sorted(repr(item) for item in value)]
    return [type(value).__name__, repr(value)]


def describe_code(code: Any) -> Description:
    """Return the code of a function as plain values: what it does, not where it stands."""
    constants = [describe_code(c) if inspect.iscode(c) else _describe_constant(c) for c in code.co_consts]
    return {"bytes": code.co_code.hex(), "constants": constants, "names": list(code.co_names)}
