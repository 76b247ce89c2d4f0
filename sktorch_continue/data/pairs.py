"""Whether rows that come back are encoded as before.

The same rows are told by their position or their target. Compared one by one, they tell a mirrored or rotated component
at once, however few they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from sktorch_continue.data.memory import Seen, kept_rows
from sktorch_continue.data.rows import RowIdentities
from sktorch_continue.data.samples import CLIP, standardized, target_basis

FEWEST_ROWS = 10
KNOWN = 0.9  # share of remembered rows that makes data the same, with rows added
TAKEN = 0.5  # share of incoming rows that makes data a part of what was seen, chosen in any way

CHANGED = 0.25  # of the spread of a column, between two encodings of one row
SYSTEMATIC = 2.0  # times what is left when the new values are predicted from the old ones
RELATED = 0.3  # share of the new values that the old ones explain, or the rows are not the same
RESEMBLES = 0.5  # correlation of a column with itself

PAIRED_ROWS = 4096
MIRRORED = 0.4  # size of a negative correlation of a column with itself, and in standard errors
MIRRORED_ERRORS = 4.0


def comparable(seen: Seen, rows: RowIdentities) -> bool:
    """Tell whether there is enough to compare, and the rows are neither those of before, more or not, nor some of them.

    The remembered rows are those of the smallest identities. So of incoming rows that were seen before, those whose
    identities are no larger are all remembered.
    """
    if min(len(seen), len(rows)) < FEWEST_ROWS or np.isin(seen.keys, rows.hashes).mean() >= KNOWN:
        return False
    all_remembered = len(seen) < kept_rows(seen.columns)
    would_be = np.unique(rows.hashes if all_remembered else rows.hashes[rows.hashes <= seen.keys[-1]])
    return len(would_be) < FEWEST_ROWS or bool(np.isin(would_be, seen.keys).mean() < TAKEN)


@dataclass
class Pairs:
    """Rows that were seen before and what seems to be the same rows now.

    Attributes
    ----------
    old, new : ndarray of shape (n_pairs, n_columns)
        Their values.
    basis : ndarray of shape (n_pairs, n_known)
        What the target alone says about a row, and a constant.
    columns : ndarray of int
        Which columns these are.
    certain : bool
        Whether the target alone proves that the rows are the same.
    one_sided : ndarray of int
        Columns, not among the others, that vary in the old values only, or in the new ones only.
    """

    old: np.ndarray
    new: np.ndarray
    basis: np.ndarray
    columns: np.ndarray
    certain: bool
    one_sided: np.ndarray


def find_pairs(seen: Seen, rows: RowIdentities) -> Pairs | None:
    """Find remembered rows again: by a target that no other row has, or by position where the targets agree."""
    found = None if seen.codes else _by_target(seen, rows.first_targets())
    certain = found is not None
    if found is None:
        found = _by_position(seen, rows)
    if found is None:
        return None
    places, known = found
    new, _ = rows.values(places, seen.columns)
    old, new = seen.values[known].astype(np.float64), new.astype(np.float64)
    before, now = np.ptp(old, axis=0) > 0, np.ptp(new, axis=0) > 0
    varies = before & now
    basis = target_basis(seen.targets[known], codes=seen.codes)
    return Pairs(old[:, varies], new[:, varies], basis, seen.columns[varies], certain, seen.columns[before != now])


def _by_target(seen: Seen, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    values, first, counts = np.unique(target, return_index=True, return_counts=True)
    wanted, mine, times = np.unique(seen.targets[:, 0], return_index=True, return_counts=True)
    place = np.searchsorted(values, wanted).clip(max=len(values) - 1)
    found = (values[place] == wanted) & (counts[place] == 1) & (times == 1)
    if found.sum() < max(FEWEST_ROWS, KNOWN * len(seen)):
        return None
    return first[place[found]], mine[found]


def _by_position(seen: Seen, rows: RowIdentities) -> tuple[np.ndarray, np.ndarray] | None:
    known = np.flatnonzero((seen.positions >= 0) & (seen.positions < len(rows)))
    if len(known) < max(FEWEST_ROWS, KNOWN * len(seen)):
        return None
    places = seen.positions[known]
    _, targets = rows.values(places, seen.columns)
    return (places, known) if np.array_equal(targets[:, : seen.targets.shape[1]], seen.targets[known]) else None


def compare_pairs(pairs: Pairs) -> str | None:
    """Compare two encodings of the same rows: what changed, "" for nothing, None if the rows seem not to be the same.

    Noise adds as much to a row as cannot be predicted from its old values; another encoding adds far more.
    """
    old, new = pairs.old, pairs.new
    n, n_columns = old.shape
    if n_columns == 0:
        return None
    spread = old.std(axis=0)
    moved = np.sqrt(((new - old) ** 2).mean(axis=0))
    if (moved <= CHANGED * spread).all():
        return _of_one_sided(pairs)
    wide = n < 3 * (n_columns + pairs.basis.shape[1])
    left = _unexplained(pairs, own_column_only=wide)
    total = _residual(new, pairs.basis)
    explained = 1 - np.mean(left**2 / np.maximum(total**2, 1e-30))
    if explained < RELATED and not pairs.certain:
        return None
    likeness = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(old.T, new.T, strict=True)])
    changed = (moved > CHANGED * spread) & ((moved > SYSTEMATIC * left) | (likeness < RESEMBLES))
    if not changed.any():
        return _of_one_sided(pairs)
    worst = pairs.columns[changed][np.argmax((moved / spread)[changed])]
    return f"the same rows come in with other values, most of all in column {worst}"


def _of_one_sided(pairs: Pairs) -> str:
    """Say of rows that are the same otherwise which column varies on one side only, or nothing."""
    if len(pairs.one_sided) == 0:
        return ""
    return f"the same rows come in with other values: column {pairs.one_sided[0]} was constant, or has become so"


def _residual(values: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return the spread per column that a basis does not explain, its number of columns accounted for."""
    fitted = basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    freedom = max(1, len(values) - basis.shape[1])
    spread: np.ndarray = np.sqrt(((values - fitted) ** 2).sum(axis=0) / freedom)
    return spread


