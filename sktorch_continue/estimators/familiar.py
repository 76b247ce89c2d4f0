"""What a call's rows are to the run: the same as before, more of the same, or something else."""

from __future__ import annotations

from sktorch_continue.data import Dataset
from sktorch_continue.data.memory import Seen
from sktorch_continue.data.pairs import comparable, compare_pairs, find_mirrored, find_pairs
from sktorch_continue.data.rows import RowIdentities
from sktorch_continue.data.samples import INCOMING_ROWS, compare_samples
from sktorch_continue.estimators.mirrors import MOST_ROWS, mirrored_column
from sktorch_continue.exceptions import DataDriftWarning, warn
from sktorch_continue.run import Run


def remember(run: Run, rows: RowIdentities, dataset: Dataset, verb: str, fingerprint: str) -> None:
    """Keep some of the rows that come in, and say so where they are not like those the run was trained on.

    A pass of ``partial_fit`` is not compared: it may be a few rows, or all of one kind. Nor are rows that cannot be
    read again by their number, or differ in length.

    Warns
    -----
    DataDriftWarning
        Once: the run then takes the new inputs for those it knows.
    """
    rows = rows if dataset.rows is None else rows.among(dataset.rows.numpy())
    calls = run.history.calls
    if not rows.readable or (calls and calls[-1]["fingerprint"] == fingerprint):
        return
    newest = Seen.of(rows, run.seen.columns if len(run.seen) else None)
    changed = what_changed(run, rows) if verb == "continue_fit" else None
    run.seen = newest if changed else run.seen.and_then(newest)
    if changed:
        warn(
            f"the inputs are no longer those the run was trained on: {changed}. A transformer that was fitted again, "
            "or columns in another order, make a network read other inputs than it has learned to; transform with the "
            "fitted one (continue_fit on the whole pipeline does), or fit a new run",
            DataDriftWarning,
        )


def what_changed(run: Run, rows: RowIdentities) -> str | None:
    """Say how the rows differ from those seen before, or return None where they do not."""
    seen = run.seen
    if not comparable(seen, rows):
        return None
    pairs = find_pairs(seen, rows)
    answer = None if pairs is None else compare_pairs(pairs)
    if answer is not None:
        return answer or None
    answer = find_mirrored(seen, rows) or compare_samples(seen, Seen.of(rows, seen.columns, INCOMING_ROWS))
    if answer is not None:
        return answer
    column = mirrored_column(run, seen, Seen.of(rows, seen.columns, MOST_ROWS))
    return None if column is None else f"the network would fit them better with column {column} mirrored"
