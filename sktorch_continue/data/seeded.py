"""A data set of torch, every item of it read under a seed that its place decides.

What an item draws is then a function of seed, epoch and row (of an iterable: of seed, epoch and worker), and not of
what was read before it, in which process. All of this goes to the workers of a DataLoader.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from sktorch_continue import streams

LOOKING = streams.derive(0, streams.ITEMS)  # the seed of every item that is read to be looked at, and not trained on
TRIED = 8  # items that are read twice


class SeededItems(Dataset[Any]):
    """A map-style data set whose keys say under which seed a row is read."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Any:
        row, seed = key
        streams.seed_reading(seed)
        return self.dataset[row]


class SeededStream(IterableDataset[Any]):
    """An iterable data set that is seeded where an iteration begins, in every worker otherwise."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.seed = torch.tensor(LOOKING)
        self.twice = False

    def __iter__(self) -> Iterator[Any]:
        if not self.twice:
            return self._seeded()
        return itertools.chain(*(itertools.islice(self._seeded(), TRIED) for _ in range(2)))

    def _seeded(self) -> Iterator[Any]:
        worker = get_worker_info()
        streams.seed_reading(int(self.seed) + (0 if worker is None else worker.id))
        yield from self.dataset


class Keys:
    """Batches of rows with their seeds, in the order of an epoch."""

    def __init__(self) -> None:
        self.rows: Any = ()
        self.firsts = range(0)
        self.stop = 0
        self.seed: int | None = None

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for first in self.firsts:
            rows = self.rows[first : min(first + self.firsts.step, self.stop)].tolist()
            yield [(row, LOOKING if self.seed is None else self.seed + row) for row in rows]


class WorkerStart:
    """What a worker does first.

    A first SIGTERM is passed over: clusters send it to all processes of a job, and the parent, which was told as well,
    ends its workers when it has ended its step. ``get_worker_info().dataset`` is the data set of the user, as torch
    documents it.
    """

    def __init__(self, worker_init_fn: Callable[[int], None] | None) -> None:
        self._own = worker_init_fn

    def __call__(self, worker: int) -> None:
        """Prepare worker number `worker`."""
        signal.signal(signal.SIGTERM, lambda number, _: signal.signal(number, signal.SIG_DFL))
        info: Any = get_worker_info()
        object.__setattr__(info, "dataset", info.dataset.dataset)
        if self._own is not None:
            self._own(worker)
