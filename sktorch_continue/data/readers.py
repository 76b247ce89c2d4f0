"""Reading a data set of torch through a DataLoader: rows in any order, under the seeds of an epoch, in workers."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from sktorch_continue import streams
from sktorch_continue.data.seeded import LOOKING, TRIED, Keys, SeededItems, SeededStream, WorkerStart

Collate = Callable[[list[Any]], Any]
Collated = Generator[Any, None, None]
END = object()


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
        if self.n_workers:
            self._arguments.setdefault("multiprocessing_context", _context())
        self._lasting: DataLoader[Any] | None = None
        self._batches: dict[str, Any] = {}

    @property
    def n_workers(self) -> int:
        """Worker processes."""
        return int(self._arguments.get("num_workers", 0))

    def _loader(
        self, source: Any, collate: Collate | None, *, most_workers: int | None = None, **batches: Any
    ) -> DataLoader[Any]:
        """Return the loader of an iteration, or the one whose workers last as long as the call."""
        lasts = collate is None and bool(self._arguments.get("persistent_workers"))
        if lasts and self._lasting is not None and batches == self._batches:
            return self._lasting
        self.close()
        arguments = {**self._arguments, "persistent_workers": lasts}
        if most_workers is not None and not lasts:
            arguments["num_workers"] = min(self.n_workers, most_workers)
        loader: DataLoader[Any] = DataLoader(
            source,
            collate_fn=collate or self.collate_fn,
            generator=torch.Generator(),  # or an iteration would draw from torch's global stream
            **batches,
            **arguments,
        )
        if lasts:
            self._lasting, self._batches = loader, batches
        return loader

    def _read(self, loader: DataLoader[Any]) -> Collated:
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
        keys = self._keys if collate is None else Keys()
        keys.rows, keys.seed, keys.stop = rows, seed, len(rows) if stop is None else stop
        keys.firsts = range(start, keys.stop, batch_size)
        loader = self._loader(self._items, collate, most_workers=max(1, len(keys.firsts)), batch_sampler=keys)
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
            # Workers that last are told the seed of an epoch.
            self._stream.seed.share_memory_()  # type: ignore[no-untyped-call]

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


def _context() -> str | None:
    """Return how workers start, where this process is a worker of joblib: torch cannot start them as joblib does."""
    known = multiprocessing.get_all_start_methods()
    return None if multiprocessing.get_start_method(allow_none=True) in (None, *known) else known[0]


def _end_workers(iterator: Any) -> None:
    end = getattr(iterator, "_shutdown_workers", None)  # an iteration in this process has none
    if end is not None:
        end()
