"""Rows ready to be trained on or scored: inputs, encoded target, weights, and a choice of rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from sktorch_continue import streams
from sktorch_continue.data.inputs import Inputs, gather
from sktorch_continue.layers import Batch

Batches = Generator[tuple[Batch, torch.Tensor, torch.Tensor | None], None, None]
GATHERED_BYTES = 256 << 10  # of X at once: a batch is then still in the processor's cache
ALIGNMENT = 64  # of torch's allocations: it can decide the last bit of a product


@dataclass
class Precision:
    """What a batch is cast to.

    Attributes
    ----------
    dtype : torch.dtype
        Floating dtype of the module.
    keeps_integers : callable
        ``keeps_integers() -> bool``, asked once and only where there are any: whether they stay integers, since the
        module has an embedding, or inputs are named.
    device : torch.device
        Where the module lives.
    """

    dtype: torch.dtype
    keeps_integers: Callable[[], bool]
    device: torch.device

    def __call__(self, tensors: dict[str, torch.Tensor]) -> Batch:
        """Cast and move a batch; a single unnamed input comes back bare."""
        cast = {name: tensor.to(self.device, self._dtype_of(tensor)) for name, tensor in tensors.items()}
        return cast.get("", cast)

    @cached_property
    def integers_stay(self) -> bool:
        """Whether integers stay integers."""
        return self.keeps_integers()

    def _dtype_of(self, tensor: torch.Tensor) -> torch.dtype:
        if tensor.is_floating_point() or not self.integers_stay:
            return self.dtype
        return torch.bool if tensor.dtype == torch.bool else torch.int64


@dataclass(frozen=True)
class Epoch:
    """An epoch of training, or the rest of one that was cut.

    Attributes
    ----------
    seed, number : int
        Seed of the run, and epochs before: they decide the order, and what rows draw that draw something.
    shuffle : bool
        Whether the order is another one in every epoch.
    start, stop : int
        Positions in the order to begin and to end at.
    """

    seed: int
    number: int
    shuffle: bool
    start: int
    stop: int

    @property
    def items_seed(self) -> int:
        """What the draws of single rows begin with."""
        return streams.derive(self.seed, streams.ITEMS, self.number)


@dataclass
class Dataset:
    """Chosen rows of checked data.

    Attributes
    ----------
    inputs : Inputs
        All rows that were given.
    target : Tensor
        Encoded target of all rows, in the dtype and shape the criterion reads.
    weight : Tensor or None
        Weight of all rows, shape (n,); None when every weight is one.
    rows : Tensor or None
        int64 positions of the chosen rows; None for all.
    """

    inputs: Inputs
    target: torch.Tensor
    weight: torch.Tensor | None
    rows: torch.Tensor | None

    def __len__(self) -> int:
        return self.inputs.n_rows if self.rows is None else len(self.rows)

    def rows_of(self, epoch: Epoch | None) -> torch.Tensor | None:
        """Return the positions of the chosen rows in the order of an epoch; None for all in their own."""
        if epoch is None or not epoch.shuffle:
            return self.rows
        order = streams.permutation(epoch.seed, epoch.number, len(self))
        return order if self.rows is None else self.rows[order]

    def batches(self, precision: Precision, batch_size: int, epoch: Epoch | None = None) -> Batches:
        """Yield fresh (inputs, target, weight) batches of an epoch of training, or of all rows in their order.

        Parameters
        ----------
        precision : Precision
            Device and dtypes.
        batch_size : int
            Rows per batch; the last one may be smaller.
        epoch : Epoch, optional
            Which one, and what of it is left.
        """
        start, stop = (0, len(self)) if epoch is None else (epoch.start, epoch.stop)
        step = batch_size * self._at_once(precision, batch_size)
        for chosen in _pieces(self.rows_of(epoch), start, stop, step):
            target = gather(self.target, chosen).to(precision.device)
            weight = None if self.weight is None else gather(self.weight, chosen).to(precision.device)
            inputs = precision(self.inputs.take(chosen))
            if len(target) <= batch_size:
                yield inputs, target, weight
            else:
                yield from _cut(inputs, target, weight, batch_size)

    def _at_once(self, precision: Precision, batch_size: int) -> int:
        """Return how many batches are gathered in one call: several where each then lies as if it were alone."""
        least = precision.dtype.itemsize if self.inputs.floating else 1
        values, row_bytes, beside = self._sizes
        if math.gcd(values * least, beside) * batch_size % ALIGNMENT:
            return 1
        return max(1, GATHERED_BYTES // (row_bytes * batch_size))

    @cached_property
    def _sizes(self) -> tuple[int, int, int]:
        """Values that every input has a multiple of in a row, bytes of a row, and those of its target and weight."""
        values = math.gcd(*(math.prod(shape) for shape in self.inputs.row_shapes.values()))
        beside = math.gcd(self.target.nbytes // len(self.target), 0 if self.weight is None else self.weight.itemsize)
        return values, self.inputs.row_bytes, beside


def _pieces(rows: torch.Tensor | None, start: int, stop: int, step: int) -> Iterable[torch.Tensor | slice]:
    """Return which rows to gather at once, one piece after the other."""
    if rows is None or start >= stop:
        return [slice(first, min(first + step, stop)) for first in range(start, stop, step)]
    return torch.split(rows[start:stop], step)


def _cut(
    inputs: Batch, target: torch.Tensor, weight: torch.Tensor | None, batch_size: int
) -> Iterator[tuple[Batch, torch.Tensor, torch.Tensor | None]]:
    """Cut what was gathered at once into batches."""
    # Unsafe only for gradients of the whole: into one of several views torch would forbid a module to write.
    targets = torch.unsafe_split(target, batch_size)
    weights = [None] * len(targets) if weight is None else torch.unsafe_split(weight, batch_size)
    if isinstance(inputs, torch.Tensor):
        return zip(torch.unsafe_split(inputs, batch_size), targets, weights, strict=True)
    pieces = zip(*(torch.unsafe_split(tensor, batch_size) for tensor in inputs.values()), strict=True)
    return zip((dict(zip(inputs, piece, strict=True)) for piece in pieces), targets, weights, strict=True)


def joined(parts: Iterator[torch.Tensor], n_rows: int | None) -> np.ndarray:
    """Return the rows of all parts, one after the other, without a second copy where their number is known."""
    first = next(parts)
    if n_rows is None:
        return np.asarray(torch.cat([first, *parts]).numpy())
    if first.shape[0] == n_rows:
        return np.asarray(first.numpy())
    whole = first.new_empty(n_rows, *first.shape[1:])
    done = 0
    for part in itertools.chain([first], parts):
        whole[done : done + len(part)] = part
        done += len(part)
    return np.asarray(whole.numpy())


def check_weights(sample_weight: np.ndarray | None) -> np.ndarray | None:
    """Return float64 weights, or None where all are one and change nothing.

    Raises
    ------
    ValueError
        For negative weights, and when every weight is zero.
    """
    if sample_weight is None or (sample_weight == 1).all():
        return None
    if (sample_weight < 0).any():
        raise ValueError(
            f"sample_weight has {int((sample_weight < 0).sum())} negative values (smallest "
            f"{sample_weight.min()}); weights of zero or more were expected"
        )
    if not sample_weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return sample_weight
