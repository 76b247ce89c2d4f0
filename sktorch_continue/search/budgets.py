"""Which parameters of a candidate are budgets: ``max_epochs`` of the networks inside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sktorch_continue.estimators import TorchEstimator
from sktorch_continue.estimators.reuse import why_no_prefix, why_not_the_same

BUDGET = "max_epochs"


def networks(estimator: Any) -> dict[str, TorchEstimator]:
    """Return every network in an estimator by the prefix of its parameters, ``""`` or ``"step__"``."""
    inside = {"": estimator, **{f"{n}__": value for n, value in estimator.get_params(deep=True).items()}}
    return {prefix: value for prefix, value in inside.items() if isinstance(value, TorchEstimator)}


def budgets_of(estimator: Any) -> list[str]:
    """Return the names of the parameters that say how long networks in an estimator are trained."""
    return [f"{prefix}{BUDGET}" for prefix in networks(estimator)]


def find_budget(estimator: Any, name: str) -> str:
    """Return the full name of a budget that is given in full or without its prefix, as in ``resource="max_epochs"``.

    Raises
    ------
    ValueError
        If no network has it, or several have.
    """
    known = budgets_of(estimator)
    meant = [name] if name in known else [budget for budget in known if budget.split("__")[-1] == name]
    if len(meant) != 1:
        raise ValueError(
            f"{name!r} is the number of epochs of {'several networks' if meant else 'no network'} in this "
            f"{type(estimator).__name__}; one of {known} was expected"
        )
    return meant[0]


def why_cold(estimator: Any, budgets: Iterable[str]) -> str | None:
    """Say why trainings of an estimator that differ in budgets cannot share their beginning; None where they can."""
    inside = networks(estimator)
    for budget in budgets:
        network = inside[budget.removesuffix(BUDGET)]
        reason = why_not_the_same(network) or why_no_prefix(network)
        if reason is not None:
            return reason
    return None
