"""Tensors of a state dictionary on their way out of the process, and back."""

from __future__ import annotations

import copy as copying
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def detached(value: Any, *, copy: bool = False) -> Any:
    """Return nested dictionaries, lists and tuples with every tensor detached and on the CPU.

    Parameters
    ----------
    value : object
        Nested.
    copy : bool, default=False
        Copy tensors that are on the CPU already, so that training on does not change them.
    """

    def move(tensor: torch.Tensor) -> torch.Tensor:
        moved = tensor.detach().cpu()
        return moved.clone() if copy and moved.data_ptr() == tensor.data_ptr() else moved

    moved = each(value, torch.Tensor, move)
    return each(moved, (np.ndarray, set), copying.copy) if copy else moved  # a callback may hand out what it works on


def each(value: Any, kind: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    """Return nested dictionaries, lists and tuples with every value of a kind changed."""
    if isinstance(value, kind):
        return change(value)
    if type(value) is dict:
        return {key: each(item, kind, change) for key, item in value.items()}
    if isinstance(value, dict):
        changed = copying.copy(value)  # a schedule keeps its milestones in a Counter
        for key, item in value.items():
            changed[key] = each(item, kind, change)
        return changed
    if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
        items = [each(item, kind, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


class StoredTensor:
    """A tensor as an array, in the form that pickle and joblib store best; joblib can map it.

    Parameters
    ----------
    tensor : Tensor
        On the CPU.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self.dtype = tensor.dtype
        bits = BITS.get(tensor.dtype)
        self.array: np.ndarray = (tensor if bits is None else tensor.contiguous().view(bits)).numpy()

    @property
    def is_mapped(self) -> bool:
        """Whether the array is a file mapped into memory."""
        return isinstance(self.array, np.memmap)

    def tensor(self) -> torch.Tensor:
        """Return the tensor; writing to one from a file mapped read-only makes private copies of its pages."""
        array = self.array
        if not array.flags.writeable:
            array = _privately_mapped(array) if isinstance(array, np.memmap) and array.filename else np.array(array)
        return torch.from_numpy(array).view(self.dtype)


def _privately_mapped(array: Any) -> np.ndarray:
    order: Any = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return np.memmap(array.filename, array.dtype, "c", array.offset, array.shape, order)


# Dtypes NumPy lacks, and those of the same size it has.
BITS = {torch.bfloat16: torch.int16, torch.float8_e4m3fn: torch.uint8, torch.float8_e5m2: torch.uint8}
