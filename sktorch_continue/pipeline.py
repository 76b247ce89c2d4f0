"""A Pipeline whose training can be continued by its own methods."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar, cast

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples

from sktorch_continue.continuation import continue_fit, is_continuable
from sktorch_continue.continuation.outputs import relative_change
from sktorch_continue.continuation.pipelines import COMPARED_ROWS, partial_fit, transform, transformers_of
from sktorch_continue.continuation.resuming import resume
from sktorch_continue.exceptions import warn

CROSS_FITTED = 1e-2

Method = TypeVar("Method", bound=Callable[..., Any])


def _where_the_last_has(method: str) -> Callable[[Method], Method]:
    """Offer a method where the last step has it."""

    def check(pipeline: Any) -> bool:
        getattr(pipeline._final_estimator, method)  # raises the AttributeError that says what is missing
        return True

    return cast(Callable[[Method], Method], available_if(check))


def _where_it_goes_on(method: Method) -> Method:
    """Offer a method where the last step can go on."""
    return cast(Method, available_if(is_continuable)(method))


class ContinuablePipeline(Pipeline):
    """Pipeline with ``continue_fit``, ``partial_fit`` and ``resume_fit``.

    Parameters
    ----------
    steps : list of (name, estimator)
        As in :class:`sklearn.pipeline.Pipeline`, as all parameters.
    transform_input : list of str, default=None
        Metadata that goes through the transformers as X does, such as ``["X_val"]``; needs metadata routing.
    memory : str or joblib.Memory, default=None
        Where fitted transformers are cached.
    verbose : bool, default=False
        Print the time of each step.

    See Also
    --------
    continue_fit : The same for any estimator, a plain Pipeline included.

    Notes
    -----
    ``fit`` gives a last step that can go on what ``transform`` gives for the training rows, which is also what a
    continuation and a prediction give it. ``fit_transform``, which scikit-learn uses, may round otherwise, and a
    training that is continued would then not be exact. Where the two differ by more than rounding (by 1 % of the spread
    of a column), because a transformer fits across folds as ``TargetEncoder`` does, the output of ``fit_transform`` is
    used and a :class:`ContinuationWarning` says so.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.decomposition import PCA
    >>> from sktorch_continue import ContinuablePipeline, TorchRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> pipe = ContinuablePipeline([("pca", PCA(4)), ("net", TorchRegressor(max_epochs=2, random_state=0))])
    >>> pipe.fit(X, y).set_params(net__batch_size=32).continue_fit(X, y, max_epochs=3)["net"].n_epochs_
    5
    """

    @_where_it_goes_on
    def continue_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        transformers: str | Mapping[str, str] = "frozen",
        max_epochs: int | None = None,
        **fit_params: Any,
    ) -> Self:
        """Continue the last step behind the fitted transformers; see :func:`sktorch_continue.continue_fit`.

        Parameters
        ----------
        X, y : as in ``fit``
            Rows to train on.
        transformers : {"frozen", "partial_fit", "refit"} or mapping of step name to one of them, default="frozen"
            What the transformers do before they transform.
        max_epochs : int, optional
            Epochs to add; by default the parameter of the network.
        **fit_params
            ``step__parameter``, or what is routed; without a prefix for the last step. ``X_val`` goes through the
            transformers.

        Returns
        -------
        self
        """
        continue_fit(self, X, y, transformers=transformers, max_epochs=max_epochs, **fit_params)
        return self

    @_where_the_last_has("partial_fit")
    def partial_fit(
        self, X: Any, y: Any = None, *, transformers: str | Mapping[str, str] = "frozen", **fit_params: Any
    ) -> Self:
        """Train one pass of the last step over the given rows.

        Parameters
        ----------
        X, y : as in ``fit``
            Rows of the pass.
        transformers : {"frozen", "partial_fit", "refit"} or mapping of step name to one of them, default="frozen"
            What the transformers do before they transform. At the first call, when they are not fitted, they learn from
            these rows: by ``partial_fit`` where that is said, else by ``fit``.
        **fit_params
            As in :meth:`continue_fit`; a classifier needs ``classes`` at the first call.

        Returns
        -------
        self
        """
        partial_fit(self, X, y, transformers, fit_params)
        return self

    @_where_the_last_has("resume_fit")
    def resume_fit(
        self, X: Any, y: Any = None, *, path: str | os.PathLike[str] | None = None, **fit_params: Any
    ) -> Self:
        """Finish the run of the last step that was interrupted; start it when there is none.

        Parameters
        ----------
        X, y : as in ``fit``
            The same rows in the same order as when the run was interrupted.
        path : path-like, optional
            Run folder or checkpoint, as in ``resume_fit`` of the last step.
        **fit_params
            As in ``fit``.

        Returns
        -------
        self

        Raises
        ------
        ContinuationError
            If the last step is given other inputs than the interrupted run had, or it refuses; it was not changed.

        Notes
        -----
        A pipeline that is fitted, as after Ctrl-C or ``joblib.load``, keeps its transformers. One that is not, as in a
        new process, fits them to X as ``fit`` does. The fingerprint of its data that the run keeps then proves that the
        last step gets the inputs it had.
        """
        resume(self, X, y, path, fit_params)
        return self

    def _fit(self, X: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Fit the transformers and return what they give; see the notes of the class."""
        fitted = super()._fit(X, y, *args, **kwargs)
        if len(self.steps) < 2 or not is_continuable(self):
            return fitted
        routed: Any = kwargs.get("routed_params", args[0] if args else None)
        params = {name: {"transform": dict(routed[name].get("transform", {}))} for name, _ in transformers_of(self)}
        transformed = transform(self, X, params)
        some = np.arange(min(_num_samples(X), COMPARED_ROWS))
        change = relative_change(_safe_indexing(fitted, some), _safe_indexing(transformed, some))
        if change <= CROSS_FITTED:
            return transformed
        warn(
            f"fit_transform of the steps before {self.steps[-1][0]!r} gives other values for the training rows than "
            f"transform (by up to {change:.2g} times the spread of a column). The network is trained on the former; "
            "continuing gives it the latter"
        )
        return fitted


def make_continuable_pipeline(
    *steps: Any, memory: Any = None, transform_input: list[str] | None = None, verbose: bool = False
) -> ContinuablePipeline:
    """Make a :class:`ContinuablePipeline` with steps named after their classes, as ``make_pipeline`` does.

    Parameters
    ----------
    *steps : estimators
        In order.
    memory, transform_input, verbose : optional
        As in :class:`ContinuablePipeline`.

    Returns
    -------
    ContinuablePipeline
    """
    named = make_pipeline(*steps).steps
    return ContinuablePipeline(named, memory=memory, transform_input=transform_input, verbose=verbose)
