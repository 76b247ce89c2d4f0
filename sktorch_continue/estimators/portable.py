"""An estimator as one dictionary a checkpoint holds, and a run of such a dictionary inside an estimator."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from sktorch_continue.checkpoint import read_newest
from sktorch_continue.estimators.parameters import belongs, check_device, check_parameters, decides
from sktorch_continue.estimators.soundness import check_restored, check_stored
from sktorch_continue.estimators.tensors import detached
from sktorch_continue.estimators.trust import Trust, to_plain
from sktorch_continue.exceptions import CheckpointError, ContinuationError, warn
from sktorch_continue.run import Run
from sktorch_continue.session import Facts
from sktorch_continue.specification import describe, in_words, same_architecture


def described(estimator: Any) -> dict[str, Any]:
    """Return what a checkpoint holds of the estimator around a run; it does not change while a call trains."""
    params = estimator.get_params(deep=False)
    fitted = {n: v for n, v in vars(estimator).items() if n.endswith("_") and not n.startswith("_") and n not in params}
    return {
        "parameters": _plain(params),
        "fitted": copy.deepcopy(fitted),
        "target": dict(vars(estimator._target)),
    }


def contents(estimator: Any, description: dict[str, Any], *, copied: bool = True) -> dict[str, Any]:
    """Return everything a checkpoint of a fitted estimator holds, on the CPU.

    Parameters
    ----------
    estimator : TorchEstimator
        Fitted.
    description : dict
        From :func:`described`.
    copied : bool, default=True
        Copy the tensors, so that training on does not change them while they are written.
    """
    run: Run = estimator._run
    state = run.state_dict(history=run.history.snapshot())
    return {
        "summary": {
            "estimator": type(estimator).__qualname__,
            "run": run.id,
            "n_epochs": run.n_epochs,
            "n_steps": run.n_steps,
            "n_calls": run.progress.n_calls,
            "max_epochs": run.max_epochs,
            "stopped": run.progress.stopped,
            "last": {name: _shown(value) for name, value in run.history[-1].items()} if run.history else {},
        },
        "estimator": {**description, "built_from": _plain(run.specification.built_from)},
        "run": {name: part if name == "history" else detached(part, copy=copied) for name, part in state.items()},
    }


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    return {name: to_plain(value) for name, value in params.items()}


def _shown(value: Any) -> Any:
    """Return a cell of the history as JSON has it, or the beginning of it in words."""
    plain = isinstance(value, int) or (type(value) is float and math.isfinite(value))
    return value if plain else str(value)[:200]


def read(path: Any) -> tuple[Path, dict[str, Any]] | None:
    """Return the checkpoint at `path`, or the newest sound one of a run folder, and its contents; None for nothing.

    Raises
    ------
    CheckpointError, CorruptCheckpointError
        If something is there that cannot be read, or is no estimator's.
    """
    found = read_newest(path, warn)
    if found is not None:
        check_stored(found[1])
    return found


def rebuilt(cls: Any, stored: dict[str, Any], given: dict[str, Any], trust: Trust) -> Any:
    """Return an unfitted estimator with the parameters of a checkpoint, those `given` instead where they are.

    Raises
    ------
    CheckpointError
        Naming a parameter that cannot be taken from a file and was not given.
    """
    _refuse_another_kind(cls, stored)
    params = dict(given)
    strange = [name for name in stored["estimator"]["parameters"] if not cls._has_parameter(name)]
    if strange:
        raise CheckpointError(f"the checkpoint has parameters {strange}, which {cls.__name__} does not take")
    for name, plain in stored["estimator"]["parameters"].items():
        if name not in params:
            params[name] = _taken(trust, name, plain, f"give it: from_checkpoint(path, {name}=...), or trusted=[...]")
    estimator = cls(**params)
    try:
        check_parameters(estimator.get_params(deep=False))
        check_device(estimator.device)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the parameters cannot be used: {error}; give other ones to from_checkpoint") from error
    return estimator


def _taken(trust: Trust, name: str, plain: dict[str, Any], way_out: str) -> Any:
    try:
        return trust.from_plain(plain)
    except (CheckpointError, LookupError, TypeError, ValueError, AttributeError) as error:
        said = str(error) if isinstance(error, CheckpointError) else repr(error)
        raise CheckpointError(f"parameter {name!r} of the checkpoint: {said}; {way_out}") from error


def restored(estimator: Any, stored: dict[str, Any], trust: Trust) -> Any:
    """Return a copy of `estimator`, with its parameters, that has the run of a checkpoint; nothing else is changed.

    Raises
    ------
    ContinuationError
        If the run belongs to another kind of estimator or another architecture, naming the differences.
    CheckpointError
        If its parts do not fit together, or not into this estimator.
    """
    _refuse_another_kind(type(estimator), stored)
    draft = object.__new__(type(estimator))
    params = estimator.get_params(deep=False)
    check_parameters(params)
    check_device(params["device"])
    vars(draft).update(without_run(estimator))
    try:
        vars(draft).update(copy.deepcopy(stored["estimator"]["fitted"]))
        draft._target = draft._target_kind(**stored["estimator"]["target"])
        draft._run = _built(draft, stored, params, trust)
        draft._run.load_state_dict(stored["run"])
        check_restored(draft)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        if isinstance(error, ContinuationError):
            raise
        raise CheckpointError(f"the checkpoint cannot be loaded into this {type(draft).__name__}: {error!r}") from error
    return draft


def without_run(estimator: Any) -> dict[str, Any]:
    """Return the attributes of an estimator that no ``fit`` has learned."""
    params = estimator.get_params(deep=False)
    learned = {n for n in vars(estimator) if n in ("_run", "_target") or (n.endswith("_") and n not in params)}
    return {name: value for name, value in vars(estimator).items() if name not in learned}


def _refuse_another_kind(kind_here: type, stored: dict[str, Any]) -> None:
    kind = stored["summary"]["estimator"]
    if kind != kind_here.__qualname__:
        raise ContinuationError(
            f"the checkpoint is of a {kind}, but this is a {kind_here.__qualname__}; load it with {kind}"
        )


def _built(draft: Any, stored: dict[str, Any], params: dict[str, Any], trust: Trust) -> Run:
    """Return the run to load the state into: the estimator's module, everything else as the checkpoint had it."""
    state = stored["run"]
    descriptions = state["specification"]["parameters"]
    _refuse_another_module(descriptions, params)
    built_from = stored["estimator"]["built_from"]
    specification = draft._specification(_parameters_of_run(built_from, descriptions, params, trust))
    described = {**descriptions, **{n: v for n, v in specification.parameters.items() if belongs(n, "module")}}
    _match_callbacks(state["callbacks"], specification.callbacks)
    device = check_device(params["device"])
    return Run(replace(specification, parameters=described), Facts(**state["facts"]), state["seed"], device)


