"""Whether the network would fit the rows better if one of their columns were mirrored."""

from __future__ import annotations

import numpy as np
import scipy.stats
import torch
from torch import nn

from sktorch_continue import streams
from sktorch_continue.criteria import per_sample, tells_samples
from sktorch_continue.data.memory import Seen
from sktorch_continue.layers import Layers, call
from sktorch_continue.run import Run

MOST_ROWS = 1024
FEWEST_ROWS = 10
FALSE_ALARMS = 0.003  # over all columns, if none mattered to the network


def mirrored_column(run: Run, before: Seen, now: Seen) -> int | None:
    """Return a column that was mirrored, as far as the loss of the current weights tells, or None.

    A mirrored component is still symmetric: only what the network has learned from it tells. The column has to be one
    that was the right way round before: mirroring it makes the loss of the old rows larger, and that of the new rows
    smaller. The same rows are compared with and without mirroring, so it does not matter how well the network does on
    rows it has not seen. Columns of integers are left out: they may be codes or counts. Only plain rows of real numbers
    of which every column is remembered are looked at, and only where the criterion tells the loss of a row.

    Parameters
    ----------
    run : Run
        With weights that were trained on the inputs of `before`.
    before, now : Seen
        Samples of what came in before, and of what comes in now.
    """
    whole = run.facts.row_shapes.get("") == [len(before.columns)]
    targets_kept = before.codes or before.targets.shape[1] == run.facts.n_outputs
    can_tell = tells_samples(run.criterion) and not run.precision.integers_stay
    if not (whole and targets_kept and can_tell) or min(len(before), len(now)) < FEWEST_ROWS:
        return None
    means = before.values.mean(axis=0, dtype=np.float64)
    both = np.concatenate([before.values, now.values])
    real = np.flatnonzero((both != np.round(both)).any(axis=0))
    limits = both.min(axis=0), both.max(axis=0)
    if len(real) == 0:
        return None
    try:
        with streams.borrowed(run.device):
            old, new = _gains(run, before, means, real, limits), _gains(run, now, means, real, limits)
    except Exception:  # a module that checks its rows may refuse mirrored ones, by any error: that is no answer
        return None
    was_right, is_wrong = _significance(-old), _significance(new)
    threshold = FALSE_ALARMS / len(real)
    chance = np.where(was_right < threshold, is_wrong, 1.0)
    return int(before.columns[real[chance.argmin()]]) if chance.min() < threshold else None


def _gains(
    run: Run, sample: Seen, means: np.ndarray, columns: np.ndarray, limits: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return by how much mirroring each of the columns lowers the loss, by column and row.

    Mirrored values stay within what came in: a module may take no others, the logarithm of a negative one say.
    """
    rows = torch.from_numpy(sample.values)
    encoded = sample.targets[:, 0].astype(np.int64) if sample.codes else sample.targets.astype(np.float64)
    target = run.facts.objective.target(encoded, run.precision.dtype, flat=run.facts.flat).to(run.device)
    criterion = per_sample(run.criterion).eval()
    given = _losses(run, criterion, rows, target)
    gains = []
    for column in columns:
        mirrored, (lowest, highest) = rows.clone(), (float(limit[column]) for limit in limits)
        mirrored[:, column] = (2 * float(means[column]) - rows[:, column]).clamp(lowest, highest)
        gains.append(given - _losses(run, criterion, mirrored, target))
    return np.array(gains)


def _losses(run: Run, criterion: nn.Module, rows: torch.Tensor, target: torch.Tensor) -> np.ndarray:
    """Return the loss of every row, or none where the criterion cannot tell it."""
    streams.NoiseStream(run.seed, run.device).seek(run.n_steps)
    with run.evaluating(Layers(run.module), torch_alone=False):
        losses = criterion(call(run.module, run.precision({"": rows})), target)
    return losses.reshape(len(rows), -1).mean(dim=1).double().cpu().numpy() if losses.ndim else np.zeros(len(rows))


def _significance(gains: np.ndarray) -> np.ndarray:
    """Return how likely a mean gain as large is by chance, per column."""
    n = gains.shape[1]
    error = gains.std(axis=1, ddof=1) / np.sqrt(n)
    known = np.isfinite(error) & (error > 0)
    scores = np.divide(gains.mean(axis=1), error, out=np.zeros(len(gains)), where=known)
    chance: np.ndarray = scipy.stats.t.sf(scores, n - 1)
    return chance
