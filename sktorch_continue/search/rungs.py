"""What the searches that give up bad candidates share: rungs of a bracket, and who survives one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.metrics import get_scorer_names
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils._param_validation import Interval, StrOptions

from sktorch_continue.search.base import WarmStartSearch, checked, keep_runs
from sktorch_continue.search.budgets import BUDGET, find_budget

Distributions = Mapping[str, Any] | list[Mapping[str, Any]]


@dataclass(frozen=True)
class Rung:
    """One evaluation of a bracket.

    Attributes
    ----------
    number : int
        From 0.
    candidates : int
        That are evaluated.
    resources : int
        Epochs every candidate is trained to.
    survivors : int
        Candidates that go on.
    """

    number: int
    candidates: int
    resources: int
    survivors: int


class RungSearch(WarmStartSearch):
    """A search over rungs of growing ``max_epochs``, whose survivors go on training."""

    _rungs = True
    _decides = "n_resources"  # the best candidate is one of those that have most of it

    _parameter_constraints: dict[str, Any] = {
        **{name: kinds for name, kinds in BaseSearchCV._parameter_constraints.items() if name != "pre_dispatch"},
        **WarmStartSearch._parameter_constraints,
        "scoring": [StrOptions(set(get_scorer_names())), callable, list, tuple, dict, None],
        "refit": ["boolean", str],
        "param_distributions": [dict, list],
        "resource": [str],
        "max_resources": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "factor": [Interval(Real, 1, None, closed="neither")],
        "random_state": ["random_state"],
    }

    resource: str
    max_resources: Any
    factor: float
    param_distributions: Distributions
    random_state: Any

    def __init__(
        self,
        estimator: Any,
        param_distributions: Distributions,
        *,
        factor: float = 3,
        resource: str = BUDGET,
        max_resources: Any = "auto",
        min_resources: Any = 1,
        cv: Any = 5,
        scoring: Any = None,
        refit: Any = True,
        error_score: Any = np.nan,
        return_train_score: bool = True,
        random_state: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        continue_on: str | None = "auto",
        checkpoint_dir: Any = None,
        keep_models: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_distributions = param_distributions
        self.resource = resource
        self.max_resources = max_resources
        self.min_resources = min_resources
        self.factor = factor
        self.random_state = random_state
        self.continue_on = continue_on
        self.checkpoint_dir = checkpoint_dir
        self.keep_models = keep_models

    @checked
    def continue_fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search again as the parameters now say, and train nothing that was trained.

        With more ``max_resources`` or more candidates, models that were kept go on where they are; the result is that
        of a ``fit`` with these parameters.

        Parameters
        ----------
        X, y, **params : as in ``fit``
            The same data.

        Returns
        -------
        self

        Raises
        ------
        NotFittedError
            If the search is not fitted.
        ContinuationError
            If it was fitted with ``keep_models=False``, or on other data; nothing was changed.

        See Also
        --------
        sktorch_continue.continue_fit : Trains the best estimator for more epochs instead.
        """
        self._search(X, y, params, self._kept_for(X, y, params))
        return self

    def _settle(self) -> str:
        """Return the full name of the resource, and find out how much there is of it, before the first rung."""
        resource = find_budget(self.estimator, self.resource)
        most = self.estimator.get_params()[resource] if self.max_resources == "auto" else self.max_resources
        if not isinstance(most, Integral) or most < 1:
            raise ValueError(f"max_resources='auto' is {resource}={most!r}; an integer of at least 1 was expected")
        self.max_resources_ = int(most)
        grids = self.param_distributions if isinstance(self.param_distributions, list) else [self.param_distributions]
        if any(resource in grid for grid in grids):
            raise ValueError(
                f"{resource!r} is the resource, which the search sets itself, and is in param_distributions as well; "
                "take it out there"
            )
        if isinstance(self.scoring, list | tuple | dict) and not isinstance(self.refit, str):
            raise ValueError(
                f"refit={self.refit!r} with several scores: the name of the one that decides who survives was expected"
            )
        return resource

    def _climb(
        self,
        evaluate: Any,
        candidates: list[dict[str, Any]],
        rungs: list[Rung],
        resource: str,
        context: Any,
        **columns: int,
    ) -> list[dict[str, Any]]:
        """Evaluate candidates rung by rung; return those that survive the last one."""
        for rung in rungs:
            keep_runs(rung is not rungs[-1])
            rows = [{**candidate, resource: rung.resources} for candidate in candidates]
            facts = {**columns, "iter": rung.number, "n_resources": rung.resources}
            results = self._evaluate(
                evaluate,
                rows,
                context,
                "rung",
                more_results={name: [value] * len(rows) for name, value in facts.items()},
            )
            scores = np.asarray(results[self._deciding_column(results)])[-len(rows) :]
            candidates = [candidates[place] for place in _best(scores, rung.survivors)]
        return candidates

    def _deciding_column(self, results: dict[str, Any]) -> str:
        """Return the column of the score that decides.

        Raises
        ------
        ValueError
            If there are several, and `refit` names none of them.
        """
        columns = [name for name in results if name.startswith("mean_test_")]
        wanted = "mean_test_score" if "mean_test_score" in columns else f"mean_test_{self.refit}"
        if wanted not in columns:
            scores = [name.removeprefix("mean_test_") for name in columns]
            raise ValueError(f"refit={self.refit!r}; the name of the score that decides was expected, one of {scores}")
        return wanted

    def _select_best_index(self, refit: Any, refit_metric: str, results: dict[str, Any]) -> int:
        """Return the row of the best candidate among those that came furthest; called by ``fit``."""
        last = np.flatnonzero(results[self._decides] == np.max(results[self._decides]))
        scores = results[f"mean_test_{refit_metric}"][last]
        return int(last[0 if np.isnan(scores).all() else np.nanargmax(scores)])


def _best(scores: np.ndarray, n: int) -> list[int]:
    """Return the places of the best scores, the best last, as scikit-learn's halving orders them; NaN is the worst."""
    ascending = np.roll(np.argsort(scores), np.count_nonzero(np.isnan(scores)))
    return [int(place) for place in ascending[len(scores) - n :]]


def floor_log(value: float, base: float) -> int:
    """Return the largest whole exponent to which `base` stays within `value`; exact where floats round below it."""
    exponent = max(0, math.floor(math.log(value, base)))
    return exponent + 1 if base ** (exponent + 1) <= value else exponent
