"""The two public questions, and the two functions a kind of estimator answers them with."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from sklearn.utils.validation import check_is_fitted

from sktorch_continue.continuation.job import Job
from sktorch_continue.continuation.leaves import advance_leaf, can_go_on

MODES = ("frozen", "partial_fit", "refit")
Estimator = TypeVar("Estimator")


def continue_fit(
    estimator: Estimator,
    X: Any,
    y: Any = None,
    *,
    transformers: str | Mapping[str, str] = "frozen",
    max_epochs: int | None = None,
    **fit_params: Any,
) -> Estimator:
    """Continue whatever inside a fitted estimator can go on, exactly where that is possible.

    Parameters
    ----------
    estimator : estimator
        A network of this package, an estimator of scikit-learn with ``partial_fit`` or with ``warm_start`` and a
        budget, or a Pipeline, search, ensemble or other meta-estimator with such an estimator inside.
    X, y : as in the ``fit`` of `estimator`
        Rows to train on.
    transformers : {"frozen", "partial_fit", "refit"} or mapping of step name to one of them, default="frozen"
        What the transformers in pipelines do before they transform: nothing; learn from the new rows as well; learn
        from the new rows alone, for which a :class:`DataDriftWarning` is given where it changes what comes out. Steps
        that a mapping does not name are frozen. Steps of a pipeline inside another estimator are named like nested
        parameters, ``"member__step"``.
    max_epochs : int, optional
        Epochs to add to every network inside; by default the parameter ``max_epochs`` of each.
    **fit_params
        As in the ``fit`` of `estimator`: ``step__parameter`` for pipelines, and what is requested where metadata
        routing is enabled. ``X_val``, ``y_val`` and ``sample_weight_val`` go the way of X, y and sample_weight:
        through the fitted transformers, with encoded labels, with the columns of a member.

    Returns
    -------
    estimator
        The same object, continued.

    Raises
    ------
    NotFittedError
        If `estimator` is not fitted.
    TypeError
        If nothing inside can go on (the message lists the members), or if max_epochs is given and nothing inside
        counts epochs.
    ValueError
        For transformers, steps or fit parameters that are unknown.
    ContinuationError
        If a member cannot go on with these rows or parameters.

    Warns
    -----
    ContinuationWarning
        Naming members that cannot go on and stay as they are.
    DataDriftWarning
        If a network's inputs are no longer those it was trained on.

    See Also
    --------
    is_continuable : Whether there is anything to continue.
    ContinuablePipeline : A Pipeline with this function as a method.

    Notes
    -----
    Where several members go on, copies of them do, and take their places when all are done: an error leaves
    `estimator` as it was, and names the members that were done. Where one member goes on (a pipeline's last step, the
    estimator of a search) it does so in place: after Ctrl-C it stands at its last completed step.

    What continuing means for each kind of estimator stands in the documentation, on the page on composed estimators.
    Another kind is added by registering two functions, :func:`sktorch_continue.continuation.members` and
    :func:`sktorch_continue.continuation.advance`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from sktorch_continue import TorchRegressor, continue_fit
    >>> X, y = load_diabetes(return_X_y=True)
    >>> pipe = make_pipeline(PCA(4), TorchRegressor(max_epochs=2, random_state=0)).fit(X, y)
    >>> continue_fit(pipe, X, y, max_epochs=3)[-1].n_epochs_
    5
    """
    check_is_fitted(estimator)
    check_continuable(estimator)
    check_modes(transformers)
    if max_epochs is not None and not any(hasattr(leaf, "continue_fit") for _, leaf in leaves(estimator)):
        raise TypeError(f"max_epochs={max_epochs!r} was given, but nothing counts epochs: {listed(estimator)}")
    advance(estimator, Job(X, y, fit_params, max_epochs, transformers))
    return estimator


def is_continuable(estimator: Any) -> bool:
    """Tell whether :func:`continue_fit` finds anything to continue in an estimator, fitted or not.

    Parameters
    ----------
    estimator : estimator
        Of any kind; a class is not one.

    Returns
    -------
    bool
    """
    return not isinstance(estimator, type) and any(can_go_on(leaf) for _, leaf in leaves(estimator))


@functools.singledispatch
def members(estimator: Any) -> dict[str, Any] | None:
    """Return what is inside a meta-estimator and would go on, by name, or None for a kind that has nothing inside.

    Dispatched on the class of the first argument. Register a function for a kind of your own with
    ``@members.register(Kind)``; it gets unfitted estimators as well, and returns what they would be made of.
    """
    return None


@functools.singledispatch
def advance(estimator: Any, job: Job) -> None:
    """Continue a fitted estimator in place, or raise and leave it as it was.

    Dispatched on the class of the first argument. Register a function for a kind of your own with
    ``@advance.register(Kind)``; it calls ``advance(member, job)`` for its one member, or
    :func:`sktorch_continue.continuation.advance_together` for several.
    """
    advance_leaf(estimator, job)


def leaves(estimator: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield everything inside that has nothing inside itself, with its path."""
    inside = members(estimator)
    if inside is None:
        yield path, estimator
        return
    for name, member in inside.items():
        yield from leaves(member, f"{path}.{name}" if path else name)


def listed(estimator: Any) -> str:
    """Name what is inside an estimator, for a message."""
    inside = ", ".join(f"{path or 'it'} ({type(leaf).__name__})" for path, leaf in leaves(estimator))
    return f"inside {type(estimator).__name__} is {inside or 'nothing that may be trained'}"


def check_continuable(estimator: Any) -> None:
    """Refuse an estimator in which nothing can go on.

    Raises
    ------
    TypeError
        Listing the members.
    """
    if not is_continuable(estimator):
        raise TypeError(
            f"nothing here can be continued: {listed(estimator)}. A network of sktorch_continue, partial_fit, or "
            f"warm_start with n_estimators or max_iter was expected{_refit_hint(estimator)}"
        )


def _refit_hint(estimator: Any) -> str:
    """Say which parameter it is where an estimator that was trained on all rows was not asked for."""
    params = estimator.get_params(deep=True) if hasattr(estimator, "get_params") else {}
    unkept = [name for name, value in params.items() if name.split("__")[-1] == "refit" and value is False]
    return f". {unkept[0]}=False keeps no estimator that was trained on all rows; use refit=True" if unkept else ""


def check_modes(transformers: Any) -> None:
    """Refuse words `transformers` does not know.

    Raises
    ------
    ValueError
        Naming the words it knows.
    """
    given = transformers.values() if isinstance(transformers, Mapping) else [transformers]
    unknown = [mode for mode in given if mode not in MODES]
    if unknown:
        raise ValueError(f"transformers has {unknown}; one of {MODES}, or a mapping of step names to them was expected")
