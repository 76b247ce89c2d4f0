"""Searches that never train the same epoch twice."""

from sktorch_continue.search.grid import WarmStartGridSearchCV, WarmStartRandomizedSearchCV
from sktorch_continue.search.halving import WarmStartHalvingSearchCV
from sktorch_continue.search.hyperband import HyperbandSearchCV

__all__ = [
    "HyperbandSearchCV",
    "WarmStartGridSearchCV",
    "WarmStartHalvingSearchCV",
    "WarmStartRandomizedSearchCV",
]
