"""scikit-learn's own ``fit`` of a search, with its tasks regrouped into chains.

``BaseSearchCV.fit`` sends every task through one name, ``Parallel``. Here the same code runs in a namespace where that
name is a subclass which sends one task per chain. Nothing of scikit-learn is copied or changed. Where a version of it
no longer has that name, searches run as scikit-learn's do, and say so.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.parallel import Parallel, delayed

from sktorch_continue.estimators.stores import RunStore, active
from sktorch_continue.exceptions import warn
from sktorch_continue.search.budgets import BUDGET
from sktorch_continue.search.chains import Chain, run_chain
from sktorch_continue.search.kept import Kept
from sktorch_continue.search.plan import Plan
from sktorch_continue.search.scores import Scored

_FIT: Any = inspect.unwrap(BaseSearchCV.fit)
CAN_CHAIN = {"Parallel", "check_cv"} <= set(_FIT.__code__.co_names)
READ = {"parameters", "split_progress", "train", "test", "scorer", "return_train_score", "error_score"}
UNKNOWN = "this version of scikit-learn is not known: every candidate is trained from the start"

Task = tuple[Any, tuple[Any, ...], dict[str, Any]]


def fit_in_chains(search: Any, engine: Engine, X: Any, y: Any, params: dict[str, Any]) -> None:
    """Run scikit-learn's ``fit`` of a search with the tasks of each evaluation regrouped by `engine`."""
    dispatch: Any = functools.partial(_Chained, engine=engine)
    if not CAN_CHAIN:
        warn(UNKNOWN)
        dispatch = Parallel
    namespace = {**_FIT.__globals__, "Parallel": dispatch}
    if engine.kept.hands_back:
        namespace["check_cv"] = engine.kept.drawn_once
    fit = types.FunctionType(_FIT.__code__, namespace, _FIT.__name__, _FIT.__defaults__, _FIT.__closure__)
    with active(RunStore()):  # chains find their own runs
        fit(search, X, y, **params)


def _report(arguments: dict[str, Any]) -> None:
    """Tell scikit-learn's callbacks of a task that does not have to be done."""
    context, search = arguments.get("callback_ctx"), arguments.get("caller")
    if context is not None:
        context.call_on_fit_task_begin(estimator=search)
        context.call_on_fit_task_end(estimator=search)


class _Chained(Parallel):
    def __init__(self, *args: Any, engine: Engine, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._engine = engine

    def __call__(self, iterable: Iterable[Task]) -> Any:
        return self._engine.evaluate(iterable, super().__call__)


class Engine:
    """Turns the tasks of an evaluation into chains, and their results into those of the tasks.

    Parameters
    ----------
    continue_on : str or None
        ``"auto"`` for every budget among the parameters, the name of one, or None for none.
    kept : Kept
        Scores and runs of evaluations before.

    Attributes
    ----------
    scored : list of Scored
        Of every task so far, in the order of scikit-learn's.
    has_networks : bool
        Whether there was any among them.
    """

    def __init__(self, continue_on: str | None, kept: Kept) -> None:
        self.kept = kept
        self.scored: list[Scored] = []
        self.has_networks = False
        self._continue_on = continue_on
        self._said: set[str] = set()

    def evaluate(self, iterable: Iterable[Task], send: Callable[[Iterable[Task]], list[Any]]) -> list[Any]:
        """Return the results of the tasks, in their order."""
        tasks = iter(iterable)
        first = next(tasks, None)
        if first is None:
            return send([])
        function, (estimator, X, y), arguments = first
        every = [arguments, *(arguments for _, _, arguments in tasks)]  # the clones are made when they are needed
        if not arguments.keys() >= READ:
            warn(UNKNOWN)
            return send((function, (clone(estimator), X, y), arguments) for arguments in every)
        plan = Plan(estimator, self._continue_on, self.kept)
        chains = plan.chains(every)
        if not plan.has_networks and not self.kept.keeps_scores:
            return send((function, (clone(estimator), X, y), arguments) for arguments in every)
        self.has_networks = self.has_networks or plan.has_networks
        self._say(plan.reasons)
        self.kept.expect(chains)
        return self._run(chains, len(every), estimator, X, y, function, send)

    def _run(
        self, chains: list[Chain], n_tasks: int, estimator: Any, X: Any, y: Any, function: Any, send: Any
    ) -> list[Any]:
        found: dict[int, Scored] = {}
        for chain in chains:
            for link in chain.links:
                known = self.kept.scored(link.key)
                if known is not None:
                    found[link.place] = known.again()
                    _report(link.arguments)
            chain.links = [link for link in chain.links if link.place not in found]
        chains = [chain for chain in chains if chain.links]
        plain = getattr(function, "function", function)  # without scikit-learn's wrapper, which the chain has as well
        run = functools.partial(run_chain, function=plain, scores=self.kept.scores, hands_back=self.kept.hands_back)
        outcomes = send(
            delayed(run)(estimator, X, y, links=chain.links, store=self.kept.store_of(chain)) for chain in chains
        )
        for chain, (done, store) in zip(chains, outcomes, strict=True):
            self.kept.take(chain, done, store)
            found.update({link.place: scored for link, scored in zip(chain.links, done, strict=True)})
        self._say_what_found_nothing(chains, found)
        ordered = [found[place] for place in range(n_tasks)]
        self.scored += ordered
        return [scored.result for scored in ordered]

    def _say_what_found_nothing(self, chains: list[Chain], found: dict[int, Scored]) -> None:
        """Say so where candidates were to go on from each other and none did."""
        for chain in chains:
            done = [found[link.place] for link in chain.links]
            if not chain.cold and len(done) > 1 and not any(s.failed or s.trained < s.asked for s in done):
                self._say(
                    {
                        "in a chain no fit found the run of the one before, because its data or parameters differ at "
                        "every fit (a transformer without random_state, a callback that changes), or because networks "
                        "are fitted in processes of their own"
                    }
                )

    def _say(self, reasons: set[str]) -> None:
        new = sorted(reasons - self._said)
        self._said |= reasons
        if new:
            warn(f"candidates that differ in {BUDGET} only are each trained from the start: {'; '.join(new)}")

    def reuse(self, n_splits: int) -> dict[str, np.ndarray]:
        """Return what was asked for, trained and saved, by row of ``cv_results_`` and split."""
        columns: dict[str, list[Any]] = {
            "epochs_asked": [scored.asked for scored in self.scored],
            "epochs_trained": [scored.trained for scored in self.scored],
            "seconds_saved": [scored.seconds for scored in self.scored],
        }
        return {name: np.reshape(values, (-1, n_splits)) for name, values in columns.items()}
