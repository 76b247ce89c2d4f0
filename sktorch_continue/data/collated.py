"""What a collate function returned, as inputs by name and target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

WANTED = (
    "a pair (inputs, target) was expected, the inputs a tensor or a dict of tensors by the names of the arguments of "
    "forward; dataloader__collate_fn can make it of a list of items"
)


def unpack(batch: Any, n_rows: int | None = None) -> tuple[dict[str, torch.Tensor], np.ndarray | None]:
    """Return inputs by name (a single one has the key ``""``), and the target, None where there are inputs alone.

    Parameters
    ----------
    batch : object
        From a collate function.
    n_rows : int, optional
        How many items went in.

    Raises
    ------
    ValueError
        If it is something else, or has another number of rows.
    """
    inputs, target = batch, None
    if isinstance(batch, tuple | list) and len(batch) in (1, 2):
        inputs, target = batch[0], _as_array(batch[1]) if len(batch) == 2 else None
    named = inputs if isinstance(inputs, Mapping) else {"": inputs}
    if not named or not all(isinstance(part, torch.Tensor) for part in named.values()):
        raise ValueError(f"a batch of the data set is {_in_words(batch)}; {WANTED}")
    if isinstance(inputs, Mapping) and not all(isinstance(name, str) and name for name in named):
        raise ValueError(f"the inputs of the data set have the keys {list(named)}; {WANTED}")
    tensors = {name: _checked(named[name], name) for name in sorted(named)}
    lengths = {len(part) for part in tensors.values()} | (set() if target is None else {len(target)})
    if n_rows is not None:
        lengths.add(n_rows)
    if len(lengths) > 1:
        raise ValueError(
            f"a batch of {n_rows or 'several'} items has become {_in_words(batch)}: inputs and target need one row for "
            "every item, so a collate_fn may leave none out"
        )
    return tensors, target


def unpack_pair(batch: Any, n_rows: int | None = None) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """Return inputs by name and target.

    Raises
    ------
    ValueError
        As :func:`unpack`, and where there are inputs alone.
    """
    tensors, target = unpack(batch, n_rows)
    if target is None:
        raise ValueError(f"the data set gives inputs alone, but a target is needed to train and to score; {WANTED}")
    return tensors, target


def refuse_infinite(tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse NaN and infinity, as in an array."""
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise ValueError(f"Input {shown(name)} contains NaN or infinity.")


def is_finite(tensor: torch.Tensor) -> bool:
    """Tell whether all values are."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def shown(name: str) -> str:
    """Return an input as messages call it."""
    return f"X[{name!r}]" if name else "X"


def _checked(tensor: torch.Tensor, name: str) -> torch.Tensor:
    if tensor.is_complex():
        raise ValueError(f"Complex data not supported: {shown(name)} of the data set has dtype {tensor.dtype}")
    if tensor.layout != torch.strided:
        raise ValueError(f"{shown(name)} of the data set is a sparse tensor; give dense ones")
    if tensor.ndim < (1 if name else 2):
        raise ValueError(
            f"a batch of {shown(name)} of the data set has shape {tuple(tensor.shape)}; (n_samples, n_features, ...) "
            "was expected: a row of one feature has shape (1,)"
        )
    return tensor.detach().cpu()


def _as_array(target: Any) -> np.ndarray:
    if isinstance(target, torch.Tensor):
        target = target.float() if target.dtype == torch.bfloat16 else target
        return np.asarray(target.numpy(force=True))
    array = np.asarray(target) if isinstance(target, list | tuple | np.ndarray) else np.empty(0, dtype=object)
    if array.ndim == 0 or array.dtype == object:
        raise ValueError(f"the target of a batch of the data set is {_in_words(target)}; a tensor or a list of labels")
    return array


def _in_words(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "a dict of " + ", ".join(f"{name!r}: {_in_words(part)}" for name, part in value.items())
    if isinstance(value, tuple | list) and len(value) < 5:
        return f"a {type(value).__name__} of " + (", ".join(map(_in_words, value)) or "nothing")
    return f"a {type(value).__name__}" + (f" of {len(value)}" if hasattr(value, "__len__") else "")
