"""What one member of a composed estimator is to go on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import _check_method_params, validate_data

VALIDATION = ("X_val", "y_val", "sample_weight_val")


@dataclass(frozen=True)
class Job:
    """Rows, fit parameters and epochs of a member.

    Attributes
    ----------
    X, y : object
        Training rows, in any form the member takes.
    params : dict of str to object
        Fit parameters; ``X_val``, ``y_val`` and ``sample_weight_val`` among them are rows as well.
    max_epochs : int or None
        Epochs to add, for every network; None leaves it to the parameter of each.
    transformers : str or mapping of str to str
        What the transformers of pipelines do.
    """

    X: Any
    y: Any
    params: Mapping[str, Any]
    max_epochs: int | None = None
    transformers: str | Mapping[str, str] = "frozen"

    def mapped(self, change: Callable[[Any, Any], tuple[Any, Any]]) -> Job:
        """Return the job with training and validation rows changed by one function ``(X, y) -> (X, y)``."""
        X, y = change(self.X, self.y)
        if "X_val" not in self.params:
            return replace(self, X=X, y=y)
        X_val, y_val = change(self.params["X_val"], self.params.get("y_val"))
        known = {"X_val": X_val} if y_val is None else {"X_val": X_val, "y_val": y_val}
        return replace(self, X=X, y=y, params={**self.params, **known})

    def chosen(self, rows: np.ndarray) -> Job:
        """Return the job on some of the training rows; fit parameters with one value per row follow."""
        per_row = {name: value for name, value in self.params.items() if name not in VALIDATION}
        kept = {name: value for name, value in self.params.items() if name in VALIDATION}
        params = {**_check_method_params(self.X, per_row, indices=rows), **kept}
        return replace(self, X=_safe_indexing(self.X, rows), y=_safe_indexing(self.y, rows), params=params)

    def with_params(self, params: Mapping[str, Any]) -> Job:
        """Return the job with other fit parameters; ``max_epochs`` among them is meant for the networks."""
        rest = {name: value for name, value in params.items() if name != "max_epochs"}
        return replace(self, params=rest, max_epochs=params.get("max_epochs", self.max_epochs))

    def for_shared(self, estimator: Any, key: str = "estimator") -> Job:
        """Return the job of members that were all made from the parameter `key` of a meta-estimator."""
        if not routing_enabled() or not self.params:
            return self
        return self.with_params(process_routing(estimator, "fit", **self.params)[key].fit)

    def for_named(self, estimator: Any, names: list[str]) -> dict[str, Job]:
        """Return the job of every member of a meta-estimator that the user named.

        Raises
        ------
        ValueError
            If `transformers` names a member there is not.
        """
        routed = process_routing(estimator, "fit", **self.params) if routing_enabled() and self.params else None
        split = split_modes(self.transformers, names, estimator)
        return {
            name: replace(self.with_params(self.params if routed is None else routed[name].fit), transformers=modes)
            for name, modes in split.items()
        }


class Jobs(Mapping[str, Job]):
    """Jobs of members by position, each built when it is asked for: rows of all members at once may be too much.

    Parameters
    ----------
    n : int
        Number of members.
    build : callable
        ``build(position)`` returns a job.
    """

    def __init__(self, n: int, build: Callable[[int], Job]) -> None:
        self._names = [str(position) for position in range(n)]
        self._build = build

    def __getitem__(self, name: str) -> Job:
        return self._build(int(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def check_columns(estimator: Any, job: Job) -> None:
    """Refuse rows with other columns than ``fit`` had, or in another order, as ``predict`` does.

    Raises
    ------
    ValueError
        By scikit-learn, naming the columns.
    """
    for X in (job.X, *(value for name, value in job.params.items() if name == "X_val")):
        validate_data(estimator, X, reset=False, skip_check_array=True)


def routing_enabled() -> bool:
    """Tell whether scikit-learn routes metadata."""
    return bool(get_config().get("enable_metadata_routing", False))


def split_modes(modes: str | Mapping[str, str], names: list[str], estimator: Any) -> dict[str, str | Mapping[str, str]]:
    """Hand a mapping with keys like ``member__step`` on to the members; one word is for all of them.

    Raises
    ------
    ValueError
        If a key names no member.
    """
    if isinstance(modes, str):
        return dict.fromkeys(names, modes)
    split: dict[str, dict[str, str]] = {name: {} for name in names}
    for key, mode in modes.items():
        name, _, rest = key.partition("__")
        if name not in split or not rest:
            raise ValueError(
                f"transformers names {key!r}, but {type(estimator).__name__} has the members {names}; a key is "
                "'member__step' here"
            )
        split[name][rest] = mode
    return dict(split)
