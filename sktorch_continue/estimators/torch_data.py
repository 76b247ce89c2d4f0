"""A data set of torch in the place of X: what it cannot be used with, and its pass."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data import Dataset as TorchDataset

from sktorch_continue.data.loaded import LoadedInputs
from sktorch_continue.data.passes import read_through, targets_of
from sktorch_continue.data.readers import draw_order, reader_of
from sktorch_continue.estimators.parameters import loader_arguments

NOTHING_HELD_OUT = "give a data set of its own as X_val, and validation_fraction=None"


def is_data_set(X: Any) -> bool:
    """Tell whether X is a data set of torch."""
    return isinstance(X, TorchDataset)


def is_iterable(X: Any) -> bool:
    """Tell whether X is one that brings its rows in an order of its own."""
    return isinstance(X, IterableDataset)


def refuse_loader(X: Any) -> None:
    """Refuse a DataLoader, whose order and batches would not be those of the run."""
    if isinstance(X, DataLoader):
        raise TypeError(
            "a DataLoader was given; give its data set, batch_size and shuffle as parameters, and its other arguments "
            "as dataloader__num_workers, dataloader__collate_fn and so on"
        )


def refuse_misuse(draft: Any, call: Any) -> None:
    """Refuse what does not go with a data set of torch, before anything is read.

    Raises
    ------
    TypeError, ValueError
        Saying what to do instead.
    """
    refuse_loader(call.X)
    refuse_loader(call.X_val)
    params = draft.get_params(deep=False)
    given, ours = loader_arguments(params), {"X": call.X, "X_val": call.X_val}
    sets = {name: X for name, X in ours.items() if is_data_set(X)}
    _refuse_without_effect([name for name in given if not sets or (name == "sampler" and "X" not in sets)])
    if "X" in sets and call.y is not None:
        raise ValueError("y was given together with a data set, which brings its targets; leave y out")
    if "X_val" in sets and call.y_val is not None:
        raise ValueError("y_val was given together with a data set as X_val, which brings its targets; leave y_val out")
    for name, weight in (("X", call.sample_weight), ("X_val", call.sample_weight_val)):
        if is_iterable(ours[name]) and weight is not None:
            raise ValueError(
                f"sample_weight cannot go with an iterable data set as {name}: its rows have no numbers; use a "
                "map-style data set, or class_weight"
            )
    if "X" in sets:
        _refuse_order(call, params, given.get("sampler"))


def _refuse_without_effect(names: list[str]) -> None:
    if names:
        raise ValueError(
            f"{', '.join('dataloader__' + name for name in names)} has no effect on arrays; give a "
            f"torch.utils.data.Dataset as X, or `del estimator.dataloader__{names[0]}`"
        )


def _refuse_order(call: Any, params: dict[str, Any], sampler: Any) -> None:
    """Refuse an order that two would decide, and rows that cannot be chosen."""
    iterable = is_iterable(call.X)
    if iterable and sampler is not None:
        raise ValueError("dataloader__sampler cannot go with an iterable data set, which brings its order itself")
    if params["shuffle"] and (iterable or sampler is not None):
        brings = "an iterable data set" if iterable else "dataloader__sampler"
        raise ValueError(f"{brings} brings the order of the rows itself; set shuffle=False")
    if sampler is not None:
        _refuse_own_order(sampler)
    draws = params["validation_fraction"] is not None and call.X_val is None and call.verb != "partial_fit"
    if iterable and draws:
        raise ValueError(
            f"no rows of an iterable data set can be held out: it cannot leave them out; {NOTHING_HELD_OUT}"
        )
    if sampler is not None and draws:
        raise ValueError(f"dataloader__sampler could choose rows that are held out; {NOTHING_HELD_OUT}")


def _refuse_own_order(sampler: Any) -> None:
    if not (isinstance(sampler, Sized) and isinstance(sampler, Iterable)):
        raise TypeError(f"dataloader__sampler={sampler!r} has no length; rows of an epoch are counted before it begins")
    if not torch.equal(draw_order(sampler, 0, 0), draw_order(sampler, 0, 0)):
        raise ValueError(
            f"{type(sampler).__name__} gives another order under the same seed, so that a training cannot be continued "
            "exactly: it draws from a generator of its own. Leave its generator out: the global streams are seeded for "
            "every epoch"
        )


def read_inputs(draft: Any, X: Any, *, min_rows: int) -> tuple[LoadedInputs, np.ndarray]:
    """Read a data set once, with the arguments that an estimator has for its loader; return inputs and targets.

    Raises
    ------
    ValueError, TypeError
        If it cannot be trained on, or not exactly.
    """
    if not is_iterable(X) and not isinstance(X, Sized):
        raise TypeError(
            f"{type(X).__name__} has no __len__; a map-style data set needs one, an iterable one derives from "
            "torch.utils.data.IterableDataset"
        )
    params = draft.get_params(deep=False)
    arguments = loader_arguments(params)
    arguments.pop("sampler", None)
    reader = reader_of(X, arguments)
    told = None if not is_iterable(X) and len(X) == 0 else read_through(reader, int(params["batch_size"]))
    n_rows = 0 if told is None else len(told.all.sums)
    if told is None or n_rows < min_rows:
        raise ValueError(f"Found a data set with {n_rows} sample(s) while a minimum of {min_rows} is required.")
    return LoadedInputs(reader, told), told.all.targets


def loading(draft: Any, *, training: bool) -> dict[str, Any]:
    """Return what decides the batches of a data set beside its reader."""
    sampler = loader_arguments(draft.get_params(deep=False)).get("sampler") if training else None
    return {"reading": draft._target, "sampler": sampler, "drop_last": bool(draft.drop_last)}


def learn_sizes(draft: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    """Let an estimator learn its number of features; that of a step where rows differ in length."""
    vars(draft).pop("feature_names_in_", None)
    first = shapes.get("", (-1,))[0]
    draft.n_features_in_ = first if first > 0 else sum(int(np.prod([n for n in s if n > 0])) for s in shapes.values())


def targets(estimator: Any, X: Any, y: Any) -> Any:
    """Return the targets to score with: `y`, or those that a data set brings.

    Raises
    ------
    ValueError
        If both are there, or none is.
    """
    if not is_data_set(X):
        if y is None:
            name = type(estimator).__name__
            raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")
        return y
    if y is not None:
        raise ValueError("y was given together with a data set, which brings its targets; leave y out")
    return targets_of(reader_to_predict(estimator, X), int(estimator.batch_size))


def reader_to_predict(estimator: Any, X: Any) -> Any:
    """Return what reads a data set that is not trained on."""
    arguments = loader_arguments(estimator.get_params(deep=False))
    kept = {name: value for name, value in arguments.items() if name not in ("sampler", "persistent_workers")}
    return reader_of(X, kept, wait=False)
