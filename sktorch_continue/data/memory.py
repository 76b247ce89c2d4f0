"""A few rows of what came in, kept to notice when something else comes in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch

from sktorch_continue.data.rows import RowIdentities

KEPT_COLUMNS = 64
KEPT_ROWS = 256
KEPT_VALUES = 8192
KEPT_TARGETS = 4


@dataclass(frozen=True)
class Seen:
    """Rows that came in: those of the smallest identities, so that the choice depends on content alone.

    A record is a value: a call makes a new one. Rows that come in twice are kept once, in whatever order and in
    however many calls they come, so a training that was cut has the same record as one that was not.

    Attributes
    ----------
    columns : ndarray of int64, shape (n_columns,)
        Which values of a flattened row are kept: those that vary most, 64 at most, in ascending order.
    keys : ndarray of uint64, shape (n_rows,)
        Identities of the rows, ascending.
    values : ndarray of float32, shape (n_rows, n_columns)
        Their values.
    targets : ndarray of float32, shape (n_rows, n_targets)
        Their encoded targets, 4 at most.
    positions : ndarray of int64, shape (n_rows,)
        Where they stood in the newest data; -1 for rows from before.
    codes : bool
        Whether the target is the code of a class.
    """

    columns: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    targets: np.ndarray
    positions: np.ndarray
    codes: bool

    @classmethod
    def nothing(cls) -> Self:
        """Return the record of a run that has seen nothing."""
        single, whole = np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64)
        return cls(whole, whole.view(np.uint64), single, single, whole, codes=False)

    @classmethod
    def of(cls, rows: RowIdentities, columns: np.ndarray | None = None, n_rows: int | None = None) -> Self:
        """Choose some of the rows, as many as are kept by default; the columns as well where they are not given."""
        keys, first = _smallest(rows.hashes, max(KEPT_ROWS, n_rows or 0))
        columns = rows.varying_columns(first[:KEPT_ROWS], KEPT_COLUMNS) if columns is None else columns
        n_rows = kept_rows(columns) if n_rows is None else n_rows
        chosen = first[:n_rows]
        values, targets = rows.values(chosen, columns)
        return cls(columns, keys[:n_rows], values, targets[:, :KEPT_TARGETS], chosen.astype(np.int64), rows.coded)

    def __len__(self) -> int:
        return len(self.keys)

    def and_then(self, newest: Seen) -> Seen:
        """Return the record after more rows came in, which may be some of those that are known."""
        if len(self) == 0:
            return newest
        old = ~np.isin(self.keys, newest.keys)
        before = replace(self, positions=np.full(len(self), -1, dtype=np.int64))
        order = np.argsort(np.concatenate([before.keys[old], newest.keys]), kind="stable")[: kept_rows(self.columns)]
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(before, name)[old], getattr(newest, name)])[order]
            for name in ("keys", "values", "targets", "positions")
        }
        return replace(newest, **joined)

    def state_dict(self) -> dict[str, Any]:
        """Return the record as tensors and a plain value."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        arrays["keys"] = self.keys.view(np.int64)
        return {**{name: torch.from_numpy(array.copy()) for name, array in arrays.items()}, "codes": self.codes}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Self:
        """Return the record that :meth:`state_dict` describes."""
        arrays = {name: value.numpy().copy() for name, value in state.items() if name != "codes"}
        return cls(**{**arrays, "keys": arrays["keys"].view(np.uint64)}, codes=state["codes"])


def _smallest(hashes: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `n` smallest distinct hashes, or all, ascending, and where each stands first; sorting all is slow."""
    if len(hashes) > 4 * n:  # a few of them tell below which number there are enough
        some = np.flatnonzero(hashes <= np.partition(hashes[: 16 * n], 2 * n)[2 * n])
        keys, first = np.unique(hashes[some], return_index=True)
        if len(keys) >= n:  # else few are distinct
            return keys[:n], some[first[:n]]
    keys, first = np.unique(hashes, return_index=True)
    return keys[:n], first[:n]


def kept_rows(columns: np.ndarray) -> int:
    """Return how many rows are kept: 256, or fewer where a row has many columns; 32 KiB at most."""
    return min(KEPT_ROWS, KEPT_VALUES // max(1, len(columns)))
