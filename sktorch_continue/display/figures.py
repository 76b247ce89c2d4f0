"""What the pictures share: matplotlib when it is needed, the network to draw, and small habits of axes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from sklearn.utils.validation import check_is_fitted

from sktorch_continue.estimators import TorchEstimator

FEW_POINTS = 30  # up to so many points of a line get a marker each
MANY_POINTS = 500  # from so many on a line is thin
AXIS_LETTERS = 24  # of a line of an axis label


def pyplot(caller: str) -> Any:
    """Return ``matplotlib.pyplot``.

    Raises
    ------
    ImportError
        If it is not installed, with the way to get it.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} draws with matplotlib, which is not installed: pip install 'sktorch-continue[plot]'"
        ) from error
    return plt


def network_of(estimator: Any) -> TorchEstimator:
    """Return the network: an estimator itself, the last step of a Pipeline, or the one in the best of a search.

    Raises
    ------
    NotFittedError
        If it is a search that is not fitted.
    TypeError
        If there is no network.
    """
    found = estimator
    while not isinstance(found, TorchEstimator):
        if getattr(found, "steps", None):
            found = found.steps[-1][1]
        elif hasattr(found, "cv") and hasattr(found, "refit"):
            check_is_fitted(found)
            found = getattr(found, "best_estimator_", None)
        else:
            raise TypeError(
                f"{type(estimator).__name__} is no TorchClassifier or TorchRegressor, no Pipeline that ends in one, "
                "and no search with such a best_estimator_; give the network itself"
            )
    return found


def points(ax: Any, x: Sequence[float], y: Sequence[float], **style: Any) -> Any:
    """Draw a line over points, of which few, and those without a neighbour, get a marker; return the line."""
    there = [math.isfinite(value) for value in y]
    alone = [
        place
        for place, is_there in enumerate(there)
        if is_there and not any(there[place - 1 : place]) and not any(there[place + 1 : place + 2])
    ]
    marked = None if len(y) <= FEW_POINTS else alone
    width = 1.5 if len(y) <= MANY_POINTS else 0.8
    return ax.plot(x, y, **{"marker": "o", "markersize": 4, "markevery": marked, "linewidth": width, **style})[0]


def whole_epochs(axis: Any) -> None:
    """Put ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def wrapped(name: str) -> str:
    """Return a name for an axis in lines short enough for the height of a panel."""
    return textwrap.fill(name.replace("_", "_ "), AXIS_LETTERS).replace("_ ", "_")


def above(ax: Any, x: float, text: str) -> Any:
    """Write small text over the top edge of a panel, beginning at x."""
    return ax.annotate(
        text,
        (x, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, 4),
        textcoords="offset points",
        fontsize="small",
        color="0.45",
    )
