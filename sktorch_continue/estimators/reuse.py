"""A ``fit`` that goes on from a run trained before, where that is the same training so far.

A key says what is trained: the data, every parameter but the number of epochs, and the versions that decide bits. Two
fits of one key walk the same path, so that the longer one may begin where the shorter one ended.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, RandomState

from sktorch_continue import streams
from sktorch_continue.estimators.call import Call
from sktorch_continue.estimators.digests import code_of, combine, digest
from sktorch_continue.estimators.parameters import name_callbacks, schedule_part
from sktorch_continue.estimators.stores import FolderStore, Leg, RunStore, active, seconds_of
from sktorch_continue.estimators.verbs import carry_out
from sktorch_continue.schedules import Horizon, plan_horizon
from sktorch_continue.versions import versions

# What a fit reads that decides nothing of what is trained.
WITHOUT_EFFECT = ("max_epochs", "verbose", "warm_start", "lr_scheduler_on_continue")


@contextmanager
def hot_start(directory: str | os.PathLike[str] | None = None) -> Iterator[None]:
    """Let every ``fit`` of a network go on from the furthest run that was trained before on the same way.

    For searches that know nothing of it: those of scikit-learn, Optuna, a loop of your own. A ``fit`` for 40 epochs
    finds the run that an earlier ``fit`` with the same data and parameters has trained for 20, and trains 20 more; the
    result is that of 40 epochs from scratch, bit for bit. Where nothing fits it trains as always.

    Parameters
    ----------
    directory : path-like, optional
        Where the runs are kept, as checkpoints. By default in a temporary folder that goes with the context; a folder
        of your own also serves the next process, and a search that was killed.

    Warns
    -----
    ContinuationWarning
        If a run in the folder cannot be read, or one cannot be written there; it is then trained as always.

    See Also
    --------
    sktorch_continue.WarmStartGridSearchCV : Does the same in memory, and in the best order.

    Notes
    -----
    Of every training the furthest run is kept, so that budgets are best asked for from small to large. A
    ``random_state`` of None is another training at every fit, and never goes on; nor does a schedule whose horizon is
    filled in from ``max_epochs``, unless for the same number of epochs. ``fit`` must not read anything that changes and
    is neither data nor parameter. Worker processes of joblib find the folder through the clones that a search makes.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sktorch_continue import TorchRegressor, hot_start
    >>> X, y = load_diabetes(return_X_y=True)
    >>> search = GridSearchCV(TorchRegressor(random_state=0), {"max_epochs": [2, 4]}, cv=2)
    >>> with hot_start():
    ...     search.fit(X, y).n_splits_  # trains 4 epochs per fold, not 6, and 4 at the end
    2
    """
    if directory is not None:
        with active(FolderStore(directory)):
            yield
        return
    with tempfile.TemporaryDirectory(prefix="sktorch_continue-") as folder, active(FolderStore(folder)):
        yield


def fit_with(store: RunStore, estimator: Any, call: Call) -> None:
    """Carry out a ``fit`` from the furthest run `store` has of the same training, and leave the result there."""
    key = run_key(estimator, call) if store.keeps else None
    if key is not None:
        call = replace(call, source=_found(store, key, estimator, call), watcher=store.watcher(key))
    before = 0 if call.source is None else call.source.n_epochs_
    saved = 0.0 if call.source is None else seconds_of(call.source._run)
    carry_out(estimator, call)
    vars(estimator).pop("_store", None)
    store.legs.append(Leg(call.max_epochs, estimator.n_epochs_ - before, saved))
    if key is not None:
        store.keep(key, estimator)


def _found(store: RunStore, key: str, estimator: Any, call: Call) -> Any | None:
    if not isinstance(call.max_epochs, int | np.integer):
        return None  # the fit will say so
    found = store.find(key, estimator, int(call.max_epochs))
    if found is not None and not isinstance(estimator.random_state, int | np.integer):
        streams.draw_seed(estimator.random_state)  # as the fit would have: what is drawn next from it is the same
    return found


def run_key(estimator: Any, call: Call) -> str | None:
    """Return what says which training a ``fit`` is, or None where no other can be the same."""
    if why_not_the_same(estimator) is not None:
        return None
    params = {name: value for name, value in estimator.get_params(deep=False).items() if name not in WITHOUT_EFFECT}
    if why_no_prefix(estimator) is not None:
        params["max_epochs"] = call.max_epochs
    data = digest((call.X, call.y, call.sample_weight, call.X_val, call.y_val, call.sample_weight_val))
    if data is None:
        return None
    process = (versions(), torch.get_num_threads(), torch.get_default_dtype())  # these decide bits as well
    return combine(type(estimator).__qualname__, code_of(type(estimator)), digest(params), data, process)


def why_not_the_same(estimator: Any) -> str | None:
    """Say why two fits of an estimator with these parameters are two trainings, or return None where they are one."""
    state = estimator.random_state
    if not isinstance(state, int | np.integer | RandomState | Generator):
        return f"random_state={state!r} draws another seed at every fit; give an int"
    unclear = [name for name, value in estimator.get_params(deep=False).items() if digest(value) is None]
    if unclear:
        return f"what {unclear[0]} is cannot be compared; give its class and arguments, or let it pickle"
    return None


def why_no_prefix(estimator: Any) -> str | None:
    """Say why a longer training of an estimator does not begin as a shorter one, or return None where it does."""
    readers = [name for name, callback in name_callbacks(estimator.callbacks).items() if callback.reads_max_epochs]
    if readers:
        return f"callback {readers[0]!r} reads max_epochs"
    params = estimator.get_params(deep=False)
    if params["lr_scheduler"] is None:
        return None
    schedule = schedule_part(params)
    filled = " and ".join(f"lr_scheduler__{name}" for name in plan_horizon(schedule, Horizon(1, 1)))
    return f"{filled} of {schedule.label} is filled in from max_epochs; give it" if filled else None
