"""Which tasks of an evaluation form a chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from sktorch_continue.estimators.digests import combine, digest, facts_of_process
from sktorch_continue.search.budgets import BUDGET, budgets_of, networks, why_cold
from sktorch_continue.search.chains import Chain, Link
from sktorch_continue.search.kept import Kept

Budgets = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Candidate:
    """One setting of parameters.

    Attributes
    ----------
    parameters : dict
        Of scikit-learn's.
    budgets : tuple of (str, object)
        Those that chains may continue on, by name.
    digest : str or None
        Of everything else, the estimator included; None where it is not asked for, or cannot be told.
    """

    parameters: dict[str, Any]
    budgets: Budgets = ()
    digest: str | None = None


class Plan:
    """The chains of one evaluation.

    Parameters
    ----------
    estimator : estimator
        Without the parameters of any candidate.
    continue_on : str or None
        ``"auto"`` for every budget among the parameters, the name of one, or None for none.
    kept : Kept
        Asked what outlasts this evaluation.

    Attributes
    ----------
    has_networks : bool
        Whether any candidate has a network; else there is nothing to plan.
    reasons : set of str
        Why some tasks are trained from the start, or not kept.
    """

    def __init__(self, estimator: Any, continue_on: str | None, kept: Kept) -> None:
        self.has_networks = bool(networks(estimator))
        self.reasons: set[str] = set()
        self._estimator = estimator
        self._continue_on = continue_on
        self._kept = kept
        self._budgets = set(budgets_of(estimator))
        params = estimator.get_params(deep=True)
        self._own = {name: params[name] for name in self._budgets}  # models that are kept may go on by these as well
        self._bases: dict[tuple[str, ...], str | None] = {}
        self._why: dict[str | None, str | None] = {}

    def chains(self, tasks: list[dict[str, Any]]) -> list[Chain]:
        """Group tasks, given by their keyword arguments, by all they share but the budgets.

        Raises
        ------
        ValueError
            If `continue_on` names no budget of any candidate.
        """
        chains: dict[str, Chain] = {}
        firsts: dict[str, Candidate] = {}
        splits: dict[int, str | None] = {}
        candidate = Candidate({})
        for place, arguments in enumerate(tasks):
            if candidate.parameters is not arguments["parameters"]:
                candidate = self._candidate(arguments["parameters"])
            number = arguments["split_progress"][0]
            if number not in splits:
                splits[number] = digest((arguments["train"], arguments["test"])) if self._kept.keeps_scores else None
            unit = combine(candidate.digest or place, number, splits[number], self._kept.searched_on)
            key = self._key(unit, candidate, arguments) if self._kept.keeps_scores and candidate.digest else None
            chains.setdefault(unit, Chain(unit)).links.append(Link(place, arguments, candidate.budgets, key))
            firsts.setdefault(unit, candidate)
        planned = [part for unit, chain in chains.items() for part in self._ordered(chain, firsts[unit])]
        self._check_continue_on()
        return planned

    def _candidate(self, parameters: dict[str, Any]) -> Candidate:
        values = {**(self._own if self._kept.models else {}), **parameters}
        budgets = tuple((name, _plain(values[name])) for name in sorted(values) if self._may_be_budget(name))
        if not budgets and not self._kept.keeps_scores:
            return Candidate(parameters)  # shares nothing
        names = tuple(name for name, _ in budgets)
        others = digest({name: value for name, value in parameters.items() if name not in names})
        base = self._base(names)
        if others is None or base is None:
            self.reasons.add(f"what {parameters} makes of the estimator cannot be compared; give it such as pickles")
            return Candidate(parameters, budgets)
        return Candidate(parameters, budgets, combine(base, others))

    def _may_be_budget(self, name: str) -> bool:
        last = name.split("__")[-1]
        return last == BUDGET and self._continue_on in ("auto", name, last)

    def _base(self, budgets: tuple[str, ...]) -> str | None:
        """Return the digest of the estimator but for its budgets."""
        if budgets not in self._bases:
            params = self._estimator.get_params(deep=True)
            rest = clone(self._estimator).set_params(**{name: 1 for name in budgets if name in params})
            self._bases[budgets] = digest({"": type(rest), **rest.get_params(deep=True)})
        return self._bases[budgets]

    def _check_continue_on(self) -> None:
        last = {name.split("__")[-1] for name in self._budgets}
        if self._continue_on in (None, "auto", *self._budgets, *last):
            return
        known = f"one of {sorted(self._budgets)}" if self._budgets else "(no candidate has a network of this package)"
        raise ValueError(
            f"continue_on={self._continue_on!r} is the number of epochs of no network in a candidate; 'auto', None or "
            f"{known} was expected"
        )

    @staticmethod
    def _key(unit: str, candidate: Candidate, arguments: dict[str, Any]) -> str | None:
        scoring = [digest(arguments[name]) for name in ("scorer", "return_train_score", "error_score")]
        return None if None in scoring else combine(unit, candidate.budgets, scoring, facts_of_process())

    def _ordered(self, chain: Chain, candidate: Candidate) -> Iterator[Chain]:
        """Yield a chain from its shortest training to its longest, or each of its links where it has to be cold."""
        if not candidate.budgets:
            yield from (self._alone(chain, link) for link in chain.links)
            return
        if len({repr(link.budgets) for link in chain.links}) < 2 and not self._kept.rungs:
            yield chain
            return
        if candidate.digest not in self._why:
            self._why[candidate.digest] = self._why_cold(candidate)
        reason = self._why[candidate.digest]
        if reason is None:
            yield Chain(chain.unit, sorted(chain.links, key=lambda link: link.order))
            return
        self.reasons |= {reason} - {""}
        yield from (self._alone(chain, link) for link in chain.links)

    @staticmethod
    def _alone(chain: Chain, link: Link) -> Chain:
        return Chain(combine(chain.unit, link.budgets, link.place), [link], cold=True)

    def _why_cold(self, candidate: Candidate) -> str | None:
        """Say why candidates that differ from this one in budgets share no beginning; ``""`` where the task will."""
        try:
            estimator = clone(self._estimator).set_params(**clone(candidate.parameters, safe=False))
            known = budgets_of(estimator)
            self.has_networks = self.has_networks or bool(known)
            self._budgets.update(known)
            if not {name for name, _ in candidate.budgets} <= set(known):
                return ""  # the budget of something else than a network
            return why_cold(estimator, known)
        except Exception:  # parameters that no fit can have
            return ""


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
