"""One call of a verb, and its data checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import _check_sample_weight

from sktorch_continue.callbacks import Callback
from sktorch_continue.data import Inputs, check_inputs
from sktorch_continue.data.dataset import check_weights
from sktorch_continue.data.inputs import fits
from sktorch_continue.data.loaded import LoadedInputs
from sktorch_continue.estimators.rows import LoadedRows, Rows
from sktorch_continue.estimators.torch_data import is_data_set, learn_sizes, loading, read_inputs, refuse_misuse


@dataclass
class Call:
    """One call of a verb.

    Attributes
    ----------
    verb : {"fit", "continue_fit", "partial_fit", "resume_fit"}
        For the record.
    X, y, sample_weight, X_val, y_val, sample_weight_val : object
        As given.
    max_epochs : int
        Epochs of this call, not yet checked; of ``resume_fit`` the total.
    classes : array-like or None
        For the first ``partial_fit`` of a classifier.
    source : object or None
        The estimator with the run to go on with, where it is not the one that is called.
    watchers : tuple of Callback
        Watch, or store, the run of this call without being part of it.
    pinned : dict of str to str
        Folders of the run's Checkpoint callbacks, by name, that were asked for already.
    """

    verb: str
    X: Any
    y: Any
    max_epochs: Any
    sample_weight: Any = None
    X_val: Any = None
    y_val: Any = None
    sample_weight_val: Any = None
    classes: Any = None
    source: Any = None
    watchers: tuple[Callback, ...] = ()
    pinned: dict[str, str] = field(default_factory=dict)


@dataclass
class Intent:
    """What a call is to do, its parameters checked.

    Attributes
    ----------
    verb : str
        Of the call.
    fresh : bool
        Whether a new run begins.
    epochs : int
        To train.
    params : dict
        From ``get_params(deep=False)``.
    device : torch.device
        To train on.
    weighted : bool
        Whether a loss per sample is needed.
    """

    verb: str
    fresh: bool
    epochs: int
    params: dict[str, Any]
    device: torch.device
    weighted: bool = False

    @property
    def resumes(self) -> bool:
        """Whether an interrupted run is to be finished."""
        return self.verb == "resume_fit" and not self.fresh

    @property
    def extends(self) -> bool:
        """Whether a ``fit`` goes on from a shorter one, and is to end as if it had begun there."""
        return self.verb == "fit" and not self.fresh


def check_rows(draft: Any, call: Call, *, fresh: bool) -> Rows:
    """Check the training data; `draft` learns sizes, names and classes from it when the run is new."""
    least = 1 if call.verb == "partial_fit" else 2
    refuse_misuse(draft, call)
    y = call.y
    inputs: Inputs
    if is_data_set(call.X):
        inputs, y = read_inputs(draft, call.X, min_rows=least)
        if fresh:
            learn_sizes(draft, inputs.row_shapes)
    else:
        inputs = check_inputs(draft, call.X, reset=fresh, min_rows=least)
    if y is None:
        raise ValueError(f"This {type(draft).__name__} estimator requires y to be passed, but the target y is None.")
    if fresh:
        draft._learn_target(y, call.classes)
    elif call.classes is not None:
        draft._check_classes(call.classes)
    return _encode(draft, call.X, y, call.sample_weight, inputs, training=True)


def check_validation(draft: Any, call: Call, training: Rows) -> Rows | None:
    """Check the validation data, if any was given."""
    if call.X_val is None:
        if call.y_val is not None or call.sample_weight_val is not None:
            raise ValueError("y_val or sample_weight_val was given without X_val")
        return None
    y = call.y_val
    inputs: Inputs
    if is_data_set(call.X_val):
        inputs, y = read_inputs(draft, call.X_val, min_rows=1)
    elif y is None:
        raise ValueError("X_val was given without y_val")
    else:
        inputs = check_inputs(draft, call.X_val, reset=False)
    if not fits(inputs.row_shapes, training.inputs.row_shapes):
        raise ValueError(
            f"rows of X_val have shapes {inputs.row_shapes}, but rows of X have {training.inputs.row_shapes}"
        )
    return _encode(draft, call.X_val, y, call.sample_weight_val, inputs, training=False)


def _encode(draft: Any, X: Any, y: Any, sample_weight: Any, inputs: Inputs, *, training: bool) -> Rows:
    encoded = draft._target.encode(y)
    if len(encoded) != inputs.n_rows:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X has {inputs.n_rows} and y {len(encoded)}"
        )
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, encoded, dtype=np.float64)
    sample_weight = check_weights(sample_weight)
    weight = draft._weight(encoded, sample_weight) if training else sample_weight
    rows = Rows(X, y, inputs, encoded, check_weights(weight), sample_weight)
    return LoadedRows(**vars(rows), **loading(draft, training=training)) if isinstance(inputs, LoadedInputs) else rows
