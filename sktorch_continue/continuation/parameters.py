"""A fitted member is a clone: what the user sets on the estimator it was cloned from reaches it before it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sktorch_continue.exceptions import ContinuationError


def follow(member: Any, prototype: Any, fixed: Iterable[str] = ()) -> None:
    """Give a fitted member the parameters that its prototype has by now.

    Parameters
    ----------
    member : estimator
        Fitted, a clone of `prototype`.
    prototype : estimator or None
        What ``set_params`` of the meta-estimator changes; None where it has a default, which nothing changes.
    fixed : iterable of str
        Parameters the meta-estimator chose itself; ``random_state`` is always one of them.

    Raises
    ------
    ContinuationError
        If the prototype is of another class by now.
    """
    if prototype is None:
        return
    if type(member) is not type(prototype):
        raise ContinuationError(
            f"a member was fitted as {type(member).__name__}, and its parameter is now {type(prototype).__name__}; set "
            "it back, or fit anew"
        )
    given = prototype.get_params(deep=True)
    inside = {name.rpartition("__")[0] for name in member.get_params(deep=True)}  # estimators, which stay
    chosen = {
        name: value
        for name, value in given.items()
        if not (name in inside or name in fixed or _is_estimators(value) or name.split("__")[-1] == "random_state")
    }
    member.set_params(**chosen)


def _is_estimators(value: Any) -> bool:
    """Tell whether a parameter is an estimator, or a list of named ones such as the steps of a pipeline."""
    if isinstance(value, list):
        return any(isinstance(entry, tuple) and any(map(_is_estimators, entry)) for entry in value)
    return hasattr(value, "get_params") and not isinstance(value, type)
