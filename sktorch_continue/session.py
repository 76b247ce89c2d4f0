"""What one call brings to a run, and what the first data told it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sktorch_continue.callbacks import Callback
from sktorch_continue.criteria import Objective
from sktorch_continue.data import Dataset


@dataclass(frozen=True)
class Facts:
    """What the first data told; a module is built from it again after a pickle.

    Attributes
    ----------
    n_features_in : int
        Columns of X (values per row over all inputs when X is a mapping).
    row_shapes : dict of str to list of int
        Shape of a row of every input; -1 for a size that is not the same for all rows.
    kind, n_outputs : str, int
        Of the objective.
    dtype : str
        Precision of X, taken by the built-in module: ``"float32"`` or ``"float64"``.
    flat : bool
        Whether the module returns (n,) instead of (n, 1).
    """

    n_features_in: int
    row_shapes: dict[str, list[int]]
    kind: str
    n_outputs: int
    dtype: str
    flat: bool = False

    @cached_property
    def objective(self) -> Objective:
        """What the criterion is told."""
        return Objective(self.kind, self.n_outputs)

    @property
    def sizes(self) -> dict[str, Any]:
        """Arguments offered to a module's constructor."""
        sizes: dict[str, Any] = {"n_features_in": self.n_features_in, "n_outputs": self.n_outputs}
        return sizes


@dataclass
class Session:
    """What one call brings to a run and takes away again.

    Attributes
    ----------
    train, valid : Dataset
        Rows to train on, and to validate on (or None).
    batch_size : int
        Rows per step.
    shuffle, drop_last, check_finite, compile : bool
        As the parameters of the estimator.
    num_threads : int
        Threads of an operation while this call trains.
    fingerprint, validation_fingerprint : str, str or None
        Of the rows to train and to validate on in the order they were given, and of their weights.
    estimator : object
        A scikit-learn view of the run with its current weights, for scorers.
    scoring_rows : callable
        ``scoring_rows("train" | "valid") -> (X, y)`` in the caller's own form.
    contents : callable
        ``contents() -> dict``: a copy of everything a checkpoint holds, the run and the estimator around it.
    watchers : list of Callback
        Watch the call without being part of the run.
    batch_rows : list of int or None
        Rows of every batch of an epoch, where the data set decides that.
    order_key : str
        What decides the order of rows beside the seed, where it is not their number.
    """

    train: Dataset
    valid: Dataset | None
    batch_size: int
    shuffle: bool
    drop_last: bool
    check_finite: bool
    compile: bool
    num_threads: int
    fingerprint: str
    validation_fingerprint: str | None
    estimator: Any
    scoring_rows: Callable[[str], tuple[Any, Any]]
    contents: Callable[[], dict[str, Any]]
    watchers: list[Callback]
    batch_rows: list[int] | None = None
    order_key: str = ""

    @property
    def n_rows(self) -> int:
        """Rows an epoch trains on."""
        if self.batch_rows is not None:
            return sum(self.batch_rows)
        n = len(self.train)
        return n - n % self.batch_size if self.drop_last else n

    @property
    def n_batches(self) -> int:
        """Steps in an epoch."""
        return self.n_steps(self.n_rows)

    def n_steps(self, rows_done: int) -> int:
        """Return the steps that are done in an epoch of which some rows are; the last batch may be short."""
        if self.batch_rows is not None:
            return int(np.searchsorted(np.cumsum(self.batch_rows), rows_done, side="right"))
        return -(-rows_done // self.batch_size)

    def epoch_key(self, seed: int) -> str:
        """Return what a position in an epoch refers to; an epoch that was cut goes on only under the same key."""
        return f"{self.fingerprint}/{seed}/{self.shuffle}/{self.n_rows}{self.order_key}"
