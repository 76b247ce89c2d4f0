"""An iterable data set, which brings its rows in an order of its own."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from sktorch_continue.data.collated import unpack_pair
from sktorch_continue.data.dataset import Batches, Epoch, Precision
from sktorch_continue.data.loaded import ReadDataset, ready
from sktorch_continue.data.passes import OWN_STREAM
from sktorch_continue.data.readers import StreamReader


@dataclass
class StreamedDataset(ReadDataset):
    """An iterable data set, all of its rows in its own order.

    Attributes
    ----------
    reader : StreamReader
        Of the data set.
    weight : Tensor or None
        Of every class; None when all are one.
    drop_last : bool
        Whether a worker leaves out its last batch where it is smaller.
    """

    reader: StreamReader
    drop_last: bool

    def batches(self, precision: Precision, batch_size: int, epoch: Epoch | None = None) -> Batches:
        """Yield the batches of one iteration; those before row `start` are read, and passed over.

        Raises
        ------
        ValueError
            If it gives another number of rows than when it was read first.
        """
        start, stop, seed = (0, len(self), None) if epoch is None else (epoch.start, epoch.stop, epoch.items_seed)
        done = 0
        with closing(self.reader.read(batch_size, drop_last=self.drop_last, seed=seed)) as batches:
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
