"""How many threads an operation of torch may use while a run trains.

A second thread takes some microseconds to be woken. Below a certain amount of work per step that is longer than what it
saves, and the more so the more threads there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

# On two cores, with fused Adam: two threads take 0.95 to 1.15 of the time of one below both, and 0.9 or less above.
FEW_PRODUCTS = 3_000_000  # weights × rows of a batch
FEW_WEIGHTS = 1 << 16
# Of layers in these files of torch the work is one product per weight and row, or less.
PLAIN = {f"torch.nn.modules.{name}" for name in ("activation", "batchnorm", "dropout", "flatten", "linear", "sparse")}
PLAIN |= {"torch.nn.modules.normalization"}


def suited(module: nn.Module, row_shapes: dict[str, list[int]], batch_size: int, at_most: int) -> int:
    """Return how many threads suit a step: one where it is small, else as many as there may be.

    Parameters
    ----------
    module : nn.Module
        Small as far as its layers tell: what a ``forward`` of the user does beside calling them is not seen.
    row_shapes : dict of str to list of int
        Shape of a row of every input; a layer that is applied along a row works once per place.
    batch_size : int
        Rows of a step.
    at_most : int
        Threads of the process when the run began, as far as this machine has them.
    """
    n_weights = sum(parameter.numel() for parameter in module.parameters())
    small = n_weights < FEW_WEIGHTS and n_weights * batch_size < FEW_PRODUCTS
    flat = all(len(shape) <= 1 for shape in row_shapes.values())
    if small and flat and all(_is_plain(layer) for layer in module.modules()):
        return 1
    return min(at_most, max(of_process(), len(os.sched_getaffinity(0))))


def _is_plain(layer: nn.Module) -> bool:
    if isinstance(layer, nn.MultiheadAttention | nn.Unflatten):
        return False
    return bool(layer._modules) or type(layer).__module__ in PLAIN


_outside: int | None = None


def of_process() -> int:
    """Return how many threads the process has, also while a training has changed that."""
    return torch.get_num_threads() if _outside is None else _outside


@contextmanager
def limited(n: int) -> Iterator[None]:
    """Let operations use `n` threads for a while; the process then has as many as before.

    Only under :func:`streams.borrowed`: one thread at a time, in which a training may begin inside of another.
    """
    global _outside
    before, outside = torch.get_num_threads(), _outside
    _outside = of_process()
    try:
        torch.set_num_threads(n)
        yield
    finally:
        torch.set_num_threads(before)
        _outside = outside
