"""scikit-learn's callbacks (1.9 and later): a call of a verb is a task, and each of its epochs is a task inside it.

They are set with ``set_callbacks`` and belong to the estimator, not to its run: nothing of them is in the state, in a
checkpoint or in a key that says what is trained. Where none is set, nothing of this is used.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np

from sktorch_continue.callbacks import Callback
from sktorch_continue.data.loaded import LoadedInputs
from sktorch_continue.estimators.call import Call
from sktorch_continue.estimators.session import select
from sktorch_continue.estimators.storage import CALLBACK_ATTRIBUTES
from sktorch_continue.run import Run
from sktorch_continue.session import Session

HAS_CALLBACKS = importlib.util.find_spec("sklearn.callback") is not None
ON_REQUEST = "a callback of scikit-learn asked for it"


class CallbackSupport:
    """scikit-learn's ``CallbackSupportMixin``, imported when it is used: it brings searches and rich along."""

    if HAS_CALLBACKS:

        def set_callbacks(self, *callbacks: Any) -> Self:
            """Set callbacks of scikit-learn's kind, which are told of every call that trains and of its epochs.

            Needs scikit-learn 1.9; with an older one there is no such method. They are no parameters: clones share
            them, and they are no part of the run. The parameter `callbacks` takes callbacks of this package.

            Parameters
            ----------
            *callbacks : object
                Following the protocol :class:`sklearn.callback.FitCallback`; none to take away those that are set.

            Returns
            -------
            self

            Raises
            ------
            TypeError
                If one does not follow the protocol.
            """
            from sklearn.callback import CallbackSupportMixin

            CallbackSupportMixin.set_callbacks(self, *callbacks)
            return self

        def _init_callback_context(self, **task: Any) -> Any:
            from sklearn.callback import CallbackSupportMixin

            return CallbackSupportMixin._init_callback_context(self, **task)


def has_callbacks(estimator: Any) -> bool:
    """Tell whether callbacks of scikit-learn are set on an estimator, or handed to it by what it sits in."""
    return "_skl_callbacks" in vars(estimator)


def stopped_on_request(run: Run) -> bool:
    """Tell whether such a callback has ended a run. It is no parameter: another training may not take this one up."""
    return run.progress.stopped == ON_REQUEST


def report(estimator: Any, call: Call, carry_out: Callable[[Any, Call], None]) -> None:
    """Carry out a call, and tell the callbacks of scikit-learn of it and of its epochs."""
    from sklearn.callback import with_callbacks

    tasks = Tasks(estimator, call)

    def reported(estimator: Any) -> None:
        carry_out(estimator, replace(call, watchers=(*call.watchers, tasks)))
        tasks.finish()

    with_callbacks(reported)(estimator)  # which takes them down, also after an error


class Tasks(Callback):
    """Watches one call: begins and ends the tasks of its epochs, and hands on the wish to stop.

    Comes after the callbacks of the run and before a :class:`Checkpoint`, which thus stores the wish.

    Parameters
    ----------
    estimator : TorchEstimator
        That is called.
    call : Call
        How.
    """

    columns = ()

    def __init__(self, estimator: Any, call: Call) -> None:
        self._estimator = estimator
        self._call = call
        self._data: dict[str, Any] = {"X": lambda: call.X, "y": lambda: call.y, "metadata": lambda: _metadata(call)}
        self._view: Any = None
        self._whole: Any = None  # context of the call
        self._epoch: Any = None  # context of the epoch that has begun

    def on_train_begin(self, run: Any) -> None:
        """Begin the task of the call, and that of an epoch that was cut and goes on."""
        self._view = run.session.estimator
        self._data = _trained_rows(self._call, run.session)
        self._begin(run.max_epochs - run.n_epochs)
        begun = run.progress.begun
        if begun is not None and begun.key == run.session.epoch_key(run.seed):
            self.on_epoch_begin(run)

    def on_epoch_begin(self, run: Any) -> None:
        """Begin the task of an epoch."""
        self._epoch = self._whole.subcontext(task_name=f"epoch {run.n_epochs + 1}")
        self._epoch.call_on_fit_task_begin(
            estimator=self._estimator, reconstruction_attributes=self._fitted, **self._data
        )

    def on_epoch_end(self, run: Any) -> None:
        """End it; the run stops where a callback says so."""
        if self._end_epoch() and run.progress.stopped is None:
            run.stop(ON_REQUEST)

    def on_train_end(self, run: Any) -> None:
        """End the task of an epoch in which a callback of the run has stopped it."""
        if self._epoch is not None:
            self._end_epoch()

    def finish(self) -> None:
        """End the task of the call; where there was nothing to train, it begins here as well."""
        if self._whole is None:
            self._begin(0)
        self._whole.call_on_fit_task_end(estimator=self._estimator, reconstruction_attributes={}, **self._data)

    def _begin(self, n_epochs: int) -> None:
        self._whole = self._estimator._init_callback_context(task_name=self._call.verb, max_subtasks=n_epochs)
        self._whole.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def _end_epoch(self) -> bool:
        context, self._epoch = self._epoch, None
        wanted: bool = context.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes=self._fitted, **self._data
        )
        return wanted

    def _fitted(self) -> dict[str, Any]:
        """Return what makes a copy of the estimator one whose call ended here: with a run of its own, if asked for.

        Called by scikit-learn where a callback asks for the fitted estimator, and then only.
        """
        if vars(self._estimator).get("_run") is self._view._run:
            return {}  # the run goes on in place, and a copy of the estimator has a copy of it
        fitted = vars(copy.copy(self._view))
        del fitted["_newest"]
        of_before = set(vars(self._estimator)) - set(fitted) - CALLBACK_ATTRIBUTES
        return {**dict.fromkeys(of_before), **fitted}


def _trained_rows(call: Call, session: Session) -> dict[str, Any]:
    """Return functions for the rows that are trained on; rows held out and rows of weight zero are none of them."""

    @functools.cache
    def mask() -> np.ndarray:
        chosen = np.ones(session.train.inputs.n_rows, dtype=bool)
        if session.train.rows is not None:
            chosen[:] = False
            chosen[session.train.rows.numpy()] = True
        return chosen

    return {
        "X": functools.cache(lambda: select(call.X, mask())),
        "y": functools.cache(lambda: select(_targets(call, session), mask())),
        "metadata": functools.cache(lambda: _metadata(call, mask())),
    }


def _targets(call: Call, session: Session) -> Any:
    inputs = session.train.inputs
    return inputs.told.all.targets if isinstance(inputs, LoadedInputs) else call.y


def _metadata(call: Call, mask: np.ndarray | None = None) -> dict[str, Any] | None:
    weight = call.sample_weight
    if weight is None:
        return None
    return {"sample_weight": weight if mask is None else select(weight, mask)}
