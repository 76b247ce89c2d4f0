"""A data set of torch that is predicted: read once, and checked as it is read."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing

from sktorch_continue.data.collated import refuse_infinite, unpack
from sktorch_continue.data.dataset import Precision
from sktorch_continue.data.inputs import fits, rows_at_once
from sktorch_continue.data.loaded import ready
from sktorch_continue.data.readers import ItemReader, StreamReader
from sktorch_continue.layers import Batch


class UnlearnedDataset:
    """A data set to predict, read once: what a pass looks for is looked for in every batch.

    Parameters
    ----------
    reader : ItemReader or StreamReader
        Of the data set.
    row_shapes : dict of str to list of int
        Of the rows a run was fitted on.
    item_bytes : int
        Of one of their values.

    Attributes
    ----------
    n_rows : int or None
        Where that is known.
    """

    def __init__(self, reader: ItemReader | StreamReader, row_shapes: dict[str, list[int]], item_bytes: int) -> None:
        self._reader = reader
        self._row_shapes = row_shapes
        self._row_bytes = item_bytes * sum(math.prod(shape) for shape in row_shapes.values())
        self.n_rows = len(reader.dataset) if isinstance(reader, ItemReader) else None

    def batches(self, precision: Precision, batch_size: int) -> Generator[Batch, None, None]:
        """Yield all rows in order and cast, as many at once as are scored.

        Raises
        ------
        ValueError
            For rows of another shape, and for NaN and infinity.
        """
        n_rows = 0
        with closing(self._reader.read_all(self._evaluation_rows(batch_size))) as batches:
            for batch in batches:
                tensors, _ = unpack(batch)
                shapes = {name: tuple(part.shape[1:]) for name, part in tensors.items()}
                if not fits(shapes, self._row_shapes):
                    raise ValueError(
                        f"rows of the data set have shapes {shapes}, but this estimator was fitted on "
                        f"{self._row_shapes}"
                    )
                refuse_infinite(tensors)
                n_rows += len(next(iter(tensors.values())))
                yield ready(tensors, precision)
        if n_rows == 0:
            raise ValueError("Found a data set with 0 sample(s) while a minimum of 1 is required.")

    def _evaluation_rows(self, batch_size: int) -> int:
        """Return as many as of an array; as in training where rows are padded, or workers take turns by the batch."""
        varies = any(-1 in shape for shape in self._row_shapes.values())
        return batch_size if varies or self.n_rows is None else rows_at_once(batch_size, self._row_bytes)
