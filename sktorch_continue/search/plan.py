"""Which tasks of an evaluation form a chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone

from sktorch_continue.estimators.digests import combine, digest
from sktorch_continue.search.budgets import budgets_of, networks, why_cold
from sktorch_continue.search.chains import Chain, Link
from sktorch_continue.search.kept import Kept
from sktorch_continue.versions import versions


@dataclass(frozen=True)
class Candidate:
    """One setting of parameters.

    Attributes
    ----------
    parameters : dict
        Of scikit-learn's.
    estimator : estimator or None
        With these parameters; None where it cannot have them, or has no network.
    budgets : tuple of (str, object)
        Names and values of the parameters that chains continue on.
    digest : str or None
        Of everything else; None where it cannot be told.
    """

    parameters: dict[str, Any]
    estimator: Any = None
    budgets: tuple[tuple[str, Any], ...] = ()
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
        self.has_networks = False
        self.reasons: set[str] = set()
        self._estimator = estimator
        self._continue_on = continue_on
        self._kept = kept
        self._budgets: set[str] = set()
        self._may_be_in_base = bool(networks(estimator)) or kept.keeps_scores

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
            unit = combine(candidate.digest or place, number, splits[number], self._kept.data)
            key = self._key(unit, candidate, arguments) if self._kept.keeps_scores and candidate.digest else None
            chains.setdefault(unit, Chain(unit)).links.append(Link(place, arguments, candidate.budgets, key))
            firsts.setdefault(unit, candidate)
        self._check_continue_on()
        return [part for unit, chain in chains.items() for part in self._ordered(chain, firsts[unit])]

    def _candidate(self, parameters: dict[str, Any]) -> Candidate:
        if not self._may_be_in_base and not any(hasattr(value, "get_params") for value in parameters.values()):
            return Candidate(parameters)
        estimator = clone(self._estimator)
        try:
            estimator.set_params(**clone(parameters, safe=False))
            known = budgets_of(estimator)
        except (AttributeError, TypeError, ValueError):
            return Candidate(parameters)  # the task itself will say what is wrong
        self.has_networks = self.has_networks or bool(known)
        self._budgets.update(known)
        wanted = {"auto": known, None: []}.get(self._continue_on, [self._continue_on])
        budgets = tuple((name, parameters[name]) for name in sorted(parameters) if name in wanted and name in known)
        rest = _digest_of_rest(estimator, budgets)
        if rest is None:
            self.reasons.add(f"what {parameters} makes of the estimator cannot be compared; give it such as pickles")
        return Candidate(parameters, estimator, budgets, rest)

    def _check_continue_on(self) -> None:
        if self._continue_on not in ("auto", None, *self._budgets):
            raise ValueError(
                f"continue_on={self._continue_on!r} is the number of epochs of no network in a candidate; 'auto', None "
                f"or one of {sorted(self._budgets)} was expected"
            )

    @staticmethod
    def _key(unit: str, candidate: Candidate, arguments: dict[str, Any]) -> str | None:
        scoring = [digest(arguments[name]) for name in ("scorer", "return_train_score", "error_score")]
        return None if None in scoring else combine(unit, candidate.budgets, scoring, versions())

    def _ordered(self, chain: Chain, candidate: Candidate) -> Iterator[Chain]:
        """Yield a chain from its shortest training to its longest, or each of its links where it has to be cold."""
        if not candidate.budgets or (len({link.budgets for link in chain.links}) < 2 and not self._kept.rungs):
            yield chain
            return
        reason = why_cold(candidate.estimator, [name for name, _ in candidate.budgets])
        if reason is None:
            yield Chain(chain.unit, sorted(chain.links, key=lambda link: link.order))
            return
        self.reasons.add(reason)
        for link in chain.links:
            yield Chain(combine(chain.unit, link.budgets), [link], cold=True)


def _digest_of_rest(estimator: Any, budgets: tuple[tuple[str, Any], ...]) -> str | None:
    """Return a digest of an estimator but for its budgets."""
    rest = clone(estimator).set_params(**{name: 1 for name, _ in budgets})
    return digest({"": type(rest), **rest.get_params(deep=True)})
