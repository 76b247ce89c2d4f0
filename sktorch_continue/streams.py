"""Random streams as functions of a seed and a position, and the loan of the process's global ones.

Nothing here is stored and replayed: the order of an epoch, the noise of a step and the draw of a split
are each computed from the run's seed and from where the run stands.
"""

from __future__ import annotations

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
INIT, ORDER, NOISE, SPLIT, HOST = range(5)

_lock = threading.RLock()


def draw_seed(random_state: Any) -> int:
    """Turn `random_state` into one integer without touching NumPy's global stream.

    None asks the operating system; an int or a ``RandomState`` gives what scikit-learn would draw from it.
    """
    if random_state is None:
        return secrets.randbelow(SEED_LIMIT)
    return int(check_random_state(random_state).randint(SEED_LIMIT))


def derive(seed: int, stream: int, position: int = 0) -> int:
    """Return the 63-bit seed of `stream` at `position`."""
    words = np.random.SeedSequence([seed, stream, position]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


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


def seed_host(seed: int, position: int) -> None:
    """Seed Python's and NumPy's global streams; only under :func:`borrowed`."""
    value = derive(seed, HOST, position)
    random.seed(value)
    np.random.seed(value % 2**32)


def host_state() -> tuple[list[Any], list[Any]]:
    """Return the states of Python's and NumPy's global streams as plain lists."""
    version, words, gauss = random.getstate()
    name, keys, pos, has_gauss, cached = np.random.get_state()
    return [version, list(words), gauss], [name, np.asarray(keys).tolist(), pos, has_gauss, cached]


def set_host_state(python: list[Any], numpy: list[Any]) -> None:
    """Put back what :func:`host_state` returned; only under :func:`borrowed`."""
    random.setstate((python[0], tuple(python[1]), python[2]))
    np.random.set_state((numpy[0], np.array(numpy[1], dtype=np.uint32), *numpy[2:]))


class NoiseStream:
    """The torch generators a forward pass on `device` reads, seeded anew at every step.

    Parameters
    ----------
    seed : int
        Seed of the run.
    device : torch.device
        Where the module lives.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._base = derive(seed, NOISE)
        self._generators = _generators(device)

    def seek(self, step: int) -> None:
        """Stand at the start of `step`."""
        for generator in self._generators:
            generator.manual_seed(self._base + step)


def _generators(device: torch.device) -> list[torch.Generator]:
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    return generators


@contextmanager
def borrowed(device: torch.device) -> Iterator[None]:
    """Borrow the process's global random streams and give them back as they were found.

    One thread at a time: torch's CPU generator belongs to the process, and two runs drawing from it would
    disturb each other (pytorch#39716).
    """
    with _lock:
        generators = _generators(device)
        torch_states = [generator.get_state() for generator in generators]
        python_state, numpy_state = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            for generator, state in zip(generators, torch_states, strict=True):
                generator.set_state(state)
            random.setstate(python_state)
            np.random.set_state(numpy_state)
