"""What the four searches share: fit in chains, what is kept, and going on with a finished search."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self, TypeVar

from sklearn.base import _fit_context
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.validation import check_is_fitted

from sktorch_continue.estimators.digests import digest
from sktorch_continue.exceptions import ContinuationError
from sktorch_continue.search.engine import Engine, fit_in_chains
from sktorch_continue.search.kept import Kept

Method = TypeVar("Method", bound=Callable[..., Any])

# Checks the parameters of a search before a method of it; scikit-learn's decorator, with a type.
checked: Callable[[Method], Method] = _fit_context(prefer_skip_nested_validation=False)

_engine: ContextVar[Engine | None] = ContextVar("sktorch_continue_search", default=None)


def candidates_going_on() -> tuple[list[dict[str, Any]], Iterable[dict[str, Any]]]:
    """Return what was evaluated before by the search that goes on in this context, and what is added."""
    engine = _engine.get()
    return ([], []) if engine is None else (engine.kept.candidates, engine.kept.added)


def keep_runs(wanted: bool) -> None:
    """Say whether the runs of the next evaluation are wanted after it."""
    engine = _engine.get()
    if engine is not None:
        engine.kept.rungs = wanted


class WarmStartSearch(BaseSearchCV):
    """A search of scikit-learn whose candidates go on from each other."""

    continue_on: str | None
    checkpoint_dir: Any
    keep_models: bool

    _parameter_constraints: dict[str, Any] = {
        "continue_on": [str, None],
        "checkpoint_dir": [str, os.PathLike, None],
        "keep_models": ["boolean"],
    }
    _rungs = False

    @checked
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Evaluate the candidates, each epoch of theirs trained once, and fit the best one on all rows.

        Parameters
        ----------
        X, y, **params : as in :class:`sklearn.model_selection.GridSearchCV`
            Rows, target, and what ``fit`` of the estimator, the splitter or the scorer takes.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters that cannot be meant, `continue_on` among them.
        CheckpointError
            If ``checkpoint_dir`` cannot be used.

        Warns
        -----
        ContinuationWarning
            Once, with the reasons, where candidates that differ in the budget only share no beginning and are each
            trained from the start.
        """
        self._search(X, y, params, self._start_keeping(X, y, params))
        return self

    def _start_keeping(self, X: Any, y: Any, params: dict[str, Any]) -> Kept:
        kept = Kept(self.checkpoint_dir, rungs=self._rungs, models=self.keep_models)
        if kept.keeps_scores:
            kept.searched_on = _digests(X, y, params)
            unclear = [name for name, content in kept.searched_on.items() if content is None]
            if unclear:
                raise ValueError(
                    f"{unclear[0]} cannot be compared with that of another search, so that nothing can be kept; give "
                    "arrays, frames or matrices, or leave checkpoint_dir and keep_models alone"
                )
        if self.keep_models:
            kept.asked_with = self._asked_with()
        return kept

    def _asked_with(self) -> dict[str, str | None]:
        """Return digests of parameters that a search cannot change while it goes on."""
        return {"cv": digest(self.cv), "checkpoint_dir": str(self.checkpoint_dir)}

    def _search(self, X: Any, y: Any, params: dict[str, Any], kept: Kept) -> None:
        engine = Engine(self.continue_on, kept)
        before: dict[str, Any] = {
            name: self.__dict__.pop(name) for name in ("_kept", "reuse_") if name in self.__dict__
        }
        token = _engine.set(engine)  # no attribute: scikit-learn sends the search along with every task
        try:
            fit_in_chains(self, engine, X, y, params)
        except BaseException:
            self.__dict__.update(before)
            raise
        finally:
            _engine.reset(token)
        if engine.has_networks:
            self.reuse_ = engine.reuse(self.n_splits_)
        kept.candidates = self.cv_results_["params"]
        kept.close()
        if self.keep_models:
            self._kept = kept

    def _kept_for(self, X: Any, y: Any, params: dict[str, Any]) -> Kept:
        """Return what the finished search has kept.

        Raises
        ------
        ContinuationError
            If it has kept nothing, or was run on other data.
        """
        check_is_fitted(self)
        if not hasattr(self, "_kept"):
            raise ContinuationError(
                f"this {type(self).__name__} has kept no models to go on with; fit it with keep_models=True"
            )
        now = _digests(X, y, params)
        other = [
            name for name in {**self._kept.searched_on, **now} if now.get(name) != self._kept.searched_on.get(name)
        ]
        if other:
            raise ContinuationError(
                f"a search goes on with the data it was fitted on, since scores on other rows do not compare, but "
                f"{other} differ in values, type or memory order; give the same, or call fit for a new search"
            )
        changed = [name for name, value in self._asked_with().items() if value != self._kept.asked_with[name]]
        if changed:
            raise ContinuationError(
                f"{changed} changed since this search was fitted, which it goes on with; set it back, or call fit for "
                "a new search"
            )
        return self._kept

    def _evaluate(self, evaluate: Any, candidates: Iterable[Any], context: Any, task: str, **more: Any) -> Any:
        """Evaluate candidates as one task of scikit-learn's callbacks, where it has them."""
        candidates = list(candidates)
        if context is None:
            return evaluate(candidates, **more)
        n_tasks = len(candidates) * self.n_splits_
        with self._task(context, task, n_tasks, sequential_subtasks=False) as inner:
            return evaluate(candidates, callback_ctx=inner, **more)

    @contextmanager
    def _task(self, context: Any, name: str, n_inside: int, **more: Any) -> Iterator[Any]:
        """Begin and end a task of scikit-learn's callbacks, where it has them; an error leaves it open."""
        if context is None:
            yield None
            return
        inner = context.subcontext(task_name=name, max_subtasks=n_inside, **more).call_on_fit_task_begin(estimator=self)
        yield inner
        inner.call_on_fit_task_end(estimator=self)


def _digests(X: Any, y: Any, params: dict[str, Any]) -> dict[str, str | None]:
    return {name: digest(value) for name, value in {"X": X, "y": y, **params}.items()}
