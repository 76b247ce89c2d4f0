"""One row per epoch and one record per call, over the whole life of a run."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, overload

import numpy as np


class History(Sequence[dict[str, Any]]):
    """What happened: a sequence of rows, one dictionary per completed epoch.

    ``history[-1]`` is the newest row, ``history["train_loss"]`` a column, ``history[-1, "lr"]`` a cell. An epoch
    that lacks a column shows None there.

    Attributes
    ----------
    calls : list of dict
        One record per call: ``call`` (from 1), ``verb``, ``started`` (ISO 8601, UTC), ``max_epochs`` (the absolute
        target), ``changed`` (parameter -> [before, now]), ``n_rows``, ``n_validation_rows``, ``fingerprint`` and
        ``validation_fingerprint`` of the data, ``versions``, ``n_epochs`` reached, and ``stopped`` (a callback's
        reason, or None).

    Notes
    -----
    Every row has ``epoch`` (from 1), ``call``, ``n_steps`` (optimizer steps over all calls), ``lr`` (of the epoch's
    first step), ``train_loss`` (weighted mean over the rows), ``valid_loss`` where there are validation rows,
    scores that callbacks recorded, and ``duration`` in seconds.
    """

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []

    def append(self, row: dict[str, Any]) -> None:
        """Add the row of a completed epoch."""
        self._rows.append(row)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: slice | str) -> list[Any]: ...
    @overload
    def __getitem__(self, key: tuple[int | slice, str]) -> Any: ...
    def __getitem__(self, key: Any) -> Any:
        """Return a row, a list of rows, a column (by name) or a cell (by position and name)."""
        if isinstance(key, str):
            return self._column(self._rows, key)
        if isinstance(key, tuple):
            where, name = key
            rows = self._rows[where]
            return self._column([rows], name)[0] if isinstance(rows, dict) else self._column(rows, name)
        return self._rows[key]

    def _column(self, rows: list[dict[str, Any]], name: str) -> list[Any]:
        if name not in self.columns:
            raise KeyError(f"history has no column {name!r}; it has {self.columns}")
        return [row.get(name) for row in rows]

    @property
    def columns(self) -> list[str]:
        """Names of all columns, in order of first appearance."""
        return list(dict.fromkeys(name for row in self._rows for name in row))

    def to_frame(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``, one per epoch, with ``epoch`` as a column.

        Raises
        ------
        ImportError
            If pandas is not installed, with the way to get it.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame makes a table of pandas, which is not installed: pip install 'sktorch-continue[frame]'"
            ) from error
        return pd.DataFrame(self._rows, columns=self.columns)

    def state_dict(self) -> dict[str, Any]:
        """Return rows and calls as plain values, copied; rows of one level, since a closed one no longer changes."""
        return {"rows": [dict(row) for row in self._rows], "calls": copy.deepcopy(self.calls)}

    def snapshot(self) -> dict[str, Any]:
        """Return what :meth:`state_dict` does for those who only read: closed rows are not copied."""
        return {"rows": [*self._rows[:-1], *map(dict, self._rows[-1:])], "calls": copy.deepcopy(self.calls)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take rows and calls from `state`."""
        self._rows = copy.deepcopy(state["rows"])
        self.calls = copy.deepcopy(state["calls"])

    def __repr__(self) -> str:
        if not self._rows:
            return "<History: no epoch yet>"
        last = ", ".join(f"{name}={short(value)}" for name, value in self._rows[-1].items())
        return f"<History: {len(self)} epochs in {len(self.calls)} calls; last {last}>"


def short(value: Any) -> str:
    """Return a cell as a reader wants it: a float with four digits."""
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
