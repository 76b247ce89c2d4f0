"""Successive halving over epochs."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.utils._param_validation import Interval, StrOptions

from sktorch_continue.search.budgets import BUDGET
from sktorch_continue.search.rungs import Distributions, Rung, RungSearch, floor_log


class WarmStartHalvingSearchCV(RungSearch):
    """Train all candidates a little, keep the best, train those further.

    Survivors of a rung go on where they stand, so that a rung costs the epochs it adds. Parameters are named as in
    :class:`sklearn.model_selection.HalvingGridSearchCV` and ``HalvingRandomSearchCV``, with whose rows ``cv_results_``
    agrees bit for bit but for times. Splits are drawn once.

    Parameters
    ----------
    estimator : estimator
        A network of this package, or anything with one inside.
    param_distributions : dict or list of dict
        Candidates: lists of values, or distributions to draw from.
    n_candidates : int, {"auto", "grid", "exhaust"}, default="auto"
        How many candidates start. ``"grid"`` takes every combination of the lists; ``"exhaust"`` draws so many that the
        last rung has ``max_resources``; ``"auto"`` is the one for lists, the other where there are distributions.
    factor : float, default=3
        Of each rung one in `factor` survives, and is trained to `factor` times as many epochs. Since a rung costs only
        what it adds, a smaller factor is cheap here: 2 costs as much as 3 does without continuing.
    resource : str, default="max_epochs"
        The budget, as ``"max_epochs"`` or by its full name, ``"net__max_epochs"``.
    max_resources : int or "auto", default="auto"
        Epochs of the last rung at most; ``"auto"`` takes ``max_epochs`` of the estimator.
    min_resources : int, {"auto", "exhaust", "smallest"}, default="auto"
        Epochs of the first rung. ``"smallest"`` is 1, ``"exhaust"`` as many as let the last rung reach
        ``max_resources``, ``"auto"`` is ``"smallest"`` where the number of candidates follows from it, else
        ``"exhaust"``.
    aggressive_elimination : bool, default=False
        As in scikit-learn: where the epochs do not suffice for as many rungs as there are candidates, repeat the first.
    cv, scoring, refit, error_score, return_train_score, n_jobs, verbose : optional
        As in scikit-learn. With several scores `refit` names the one that decides.
    random_state : int, RandomState or None, default=None
        For drawing candidates.
    continue_on : {"auto"}, str or None, default="auto"
        None trains every rung from the start; else as in :class:`WarmStartGridSearchCV`.
    checkpoint_dir : path-like, optional
        Folder for scores and runs instead of memory. The same search, started again after a kill, does nothing twice
        that is there: it needs `random_state`, that of networks and that of the splitter to be integers.
    keep_models : bool, default=False
        Keep every model for ``continue_fit``, not only those of the survivors until the next rung.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        A row per candidate and rung, with ``iter`` and ``n_resources``; ``params`` has the epochs in it.
    n_resources_, n_candidates_ : list of int
        Of every rung.
    n_iterations_, n_possible_iterations_, n_required_iterations_, n_remaining_candidates_, max_resources_,
    min_resources_ : int
        As in scikit-learn.
    reuse_, best_estimator_, best_score_, best_params_, best_index_, ... :
        As in :class:`WarmStartGridSearchCV`; the best is the best of the last rung.

    References
    ----------
    K. Jamieson, A. Talwalkar: Non-stochastic best arm identification and hyperparameter optimization. AISTATS 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sktorch_continue import TorchRegressor, WarmStartHalvingSearchCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = TorchRegressor(max_epochs=9, random_state=0)
    >>> search = WarmStartHalvingSearchCV(net, {"lr": [0.001, 0.01, 0.1]}, cv=2).fit(X, y)
    >>> search.n_resources_, search.n_candidates_, search.reuse_["epochs_trained"].sum(axis=1).tolist()
    ([3, 9], [3, 1], [6, 6, 6, 12])
    """

    _decides = "iter"  # of rungs with as many epochs, the last one

    _parameter_constraints = {
        **RungSearch._parameter_constraints,
        "n_candidates": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto", "grid", "exhaust"})],
        "min_resources": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto", "exhaust", "smallest"})],
        "aggressive_elimination": ["boolean"],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Distributions,
        *,
        n_candidates: Any = "auto",
        factor: float = 3,
        resource: str = BUDGET,
        max_resources: Any = "auto",
        min_resources: Any = "auto",
        aggressive_elimination: bool = False,
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
            param_distributions,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            factor=factor,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
            continue_on=continue_on,
            checkpoint_dir=checkpoint_dir,
            keep_models=keep_models,
        )
        self.n_candidates = n_candidates
        self.aggressive_elimination = aggressive_elimination

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        """Climb from the first rung to the last; called by ``fit``."""
        resource = self._settle()
        how_many, least = self._meant()
        candidates = self._start(how_many, least)
        rungs = self._plan_rungs(len(candidates), exhausts=least == "exhaust")
        self.n_resources_ = [rung.resources for rung in rungs]
        self.n_candidates_ = [rung.candidates for rung in rungs]
        if self.verbose:
            print(f"{len(rungs)} rungs: {self.n_candidates_} candidates with {self.n_resources_} epochs")
        with self._task(callback_ctx, "search", len(rungs)) as context:
            survivors = self._climb(evaluate_candidates, candidates, rungs, resource, context)
        self.n_remaining_candidates_ = len(survivors)

    def _meant(self) -> tuple[Any, Any]:
        """Return ``n_candidates`` and ``min_resources``, with what ``"auto"`` stands for."""
        how_many, least = self.n_candidates, self.min_resources
        if how_many == "auto":
            how_many = "grid" if _only_lists(self.param_distributions) else "exhaust"
        if least == "auto":
            least = "smallest" if how_many == "exhaust" else "exhaust"
        if how_many == "exhaust" and least == "exhaust":
            raise ValueError(
                "n_candidates='exhaust' and min_resources='exhaust' each follow from the other; give a number for one"
            )
        return how_many, least

    def _start(self, how_many: Any, least: Any) -> list[dict[str, Any]]:
        """Return the candidates of the first rung, and settle its epochs as far as they decide how many those are."""
        self.min_resources_ = 1 if isinstance(least, str) else int(least)
        if self.min_resources_ > self.max_resources_:
            raise ValueError(
                f"min_resources={self.min_resources_} is more than max_resources={self.max_resources_}; give fewer "
                "epochs to the first rung, or more to the last"
            )
        if how_many == "grid":
            if not _only_lists(self.param_distributions):
                raise ValueError("n_candidates='grid' needs lists of values; give a number for distributions")
            return list(ParameterGrid(self.param_distributions))
        if how_many == "exhaust":
            how_many = self.max_resources_ // self.min_resources_
        return list(ParameterSampler(self.param_distributions, how_many, random_state=self.random_state))

    def _plan_rungs(self, n: int, *, exhausts: bool) -> list[Rung]:
        self.n_required_iterations_ = required = 1 + floor_log(n, self.factor)
        if exhausts:
            self.min_resources_ = max(1, int(self.max_resources_ // self.factor ** (required - 1)))
        self.n_possible_iterations_ = possible = 1 + floor_log(self.max_resources_ // self.min_resources_, self.factor)
        self.n_iterations_ = required if self.aggressive_elimination else min(possible, required)
        rungs = []
        for number in range(self.n_iterations_):
            power = max(0, number - required + possible) if self.aggressive_elimination else number
            resources = min(int(self.factor**power * self.min_resources_), self.max_resources_)
            survivors = math.ceil(n / self.factor)
            rungs.append(Rung(number, n, resources, survivors))
            n = survivors
        return rungs


def _only_lists(distributions: Distributions) -> bool:
    grids = distributions if isinstance(distributions, list) else [distributions]
    return not any(hasattr(values, "rvs") for grid in grids for values in grid.values())
