"""One pass over a data set of torch: all that has to be known of it before it is trained on, but its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from sktorch_continue.data.collated import is_finite, shown, unpack_pair
from sktorch_continue.data.inputs import HEAD, SINGLE
from sktorch_continue.data.readers import Collate, ItemReader, StreamReader
from sktorch_continue.data.rows import input_sums


@dataclass
class Piece:
    """What the pass keeps of a batch; made where the items are read, in a worker as well.

    Attributes
    ----------
    sums : ndarray of uint64, shape (n_rows,)
        Part of the inputs in the identity of every row.
    widths : ndarray of int64, shape (n_rows,)
        Values in a row.
    targets : ndarray of shape (n_rows, ...)
        As they came.
    finite : ndarray of bool, shape (n_rows,)
        Whether the inputs of a row are.
    shapes : dict of str to list of tuple
        The different shapes of rows, by the name of the input.
    single : bool
        Whether all inputs are of single precision or below.
    row_bytes : int
        Of the longest row.
    """

    sums: np.ndarray
    widths: np.ndarray
    targets: np.ndarray
    finite: np.ndarray
    shapes: dict[str, list[tuple[int, ...]]]
    single: bool
    row_bytes: int


class Digest:
    """Stands for a collate function and returns what the pass keeps.

    Items go through a collate function of the user one by one: what pads rows to the longest of a batch must not make
    another row of them in another batch.
    """

    def __init__(self, collate_fn: Collate | None) -> None:
        self.collate_fn = collate_fn

    def __call__(self, items: list[Any]) -> Piece:
        """Return what is kept of some items."""
        batches = [items] if self.collate_fn is None else [[item] for item in items]
        return _joined([self._piece(batch) for batch in batches])

    def inputs(self, items: list[Any]) -> tuple[dict[str, torch.Tensor], np.ndarray]:
        """Return the inputs and the target of some items."""
        try:
            batch = (self.collate_fn or default_collate)(items)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"no batch can be made of {len(items)} items of the data set: {error}. Give dataloader__collate_fn, "
                "one that pads where rows differ in length"
            ) from error
        return unpack_pair(batch, len(items))

    def _piece(self, items: list[Any]) -> Piece:
        tensors, target = self.inputs(items)
        sums, width = input_sums(tensors, int(np.prod(target.shape[1:])))
        finite = [[is_finite(row) for row in part] for part in tensors.values() if not is_finite(part)]
        return Piece(
            sums,
            np.full(len(items), width),
            target,
            np.all(finite, axis=0) if finite else np.ones(len(items), dtype=bool),
            {name: [tuple(part.shape[1:])] for name, part in tensors.items()},
            all(part.dtype in SINGLE for part in tensors.values()),
            sum(part[:1].nbytes for part in tensors.values()),
        )


class FirstLook(Digest):
    """The same, and the first of the items as a batch."""

    def __call__(self, items: list[Any]) -> tuple[Piece, dict[str, torch.Tensor]]:  # type: ignore[override]
        """Return what is kept of some items, and the inputs of the first of them."""
        head, _ = self.inputs(items[:HEAD])
        return super().__call__(items), head


def _joined(pieces: list[Piece]) -> Piece:
    first = pieces[0]
    names = {tuple(piece.shapes) for piece in pieces}
    ranks = {len(shape) for piece in pieces for shape in piece.shapes.get(next(iter(first.shapes)), [])}
    if len(names) > 1 or len(ranks) > 1 or len({piece.targets.shape[1:] for piece in pieces}) > 1:
        raise ValueError(
            "the items of the data set differ in the names of their inputs, in their number of dimensions, or in the "
            f"shape of their targets: inputs {sorted(names)}, shapes {[piece.shapes for piece in pieces[:3]]}, targets "
            f"{sorted({piece.targets.shape[1:] for piece in pieces})}"
        )
    sums, widths, targets, finite = (
        np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("sums", "widths", "targets", "finite")
    )
    shapes = {name: sorted({shape for piece in pieces for shape in piece.shapes[name]}) for name in first.shapes}
    single, row_bytes = all(piece.single for piece in pieces), max(piece.row_bytes for piece in pieces)
    return Piece(sums, widths, targets, finite, shapes, single, row_bytes)


@dataclass
class Told:
    """What a pass over a whole data set told.

    Attributes
    ----------
    all : Piece
        Of all rows, in the order they were read.
    batch_rows : list of int
        Rows of every batch.
    head : dict of str to Tensor
        The inputs of one or two rows.
    """

    all: Piece
    batch_rows: list[int]
    head: dict[str, torch.Tensor]

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row of every input; -1 where it is not the same for all rows."""
        return {
            name: tuple(sizes[0] if len(set(sizes)) == 1 else -1 for sizes in zip(*shapes, strict=True))
            for name, shapes in self.all.shapes.items()
        }


def read_through(reader: ItemReader | StreamReader, batch_size: int) -> Told | None:
    """Read a data set once, every item under one seed; None where it has no rows.

    Raises
    ------
    ValueError
        If its batches cannot be trained on, rows have NaN or infinity, or it draws from a stream of its own.
    """
    look = next(reader.read_twice(FirstLook(reader.collate_fn)), None)
    if look is None:
        return None
    twice, head = look
    _refuse_own_streams(twice)
    pieces = list(reader.read_all(batch_size, Digest(reader.collate_fn)))
    if not pieces:
        raise ValueError("the data set gives no rows when it is read again, " + OWN_STREAM)
    whole = _joined(pieces)
    if not whole.finite.all():
        names, row = ", ".join(map(shown, whole.shapes)), int(whole.finite.argmin())
        raise ValueError(f"Input {names} contains NaN or infinity: row {row} of the data set.")
    return Told(whole, [len(piece.sums) for piece in pieces], head)


def targets_of(reader: ItemReader | StreamReader, batch_size: int) -> np.ndarray:
    """Return the targets of a data set as they come.

    Raises
    ------
    ValueError
        If it has none.
    """
    found = [unpack_pair(batch)[1] for batch in reader.read_all(batch_size)]
    if not found:
        raise ValueError("Found a data set with 0 sample(s) while a minimum of 1 is required.")
    return np.concatenate(found)


OWN_STREAM = (
    "so that a training on it cannot be continued exactly: it draws from a stream of its own, reads a clock, or can be "
    "read only once. Draw from the global streams of torch, NumPy or Python inside __getitem__ or __iter__ (they are "
    "seeded for every item, by seed, epoch and row), and begin anew in __iter__"
)


def _refuse_own_streams(twice: Piece) -> None:
    half, odd = divmod(len(twice.sums), 2)
    differ = odd or any(
        values[:half].tobytes() != values[half:].tobytes() for values in (twice.sums, twice.widths, twice.targets)
    )
    if differ:
        raise ValueError(f"the data set gives other items when they are read again under the same seeds, {OWN_STREAM}")
