"""What pickle, joblib, copy and checkpoints see: parameters, fitted names and the run's state dictionary."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from sktorch_continue import checkpoint
from sktorch_continue.data.memory import Seen
from sktorch_continue.estimators.double_underscore import DoubleUnderscoreParameters
from sktorch_continue.estimators.portable import contents, described, read, rebuilt, restored
from sktorch_continue.estimators.tensors import StoredTensor, detached, each
from sktorch_continue.estimators.trust import Trust
from sktorch_continue.exceptions import CheckpointError, warn
from sktorch_continue.history import History
from sktorch_continue.run import Run
from sktorch_continue.session import Facts

# What scikit-learn's callbacks leave at an estimator while it is called: it belongs to this object, no draft has it.
DURING_A_CALL = frozenset({"_parent_callback_ctx", "_callback_fit_ctx", "_skl_callbacks_to_teardown"})
CALLBACK_ATTRIBUTES = DURING_A_CALL | {"_skl_callbacks"}


class StoredRun(DoubleUnderscoreParameters):
    """Carries the run through pickle and checkpoints as its state dictionary, and builds it again from there."""

    _run: Run

    # ---- pickle and joblib ----------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        attributes: dict[str, Any] = {n: v for n, v in super().__getstate__().items() if n not in DURING_A_CALL}
        run: Run | None = attributes.get("_run")
        store = attributes.get("_store")
        if store is not None and (run is not None or not (store.travels and store.is_open)):
            del attributes["_store"]
        if run is not None:
            attributes["_run"] = {
                "specification": run.specification,
                "device": str(run.device),
                "state": each(detached(run.state_dict()), torch.Tensor, StoredTensor),
            }
        return attributes

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        stored = attributes.get("_run")
        if stored is not None:
            mapped: list[bool] = []

            def tensor_of(stored_tensor: StoredTensor) -> torch.Tensor:
                mapped.append(stored_tensor.is_mapped)
                return stored_tensor.tensor()

            state = each(stored["state"], StoredTensor, tensor_of)
            device = _available(stored["device"])
            if str(device) != stored["device"]:
                attributes = {**attributes, "device": str(device)}
            run = Run(stored["specification"], Facts(**state["facts"]), state["seed"], device)
            if any(mapped):  # only weights stay where they are mapped
                state = {n: part if n in ("module", "best") else detached(part, copy=True) for n, part in state.items()}
            run.load_state_dict(state, alias=any(mapped))
            target = copy.copy(attributes["_target"])
            vars(target).update(_in_memory(vars(target)))
            attributes = {**_in_memory(attributes), "_target": target, "_run": run}
        super().__setstate__(attributes)

    # ---- checkpoints ----------------------------------------------------------------------------------------------

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write the run and the parameters into a folder, whole or not at all.

        Parameters
        ----------
        path : path-like
            Folder to become the checkpoint; an older checkpoint there is replaced. Missing parents are made.

        Raises
        ------
        NotFittedError
            If there is no run yet.
        CheckpointError
            If it cannot be written; an older checkpoint at `path` is as it was.

        See Also
        --------
        sktorch_continue.Checkpoint : Writes checkpoints while the run trains.
        """
        check_is_fitted(self)
        if self._run.torn:
            raise CheckpointError(
                "the last step was cut in two by an error, so that the run is at no step that can be stored; load its "
                "newest checkpoint, or fit a new one"
            )
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"the folder for checkpoint {path} cannot be made: {error}") from error
        checkpoint.write_checkpoint(Path(os.path.abspath(path)), contents(self, described(self), copied=False))

    def load_checkpoint(self, path: str | os.PathLike[str]) -> Self:
        """Replace the run of this estimator with that of a checkpoint; its parameters stay.

        What a parameter that differs from the checkpoint's does is decided by the next call, as if it had been changed
        between two calls.

        Parameters
        ----------
        path : path-like
            A checkpoint, or a run folder: its newest sound checkpoint.

        Returns
        -------
        self

        Raises
        ------
        ContinuationError
            If the run has another architecture or kind of estimator; nothing was changed.
        CheckpointError, CorruptCheckpointError
            If there is no checkpoint that can be read; nothing was changed.

        Warns
        -----
        ContinuationWarning
            Where damaged checkpoints of a run folder were passed over, or callbacks are dropped.
        """
        become(self, restored(self, _read(path), Trust()))
        return self

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], *, trusted: Iterable[Any] = (), **params: Any) -> Self:
        """Return a fitted estimator from a checkpoint. No code is run and nothing is imported that the file names.

        Parameters
        ----------
        path : path-like
            A checkpoint, or a run folder: its newest sound checkpoint.
        trusted : iterable of class, function or str
            What names in the file may stand for, beyond modules, optimizers and schedules of torch, functions of
            ``torch.nn.functional``, and this package. A str is the full name of something importable.
        **params
            Parameters to use instead of the stored ones; such as were no plain value (a module instance, a lambda) have
            to be given.

        Returns
        -------
        estimator

        Raises
        ------
        CheckpointError, CorruptCheckpointError, ContinuationError
            As :meth:`load_checkpoint`, and for a name that is not trusted.
        """
        stored = _read(path)
        trust = Trust(trusted)
        estimator: Self = restored(rebuilt(cls, stored, params, trust), stored, trust)
        return estimator

    # ---- serving --------------------------------------------------------------------------------------------------

    def export(self) -> Self:
        """Return a copy for serving: the weights ``predict`` uses, without optimizer, schedule, callbacks and history.

        Its pickle has about the size of the weights (twice that where the parameter `module` is an instance, which has
        weights of its own). It predicts, clones and can be saved; it cannot be continued.

        Raises
        ------
        NotFittedError
            If there is no run yet.
        """
        check_is_fitted(self)
        run = self._run
        state = run.state_dict()
        state = {**state, "module": state["best"] or state["module"], "best": None}
        state |= {"optimizer": None, "lr_scheduler": None, "callbacks": {}, "history": History().state_dict()}
        state["seen"] = Seen.nothing().state_dict()  # no rows of the training data are served
        served = Run(run.specification, run.facts, run.seed, run.device)
        served.callbacks = {}
        served.load_state_dict(copy.deepcopy({**state, "held_out": served.held_out.state_dict()}))
        exported: Self = sharing_copy(self)
        exported._run = served
        return exported


