"""What a call brings to the run: which rows train, which validate, and the view scorers see."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.utils import _safe_indexing
from torch.utils.data import Subset

from sktorch_continue import threads
from sktorch_continue.callbacks import Callback, PrintLog, ProgressLine
from sktorch_continue.data import Dataset
from sktorch_continue.data.rows import RowIdentities, fingerprint
from sktorch_continue.estimators.call import Call, Intent
from sktorch_continue.estimators.familiar import remember
from sktorch_continue.estimators.portable import contents, described
from sktorch_continue.estimators.rows import Rows
from sktorch_continue.estimators.storage import sharing_copy
from sktorch_continue.estimators.torch_data import NOTHING_HELD_OUT, is_data_set
from sktorch_continue.run import Run
from sktorch_continue.session import Session


def open_session(draft: Any, call: Call, intent: Intent, rows: Rows, validation: Rows | None) -> Session:
    """Choose training and validation rows, holding out new ones where the run must."""
    run: Run = draft._run
    params = intent.params
    identities = RowIdentities(rows.inputs, rows.encoded)
    fraction = None if validation is not None else params["validation_fraction"]
    held = _held_out(run, identities, fraction, intent, stratify=draft._stratify)
    train = rows.dataset(run, ~held, training=True)
    if len(train) == 0:
        raise ValueError(
            f"none of the {rows.inputs.n_rows} rows is left to train on: {int(held.sum())} are held out for validation "
            "for good, the others have weight zero"
        )
    valid: Dataset | None = None
    if validation is not None:
        valid = validation.dataset(run, training=False)
    elif fraction is not None:
        valid = rows.dataset(run, held, training=False)

    def scoring_rows(on: str) -> tuple[Any, Any]:
        if on == "valid" and validation is not None:
            return validation.X, validation.y
        mask = held if on == "valid" else ~held
        return select(rows.X, mask), select(rows.y, mask)

    trained = _fingerprint(identities, train, rows.weight)
    remember(run, identities, rows.dataset(run, training=True), intent.verb, trained)

    @functools.cache
    def description() -> dict[str, Any]:
        return described(draft)

    return Session(
        train=train,
        valid=valid if valid is not None and len(valid) else None,
        batch_size=int(params["batch_size"]),
        shuffle=bool(params["shuffle"]),
        drop_last=bool(params["drop_last"]),
        check_finite=bool(params["check_finite"]),
        compile=bool(params["compile"]),
        num_threads=_num_threads(run, intent),
        fingerprint=trained,
        validation_fingerprint=_validation_fingerprint(identities, valid, validation),
        estimator=_scoring_view(draft),
        scoring_rows=scoring_rows,
        contents=lambda: contents(draft, description()),
        watchers=[*_displays(params["verbose"]), *call.watchers],
        batch_rows=rows.batch_rows,
        order_key=rows.order_key(int(params["batch_size"])),
    )


def _num_threads(run: Run, intent: Intent) -> int:
    given = intent.params["num_threads"]
    if given is not None or intent.device.type != "cpu":
        return threads.of_process() if given is None else int(given)
    return threads.suited(run.module, run.facts.row_shapes, int(intent.params["batch_size"]), run.num_threads)


def _displays(verbose: int) -> list[Callback]:
    if verbose > 1:
        return [PrintLog()]
    return [ProgressLine()] if verbose else []


def _held_out(
    run: Run, identities: RowIdentities, fraction: float | None, intent: Intent, *, stratify: bool
) -> np.ndarray:
    """Return which rows are held out, bool of shape (n_rows,); more of them where the run must and the call may."""
    held = run.held_out.mask(identities)
    if fraction is not None and not identities.readable and intent.verb != "partial_fit":
        raise ValueError(
            "validation rows are recognised in later calls by their values, which rows that differ in length do not "
            f"allow; {NOTHING_HELD_OUT}"
        )
    may_draw = intent.verb != "partial_fit" and not intent.resumes
    if fraction is None or not may_draw or not run.held_out.must_draw(held, fraction):
        return held
    held = run.held_out.draw(
        identities, held, float(fraction), stratify=stratify, seed=run.seed, position=run.progress.n_splits
    )
    run.progress.n_splits += 1
    return held


def _fingerprint(identities: RowIdentities, chosen: Dataset, weight: np.ndarray | None) -> str:
    return fingerprint(identities.hashes if chosen.rows is None else identities.hashes[chosen.rows.numpy()], weight)


def _validation_fingerprint(identities: RowIdentities, valid: Dataset | None, given: Rows | None) -> str | None:
    if valid is None:
        return None
    if given is None:
        return _fingerprint(identities, valid, None)
    return _fingerprint(RowIdentities(given.inputs, given.encoded), valid, given.weight)


def _scoring_view(draft: Any) -> Any:
    """Return the estimator a scorer sees: the draft, predicting with the newest weights."""
    view = sharing_copy(draft)
    view._newest = True
    return view


def select(values: Any, mask: np.ndarray) -> Any:
    """Return the rows of a mask in the caller's own form; tensors become arrays, sparse matrices CSR."""
    if is_data_set(values):
        return values if mask.all() else Subset(values, np.flatnonzero(mask).tolist())
    if scipy.sparse.issparse(values):
        values = values.tocsr()
    elif isinstance(values, torch.Tensor):
        values = values.numpy(force=True)
    if mask.all():
        return values
    if isinstance(values, Mapping):
        return {name: select(entry, mask) for name, entry in values.items()}
    return _safe_indexing(values, np.flatnonzero(mask))
