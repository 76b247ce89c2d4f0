"""Rows of a data set of torch, read as they are needed: what arrays are for everything downstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sktorch_continue.data.collated import unpack, unpack_pair
from sktorch_continue.data.dataset import Batches, Dataset, Epoch, Precision
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

    def head(self) -> dict[str, torch.Tensor]:
        """Return fresh tensors with the first rows, which were kept."""
        return {name: part.clone() for name, part in self.told.head.items()}

    def evaluation_rows(self, batch_size: int) -> int:
        """Return as many as of an array; as in training where rows are padded, or workers take turns by the batch."""
        return super().evaluation_rows(batch_size) if self.readable else batch_size

    def take(self, rows: torch.Tensor | slice) -> dict[str, torch.Tensor]:
        """Return rows by their number."""
        chosen = torch.arange(self.n_rows)[rows]
        return next(self.chunks(chosen, len(chosen)))

    def chunks(self, rows: torch.Tensor, size: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield rows by their number, at most `size` at a time."""
        if self._items is not None:
            yield from (unpack(batch)[0] for batch in self._items.read(rows, size))

    def close(self) -> None:
        """End the workers that lasted as long as the call."""
        self.reader.close()


@dataclass
class ReadDataset(Dataset):
    """Rows of a data set of torch, which is read as it is trained on.

    Attributes
    ----------
    inputs : LoadedInputs
        The data set, after its pass.
    encode : callable
        ``encode(y) -> Tensor``: the target of a batch as the criterion reads it. An item may draw its target as well.
    """

    inputs: LoadedInputs
    encode: Callable[[np.ndarray], torch.Tensor]


@dataclass
class LoadedDataset(ReadDataset):
    """Chosen rows of a map-style data set.

    Attributes
    ----------
    reader : ItemReader
        Of the data set.
    sampler : iterable of int or None
        What decides the rows of an epoch, and their order.
    """

    reader: ItemReader
    sampler: Any

    def __len__(self) -> int:
        return super().__len__() if self.sampler is None else len(self.sampler)

    def rows_of(self, epoch: Epoch | None) -> torch.Tensor:
        """Return rows in the order of an epoch, that of the sampler where there is one.

        Raises
        ------
        ValueError
            If the sampler draws another number of rows than its length, or rows that are not there.
        """
        if self.sampler is None or epoch is None:
            rows = super().rows_of(epoch)
            return torch.arange(self.inputs.n_rows) if rows is None else rows
        drawn = draw_order(self.sampler, epoch.seed, epoch.number)
        if len(drawn) != len(self) or not bool(((drawn >= 0) & (drawn < self.inputs.n_rows)).all()):
            raise ValueError(
                f"{type(self.sampler).__name__} has given {len(drawn)} rows for epoch {epoch.number + 1}; its length "
                f"is {len(self)}, and rows from 0 to {self.inputs.n_rows - 1} were expected"
            )
        return drawn

    def batches(self, precision: Precision, batch_size: int, epoch: Epoch | None = None) -> Batches:
        """Yield batches as for arrays, their items read under the seed of an epoch, or one seed for all."""
        rows = self.rows_of(epoch)
        start, stop, seed = (0, len(rows), None) if epoch is None else (epoch.start, epoch.stop, epoch.items_seed)
        with closing(self.reader.read(rows, batch_size, start=start, stop=stop, seed=seed)) as batches:
            for first in range(start, stop, batch_size):
                chosen = rows[first : min(first + batch_size, stop)]
                tensors, y = unpack_pair(next(batches), len(chosen))
                weight = None if self.weight is None else gather(self.weight, chosen).to(precision.device)
                yield ready(tensors, precision), self.encode(y).to(precision.device), weight


def ready(tensors: dict[str, torch.Tensor], precision: Precision) -> Batch:
    """Return a batch in memory of its own, however it came."""
    return precision({n: part.clone(memory_format=torch.contiguous_format) for n, part in tensors.items()})
