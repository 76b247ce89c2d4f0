"""What a search has found out: score against budget, for every candidate that was trained further."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from sktorch_continue.display.figures import above, pyplot, wrapped
from sktorch_continue.specification import label_of

BUDGET = "max_epochs"
SHOWN = 8  # candidates with a color and a line in the legend; the others are grey
BANDS = 3  # of these with a band around their mean; more would hide each other
LETTERS = 90  # of a candidate in the legend
VALUE_LETTERS = 24  # of one of its parameters
MANY_BUDGETS = 8  # up to so many get a tick each


class SearchDisplay:
    """Score against budget for every chain of a search: candidates that differ in their budget only.

    Use :meth:`from_search`; matplotlib is needed to draw. The line is the mean over the splits, the band one standard
    deviation to each side. The best candidates have colors; where a line ends, the search gave the candidate up.
    Brackets of Hyperband get a panel each.

    Parameters
    ----------
    budgets : array-like of shape (n_rows,)
        Budget of every row of ``cv_results_``.
    scores : array-like of shape (n_rows, n_splits)
        Test scores; NaN where a fit has failed.
    chains : array-like of shape (n_rows,)
        Number of the chain a row belongs to, from 0.
    labels : list of str
        A name for every chain.
    brackets : array-like of shape (n_rows,), optional
        Number of the bracket a row belongs to.
    rungs : bool, default=False
        Whether candidates were given up at the budgets.
    best_index : int, optional
        Row of the best candidate.
    score_name, budget_name : str
        For the axes.

    Attributes
    ----------
    figure_ : matplotlib.figure.Figure
        After :meth:`plot`.
    axes_ : ndarray of matplotlib.axes.Axes
        One; or one per bracket, in the order in which the search took them.

    See Also
    --------
    HistoryDisplay : Every epoch of one training.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sktorch_continue import SearchDisplay, TorchRegressor, WarmStartGridSearchCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> grid = {"max_epochs": [1, 2, 4], "lr": [0.01, 0.1]}
    >>> search = WarmStartGridSearchCV(TorchRegressor(random_state=0), grid, cv=2).fit(X, y)
    >>> SearchDisplay.from_search(search).labels
    ['lr=0.01', 'lr=0.1']
    """

    def __init__(
        self,
        budgets: ArrayLike,
        scores: ArrayLike,
        *,
        chains: ArrayLike,
        labels: list[str],
        brackets: ArrayLike | None = None,
        rungs: bool = False,
        best_index: int | None = None,
        score_name: str = "score",
        budget_name: str = BUDGET,
    ) -> None:
        self.budgets = np.asarray(budgets)
        self.scores = np.asarray(scores)
        self.chains = np.asarray(chains)
        self.labels = labels
        self.brackets = None if brackets is None else np.asarray(brackets)
        self.rungs = rungs
        self.best_index = best_index
        self.score_name = score_name
        self.budget_name = budget_name

    @classmethod
    def from_search(
        cls, search: Any, *, budget: str | None = None, score: str | None = None, ax: Any = None
    ) -> SearchDisplay:
        """Draw a fitted search.

        Parameters
        ----------
        search : WarmStartGridSearchCV or another search
            Fitted; one of this package, or of scikit-learn with a budget among its parameters.
        budget : str, optional
            Parameter to draw against. By default the resource of halving, or the ``max_epochs`` that differs between
            candidates.
        score : str, optional
            Which of several scores. By default the one that `refit` names, or the first.
        ax : matplotlib.axes.Axes or array of those, optional
            To draw on, one per bracket, instead of a new figure.

        Returns
        -------
        SearchDisplay

        Raises
        ------
        NotFittedError
            If the search is not fitted.
        ValueError
            If there is no such budget or score, or it cannot be told which is meant.
        ImportError
            If matplotlib is not installed.
        """
        check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        name, budgets = _budgets(search, budget)
        metric = _metric(search, score)
        scoring = getattr(search, "scoring", None)
        chains, labels = _chains(results, name)
        splits = [results[f"split{number}_test_{metric}"] for number in range(search.n_splits_)]
        return cls(
            budgets,
            np.transpose(splits),
            chains=chains,
            labels=labels,
            brackets=results.get("bracket"),
            rungs="iter" in results,
            best_index=getattr(search, "best_index_", None),
            score_name=scoring if metric == "score" and isinstance(scoring, str) else metric,
            budget_name=name,
        ).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> SearchDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or array of those, optional
            To draw on, one per bracket, instead of a new figure.

        Returns
        -------
        SearchDisplay
        """
        numbers = [None] if self.brackets is None else list(dict.fromkeys(self.brackets.tolist()))
        own = ax is None
        self.axes_ = self._new_axes(len(numbers)) if own else np.ravel(ax)
        if len(self.axes_) != len(numbers):
            raise ValueError(
                f"{len(self.axes_)} axes were given for {len(numbers)} brackets; one for each was expected"
            )
        self.figure_ = self.axes_[0].figure
        best = self._best_first()
        colors = {chain: f"C{place}" for place, chain in enumerate(best[:SHOWN])}
        banded = best[:BANDS]
        lines: dict[int, Any] = {}
        for panel, number in zip(self.axes_, numbers, strict=True):
            rows = np.arange(len(self.budgets)) if number is None else np.flatnonzero(self.brackets == number)
            for chain in np.unique(self.chains[rows]).tolist():
                lines[chain] = self._draw_chain(panel, chain, colors.get(chain), band=chain in banded)
            self._dress(panel, rows, number)
        self.axes_[0].set_ylabel(f"{wrapped(self.score_name)}\n(mean and std of {self.scores.shape[1]} splits)")
        hidden = self._focus(best)
        entries = {chain: lines[chain] for chain in colors}
        labels = [_cut(self.labels[chain], LETTERS) + self._remark(chain, hidden) for chain in entries]
        handles = list(entries.values())
        if len(lines) > len(entries):
            handles.append(lines[best[-1]])
            away = len(hidden - set(colors))
            labels.append(f"{len(lines) - len(entries)} others" + (f", {away} of them off the scale" if away else ""))
        handles += [line for panel in self.axes_ for line in panel.get_lines() if line.get_label() == "best_params_"]
        labels += ["best_params_"] * (len(handles) - len(labels))
        if own:
            self.figure_.legend(handles, labels, loc="outside lower left", frameon=False, fontsize="small")
        else:
            self.axes_[0].legend(handles, labels, loc="best", frameon=False, fontsize="small")
        return self

    def _new_axes(self, n: int) -> NDArray[Any]:
        size = (max(7, 3.2 * n), 3.6 + 0.2 * min(len(self.labels) + 1, SHOWN + 2))
        _, axes = pyplot("SearchDisplay").subplots(1, n, figsize=size, sharey=True, squeeze=False, layout="constrained")
        return np.ravel(axes)

    def _rows(self, chain: int) -> NDArray[Any]:
        rows = np.flatnonzero(self.chains == chain)
        return rows[np.argsort(self.budgets[rows], kind="stable")]

    def _best_first(self) -> list[int]:
        """Return all chains: the winner, then by score; of rungs those first that came further."""

        def rank(chain: int) -> tuple[Any, ...]:
            rows = self._rows(chain)
            means = self.scores[rows[-1:] if self.rungs else rows].mean(axis=1)
            score = means[~np.isnan(means)].max(initial=-np.inf)
            wins = self.best_index is not None and self.best_index in rows
            return not wins, -self.budgets[rows[-1]] if self.rungs else 0, -score

        return sorted(range(len(self.labels)), key=rank)

    def _draw_chain(self, ax: Any, chain: int, color: str | None, *, band: bool) -> Any:
        rows = self._rows(chain)
        x, mean, std = self.budgets[rows], self.scores[rows].mean(axis=1), self.scores[rows].std(axis=1)
        label = self.labels[chain]
        if color is None:
            return ax.plot(x, mean, color="0.75", linewidth=0.8, marker=".", markersize=4, zorder=1, label=label)[0]
        if band and len(rows) == 1:
            ax.errorbar(x, mean, yerr=std, color=color, capsize=3, linewidth=1, zorder=2)
        elif band:
            ax.fill_between(x, mean - std, mean + std, color=color, alpha=0.12, linewidth=0, zorder=2)
        return ax.plot(x, mean, color=color, marker="o", markersize=4, zorder=3, label=label)[0]

    def _dress(self, ax: Any, rows: NDArray[Any], bracket: Any) -> None:
        """Give a panel its axes, its rungs and the star of the best candidate."""
        from matplotlib.ticker import NullFormatter, NullLocator

        there = np.unique(self.budgets[rows])
        if there[0] > 0 and there[-1] >= 8 * there[0]:
            ax.set_xscale("log", base=2)
            ax.xaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.set_major_formatter("{x:g}")
        if len(there) <= MANY_BUDGETS:
            ax.set_xticks(there)
            ax.xaxis.set_minor_locator(NullLocator())
        for budget in there if self.rungs else ():
            n = len(np.unique(self.chains[rows][self.budgets[rows] == budget]))
            ax.axvline(budget, color="0.5", linestyle=":", linewidth=1, zorder=0)
            above(ax, budget, f"n={n}")
        if self.best_index is not None and self.best_index in rows:
            x, y = self.budgets[self.best_index], self.scores[self.best_index].mean()
            (star,) = ax.plot([x], [y], "*", markersize=14, markeredgecolor="black", color="C0", zorder=5)
            star.set_label("best_params_")
        ax.set_xlabel(f"{self.budget_name} (n: candidates)" if self.rungs else self.budget_name)
        ax.grid(alpha=0.3)
        if bracket is not None:
            ax.set_title(f"bracket {bracket}", fontsize="medium", pad=16)

    def _focus(self, best: list[int]) -> set[int]:
        """Leave out of view what would flatten the better half of the chains; return those that are out of it."""
        mean, std = self.scores.mean(axis=1), self.scores.std(axis=1)
        better = np.isin(self.chains, best[: -(-len(best) // 2)]) & ~np.isnan(mean)
        everything = mean[~np.isnan(mean)]
        if not better.any():
            return set()
        low, high = (mean - std)[better].min(), (mean + std)[better].max()
        if high == low or np.ptp(everything) <= 5 * (high - low):
            return set()
        margin = 0.05 * (high - low)
        self.axes_[0].set_ylim(low - margin, high + margin)
        return {int(chain) for chain in self.chains[(mean < low - margin) | (mean > high + margin)]}

    def _remark(self, chain: int, hidden: set[int]) -> str:
        failed = np.isnan(self.scores[self._rows(chain)].mean(axis=1))
        remarks = [f"{failed.sum()} of {len(failed)} without a score"] if failed.any() else []
        remarks += ["partly off the scale"] if chain in hidden else []
        return f" ({', '.join(remarks)})" if remarks else ""


def _budgets(search: Any, budget: str | None) -> tuple[str, NDArray[Any]]:
    """Return the name of the budget, and its value in every row.

    Raises
    ------
    ValueError
        If it is in no candidate, or several may be meant.
    """
    results = search.cv_results_
    params = results["params"]
    names = list(dict.fromkeys(name for candidate in params for name in candidate))
    if budget is None and "n_resources" in results:
        full = [name for name in names if f"__{name}".endswith(f"__{search.resource}")]
        return (full or [search.resource])[0], np.asarray(results["n_resources"])
    differing = [name for name in names if len({repr(candidate.get(name)) for candidate in params}) > 1]
    meant = [budget] if budget is not None else [n for n in differing if n.split("__")[-1] == BUDGET]
    if len(meant) != 1:
        raise ValueError(
            f"{'several parameters are' if meant else 'no parameter that differs between candidates is'} {BUDGET!r}: "
            f"give budget, the name of one of {differing or names}"
        )
    values = [candidate.get(meant[0]) for candidate in params]
    if not all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in values):
        raise ValueError(f"budget={meant[0]!r} is no number in every candidate; one of {names} that is was expected")
    return meant[0], np.asarray(values, dtype=float)


def _metric(search: Any, score: str | None) -> str:
    """Return the name of the score in ``cv_results_``.

    Raises
    ------
    ValueError
        If there is no such score.
    """
    there: list[str] = [name.removeprefix("mean_test_") for name in search.cv_results_ if name.startswith("mean_test_")]
    if score is None:
        return search.refit if search.refit in there else there[0]
    if score not in there:
        raise ValueError(f"score={score!r} is none of this search, which has {there}")
    return score


def _chains(results: dict[str, Any], budget: str) -> tuple[list[int], list[str]]:
    """Return the number of the chain of every row, and a label for every chain."""
    rests = [{n: value for n, value in candidate.items() if n != budget} for candidate in results["params"]]
    brackets = results.get("bracket", [None] * len(rests))
    keys = [repr((bracket, sorted(rest.items()))) for bracket, rest in zip(brackets, rests, strict=True)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    first = {key: rest for key, rest in zip(reversed(keys), reversed(rests), strict=True)}
    return [numbers[key] for key in keys], _labels([first[key] for key in numbers])


def _labels(candidates: list[dict[str, Any]]) -> list[str]:
    """Return a name for each candidate, of what it does not share with all others."""
    names = list(dict.fromkeys(name for candidate in candidates for name in candidate))
    differing = [name for name in names if len({repr(candidate.get(name)) for candidate in candidates}) > 1] or names
    short = {name: name.split("__")[-1] for name in differing}
    if len(set(short.values())) < len(short):
        short = {name: name for name in differing}
    labels = [
        ", ".join(f"{short[name]}={_in_short(value)}" for name, value in candidate.items() if name in short)
        for candidate in candidates
    ]
    return [label or "the one candidate" for label in labels]


def _in_short(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    text = label_of(value) if callable(value) or hasattr(value, "get_params") else str(value)
    return _cut(text, VALUE_LETTERS)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}…"
