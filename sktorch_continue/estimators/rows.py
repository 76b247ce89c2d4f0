"""The rows of one call, checked, and what a run reads of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sktorch_continue import modules
from sktorch_continue.data import ClassTarget, Dataset, Inputs, RealTarget
from sktorch_continue.data.inputs import as_tensor
from sktorch_continue.data.loaded import LoadedDataset, LoadedInputs
from sktorch_continue.data.readers import ItemReader
from sktorch_continue.data.streamed import StreamedDataset
from sktorch_continue.estimators.digests import combine
from sktorch_continue.run import Run
from sktorch_continue.specification import describe


@dataclass
class Rows:
    """Checked rows of one call.

    Attributes
    ----------
    X, y : object
        As the caller gave them.
    inputs : Inputs
        X, checked.
    encoded : ndarray
        y, encoded.
    weight : ndarray or None
        To train with, ``class_weight`` included; None where all are one.
    sample_weight : ndarray or None
        To validate with: as the caller gave them.
    """

    X: Any
    y: Any
    inputs: Inputs
    encoded: np.ndarray
    weight: np.ndarray | None
    sample_weight: np.ndarray | None

    @property
    def weighted(self) -> bool:
        """Whether a loss per sample is needed, to train or to validate."""
        return self.weight is not None or self.sample_weight is not None

    @property
    def batch_rows(self) -> list[int] | None:
        """Rows of every batch of an epoch, where they decide that themselves."""
        return None

    def order_key(self, batch_size: int) -> str:
        """Return what decides the order of an epoch beside its seed and their number."""
        return ""

    def dataset(self, run: Run, chosen: np.ndarray | None = None, *, training: bool) -> Dataset:
        """Return the rows with a weight above zero, among those `chosen` (a mask), for a run."""
        return Dataset(**self._parts(run, chosen, training=training))

    def _parts(self, run: Run, chosen: np.ndarray | None, *, training: bool) -> dict[str, Any]:
        weight = self.weight if training else self.sample_weight
        dtype = modules.float_dtype(run.module)
        keep = np.ones(self.inputs.n_rows, dtype=bool) if chosen is None else chosen
        keep = keep if weight is None else keep & (weight > 0)
        weight = None if weight is None or (weight[keep] == 1).all() else weight
        return {
            "inputs": self.inputs,
            "target": run.facts.objective.target(self.encoded, dtype, flat=run.facts.flat),
            "weight": None if weight is None else as_tensor(weight).to(dtype),
            "rows": None if keep.all() else torch.from_numpy(np.flatnonzero(keep)),
        }


@dataclass
class LoadedRows(Rows):
    """The rows of a data set of torch.

    Attributes
    ----------
    inputs : LoadedInputs
        The data set, after its pass.
    reading : ClassTarget or RealTarget
        Encodes the target of a batch.
    sampler : iterable of int or None
        Chooses the rows of an epoch.
    drop_last : bool
        Whether batches that are smaller are left out.
    """

    inputs: LoadedInputs
    reading: ClassTarget | RealTarget
    sampler: Any
    drop_last: bool

    @property
    def batch_rows(self) -> list[int] | None:
        """Rows of every batch that an iterable data set gives."""
        if isinstance(self.inputs.reader, ItemReader):
            return None
        found = self.inputs.told.batch_rows
        return [n for n in found if n == max(found)] if self.drop_last else found

    def order_key(self, batch_size: int) -> str:
        """Return what decides the order beside the seed: workers that take turns, or a sampler."""
        if not isinstance(self.inputs.reader, ItemReader):
            return f"/{self.inputs.reader.n_workers}/{batch_size}"
        return "" if self.sampler is None else f"/{combine(describe(self.sampler))}"

    def dataset(self, run: Run, chosen: np.ndarray | None = None, *, training: bool) -> Dataset:
        """Return the rows for a run.

        Raises
        ------
        ValueError
            Where a sampler, or an iterable, would bring rows that are not to be trained on.
        """
        parts = self._parts(run, chosen, training=training)
        reader = self.inputs.reader
        objective, dtype, flat = run.facts.objective, modules.float_dtype(run.module), run.facts.flat

        def encode(y: np.ndarray) -> torch.Tensor:
            return objective.target(self.reading.encode_batch(y), dtype, flat=flat)

        if isinstance(reader, ItemReader):
            sampler = self.sampler if training else None
            if sampler is not None:
                self._refuse_left_out(parts["rows"], "dataloader__sampler")
            return LoadedDataset(**parts, reader=reader, encode=encode, sampler=sampler)
        self._refuse_left_out(parts["rows"], "a data set that is iterable")
        if parts["weight"] is not None:
            parts["weight"] = self._weight_of_class(parts["weight"])
        return StreamedDataset(**parts, reader=reader, encode=encode, drop_last=self.drop_last and training)

    def _refuse_left_out(self, rows: torch.Tensor | None, decides: str) -> None:
        if rows is not None:
            raise ValueError(
                f"{decides} decides which rows are trained on, but {self.inputs.n_rows - len(rows)} of these are held "
                "out in this run, or have weight zero; give a map-style data set without a sampler, or one without "
                "these rows"
            )

    def _weight_of_class(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight of every class, which the rows of an iterable are known by."""
        plain = self.encoded.ndim == 1
        codes = (
            torch.from_numpy(self.encoded.astype(np.int64)) if plain else torch.zeros(len(weight), dtype=torch.int64)
        )
        table = weight.new_ones(self.reading.n_outputs)
        table[codes] = weight
        if not plain or not torch.equal(table[codes], weight):
            raise ValueError(
                "the rows of an iterable data set have no place of their own, so that only a weight that goes with "
                "their class can be given to them; use a map-style data set for other weights"
            )
        return table
