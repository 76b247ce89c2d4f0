"""Splits that stay the same over all evaluations of a search."""

from __future__ import annotations

import copy
from typing import Any


class Splits:
    """The splits of a search, once they are drawn."""

    def __init__(self) -> None:
        self.drawn: list[Any] | None = None


class DrawnOnce:
    """A splitter that draws its splits once, and then gives the same to every evaluation.

    The search that holds it goes to a worker with every task, for the callbacks there: as a pickle it is the splitter
    alone.

    Parameters
    ----------
    splitter : splitter of scikit-learn
        That draws them.
    splits : Splits
        Where they are kept.
    """

    def __init__(self, splitter: Any, splits: Splits) -> None:
        self._splitter = splitter
        self._splits = splits

    def __reduce__(self) -> Any:
        return copy.copy, (self._splitter,)

    def get_n_splits(self, *args: Any, **kwargs: Any) -> int:
        """Return how many splits there are."""
        drawn = self._splits.drawn
        return int(self._splitter.get_n_splits(*args, **kwargs)) if drawn is None else len(drawn)

    def split(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Return the splits."""
        if self._splits.drawn is None:
            self._splits.drawn = list(self._splitter.split(*args, **kwargs))
        return self._splits.drawn
