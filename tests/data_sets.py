"""Data sets of torch that draw, pad, iterate or misbehave, for the tests of torch's own data."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from modules import class_data
from torch import nn
from torch.utils.data import Dataset, IterableDataset, Sampler, TensorDataset, get_worker_info

from sktorch_continue.data.seeded import LOOKING

X, Y = class_data(30)
ROWS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


def augmented(row: torch.Tensor) -> torch.Tensor:
    """Return a row with noise from all three global streams."""
    return row + 0.1 * torch.randn(4) + 0.1 * random.random() + torch.from_numpy(np.random.normal(0, 0.1, 4)).float()


class Augmented(Dataset):
    """Draws other values every time a row is read."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return augmented(ROWS[row][0]), int(Y[row])


class Stream(IterableDataset):
    """Gives the rows in an order it draws, with noise; workers share them."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        worker = get_worker_info()
        mine = range(len(X)) if worker is None else range(worker.id, len(X), worker.num_workers)
        for row in np.random.permutation(list(mine)):
            yield augmented(ROWS[int(row)][0]), int(Y[row])


class Part(IterableDataset):
    """Gives the rows from a start on; `choose_part` gives each worker its own, the way torch's documentation does."""

    def __init__(self, start: int = 0, stop: int = len(X)) -> None:
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        return ((ROWS[row][0], int(Y[row])) for row in range(self.start, self.stop))


def choose_part(worker: int) -> None:
    """Leave a worker its part of a data set."""
    part: Any = get_worker_info().dataset
    size = len(X) // get_worker_info().num_workers
    part.start, part.stop = worker * size, (worker + 1) * size


class Shuffled(Sampler):
    """Draws rows from torch's global stream, some of them twice."""

    def __init__(self, n_drawn: int = 26) -> None:
        self.n_drawn = n_drawn

    def __len__(self) -> int:
        return self.n_drawn

    def __iter__(self) -> Iterator[int]:
        yield from torch.randint(len(X), (self.n_drawn,)).tolist()


class Words(Dataset):
    """Rows of different lengths, padded by :func:`pad`."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.arange(1, 3 + row % 4) + row % 3, int(Y[row])


def pad(items: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad to the longest row."""
    rows = nn.utils.rnn.pad_sequence([row for row, _ in items], batch_first=True)
    return rows, torch.tensor([label for _, label in items])


class BagOfWords(nn.Module):
    """An embedding that passes padding over."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(12, n_outputs, padding_idx=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.words(x)


def named(items: list[Any]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Make a dict of two inputs."""
    rows = torch.stack([row for row, _ in items])
    return {"left": rows[:, :2], "right": rows[:, 2:]}, torch.tensor([label for _, label in items])


class TwoInputs(nn.Module):
    """Takes inputs by name."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, n_outputs)

    def forward(self, right: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.cat([left, right], dim=1))


class OwnGenerator(Augmented):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return ROWS[row][0] + float(self.generator.random()), int(Y[row])


class OwnStream(IterableDataset):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        return ((ROWS[row][0] + float(self.generator.random()), int(Y[row])) for row in range(len(X)))


class ReadOnce(IterableDataset):
    """Can be iterated once."""

    def __init__(self) -> None:
        self.rows = iter(range(len(X)))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        return ((ROWS[row][0], int(Y[row])) for row in self.rows)


class Clock(Augmented):
    """Reads a clock."""

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return ROWS[row][0] + time.perf_counter() % 1, int(Y[row])


class Fails(Augmented):
    """Fails at a row when it is trained on: under another seed than it is looked at."""

    def __init__(self, row: int, *, kills: bool = False) -> None:
        self.row, self.kills = row, kills

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        if row == self.row and random.random() != random.Random(LOOKING).random():
            if self.kills:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyError(f"row {row} cannot be read")
        return ROWS[row][0], int(Y[row])