def _unexplained(pairs: Pairs, *, own_column_only: bool) -> np.ndarray:
    if not own_column_only:
        return _residual(pairs.new, np.hstack([pairs.basis, pairs.old]))
    each = [np.column_stack([pairs.basis, column]) for column in pairs.old.T]
    return np.array([_residual(new[:, None], basis)[0] for new, basis in zip(pairs.new.T, each, strict=True)])


def find_mirrored(seen: Seen, rows: RowIdentities) -> str | None:
    """Find a column that was mirrored while its rows may have come back in any order.

    Without their signs, rows are the same on both sides of the mirror. So each remembered row is paired with the
    incoming one that is nearest without signs. In rows of one source their signs then agree as often as not, at least.
    """
    incoming = Seen.of(rows, seen.columns, PAIRED_ROWS)
    values = np.concatenate([seen.values, incoming.values]).astype(np.float64)
    z, shown = standardized(values)
    basis = target_basis(np.concatenate([seen.targets, incoming.targets]), codes=seen.codes)
    folded = np.hstack([np.abs(z), CLIP * basis])
    n = len(seen)
    _, nearest = cKDTree(folded[n:]).query(folded[:n])
    old, new = z[:n], z[n:][nearest]
    varies = (old.std(axis=0) > 0) & (new.std(axis=0) > 0)
    a, b = old[:, varies] - old[:, varies].mean(axis=0), new[:, varies] - new[:, varies].mean(axis=0)
    together = a * b
    likeness = together.mean(axis=0) / np.maximum(a.std(axis=0) * b.std(axis=0), 1e-30)
    # in a rarely filled or heavy-tailed column a few rows tell all, so the errors are those of the products
    scores = together.sum(axis=0) / np.maximum(np.sqrt((together**2).sum(axis=0)), 1e-30)
    told = (likeness <= -MIRRORED) & (scores <= -MIRRORED_ERRORS)
    if not told.any():
        return None
    return f"column {seen.columns[shown][varies][told][likeness[told].argmin()]} is mirrored"
