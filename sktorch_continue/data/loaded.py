"""Rows of a data set of torch, read as they are needed: what arrays are for everything downstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sktorch_continue import streams
from sktorch_continue.data.collated import unpack, unpack_pair
from sktorch_continue.data.dataset import Batches, Dataset, Precision
from sktorch_continue.data.inputs import Inputs, gather
from sktorch_continue.data.passes import Told
from sktorch_continue.data.readers import ItemReader, StreamReader, draw_order
from sktorch_continue.layers import Batch


class LoadedInputs(Inputs):
    """The inputs of a data set, of which no more than a row or two are kept.

    Parameters
    ----------
    reader : ItemReader or StreamReader
        Of the data set.
    told : Told
        From the pass over it.
    """

    def __init__(self, reader: ItemReader | StreamReader, told: Told) -> None:
        self.reader = reader
        self.told = told
        self.n_rows = len(told.all.sums)
        self.named = "" not in told.head
        self.sums, self.widths = told.all.sums, told.all.widths
        self.varies = any(-1 in shape for shape in told.row_shapes.values())
        self._items = reader if isinstance(reader, ItemReader) else None
        self.readable = self._items is not None and not self.varies

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row of every input; -1 where it is not the same for all rows."""
        return self.told.row_shapes

    @property
    def row_bytes(self) -> int:
        """Bytes of the longest row over all inputs."""
        return max(1, self.told.all.row_bytes)

    @property
    def precision(self) -> str:
        """As for arrays."""
        return "float32" if self.told.all.single else "float64"

    def take(self, rows: torch.Tensor | slice) -> dict[str, torch.Tensor]:
        """Return rows by their number; a slice stands for the first one or two, which are known."""
        if isinstance(rows, slice):
            return {name: gather(part, rows) for name, part in self.told.head.items()}
        return next(self.chunks(rows, len(rows)))

    def chunks(self, rows: torch.Tensor, size: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield rows by their number, at most `size` at a time."""
        if self._items is not None:
            yield from (unpack(batch)[0] for batch in self._items.read(rows, size))

    def close(self) -> None:
        """End the workers that lasted as long as the call."""
        self.reader.close()


@dataclass
class LoadedDataset(Dataset):
    """Chosen rows of a map-style data set.

    Attributes
    ----------
    inputs : LoadedInputs
        The data set, after its pass.
    reader : ItemReader
        Of the data set.
    encode : callable
        ``encode(y) -> Tensor``: the target of a batch as the criterion reads it. An item may draw its target as well.
    sampler : iterable of int or None
        What decides the rows of an epoch, and their order.
    """

    inputs: LoadedInputs
    reader: ItemReader
    encode: Callable[[np.ndarray], torch.Tensor]
    sampler: Any

    def __len__(self) -> int:
        return super().__len__() if self.sampler is None else len(self.sampler)

    def order(self, seed: int, epoch: int, *, shuffle: bool) -> torch.Tensor | None:
        """Return the order of an epoch, that of the sampler where there is one.

        Raises
        ------
        ValueError
            If the sampler draws another number of rows than its length, or rows that are not there.
        """
        if self.sampler is None:
            return super().order(seed, epoch, shuffle=shuffle)
        order = draw_order(self.sampler, seed, epoch)
        if len(order) != len(self) or not bool(((order >= 0) & (order < self.inputs.n_rows)).all()):
            raise ValueError(
                f"{type(self.sampler).__name__} has given {len(order)} rows for epoch {epoch + 1}; its length is "
                f"{len(self)}, and rows from 0 to {self.inputs.n_rows - 1} were expected"
            )
        return order

    def batches(
        self,
        precision: Precision,
        batch_size: int,
        order: torch.Tensor | None = None,
        *,
        start: int = 0,
        stop: int | None = None,
        seed: tuple[int, int] | None = None,
    ) -> Batches:
        """Yield batches as for arrays, their items read under the seed of an epoch, or one seed for all."""
        every = torch.arange(self.inputs.n_rows) if self.rows is None else self.rows
        rows = every if order is None else every[order]
        stop = len(rows) if stop is None else stop
        items = seed and streams.derive(seed[0], streams.ITEMS, seed[1])
        with closing(self.reader.read(rows, batch_size, start=start, stop=stop, seed=items)) as batches:
            for first in range(start, stop, batch_size):
                chosen = rows[first : min(first + batch_size, stop)]
                tensors, y = unpack_pair(next(batches), len(chosen))
                weight = None if self.weight is None else gather(self.weight, chosen).to(precision.device)
                yield ready(tensors, precision), self.encode(y).to(precision.device), weight

    def evaluation_rows(self, batch_size: int) -> int:
        """Return how many rows to score at once; where rows are padded, as many as in training."""
        return (
            batch_size
            if any(-1 in shape for shape in self.inputs.row_shapes.values())
            else super().evaluation_rows(batch_size)
        )


def ready(tensors: dict[str, torch.Tensor], precision: Precision) -> Batch:
    """Return a batch in memory of its own, however it came."""
    return precision({n: part.clone(memory_format=torch.contiguous_format) for n, part in tensors.items()})