def _parameters_of_run(
    stored: dict[str, Any], descriptions: dict[str, Any], params: dict[str, Any], trust: Trust
) -> dict[str, Any]:
    """Return the parameters to build the run from: objects at hand where they are the same, else of the file."""
    at_hand = {name: value for name, value in params.items() if not decides(name) or belongs(name, "module")}
    for name, description in descriptions.items():
        if not decides(name) or belongs(name, "module"):
            continue
        if name in params and describe(params[name]) == description:
            at_hand[name] = params[name]
        else:
            at_hand[name] = _taken(trust, name, stored[name], "set it on the estimator to what it was, and load again")
    return at_hand


def _refuse_another_module(descriptions: dict[str, Any], params: dict[str, Any]) -> None:
    names = sorted({n for n in (*descriptions, *params) if belongs(n, "module")})
    before = {name: descriptions.get(name) for name in names}
    now = {name: describe(params[name]) if name in params else None for name in names}
    different = [name for name in names if not same_architecture(before[name], now[name])]
    if different:
        raise ContinuationError(
            "the checkpoint is of another architecture: "
            + "; ".join(f"{name} was {in_words(before[name])} and is now {in_words(now[name])}" for name in different)
            + ". Give what it was; the weights alone are in its module.safetensors"
        )


def _match_callbacks(stored: dict[str, Any], prototypes: dict[str, Any]) -> None:
    for name, callback in prototypes.items():
        if name in stored and stored[name]["class"] != type(callback).__qualname__:
            raise ContinuationError(
                f"callback {name!r} is a {stored[name]['class']} in the checkpoint and a {type(callback).__name__} "
                "here; give it another name"
            )
    dropped = [name for name in stored if name not in prototypes]
    if dropped:
        warn(f"callbacks {dropped} of the checkpoint are dropped with what they know; the others go on")
