"""Nested plain values and tensors as one JSON document beside named tensors, and back.

An object with a single key that starts with ``$`` stands for what JSON lacks: ``{"$tuple": [1, 2]}``. Nothing but
builtins, NumPy arrays and scalars, and tensors can come out of a document, so that reading one runs no code.
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sktorch_continue.exceptions import CheckpointError, CorruptCheckpointError

DEEPEST = 100
LARGEST = 1 << 14000  # Python makes no text of integers with more than 4300 digits
PLAIN = (type(None), bool, int, str)
ARRAYS = (np.ndarray, np.memmap)
ARRAY_DTYPE = re.compile(r"[<>|=]?[biufcmMSUVO]\d*(\[\d*\w*\])?")  # NumPy evaluates what looks like a tuple
TORCH_DTYPES = {str(d).removeprefix("torch."): d for d in vars(torch).values() if isinstance(d, torch.dtype)}
INTEGERS = [getattr(torch, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]
TENSOR_DTYPES = {torch.bool, torch.complex64, *INTEGERS, *FLOATS}  # what safetensors knows

Tensors = dict[str, dict[str, torch.Tensor]]
Path = tuple[str, ...]


class Encoder:
    """Turns nested values into a document, and collects their tensors by file and key.

    Parameters
    ----------
    homes : dict of tuple of str to str
        Where the tensors below a path go; the key in that file is the rest of the path. Other tensors go to
        `elsewhere` under their whole path.
    elsewhere : str or None
        A file. None puts tensors into the document itself, byte by byte.
    apart : dict of tuple of str to str
        Lists to leave out of the document, and the file that will hold each.

    Attributes
    ----------
    tensors : dict of str to dict of str to Tensor
        By file and key.
    lists : dict of str to list
        What was left out, by file.
    """

    def __init__(self, homes: dict[Path, str], elsewhere: str | None, apart: dict[Path, str]) -> None:
        self._homes = homes
        self._elsewhere = elsewhere
        self._apart = apart
        self.tensors: Tensors = {file: {} for file in [*homes.values(), elsewhere] if file is not None}
        self.lists: dict[str, list[Any]] = {}

    def encode(self, value: Any, path: Path = ()) -> Any:
        """Return `value` as a document.

        Raises
        ------
        CheckpointError
            For a value of another kind, naming its path.
        """
        if len(path) > DEEPEST:
            raise CheckpointError(f"{_shown(path)} is nested more than {DEEPEST} levels deep; keep less nested state")
        if type(value) is int and abs(value) >= LARGEST:
            raise CheckpointError(
                f"{_shown(path)} is an integer of {value.bit_length()} bits; at most 14000 are stored"
            )
        if type(value) in PLAIN:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"$float": str(value)}
        if type(value) is list:
            return self._items(value, path) if path not in self._apart else self._left_out(value, path)
        if type(value) is dict and all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.encode(item, (*path, key)) for key, item in value.items()}
        return self._tagged(value, path)

    def _items(self, values: Any, path: Path) -> list[Any]:
        return [self.encode(item, (*path, str(i))) for i, item in enumerate(values)]

    def _left_out(self, values: list[Any], path: Path) -> dict[str, str]:
        self.lists[self._apart[path]] = values
        return {"$lines": self._apart[path]}

    def _pairs(self, value: Any, path: Path) -> list[Any]:
        return [[self.encode(k, (*path, "a key")), self.encode(v, (*path, _step(k)))] for k, v in value.items()]

    def _tagged(self, value: Any, path: Path) -> Any:
        kind = type(value)
        if isinstance(value, torch.Tensor):
            return {"$tensor": self._place(value, path)}
        if kind in ARRAYS:
            return {"$array": self._array(np.asarray(value), path)}
        if isinstance(value, np.generic) and value.dtype.kind != "O" and not value.dtype.names:
            return {"$scalar": [value.dtype.str, value.tobytes().hex()]}
        if kind is tuple:
            return {"$tuple": self._items(value, path)}
        if kind is OrderedDict:  # torch keeps the versions of a module's layers in an attribute
            return {"$ordered": [self._pairs(value, path), self.encode(getattr(value, "_metadata", None), path)]}
        if kind in (dict, Counter):
            return {"$dict" if kind is dict else "$counter": self._pairs(value, path)}
        if kind in (set, frozenset):
            return {"$set" if kind is set else "$frozenset": self._items(sorted(value, key=repr), path)}
        if kind is bytes:
            return {"$bytes": value.hex()}
        if kind is complex:
            return {"$complex": self._items([value.real, value.imag], path)}
        if kind is torch.Size:
            return {"$size": list(value)}
        if kind in (torch.dtype, torch.device):
            return {f"${kind.__name__}": str(value).removeprefix("torch.")}
        raise CheckpointError(
            f"{_shown(path)} is a {kind.__module__}.{kind.__qualname__}, which a checkpoint cannot hold; tensors, "
            "arrays, numbers, strings, and lists, tuples, sets and dictionaries of those were expected (a callback "
            "chooses what it stores in state_dict)"
        )

    def _place(self, tensor: torch.Tensor, path: Path) -> list[Any]:
        if tensor.layout != torch.strided or tensor.dtype not in TENSOR_DTYPES or tensor.is_meta:
            raise CheckpointError(
                f"{_shown(path)} is a tensor of {tensor.dtype}, {tensor.layout}, on {tensor.device}; a dense one of "
                f"{sorted(map(str, TENSOR_DTYPES))} was expected"
            )
        tensor = tensor.detach().resolve_conj().resolve_neg()
        home = next((home for home in self._homes if path[: len(home)] == home), ())
        file = self._homes[home] if home else self._elsewhere
        if file is None:
            raw = tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), raw.hex()]
        key = ".".join(path[len(home) :]).encode("utf-8", "backslashreplace").decode()
        while key in self.tensors[file] or key == "__metadata__":  # dots in names can make two paths look alike
            key += "'"
        self.tensors[file][key] = tensor
        return [file, key]

    def _array(self, array: np.ndarray, path: Path) -> list[Any]:
        if array.dtype.kind in "biufc" and array.dtype.isnative and array.dtype.itemsize <= 8:
            return [array.dtype.str, self._place(torch.from_numpy(np.array(array, order="C")), path)]
        if array.dtype.kind == "O":
            return [array.dtype.str, list(array.shape), self._items(array.reshape(-1).tolist(), path)]
        if array.dtype.hasobject or array.dtype.names or not array.dtype.itemsize:
            raise CheckpointError(f"{_shown(path)} is an array of dtype {array.dtype}, which a checkpoint cannot hold")
        return [array.dtype.str, list(array.shape), array.tobytes().hex()]


def _step(key: Any) -> str:
    return key if type(key) is str else repr(key) if isinstance(key, int) and abs(key) < LARGEST else type(key).__name__


def _shown(path: Path) -> str:
    return ".".join(path) or "the value"


def decode(document: Any, tensors: Tensors, lists: dict[str, list[Any]]) -> Any:
    """Return the values that a document, its tensors, and the documents of the lists it leaves out stand for.

    Raises
    ------
    CorruptCheckpointError
        If it is no document an :class:`Encoder` makes, naming the place.
    """
    return _Decoder(tensors, lists).decode(document, ())


class _Decoder:
    def __init__(self, tensors: Tensors, lists: dict[str, list[Any]]) -> None:
        self._tensors = tensors
        self._lists = lists
        self._kinds: dict[str, Callable[[Any, Path], Any]] = {
            "$float": lambda value, _: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value],
            "$tensor": lambda value, _: self._tensor(value),
            "$array": self._array,
            "$scalar": lambda value, _: _scalar(bytes.fromhex(value[1]), _dtype(value[0])),
            "$lines": lambda value, path: self._items(self._lists[value], path),
            "$tuple": lambda value, path: tuple(self._items(value, path)),
            "$ordered": self._ordered,
            "$dict": lambda value, path: dict(self._pairs(value, path)),
            "$counter": lambda value, path: Counter(dict(self._pairs(value, path))),
            "$set": lambda value, path: set(self._items(value, path)),
            "$frozenset": lambda value, path: frozenset(self._items(value, path)),
            "$bytes": lambda value, _: bytes.fromhex(value),
            "$complex": lambda value, path: complex(*self._items(value, path)),
            "$size": lambda value, _: torch.Size(np.array(value, np.int64).tolist()),
            "$dtype": lambda value, _: TORCH_DTYPES[value],
            "$device": lambda value, _: torch.device(value),
        }

    def decode(self, value: Any, path: Path) -> Any:
        if len(path) > DEEPEST:
            raise CorruptCheckpointError(f"{_shown(path[:5])}... is nested more than {DEEPEST} levels deep")
        if isinstance(value, list):
            return self._items(value, path)
        if not isinstance(value, dict):
            return value
        tag = next(iter(value), "")
        if not tag.startswith("$"):
            return {key: self.decode(item, (*path, key)) for key, item in value.items()}
        try:
            (content,) = value.values()
            return self._kinds[tag](content, path)
        except CorruptCheckpointError:
            raise
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
            raise CorruptCheckpointError(f"{_shown(path)} holds {tag!r}, which cannot be read: {error!r}") from error

    def _items(self, values: list[Any], path: Path) -> list[Any]:
        return [self.decode(item, (*path, str(i))) for i, item in enumerate(values)]

    def _pairs(self, values: list[Any], path: Path) -> list[tuple[Any, Any]]:
        return [(self.decode(key, (*path, "key")), self.decode(item, (*path, str(key)))) for key, item in values]

    def _ordered(self, value: Any, path: Path) -> Any:
        pairs, metadata = value
        ordered: Any = OrderedDict(self._pairs(pairs, path))
        if metadata is not None:
            ordered._metadata = self.decode(metadata, path)
        return ordered

    def _tensor(self, place: Any) -> torch.Tensor:
        if len(place) == 3:
            dtype, shape, raw = place
            known = TORCH_DTYPES[dtype]
            values = torch.frombuffer(bytearray.fromhex(raw), dtype=known) if raw else torch.empty(0, dtype=known)
            return values.reshape(shape)
        file, key = place
        return self._tensors[file][key]

    def _array(self, value: Any, path: Path) -> np.ndarray:
        dtype = _dtype(value[0])
        if len(value) == 2:
            found: np.ndarray = self._tensor(value[1]).numpy().astype(dtype, casting="no", copy=True)
            return found
        _, shape, content = value
        if isinstance(content, str):
            return np.frombuffer(bytes.fromhex(content), dtype).reshape(shape).copy()
        filled = np.empty(len(content), dtype=object)
        for i, item in enumerate(self._items(content, path)):
            filled[i] = item
        return filled.reshape(shape)


def _scalar(content: bytes, dtype: np.dtype) -> Any:
    if dtype.itemsize == 0:
        return dtype.type()
    (found,) = np.frombuffer(content, dtype)
    return found


def _dtype(name: Any) -> np.dtype:
    if not (isinstance(name, str) and ARRAY_DTYPE.fullmatch(name)):
        raise TypeError(f"{name!r} is no dtype")
    return np.dtype(name)
