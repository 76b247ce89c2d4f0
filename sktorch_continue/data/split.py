"""Which rows are held out, for the whole life of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from sktorch_continue.streams import SPLIT, derive


class HeldOut:
    """Identities of the rows no call may train on.

    Rows are recognised by content, so they stay held out when the data comes back reordered or with rows added.
    Identical rows are always on one side.
    """

    def __init__(self) -> None:
        self._identities = np.empty(0, dtype=np.uint64)
        self.fraction: float | None = None

    def mask(self, identities: np.ndarray) -> np.ndarray:
        """Return a bool per row, whether it is held out."""
        return np.isin(identities, self._identities)

    def must_draw(self, identities: np.ndarray, fraction: float | None) -> bool:
        """Tell whether validation rows are to be drawn from these rows.

        They are at the first call, when a larger fraction is asked for, and when none of the rows given is known:
        otherwise the rows held out so far serve, so that their losses compare over calls.
        """
        if fraction is None:
            return False
        return self.fraction is None or fraction > self.fraction or not self.mask(identities).any()

    def draw(
        self, identities: np.ndarray, encoded: np.ndarray, fraction: float, *, stratify: bool, seed: int, position: int
    ) -> None:
        """Hold out `fraction` of the rows, counting those that are held out already.

        Parameters
        ----------
        identities : ndarray of uint64, shape (n_rows,)
            From :func:`row_identities`.
        encoded : ndarray
            Encoded target; its values are the strata.
        fraction : float
            In (0, 1).
        stratify : bool
            Keep the proportions of classes where every class has two rows or more.
        seed, position : int
            Seed of the run and number of splits it has drawn.

        Raises
        ------
        ValueError
            If no row would be left on one of the sides.
        """
        distinct, first, counts = np.unique(identities, return_index=True, return_counts=True)
        known = self.mask(distinct)
        free, sizes = first[~known], counts[~known]
        by_row = np.argsort(free)  # the draw depends on the order of rows, as scikit-learn's does
        free, sizes = free[by_row], sizes[by_row]
        share = fraction * len(identities) - counts[known].sum()
        n_wanted = max(1, round(share / max(1.0, sizes.mean()))) if len(free) else 0
        if n_wanted == 0 or n_wanted >= len(free):
            raise ValueError(
                f"validation_fraction={fraction} of {len(identities)} rows ({len(distinct)} distinct) leaves "
                "nothing to train on or nothing to hold out; give more rows, another fraction, or X_val and y_val"
            )
        labels = encoded[free] if stratify and _can_stratify(encoded[free], n_wanted) else None
        random_state = derive(seed, SPLIT, position) % 2**32
        _, chosen = train_test_split(free, test_size=n_wanted, stratify=labels, random_state=random_state)
        self._identities = np.sort(np.concatenate([self._identities, identities[chosen]]))
        self.fraction = fraction

    def state_dict(self) -> dict[str, Any]:
        """Return the identities as an int64 tensor of shape (n_held_out,), and the fraction asked for."""
        return {
            "identities": torch.from_numpy(self._identities.view(np.int64).copy()),
            "fraction": self.fraction,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take identities and fraction from `state`."""
        self._identities = state["identities"].numpy().copy().view(np.uint64)
        self.fraction = state["fraction"]


def _can_stratify(labels: np.ndarray, n_wanted: int) -> bool:
    if labels.ndim != 1:
        return False
    counts = np.unique(labels, return_counts=True)[1]
    return bool(counts.min() >= 2 and len(counts) <= min(n_wanted, len(labels) - n_wanted))
