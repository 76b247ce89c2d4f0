"""A fitted member is a clone: what the user sets on the estimator it was cloned from reaches it before it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sktorch_continue.continuation.job import Job
from sktorch_continue.continuation.verbs import advance
from sktorch_continue.exceptions import ContinuationError


def advance_following(member: Any, prototype: Any, job: Job, fixed: Iterable[str] = ()) -> None:
    """Continue a fitted member in place with the parameters of its prototype; an error takes them back.

    After Ctrl-C they stay: the member stands where its last step with them has left it.
    """
    inside = [member, *(value for value in member.get_params(deep=True).values() if _is_estimator(value))]
    before = [(estimator, estimator.get_params(deep=False)) for estimator in inside]
    try:
        follow(member, prototype, fixed)
        advance(member, job)
    except Exception:
        for estimator, params in before:
            for name in set(estimator.get_params(deep=False)) - set(params):
                delattr(estimator, name)
            estimator.set_params(**params)
        raise


def follow(member: Any, prototype: Any, fixed: Iterable[str] = ()) -> None:
    """Give a fitted member the parameters that its prototype has by now.

    Parameters
    ----------
    member : estimator
        Fitted, a clone of `prototype`.
    prototype : estimator or None
        What ``set_params`` of the meta-estimator changes; None where it has a default, which nothing changes.
    fixed : iterable of str
        Parameters the meta-estimator chose itself, with all below them; ``random_state`` is always one of them.

    Raises
    ------
    ContinuationError
        If the prototype, or an estimator inside it, is of another class by now.
    """
    if prototype is None:
        return
    _check_class("a member", member, prototype)
    names = _with_steps(fixed, member, prototype)
    own, given = (_without(estimator.get_params(deep=True), names) for estimator in (member, prototype))
    for name in own.keys() | given.keys():
        if _is_estimator(own.get(name)) or _is_estimator(given.get(name)):
            _check_class(f"{name!r} inside a member", own.get(name), given.get(name))
    inside = {name.rpartition("__")[0] for name in own}  # estimators, which stay
    chosen = {
        name: value
        for name, value in given.items()
        if not (name in inside or _is_estimators(value) or name.split("__")[-1] == "random_state")
    }
    member.set_params(**chosen)


def _with_steps(fixed: Iterable[str], *estimators: Any) -> list[str]:
    """Return the fixed names and, for a list of named steps among them, the names of its steps."""
    names = [*fixed]
    for name in [*names]:
        prefix = name[: name.rindex("__") + 2] if "__" in name else ""
        lists = (estimator.get_params(deep=True).get(name) for estimator in estimators)
        names += [
            prefix + entry[0] for value in lists if _is_estimators(value) and isinstance(value, list) for entry in value
        ]
    return names


def _without(params: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the parameters that are not fixed: the name of a step fixes the parameters of the step as well."""
    return {
        name: value
        for name, value in params.items()
        if not any(name == one or name.startswith(f"{one}__") for one in names)
    }


def _check_class(what: str, fitted: Any, given: Any) -> None:
    if type(fitted) is not type(given):
        raise ContinuationError(
            f"{what} was fitted as {_named(fitted)}, and its parameter is now {_named(given)}; set it back, or fit anew"
        )


def _named(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, str) else type(value).__name__


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)


def _is_estimators(value: Any) -> bool:
    """Tell whether a parameter is an estimator, or a list of named ones such as the steps of a pipeline."""
    if isinstance(value, list):
        return any(isinstance(entry, tuple) and any(map(_is_estimators, entry)) for entry in value)
    return _is_estimator(value)
