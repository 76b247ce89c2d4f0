"""A ``fit`` that goes on from a run trained before, where that is the same training so far.

A key says what is trained: the data, every parameter but the number of epochs, and the versions that decide bits. Two
fits of one key walk the same path, so that the longer one may begin where the shorter one ended.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import RandomState

from sktorch_continue import streams
from sktorch_continue.callbacks.base import reads_max_epochs
from sktorch_continue.estimators.call import Call
from sktorch_continue.estimators.digests import combine, digest, facts_of_process
from sktorch_continue.estimators.parameters import name_callbacks, schedule_part
from sktorch_continue.estimators.storage import sharing_copy
from sktorch_continue.estimators.stores import FolderStore, Found, Leg, RunStore, active_for_all
from sktorch_continue.estimators.tasks import stopped_on_request
from sktorch_continue.estimators.verbs import carry_out
from sktorch_continue.schedules import Horizon, plan_horizon

LEARNED = ("_run", "_target", "n_features_in_", "feature_names_in_", "classes_")
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
    filled in from ``max_epochs``, unless for the same number of epochs. Code counts: a module whose ``forward`` was
    edited is another one. What ``fit`` reads from elsewhere (a file, the environment), and what a module keeps outside
    of its ``state_dict``, does not count and is not kept.

    Each ``fit`` hashes its data and writes its run to disk at the end, which takes some milliseconds. All threads of
    the process see the folder; worker processes of joblib do through the clones that a search makes. The searches of
    this package find their own runs and ask nowhere else.

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
        Path(directory).mkdir(parents=True, exist_ok=True)
        with active_for_all(FolderStore(directory)):
            yield
        return
    with tempfile.TemporaryDirectory(prefix="sktorch_continue-") as folder, active_for_all(FolderStore(folder)):
        yield


def fit_with(store: RunStore, estimator: Any, call: Call) -> None:
    """Carry out a ``fit`` from the furthest run `store` has of the same training, and leave the result there."""
    key = run_key(estimator, call) if store.keeps else None
    found = None if key is None else _find(store, key, estimator, call)
    if key is not None:
        call = replace(call, source=found and _draft(estimator, found.fitted), watchers=store.watchers(key))
    before, saved = (0, 0.0) if found is None else (call.source.n_epochs_, found.seconds)
    replaced, started = vars(estimator).get("_run"), time.perf_counter()
    try:
        carry_out(estimator, call)
    except (KeyboardInterrupt, SystemExit):
        stands = call.source if vars(estimator).get("_run") is replaced else estimator
        if key is not None and stands is not None and not (stands._run.torn or stopped_on_request(stands._run)):
            store.keep(key, stands, saved)  # at its last completed step
            store.settle()
        raise
    finally:
        vars(estimator).pop("_store", None)
        done = 0 if vars(estimator).get("_run") is replaced else estimator.n_epochs_ - before
        store.legs.append(Leg(_epochs_asked(call) or 0, done, saved))
    if key is not None and not stopped_on_request(estimator._run):
        store.keep(key, estimator, saved + time.perf_counter() - started)


def _find(store: RunStore, key: str, estimator: Any, call: Call) -> Found | None:
    asked = _epochs_asked(call)
    found = None if asked is None else store.find(key, estimator, asked)
    if found is not None and not isinstance(estimator.random_state, int | np.integer):
        streams.draw_seed(estimator.random_state)  # as the fit would have: what is drawn next from it is the same
    return found


def _epochs_asked(call: Call) -> int | None:
    """Return the epochs of a call, or None where they are no number: the fit will say so."""
    return int(call.max_epochs) if isinstance(call.max_epochs, int | np.integer) else None


def _draft(estimator: Any, fitted: Any) -> Any:
    """Return a copy of an estimator that has the run of another one; all else is its own, or its subclass's."""
    draft = sharing_copy(estimator)
    for name in LEARNED:
        vars(draft).pop(name, None)
    vars(draft).update({name: value for name, value in vars(fitted).items() if name in LEARNED})
    return draft


def run_key(estimator: Any, call: Call) -> str | None:
    """Return what says which training a ``fit`` is, or None where no other can be the same."""
    if why_not_the_same(estimator) is not None:
        return None
    params = {name: value for name, value in estimator.get_params(deep=False).items() if name not in WITHOUT_EFFECT}
    if why_no_prefix(estimator) is not None:
        params["max_epochs"] = call.max_epochs
    data = (call.X, call.y, call.sample_weight, call.X_val, call.y_val, call.sample_weight_val)
    digests = [digest(part) for part in (type(estimator), params, data)]
    return None if None in digests else combine(*digests, facts_of_process())


def why_not_the_same(estimator: Any) -> str | None:
    """Say why two fits of an estimator with these parameters are two trainings, or return None where they are one."""
    state = estimator.random_state
    if not isinstance(state, int | np.integer | RandomState):
        return f"random_state={state!r} draws another seed at every fit; give an int"
    unclear = [name for name, value in estimator.get_params(deep=False).items() if digest(value) is None]
    if unclear:
        return f"what {unclear[0]} is cannot be compared; give its class and arguments, or let it pickle"
    return None


def why_no_prefix(estimator: Any) -> str | None:
    """Say why a longer training of an estimator does not begin as a shorter one, or return None where it does."""
    readers = [name for name, callback in name_callbacks(estimator.callbacks).items() if reads_max_epochs(callback)]
    if readers:
        return (
            f"callback {readers[0]!r} may act otherwise in a longer training: it reads max_epochs, or acts where a "
            "call begins or ends; reads_max_epochs = False in its class says that it does not"
        )
    params = estimator.get_params(deep=False)
    if params["lr_scheduler"] is None:
        return None
    schedule = schedule_part(params)
    filled = " and ".join(f"lr_scheduler__{name}" for name in plan_horizon(schedule, Horizon(1, 1)))
    return f"{filled} of {schedule.label} is filled in from max_epochs; give it" if filled else None
