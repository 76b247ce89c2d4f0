"""An iterable data set, which brings its rows in an order of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch

from sktorch_continue import streams
from sktorch_continue.data.collated import unpack_pair
from sktorch_continue.data.dataset import Batches, Dataset, Precision
from sktorch_continue.data.loaded import LoadedInputs, ready
from sktorch_continue.data.passes import OWN_STREAM
from sktorch_continue.data.readers import StreamReader


@dataclass
class StreamedDataset(Dataset):
    """An iterable data set, all of its rows in its own order.

    Attributes
    ----------
    inputs : LoadedInputs
        The data set, after its pass.
    reader : StreamReader
        Of the data set.
    encode : callable
        ``encode(y) -> Tensor``: the target of a batch as the criterion reads it.
    weight : Tensor or None
        Of every class; None when all are one.
    drop_last : bool
        Whether a worker leaves out its last batch where it is smaller.
    """

    inputs: LoadedInputs
    reader: StreamReader
    encode: Callable[[np.ndarray], torch.Tensor]
    drop_last: bool

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
        """Yield the batches of one iteration; those before row `start` are read, and passed over.

        Raises
        ------
        ValueError
            If it gives another number of rows than when it was read first.
        """
        stop, done = self.inputs.n_rows if stop is None else stop, 0
        items = seed and streams.derive(seed[0], streams.ITEMS, seed[1])
        with closing(self.reader.read(batch_size, drop_last=self.drop_last, seed=items)) as batches:
            for batch in batches:
                tensors, y = unpack_pair(batch)
                target = self.encode(y)
                done += len(target)
                if done > stop:
                    break
                if done > start:
                    weight = None if self.weight is None else self.weight[target.reshape(-1).long()]
                    weight = None if weight is None else weight.to(precision.device)
                    yield ready(tensors, precision), target.to(precision.device), weight
        if done != stop:
            raise ValueError(
                f"the data set gave {stop} rows when it was read before the training, and now "
                f"{'more' if done > stop else done}, {OWN_STREAM}"
            )

    def evaluation_rows(self, batch_size: int) -> int:
        """Return as many as in training: workers take turns by the batch, which decides the order."""
        return batch_size
