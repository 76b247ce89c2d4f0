"""scikit-learn's grid and randomized searches, each training trained once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, RandomizedSearchCV

from sktorch_continue.estimators.digests import digest
from sktorch_continue.search.base import WarmStartSearch, candidates_going_on, checked

Grid = Mapping[str, Any] | list[Mapping[str, Any]]


class _AtOnce(WarmStartSearch):
    """A search that evaluates all its candidates at once, and can be given more of them."""

    @checked
    def continue_fit(self, X: Any, y: Any = None, *, param_grid: Grid | None = None, **params: Any) -> Self:
        """Evaluate further candidates, or larger budgets, beside those of a finished search.

        What was trained is not trained again: a larger ``max_epochs`` goes on from the models that were kept, on the
        same splits. Afterwards the search is what it had been with all candidates from the start; those it had come
        first in ``cv_results_``.

        Parameters
        ----------
        X, y : as in ``fit``
            The same data.
        param_grid : dict or list of dict, optional
            Candidates to add, as a grid. By default those that the parameters of the search now ask for, once they were
            changed by ``set_params``.
        **params
            As in ``fit``; the same ones.

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
        kept = self._kept_for(X, y, params)
        kept.added = self._wanted() if param_grid is None else ParameterGrid(param_grid)
        self._search(X, y, params, kept)
        return self

    def _wanted(self) -> Iterable[dict[str, Any]]:
        """Return the candidates that the parameters ask for."""
        raise NotImplementedError

    def _run_search(self, evaluate_candidates: Any, *, callback_ctx: Any = None) -> None:
        """Evaluate all candidates, those of before first."""
        known, added = candidates_going_on()
        if not known:
            super()._run_search(evaluate_candidates, **({} if callback_ctx is None else {"callback_ctx": callback_ctx}))
            return
        candidates = [*known, *_without(added, known)]
        self._evaluate(evaluate_candidates, candidates, callback_ctx, "search")


def _without(candidates: Iterable[dict[str, Any]], known: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    there = {_digest(candidate) for candidate in known} - {None}
    return (candidate for candidate in candidates if _digest(candidate) not in there)


def _digest(candidate: dict[str, Any]) -> str | None:
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in candidate.items()}
    return digest(plain)


class WarmStartGridSearchCV(_AtOnce, GridSearchCV):
    """Exhaustive search in which candidates that differ in ``max_epochs`` only are one training per split.

    A :class:`sklearn.model_selection.GridSearchCV` with the same parameters and the same ``cv_results_``, bit for bit
    but for times. A grid over ``max_epochs`` of 5, 10, 20 and 40 trains 40 epochs per split and scores at each of the
    four, where scikit-learn's trains 75.

    Parameters
    ----------
    estimator : estimator
        A network of this package, or anything with networks inside: a Pipeline, an ensemble, a meta-estimator.
    param_grid : dict or list of dict
        As in scikit-learn. In a search ``max_epochs`` is the total of a fit from scratch.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch, error_score, return_train_score : optional
        As in scikit-learn.
    continue_on : {"auto"}, str or None, default="auto"
        The parameter along which trainings are continued: ``max_epochs`` of any network inside, by its full name
        (``"net__max_epochs"``) or without its prefix, or None to train every candidate from the start.
    checkpoint_dir : path-like, optional
        Folder for scores and runs while the search goes on. The same search, started again after a kill, does nothing
        twice that is there: it needs ``random_state`` of networks and splitter to be integers.
    keep_models : bool, default=False
        Keep the furthest model of every candidate and split, so that ``continue_fit`` can extend the search. They are
        part of a pickle.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        As in scikit-learn. ``fit_time`` is what the fit had taken from scratch: its own time, and that of the epochs it
        found.
    reuse_ : dict of ndarray of shape (n_candidates, n_splits)
        ``epochs_asked``, ``epochs_trained`` and ``seconds_saved``. Only where a network is inside, and not counting
        fits in further processes that an estimator starts itself.
    best_estimator_, best_score_, best_params_, best_index_, scorer_, n_splits_, refit_time_, multimetric_ :
        As in scikit-learn. The best candidate is fitted from scratch on all rows.

    See Also
    --------
    WarmStartHalvingSearchCV : Gives up bad candidates early.
    hot_start : For searches of others.

    Notes
    -----
    Each candidate is fitted as scikit-learn does it, transformers included; only the training of a network takes up the
    run that an earlier candidate left where data and all other parameters are the same. This is why it is exact in
    whatever the network sits. It cannot be where a longer training does not begin as a shorter one does: with a
    schedule whose horizon is filled in from ``max_epochs``, with ``random_state=None``, or with callbacks that read
    ``run.max_epochs``. Such candidates are trained from the start, and that is said once.

    scikit-learn has discussed this since 2013 (issues 1674 and 15125, pull request 8230).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sktorch_continue import TorchRegressor, WarmStartGridSearchCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> grid = {"max_epochs": [1, 2, 4], "lr": [0.01, 0.1]}
    >>> search = WarmStartGridSearchCV(TorchRegressor(random_state=0), grid, cv=2).fit(X, y)
    >>> int(search.reuse_["epochs_asked"].sum()), int(search.reuse_["epochs_trained"].sum())
    (28, 16)
    """

    _parameter_constraints = {**GridSearchCV._parameter_constraints, **WarmStartSearch._parameter_constraints}

    def __init__(
        self,
        estimator: Any,
        param_grid: Grid,
        *,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        continue_on: str | None = "auto",
        checkpoint_dir: Any = None,
        keep_models: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.continue_on = continue_on
        self.checkpoint_dir = checkpoint_dir
        self.keep_models = keep_models

    def _wanted(self) -> Iterable[dict[str, Any]]:
        candidates: Iterable[dict[str, Any]] = ParameterGrid(self.param_grid)
        return candidates


class WarmStartRandomizedSearchCV(_AtOnce, RandomizedSearchCV):
    """Randomized search in which candidates that differ in ``max_epochs`` only are one training per split.

    A :class:`sklearn.model_selection.RandomizedSearchCV` with the same parameters and the same ``cv_results_``, bit for
    bit but for times.

    Parameters
    ----------
    estimator : estimator
        As in :class:`WarmStartGridSearchCV`.
    param_distributions : dict or list of dict
        As in scikit-learn.
    n_iter, scoring, n_jobs, refit, cv, verbose, pre_dispatch, random_state, error_score, return_train_score : optional
        As in scikit-learn.
    continue_on, checkpoint_dir, keep_models : optional
        As in :class:`WarmStartGridSearchCV`; a search that is to be started again needs `random_state` to be an
        integer.

    Attributes
    ----------
    cv_results_, reuse_, best_estimator_, ... :
        As in :class:`WarmStartGridSearchCV`.

    See Also
    --------
    HyperbandSearchCV : Draws more candidates and gives up bad ones early.
    """

    _parameter_constraints = {**RandomizedSearchCV._parameter_constraints, **WarmStartSearch._parameter_constraints}

    def __init__(
        self,
        estimator: Any,
        param_distributions: Grid,
        *,
        n_iter: int = 10,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
        continue_on: str | None = "auto",
        checkpoint_dir: Any = None,
        keep_models: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.continue_on = continue_on
        self.checkpoint_dir = checkpoint_dir
        self.keep_models = keep_models

    def _wanted(self) -> Iterable[dict[str, Any]]:
        drawn = ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state)
        candidates: Iterable[dict[str, Any]] = drawn
        return candidates
