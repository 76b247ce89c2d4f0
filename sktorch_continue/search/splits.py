"""Splits that stay the same over all evaluations of a search."""

from __future__ import annotations

from typing import Any


class DrawnOnce:
    """A splitter that draws its splits once, and then gives the same to every evaluation."""

    def __init__(self, splitter: Any) -> None:
        self._splitter = splitter
        self._splits: list[Any] | None = None

    def get_n_splits(self, *args: Any, **kwargs: Any) -> int:
        """Return how many splits there are."""
        return int(self._splitter.get_n_splits(*args, **kwargs)) if self._splits is None else len(self._splits)

    def split(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Return the splits."""
        if self._splits is None:
            self._splits = list(self._splitter.split(*args, **kwargs))
        return self._splits