def _in_memory(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attributes with copies of arrays that are mapped from a file."""
    return {n: np.array(value) if isinstance(value, np.memmap) else value for n, value in attributes.items()}


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    found = read(path)
    if found is None:
        raise CheckpointError(f"there is no checkpoint at {os.fspath(path)!r}")
    return found[1]


def sharing_copy(estimator: Any) -> Any:
    """Return another estimator with the same parameters and the same run; ``copy.copy`` would build the run anew."""
    shared = object.__new__(type(estimator))
    vars(shared).update(_own(estimator))
    return shared


def copied(estimator: Any) -> Any:
    """Return a deep copy of an estimator of any kind, which tells the same callbacks of scikit-learn, not copies."""
    params = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    told = [c for part in (estimator, *params) for c in getattr(part, "_skl_callbacks", ())]
    return copy.deepcopy(estimator, {id(callback): callback for callback in told})


def become(estimator: Any, draft: Any) -> None:
    """Let an estimator be what its draft is."""
    for name in set(_own(estimator)) - set(vars(draft)):
        delattr(estimator, name)
    vars(estimator).update(_own(draft))


def _own(estimator: Any) -> dict[str, Any]:
    """Return the attributes of an estimator but those of scikit-learn's callbacks."""
    return {name: value for name, value in vars(estimator).items() if name not in CALLBACK_ATTRIBUTES}


def _available(name: str) -> torch.device:
    device = torch.device(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        warn(f"the estimator was trained on {name}, which this machine lacks; its device is 'cpu' now")
        return torch.device("cpu")
    return device
