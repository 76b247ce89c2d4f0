"""Hyperband: brackets of successive halving that differ in how early they give up."""

from __future__ import annotations

import math
import warnings
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterSampler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from sktorch_continue.search.rungs import Distributions, Rung, RungSearch, floor_log


class HyperbandSearchCV(RungSearch):
    """Successive halving several times, from many candidates with few epochs to few candidates with all of them.

    Survivors go on where they stand. Brackets come one after the other and promotion waits for the whole rung, so that
    the same search gives the same result, whatever the number of workers.

    Parameters
    ----------
    estimator : estimator
        A network of this package, or anything with one inside.
    param_distributions : dict or list of dict
        Lists of values, or distributions to draw from. Each bracket draws its own candidates, without repeating one
        where all are lists.
    factor : float, default=3
        Of each rung one in `factor` survives, and is trained to `factor` times as many epochs.
    resource : str, default="max_epochs"
        The budget, as ``"max_epochs"`` or by its full name, ``"net__max_epochs"``.
    max_resources : int or "auto", default="auto"
        Epochs of the last rung of every bracket; ``"auto"`` takes ``max_epochs`` of the estimator.
    min_resources : int, default=1
        Epochs of the first rung at least.
    cv, scoring, refit, error_score, return_train_score, n_jobs, verbose : optional
        As in scikit-learn. With several scores `refit` names the one that decides.
    random_state : int, RandomState or None, default=None
        For drawing candidates.
    continue_on, checkpoint_dir, keep_models : optional
        As in :class:`WarmStartHalvingSearchCV`.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        A row per candidate and rung, with ``bracket`` (the largest first, as in the paper), ``iter`` and
        ``n_resources``.
    n_resources_, n_candidates_ : list of list of int
        Of every rung of every bracket.
    n_brackets_, max_resources_ : int
        How many brackets there are, and the epochs of each one's last rung.
    reuse_, best_estimator_, best_score_, best_params_, best_index_, ... :
        As in :class:`WarmStartGridSearchCV`; the best is the best with ``max_resources_`` epochs.

    References
    ----------
    L. Li, K. Jamieson, G. DeSalvo, A. Rostamizadeh, A. Talwalkar: Hyperband: a novel bandit-based approach to
    hyperparameter optimization. JMLR 18 (2018).

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_diabetes
    >>> from sktorch_continue import HyperbandSearchCV, TorchRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> net = TorchRegressor(max_epochs=4, random_state=0)
    >>> search = HyperbandSearchCV(net, {"lr": loguniform(1e-3, 1e-1)}, factor=2, cv=2, random_state=0).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([[4, 2, 1], [3, 1], [3]], [[1, 2, 4], [2, 4], [4]])
    """

    _parameter_constraints = {
        **RungSearch._parameter_constraints,
        "min_resources": [Interval(Integral, 1, None, closed="left")],
    }

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        """Climb one bracket after the other; called by ``fit``."""
        resource = self._settle()
        if self.min_resources > self.max_resources_:
            raise ValueError(
                f"min_resources={self.min_resources} is more than max_resources={self.max_resources_}; give fewer "
                "epochs to the first rungs, or more to the last"
            )
        deepest = floor_log(self.max_resources_ / self.min_resources, self.factor)
        self.n_brackets_ = deepest + 1
        self.n_resources_: list[list[int]] = []
        self.n_candidates_: list[list[int]] = []
        draws = check_random_state(self.random_state)
        draws = np.random.RandomState(draws.randint(2**31 - 1))  # the one that was given moves by one draw
        with self._task(callback_ctx, "search", self.n_brackets_) as context:
            for bracket in range(deepest, -1, -1):
                n = math.ceil((deepest + 1) / (bracket + 1) * self.factor**bracket)
                candidates = _draw(self.param_distributions, n, draws)
                rungs = self._plan_rungs(bracket, len(candidates))
                self.n_resources_.append([rung.resources for rung in rungs])
                self.n_candidates_.append([rung.candidates for rung in rungs])
                if self.verbose:
                    print(f"bracket {bracket}: {self.n_candidates_[-1]} candidates with {self.n_resources_[-1]} epochs")
                with self._task(context, "bracket", len(rungs)) as inner:
                    self._climb(evaluate_candidates, candidates, rungs, resource, inner, bracket=bracket)

    def _plan_rungs(self, bracket: int, n: int) -> list[Rung]:
        rungs = []
        for number in range(bracket + 1):
            resources = max(self.min_resources, int(self.max_resources_ / self.factor ** (bracket - number)))
            survivors = max(1, int(n / self.factor))
            rungs.append(Rung(number, n, resources, survivors))
            n = survivors
        return rungs


def _draw(distributions: Distributions, n: int, draws: np.random.RandomState) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The total space of parameters")  # all of them, then
        return list(ParameterSampler(distributions, n, random_state=draws))
