"""Checks of exact continuation that anyone can run on an own estimator or subclass.

``check_continuation`` cuts a training at every boundary and compares everything after with the training that was
never cut; ``first_difference`` says where two states part.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import math
import pickle
import random
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import clone

from sktorch_continue.callbacks import Callback, Checkpoint

WALL_CLOCK = ("duration", "started")


def first_difference(left: Any, right: Any, path: str = "") -> str | None:
    """Return where two nested values differ first, bit for bit, or None where they do not.

    Parameters
    ----------
    left, right : object
        Dictionaries, sequences, tensors, arrays and plain values. NaN equals NaN; 0.0 differs from -0.0. Wall-clock
        entries (``duration``, ``started``) are passed over.
    path : str
        Where the values stand.

    Returns
    -------
    str or None
        For example ``"optimizer.state.0.exp_avg: 3 of 12 elements differ, the first at (0, 1): 0.5 != 0.25"``.
    """
    if type(left) is not type(right) and not (_is_array(left) and _is_array(right)):
        return f"{path or 'value'}: {type(left).__name__} {left!r} != {type(right).__name__} {right!r}"
    if isinstance(left, Mapping):
        return _mapping_difference(left, right, path)
    if isinstance(left, list | tuple):
        if len(left) != len(right):
            return f"{path or 'value'}: length {len(left)} != {len(right)}"
        return _first(first_difference(a, b, f"{path}.{i}") for i, (a, b) in enumerate(zip(left, right, strict=True)))
    if _is_array(left):
        return _array_difference(left, right, path)
    if isinstance(left, float):
        same = left == right and math.copysign(1, left) == math.copysign(1, right)
        return None if same or (math.isnan(left) and math.isnan(right)) else f"{path}: {left!r} != {right!r}"
    if inspect.isclass(left) or inspect.isroutine(left):
        return None if left == right else f"{path or 'value'}: {left!r} is not {right!r}"
    if type(left).__eq__ is object.__eq__ and hasattr(left, "__dict__"):  # type: ignore[comparison-overlap]
        return _mapping_difference(vars(left), vars(right), path)
    return None if left == right else f"{path or 'value'}: {left!r} != {right!r}"


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor)


def _mapping_difference(left: Mapping[Any, Any], right: Mapping[Any, Any], path: str) -> str | None:
    if set(left) != set(right):
        return f"{path or 'value'}: keys {sorted(map(str, set(left) ^ set(right)))} are on one side only"
    names = [name for name in left if name not in WALL_CLOCK]
    return _first(first_difference(left[n], right[n], f"{path}.{n}" if path else str(n)) for n in names)


def _first(differences: Iterable[str | None]) -> str | None:
    return next((difference for difference in differences if difference is not None), None)


def _array_difference(left: Any, right: Any, path: str) -> str | None:
    if any(isinstance(v, np.ndarray) and v.dtype.kind not in "biufc" for v in (left, right)):
        return first_difference(left.tolist(), right.tolist(), path)
    left, right = (v.detach().cpu() if isinstance(v, torch.Tensor) else torch.as_tensor(v) for v in (left, right))
    if left.dtype != right.dtype or left.shape != right.shape:
        return f"{path}: {left.dtype} {tuple(left.shape)} != {right.dtype} {tuple(right.shape)}"
    left, right = (v.to_dense() if v.layout != torch.strided else v for v in (left, right))
    if left.numel() == 0:
        return None
    different = (_bits(left) != _bits(right)).any(axis=1)
    if not different.any():
        return None
    where = np.unravel_index(int(different.argmax()), left.shape)
    place = tuple(int(i) for i in where)
    return (
        f"{path}: {int(different.sum())} of {left.numel()} elements differ, the first at {place}: "
        f"{left[place].item()!r} != {right[place].item()!r}"
    )


def _bits(tensor: torch.Tensor) -> np.ndarray:
    """Return the bytes of every element, uint8 of shape (n_elements, itemsize)."""
    raw: np.ndarray = tensor.contiguous().reshape(-1, 1).view(torch.uint8).numpy()
    return raw


def run_state(estimator: Any) -> dict[str, Any]:
    """Return a copy of everything a fitted estimator's run holds, for :func:`first_difference`.

    Records of calls, the call numbers in the history and the count of calls are left out: they say how a run was
    cut, not where it stands. So are the name of the run, the folder a :class:`~sktorch_continue.Checkpoint` stores it
    in, and what callbacks know that only watch, such as loggers.
    """
    state: dict[str, Any] = copy.deepcopy(estimator._run.state_dict())
    state.pop("specification")
    state.pop("id")
    for name, callback in estimator.callbacks_.items():
        if callback.only_watches:
            state["callbacks"].pop(name)
        elif isinstance(callback, Checkpoint):
            state["callbacks"][name]["state"].pop("folder")
    for row in state["history"]["rows"]:
        row.pop("call")
    state["history"].pop("calls")
    for name in ("n_calls", "max_epochs"):
        state["progress"].pop(name)
    return state


def assert_same_run(left: Any, right: Any, X: Any = None) -> None:
    """Raise unless two fitted estimators hold the same run, bit for bit.

    Parameters
    ----------
    left, right : TorchClassifier or TorchRegressor
        Fitted.
    X : optional
        Rows whose predictions are compared as well.

    Raises
    ------
    AssertionError
        With the path of the first difference.
    """
    difference = first_difference(run_state(left), run_state(right))
    if difference is None and X is not None:
        method = "predict_proba" if hasattr(left, "predict_proba") else "predict"
        difference = first_difference(getattr(left, method)(X), getattr(right, method)(X), method)
    if difference is not None:
        raise AssertionError(f"the runs differ at {difference}")


class Interrupt(Callback):
    """Raise ``KeyboardInterrupt`` when a step has been completed; for tests of runs that are cut.

    Parameters
    ----------
    at : int or None
        Number of completed steps, over all calls; None never interrupts.
    """

    columns = ()

    def __init__(self, at: int | None) -> None:
        self.at = at

    def on_step_end(self, run: Any) -> None:
        """Raise at the step."""
        if run.n_steps == self.at:
            raise KeyboardInterrupt(f"after step {self.at}")


def through_memory(estimator: Any) -> Any:
    """Return the estimator as it is."""
    return estimator


def through_pickle(estimator: Any) -> Any:
    """Return the estimator after a round through pickle."""
    return pickle.loads(pickle.dumps(estimator))


def through_joblib(estimator: Any) -> Any:
    """Return the estimator after a round through joblib."""
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def through_checkpoint(estimator: Any) -> Any:
    """Return a fresh estimator of the same parameters that loaded a checkpoint of this one."""
    with tempfile.TemporaryDirectory() as folder:
        estimator.save_checkpoint(Path(folder, "checkpoint"))
        return clone(estimator).load_checkpoint(Path(folder, "checkpoint"))


def disturb(estimator: Any, X: Any, y: Any) -> None:
    """Do between two pieces of a training what must not matter: predict, score, print, pickle, draw random numbers."""
    estimator.predict(X)
    estimator.score(X, y)
    repr(estimator), estimator.get_params(), pickle.dumps(estimator)
    torch.rand(7)
    np.random.rand(7)  # noqa: NPY002
    random.random()


def check_continuation(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    n_epochs: int = 6,
    cuts: Iterable[tuple[int, ...]] | None = None,
    step_cuts: Iterable[int] = (),
    through: Iterable[Callable[[Any], Any]] = (through_memory, through_pickle, through_checkpoint),
    **fit_params: Any,
) -> None:
    """Cut a training at every boundary and compare everything after with the training that was never cut.

    Parameters
    ----------
    estimator : TorchClassifier or TorchRegressor, or a subclass
        Unfitted; `random_state` must be an int. A schedule needs its horizon given: one filled in from
        ``max_epochs`` is another schedule for another number of epochs.
    X, y : as in ``fit``
        Data for every piece.
    n_epochs : int, default=6
        Epochs of the whole training.
    cuts : iterable of tuple of int, optional
        Epochs of the pieces, e.g. ``[(2, 1, 3)]``; by default one cut at every boundary between two epochs.
    step_cuts : iterable of int
        Steps after which the training is interrupted, also in the middle of an epoch, and resumed.
    through : iterable of callable
        Ways the estimator travels between two pieces.
    **fit_params
        Passed to every ``fit``, ``continue_fit`` and ``resume_fit``.

    Raises
    ------
    AssertionError
        With the cut, the way and the path of the first difference.
    ValueError
        If the estimator cannot be reproduced: no int as `random_state`, or a horizon that depends on the cut.
    """
    if isinstance(estimator.random_state, bool) or not isinstance(estimator.random_state, int | np.integer):
        raise ValueError(f"random_state={estimator.random_state!r}; an int was expected, or no two fits are alike")
    cuts = [(k, n_epochs - k) for k in range(1, n_epochs)] if cuts is None else list(cuts)
    whole = _prepared(estimator, n_epochs).fit(X, y, **fit_params)
    if cuts and whole._run.schedule_plan:
        raise ValueError(
            f"the schedule's horizon {whole._run.schedule_plan} was filled in from max_epochs and would be another one "
            "for a piece; give it as lr_scheduler__x, or check step_cuts alone (cuts=[])"
        )
    for way in through:
        for cut in cuts:
            _compare(whole, _in_pieces(estimator, X, y, cut, way, fit_params), X, f"{cut} {way.__name__}")
        for step in step_cuts:
            pieces = _interrupted(estimator, X, y, n_epochs, step, way, fit_params)
            _compare(whole, pieces, X, f"step {step} {way.__name__}")


def _prepared(estimator: Any, n_epochs: int, at: int | None = None) -> Any:
    callbacks = [*(estimator.callbacks or ()), Interrupt(at)]
    return clone(estimator).set_params(max_epochs=n_epochs, callbacks=callbacks)


def _in_pieces(
    estimator: Any, X: Any, y: Any, cut: tuple[int, ...], way: Callable[[Any], Any], fit_params: dict[str, Any]
) -> Any:
    cut_run = _prepared(estimator, cut[0]).fit(X, y, **fit_params)
    for piece in cut[1:]:
        if cut_run.history_.calls[-1]["stopped"] is not None:
            return cut_run  # a callback ended the training here, as it ended the one that was never cut
        disturb(cut_run, X, y)
        cut_run = way(cut_run).set_params(max_epochs=piece).continue_fit(X, y, **fit_params)
    return cut_run


def _interrupted(
    estimator: Any, X: Any, y: Any, n_epochs: int, step: int, way: Callable[[Any], Any], fit_params: dict[str, Any]
) -> Any:
    cut_run = _prepared(estimator, n_epochs, at=step)
    with contextlib.suppress(KeyboardInterrupt):
        cut_run.fit(X, y, **fit_params)
    disturb(cut_run, X, y)
    cut_run = way(cut_run).set_params(callbacks=_prepared(estimator, n_epochs).callbacks)
    return cut_run.resume_fit(X, y, **fit_params)


def _compare(whole: Any, pieces: Any, X: Any, label: str) -> None:
    try:
        assert_same_run(whole, pieces, X)
    except AssertionError as error:
        raise AssertionError(f"cut {label}: {error}") from None
