"""Whether two samples of rows with their targets are of one source.

The mirror image of a symmetric column differs from it only in how it goes with the target and with other columns, so
the joint distribution is compared.
"""

from __future__ import annotations

import numpy as np

from sktorch_continue.data.memory import Seen

INCOMING_ROWS = 384
PERMUTATIONS = 499
MARGIN = 1.1  # over the largest statistic of all permutations
MOST_CLASSES = 10
MOST_PAIRED_COLUMNS = 24
CLIP = 4.0


def compare_samples(before: Seen, now: Seen) -> str | None:
    """Compare two samples of rows with their targets by the statistic that differs most.

    The threshold comes from permuting the rows between the samples: whatever the distribution, two samples of one
    source exceed it about once in 500 comparisons.
    """
    values = np.concatenate([before.values, now.values]).astype(np.float64)
    targets = np.concatenate([before.targets, now.targets])
    features, names = describe_rows(values, targets, before.columns, codes=before.codes)
    n = len(before)
    generator = np.random.default_rng(n)
    parts = np.zeros((PERMUTATIONS + 1, len(values)), dtype=np.float32)
    parts[0, :n] = 1
    parts[1:] = generator.permuted(np.broadcast_to(parts[0], (PERMUTATIONS, len(values))), axis=1)
    statistics = np.abs(parts @ features)  # features are centered: the sum over one part tells both means
    largest = statistics.max(axis=1)
    if largest[0] <= MARGIN * largest[1:].max():
        return None
    return f"their distribution differs, most of all in {names[int(statistics[0].argmax())]}"


def describe_rows(
    values: np.ndarray, targets: np.ndarray, columns: np.ndarray, *, codes: bool
) -> tuple[np.ndarray, list[str]]:
    """Return features of rows, standardized float32 of shape (n_rows, n_features), and what each is about."""
    z, shown = standardized(values)
    numbers = columns[shown]
    basis = target_basis(targets, codes=codes)[:, 0 if codes else 1 :][:, :MOST_CLASSES]
    known = np.column_stack([np.ones(len(z)), z])
    rest = basis - known @ np.linalg.lstsq(known, basis, rcond=None)[0]  # what the other columns do not tell either
    first, second = np.triu_indices(min(len(shown), MOST_PAIRED_COLUMNS), k=1)
    parts = [
        z,
        np.log(np.abs(z) + 0.1),
        z**3,
        *(z * b[:, None] for b in (*basis.T, *rest.T)),
        z[:, first] * z[:, second],
    ]
    names = [
        *(f"the mean of column {i}" for i in numbers),
        *(f"the spread of column {i}" for i in numbers),
        *(f"the skewness of column {i}" for i in numbers),
        *(f"how column {i} goes with the target" for _ in (*basis.T, *rest.T) for i in numbers),
        *(f"how columns {numbers[i]} and {numbers[j]} go together" for i, j in zip(first, second, strict=True)),
    ]
    features = np.hstack(parts)
    features -= features.mean(axis=0)
    scale = features.std(axis=0)
    return (features / np.where(scale > 1e-12, scale, np.inf)).astype(np.float32), names


def standardized(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns that vary, brought to one scale and clipped, and which they are."""
    spread = values.std(axis=0)
    shown = np.flatnonzero(spread > 0)
    return np.clip((values[:, shown] - values[:, shown].mean(axis=0)) / spread[shown], -CLIP, CLIP), shown


def target_basis(targets: np.ndarray, *, codes: bool) -> np.ndarray:
    """Return columns that span what a target says: one per class, or a constant and the values."""
    if codes:
        return np.asarray(targets[:, :1] == np.unique(targets[:, 0])).astype(np.float64)
    exact = targets.astype(np.float64)
    spread = exact.std(axis=0)
    return np.column_stack([np.ones(len(exact)), (exact - exact.mean(axis=0)) / np.where(spread > 0, spread, 1.0)])
