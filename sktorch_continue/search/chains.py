"""A chain: candidates that are one training, on one split, scored at each of its budgets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from sklearn.base import clone

from sktorch_continue.estimators.stores import FolderStore, RunStore, active
from sktorch_continue.search.scores import Scored, ScoreFolder


@dataclass
class Link:
    """One task of scikit-learn's search.

    Attributes
    ----------
    place : int
        Among the tasks of this evaluation.
    arguments : dict
        Keyword arguments of the task.
    budgets : tuple of (str, object)
        Names and values.
    key : str or None
        Of what it will score, where scores are kept.
    """

    place: int
    arguments: dict[str, Any]
    budgets: tuple[tuple[str, Any], ...]
    key: str | None = None

    @property
    def order(self) -> tuple[float, ...]:
        """Where it stands in its chain: shorter trainings first."""
        values = [float(value) if isinstance(value, Real) else 0.0 for _, value in self.budgets]
        return (sum(values), *values)


@dataclass
class Chain:
    """Links from the shortest training to the longest.

    Attributes
    ----------
    unit : str
        What all its links share: everything but the budgets.
    links : list of Link
        In order.
    cold : bool
        Whether they share no beginning after all.
    """

    unit: str
    links: list[Link] = field(default_factory=list)
    cold: bool = False


def run_chain(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    function: Callable[..., dict[str, Any]],
    links: list[Link],
    store: RunStore,
    scores: ScoreFolder | None,
    hands_back: bool,
) -> tuple[list[Scored], RunStore | None]:
    """Fit and score the links of a chain one after the other; the task that goes to a worker.

    X and y are arguments of their own, so that a distributed backend sends them to each worker once.

    Parameters
    ----------
    estimator : estimator
        Without the parameters of any candidate.
    X, y : object
        All rows.
    function : callable
        What scikit-learn calls for one task.
    links : list of Link
        Shorter trainings first.
    store : RunStore
        Where the fits find each other.
    scores : ScoreFolder or None
        Where each result is written at once.
    hands_back : bool
        Whether the runs are wanted after the chain.
    """
    done = []
    for link in links:
        store.legs.clear()
        with active(store):
            result = function(clone(estimator), X, y, **link.arguments)
        scored = Scored.of(result, store.legs)
        if scores is not None and link.key is not None:
            scores.write(link.key, scored)
        done.append(scored)
    if hands_back:
        return done, store
    if isinstance(store, FolderStore):
        shutil.rmtree(store.path, ignore_errors=True)
    return done, None
