"""Reading a data set of torch through a DataLoader, every item under a seed that its place decides.

What an item draws is then a function of seed, epoch and row (of an iterable: of seed, epoch and worker), and not of
what was read before it, in which process.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from sktorch_continue import streams

LOOKING = streams.derive(0, streams.ITEMS)  # the seed of every item that is read to be looked at, and not trained on
TRIED = 8  # items that are read twice

Collate = Callable[[list[Any]], Any]
Collated = Generator[Any, None, None]
END = object()


class SeededItems(TorchDataset):
    """A map-style data set whose keys say under which seed a row is read."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Any:
        row, seed = key
        streams.seed_reading(seed)
        return self.dataset[row]


class SeededStream(IterableDataset):
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

    It leaves quietly on SIGTERM, which clusters send to all processes of a job: its parent, which was told as well,
    decides what happens. ``get_worker_info().dataset`` is the data set of the user, as documented by torch.
    """

    def __init__(self, worker_init_fn: Callable[[int], None] | None) -> None:
        self._own = worker_init_fn

    def __call__(self, worker: int) -> None:
        """Prepare worker number `worker`."""
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        info: Any = get_worker_info()
        object.__setattr__(info, "dataset", info.dataset.dataset)
        if self._own is not None:
            self._own(worker)


class Reader:
    """A data set and the arguments of its DataLoader.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Of the user.
    arguments : dict
        Of the DataLoader; without those that choose rows.
    wait : bool
        Whether to wait for another thread that trains; a prediction does not (see ``streams.borrowed``).
    """

    def __init__(self, dataset: Any, arguments: dict[str, Any], *, wait: bool) -> None:
        self.dataset = dataset
        self._wait = wait
        self.collate_fn: Collate | None = arguments.get("collate_fn")
        self._arguments = {name: value for name, value in arguments.items() if name != "collate_fn"}
        self._arguments["worker_init_fn"] = WorkerStart(arguments.get("worker_init_fn"))
        self._lasting: DataLoader | None = None
        self._batches: dict[str, Any] = {}

    @property
    def n_workers(self) -> int:
        """Worker processes."""
        return int(self._arguments.get("num_workers", 0))

    def _loader(self, source: Any, collate: Collate | None, **batches: Any) -> DataLoader:
        """Return the loader of an iteration, or the one whose workers last as long as the call."""
        lasts = collate is None and bool(self._arguments.get("persistent_workers"))
        if lasts and self._lasting is not None and batches == self._batches:
            return self._lasting
        self.close()
        arguments = {**self._arguments, "persistent_workers": lasts}
        loader: DataLoader = DataLoader(
            source,
            collate_fn=collate or self.collate_fn,
            generator=torch.Generator(),  # or an iteration would draw from torch's global stream
            **batches,
            **arguments,
        )
        if lasts:
            self._lasting, self._batches = loader, batches
        return loader

    def _read(self, loader: DataLoader) -> Collated:
        """Yield the batches of a loader; its workers end with the iteration, whatever ends it."""
        own, iterator = streams.ReadersStreams(), None
        try:
            with own.in_place(wait=self._wait):
                iterator = iter(loader)
            while True:
                with own.in_place(wait=self._wait):
                    batch = next(iterator, END)
                if batch is END:
                    return
                yield batch
        finally:
            if loader is not self._lasting:
                _end_workers(iterator)

    def close(self) -> None:
        """End the workers that lasted as long as the call."""
        if self._lasting is not None:
            _end_workers(self._lasting._iterator)
            self._lasting = None


class ItemReader(Reader):
    """Reads a map-style data set."""

    def __init__(self, dataset: Any, arguments: dict[str, Any], *, wait: bool) -> None:
        super().__init__(dataset, arguments, wait=wait)
        self._items, self._keys = SeededItems(dataset), Keys()

    def read(
        self,
        rows: torch.Tensor,
        batch_size: int,
        *,
        start: int = 0,
        stop: int | None = None,
        seed: int | None = None,
        collate: Collate | None = None,
    ) -> Collated:
        """Yield the collated batches of `rows` from position `start` to `stop`, under the seed of an epoch, if any."""
        loader = self._loader(self._items, collate, batch_sampler=self._keys if collate is None else Keys())
        keys: Any = loader.batch_sampler
        keys.rows, keys.seed, keys.stop = rows, seed, len(rows) if stop is None else stop
        keys.firsts = range(start, keys.stop, batch_size)
        return self._read(loader)

    def read_twice(self, collate: Collate) -> Iterator[Any]:
        """Yield one batch that has a few rows two times."""
        n_rows = len(self.dataset)
        rows = torch.linspace(0, n_rows - 1, min(TRIED, n_rows)).long().repeat(2)
        return self.read(rows, max(1, len(rows)), collate=collate)

    def read_all(self, batch_size: int, collate: Collate | None = None) -> Collated:
        """Yield all rows in their order."""
        return self.read(torch.arange(len(self.dataset)), batch_size, collate=collate)


class StreamReader(Reader):
    """Reads an iterable data set, which decides the order itself."""

    def __init__(self, dataset: Any, arguments: dict[str, Any], *, wait: bool) -> None:
        super().__init__(dataset, arguments, wait=wait)
        self._stream = SeededStream(dataset)
        if self.n_workers:
            self._stream.seed.share_memory_()  # workers that last are told the seed of an epoch

    def read(
        self, batch_size: int, *, drop_last: bool = False, seed: int | None = None, collate: Collate | None = None
    ) -> Collated:
        """Yield the collated batches of one iteration, under the seed of an epoch, if any."""
        self._stream.seed.fill_(LOOKING if seed is None else seed)
        return self._read(self._loader(self._stream, collate, batch_size=batch_size, drop_last=drop_last))

    def read_twice(self, collate: Collate) -> Iterator[Any]:
        """Yield one batch that has the first items two times, when it is read from the start again."""
        stream = SeededStream(self.dataset)
        stream.twice = True
        return itertools.islice(self._read(self._loader(stream, collate, batch_size=2 * TRIED)), 1)

    def read_all(self, batch_size: int, collate: Collate | None = None) -> Collated:
        """Yield all rows as they come."""
        return self.read(batch_size, collate=collate)


def reader_of(dataset: Any, arguments: dict[str, Any], *, wait: bool = True) -> ItemReader | StreamReader:
    """Return what reads a data set."""
    return (StreamReader if isinstance(dataset, IterableDataset) else ItemReader)(dataset, arguments, wait=wait)


def draw_order(sampler: Iterable[Any], seed: int, epoch: int) -> torch.Tensor:
    """Return the order of an epoch that a sampler draws, int64 of shape (n_drawn,)."""
    with streams.ReadersStreams().in_place(wait=True):
        streams.seed_reading(streams.derive(seed, streams.ORDER, epoch))
        return torch.tensor([int(row) for row in sampler], dtype=torch.int64)


def _end_workers(iterator: Any) -> None:
    end = getattr(iterator, "_shutdown_workers", None)  # an iteration in this process has none
    if end is not None:
        end()
