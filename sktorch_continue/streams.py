"""Random streams as functions of a seed and a position, and the loan of the process's global ones.

Nothing here is stored and replayed: the order of an epoch, the noise of a step and the draw of a split
are each computed from the run's seed and from where the run stands.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state

SEED_LIMIT = 2**31 - 1
INIT, ORDER, NOISE, SPLIT, ITEMS = range(5)

_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()  # a forked child has no thread that would release the old one


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def draw_seed(random_state: Any) -> int:
    """Turn `random_state` into one integer without touching NumPy's global stream.

    None asks the operating system; an int or a ``RandomState`` gives what scikit-learn would draw from it.
    """
    if random_state is None:
        return secrets.randbelow(SEED_LIMIT)
    return int(check_random_state(random_state).randint(SEED_LIMIT))


@functools.lru_cache(maxsize=64)
def derive(seed: int, stream: int, position: int = 0) -> int:
    """Return the 63-bit seed of `stream` at `position`."""
    digest = hashlib.blake2b(b"%d/%d/%d" % (seed, stream, position), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(seed: int, epoch: int, n: int) -> torch.Tensor:
    """Return the order of `n` rows in `epoch`, int64 of shape (n,)."""
    generator = torch.Generator().manual_seed(derive(seed, ORDER, epoch))
    return torch.randperm(n, generator=generator)


def seed_construction(seed: int, position: int) -> None:
    """Seed all streams a constructor may draw weights from; only under :func:`borrowed`."""
    torch.default_generator.manual_seed(derive(seed, INIT, position))
    value = derive(seed, INIT, position + 1)
    random.seed(value)
    np.random.seed(value % 2**32)


class NoiseStream:
    """All streams a forward pass may read, seeded anew at every step; only under :func:`borrowed`.

    Parameters
    ----------
    seed : int
        Seed of the run.
    device : torch.device
        Where the module lives.
    torch_alone : bool, default=False
        Whether only torch's own code runs, which never reads Python's and NumPy's streams: these are then left alone,
        since seeding them takes longer than gathering a batch.
    """

    def __init__(self, seed: int, device: torch.device, *, torch_alone: bool = False) -> None:
        self._base = derive(seed, NOISE)
        self._generators = _generators(device)
        self._torch_alone = torch_alone

    def seek(self, step: int) -> None:
        """Stand at the start of `step`."""
        position = self._base + step
        for generator in self._generators:
            generator.manual_seed(position)
        if self._torch_alone:
            return
        random.seed(position)
        np.random.seed(position % 2**32)


def _generators(device: torch.device) -> list[torch.Generator]:
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    return generators


@contextmanager
def borrowed(device: torch.device, *, wait: bool = True) -> Iterator[None]:
    """Borrow the process's global random streams and give them back as they were found.

    One thread at a time: torch's CPU generator belongs to the process, and two runs drawing from it would
    disturb each other (pytorch#39716).

    Parameters
    ----------
    device : torch.device
        Whose generator is borrowed as well.
    wait : bool, default=True
        Wait for a thread that has the loan. A prediction does not: it goes on without one, since the training may
        be waiting for it (a scorer with threads), and a module in evaluation mode draws nothing as a rule.
    """
    if not _lock.acquire(blocking=wait):
        yield
        return
    try:
        generators = _generators(device)
        states = _states(generators)
        try:
            yield
        finally:
            _restore(generators, states)
    finally:
        _lock.release()


def seed_reading(seed: int) -> None:
    """Seed all streams that reading an item may draw from, unless another thread of this process trains with them."""
    if not _lock.acquire(blocking=False):
        return
    try:
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
    finally:
        _lock.release()


class ReadersStreams:
    """The global streams as a reader of data in this process sees them: in place only while it reads.

    So what a data set draws disturbs neither the caller nor the noise of a step, and what they draw disturbs no data
    set, which also goes on drawing where it stopped.
    """

    def __init__(self) -> None:
        self._left: tuple[Any, ...] | None = None

    @contextmanager
    def in_place(self, *, wait: bool) -> Iterator[None]:
        """Have them in place for a while; all is left as it is where another thread trains and `wait` is False."""
        if not _lock.acquire(blocking=wait):
            yield
            return
        try:
            generators = [torch.default_generator]
            outside = _states(generators)
            if self._left is not None:
                _restore(generators, self._left)
            try:
                yield
            finally:
                self._left = _states(generators)
                _restore(generators, outside)
        finally:
            _lock.release()


def _states(generators: list[torch.Generator]) -> tuple[Any, ...]:
    return [generator.get_state() for generator in generators], random.getstate(), np.random.get_state()


def _restore(generators: list[torch.Generator], states: tuple[Any, ...]) -> None:
    for generator, state in zip(generators, states[0], strict=True):
        generator.set_state(state)
    random.setstate(states[1])
    np.random.set_state(states[2])
