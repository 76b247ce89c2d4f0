"""What a search keeps from one evaluation to the next, and from one process to the next."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from sktorch_continue.estimators.stores import FolderStore, MemoryStore, RunStore
from sktorch_continue.exceptions import CheckpointError
from sktorch_continue.search.chains import Chain
from sktorch_continue.search.scores import Scored, ScoreFolder


class Kept:
    """Scores and runs of a search, in memory or in a folder.

    Parameters
    ----------
    directory : path-like or None
        Folder for both; None for memory.
    rungs : bool
        Whether runs are wanted in the next evaluation.
    models : bool
        Whether they are wanted for good.

    Raises
    ------
    CheckpointError
        If the folder cannot be made.

    Attributes
    ----------
    splits : list of (ndarray, ndarray) or None
        Drawn once for all evaluations.
    data : str or None
        Digest of what was searched on.
    candidates : list of dict
        Evaluated so far, in the order of ``cv_results_``.
    """

    def __init__(self, directory: Any, *, rungs: bool, models: bool) -> None:
        self.rungs = rungs
        self.models = models
        self.splits: list[Any] | None = None
        self.data: str | None = None
        self.candidates: list[dict[str, Any]] = []
        self._folder = None if directory is None else _made(Path(os.path.abspath(directory)))
        self._scores: dict[str, Scored] = {}
        self._stores: dict[str, RunStore] = {}

    @property
    def scores(self) -> ScoreFolder | None:
        """Where a worker writes each result."""
        return None if self._folder is None else ScoreFolder(self._folder / "scores")

    @property
    def keeps_scores(self) -> bool:
        """Whether results are looked up before they are found out."""
        return self.models or self._folder is not None

    @property
    def hands_back(self) -> bool:
        """Whether runs outlast their chain."""
        return self.rungs or self.models

    def scored(self, key: str | None) -> Scored | None:
        """Return the result of a task that was done before."""
        if key is None:
            return None
        return self._scores.get(key) or (None if self.scores is None else self.scores.read(key))

    def store(self, chain: Chain) -> RunStore:
        """Return where the fits of a chain find each other."""
        if self._folder is not None:
            return FolderStore(self._folder / "runs" / chain.unit)
        if chain.cold or (len(chain.links) < 2 and not self.hands_back):
            return RunStore()
        return self._stores.pop(chain.unit, None) or MemoryStore()

    def take(self, chain: Chain, done: list[Scored], store: RunStore | None) -> None:
        """Keep what a chain gave."""
        if self.models:
            self._scores.update({link.key: s for link, s in zip(chain.links, done, strict=True) if link.key})
        if store is not None:
            self._stores[chain.unit] = store

    def forget_others(self, chains: list[Chain]) -> None:
        """Drop the runs that none of these chains goes on with: those of candidates that did not survive."""
        if not self.models:
            self._drop(set(self._stores) - {chain.unit for chain in chains})

    def close(self) -> None:
        """Drop the runs, unless models are kept; scores in a folder stay."""
        if not self.models:
            self._drop(set(self._stores))
            if self._folder is not None:
                shutil.rmtree(self._folder / "runs", ignore_errors=True)

    def _drop(self, units: set[str]) -> None:
        for unit in units:
            store = self._stores.pop(unit)
            if isinstance(store, FolderStore):
                shutil.rmtree(store.path, ignore_errors=True)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"checkpoint_dir={str(folder)!r} cannot be made: {error}") from error
    return folder
