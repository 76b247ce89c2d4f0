"""What a search keeps from one evaluation to the next, and from one process to the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sklearn.model_selection import check_cv

from sktorch_continue.estimators.stores import FolderStore, MemoryStore, RunStore
from sktorch_continue.exceptions import CheckpointError
from sktorch_continue.search.chains import Chain
from sktorch_continue.search.scores import Scored, ScoreFolder
from sktorch_continue.search.splits import DrawnOnce, Splits


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

    Attributes
    ----------
    searched_on : dict of str to str
        Digests of what the search was fitted on, by name.
    asked_with : dict of str to str
        Digests of parameters of the search that must not change while it goes on.
    candidates : list of dict
        Evaluated so far, in the order of ``cv_results_``.
    added : iterable of dict
        To be evaluated beside them.
    """

    def __init__(self, directory: Any, *, rungs: bool, models: bool) -> None:
        self.rungs = rungs
        self.models = models
        self._splits = Splits()
        self.searched_on: dict[str, str | None] = {}
        self.asked_with: dict[str, str | None] = {}
        self.candidates: list[dict[str, Any]] = []
        self.added: Iterable[dict[str, Any]] = []
        self._folder = None if directory is None else Path(os.path.abspath(directory))
        self._scores: dict[str, Scored] = {}
        self._stores: dict[str, RunStore] = {}
        self._planned: set[str] = set()

    def drawn_once(self, cv: Any = 5, y: Any = None, *, classifier: bool = False, **more: Any) -> DrawnOnce:
        """Return what scikit-learn's ``check_cv`` does, but with splits that are drawn once in the life of a search."""
        return DrawnOnce(check_cv(cv, y, classifier=classifier, **more), self._splits)

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

    def store_of(self, chain: Chain) -> RunStore:
        """Return where the fits of a chain find each other, with the runs that were kept of it."""
        if chain.unit not in self._stores:
            store = self._new_store(chain)
            if not store.keeps:
                return store
            self._stores[chain.unit] = store
        return self._stores[chain.unit]

    def _new_store(self, chain: Chain) -> RunStore:
        if self._folder is not None:
            path = self._folder / "runs" / chain.unit
            _make(path)
            return FolderStore(path)
        return RunStore() if chain.cold or (len(chain.links) < 2 and not self.hands_back) else MemoryStore()

    def take(self, chain: Chain, done: list[Scored], store: RunStore | None) -> None:
        """Keep what a chain gave."""
        if self.models:
            kept = {link.key: s for link, s in zip(chain.links, done, strict=True) if link.key and not s.failed}
            self._scores.update(kept)
        if store is not None and store.keeps:
            self._stores[chain.unit] = store
        elif not self.hands_back:
            self._drop({chain.unit})

    def expect(self, chains: list[Chain]) -> None:
        """Get ready for these chains, and drop the runs none of them goes on with: of candidates that did not survive.

        Raises
        ------
        CheckpointError
            If there is no folder and none can be made.
        """
        if self._folder is not None:
            _make(self._folder)
        units = {chain.unit for chain in chains}
        if not self.models:
            self._drop(self._planned - units)
        self._planned |= units

    def close(self) -> None:
        """Drop the runs, unless models are kept; scores in a folder stay."""
        if not self.models:
            self._drop(self._planned)

    def _drop(self, units: set[str]) -> None:
        """Drop runs, also those that this search has left in its folder before it was killed."""
        for unit in units:
            self._stores.pop(unit, None)
            if self._folder is not None:
                shutil.rmtree(self._folder / "runs" / unit, ignore_errors=True)
        self._planned = self._planned - units
        if self._folder is not None:
            with suppress(OSError):  # others may have theirs there
                (self._folder / "runs").rmdir()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"checkpoint_dir cannot be used: {folder} cannot be made ({error})") from error
