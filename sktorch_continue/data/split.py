"""Which rows are held out, for the whole life of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sktorch_continue.data.rows import SKETCH, RowIdentities, near
from sktorch_continue.streams import SPLIT, derive


class HeldOut:
    """The rows no call may train on.

    Rows are recognised by content, so they stay held out when the data comes back reordered, with rows added, or
    rounded differently in the last bits. Identical rows are always on one side.
    """

    def __init__(self) -> None:
        self._hashes = np.empty(0, dtype=np.uint64)
        self._sketches = np.empty((0, SKETCH))
        self._scales = np.empty(0)
        self.fraction: float | None = None

    def mask(self, rows: RowIdentities) -> np.ndarray:
        """Return a bool per row, whether it is held out.

        The search for rows that differ in last bits is made only for those that are not there exactly, and where rows
        can be read again.
        """
        if len(self._hashes) == 0:
            return np.zeros(len(rows), dtype=bool)
        held = np.isin(rows.hashes, self._hashes)
        missing = ~np.isin(self._hashes, rows.hashes)
        if missing.any() and not held.all() and rows.readable:
            others = np.flatnonzero(~held)
            found = others[near(rows.sketches(others, self._scales), self._sketches[missing])]
            held |= np.isin(rows.hashes, rows.hashes[found])
        return held

    def must_draw(self, held: np.ndarray, fraction: float) -> bool:
        """Tell whether validation rows are to be drawn, where `held` marks those that are held out already.

        They are at the first call, when a larger fraction is asked for, and when none of the rows given is known:
        otherwise the rows held out so far serve, so that their losses compare over calls.
        """
        return self.fraction is None or fraction > self.fraction or not held.any()

    def draw(
        self, rows: RowIdentities, held: np.ndarray, fraction: float, *, stratify: bool, seed: int, position: int
    ) -> np.ndarray:
        """Hold out `fraction` of the rows, counting those that are held out already.

        Parameters
        ----------
        rows : RowIdentities
            All rows of the call.
        held : ndarray of bool, shape (n_rows,)
            From :meth:`mask`.
        fraction : float
            In (0, 1).
        stratify : bool
            Keep the proportions of classes where every class has two rows or more.
        seed, position : int
            Seed of the run and number of splits it has drawn.

        Returns
        -------
        ndarray of bool, shape (n_rows,)
            The mask with the new rows.

        Raises
        ------
        ValueError
            If no row would be left on one of the sides.
        """
        from sklearn.model_selection import train_test_split  # takes long to import, and few runs draw

        free = np.flatnonzero(~held)
        _, first, counts = np.unique(rows.hashes[free], return_index=True, return_counts=True)
        distinct = np.sort(free[first])  # the draw depends on the order of rows, as scikit-learn's does
        share = fraction * len(rows) - held.sum()
        n_wanted = max(1, round(share / counts.mean())) if len(distinct) else 0
        if n_wanted == 0 or n_wanted >= len(distinct):
            raise ValueError(
                f"validation_fraction={fraction} of {len(rows)} rows ({len(distinct)} distinct and not held out yet) "
                "leaves nothing to train on or to hold out; give more rows, another fraction, or X_val and y_val"
            )
        labels = rows.encoded[distinct]
        _, chosen = train_test_split(
            distinct,
            test_size=n_wanted,
            stratify=labels if stratify and _can_stratify(labels, n_wanted) else None,
            random_state=derive(seed, SPLIT, position) % 2**32,
        )
        chosen = np.sort(chosen)
        if self.fraction is None:
            self._scales = rows.column_scales()
        self._hashes = np.concatenate([self._hashes, rows.hashes[chosen]])
        self._sketches = np.concatenate([self._sketches, rows.sketches(chosen, self._scales)])
        self.fraction = max(fraction, self.fraction or 0.0)
        return held | np.isin(rows.hashes, rows.hashes[chosen])

    def state_dict(self) -> dict[str, Any]:
        """Return hashes, sketches, their scales, and the largest fraction asked for, as tensors and a number."""
        return {
            "hashes": torch.from_numpy(self._hashes.view(np.int64).copy()),
            "sketches": torch.from_numpy(self._sketches.copy()),
            "scales": torch.from_numpy(self._scales.copy()),
            "fraction": self.fraction,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` returned."""
        self._hashes = state["hashes"].numpy().copy().view(np.uint64)
        self._sketches = state["sketches"].numpy().copy()
        self._scales = state["scales"].numpy().copy()
        self.fraction = state["fraction"]


def _can_stratify(labels: np.ndarray, n_wanted: int) -> bool:
    if labels.ndim != 1:
        return False
    counts = np.unique(labels, return_counts=True)[1]
    return bool(counts.min() >= 2 and len(counts) <= min(n_wanted, len(labels) - n_wanted))
