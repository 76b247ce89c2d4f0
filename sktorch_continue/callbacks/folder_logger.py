"""Loggers that append to files in a folder of the run."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sktorch_continue.callbacks.append_file import AppendFile, cut_back
from sktorch_continue.callbacks.log_folder import LogFolder, claim
from sktorch_continue.callbacks.logger import Logger
from sktorch_continue.exceptions import warn


class FolderLogger(Logger):
    """A logger whose state has the size and checksum of each file: cutting them back undoes what lies past the run.

    Parameters
    ----------
    path : str, path-like, or callable
        The folder; made where it does not exist.
    every_n_steps : int or None, default=None
        As for :class:`Logger`.
    """

    kind: str

    def __init__(
        self, path: str | os.PathLike[str] | Callable[[], str | os.PathLike[str]], every_n_steps: int | None = None
    ) -> None:
        if not (callable(path) or isinstance(path, str | os.PathLike)):
            raise TypeError(f"path={path!r}; a path, or a callable that returns one, was expected")
        super().__init__(every_n_steps)
        self.path = path
        self.folder: str | None = None
        self.marks: list[dict[str, Any]] = []
        self._asked: str | None = None  # the path that led to the folder
        self._claimed: LogFolder | None = None
        self._files: dict[str, AppendFile] = {}

    # ---- what a subclass does -------------------------------------------------------------------------------------

    @abstractmethod
    def is_log(self, name: str) -> bool:
        """Tell whether a file of this name is one this kind of logger writes."""

    @abstractmethod
    def forget(self, lost: list[str]) -> bool:
        """Set `marks`, `n_epochs` and `n_calls` to what is left in the log; tell whether steps are lost."""

    @abstractmethod
    def open_files(self, run: Any, folder: Path, *, cut: bool) -> dict[str, AppendFile]:
        """Return the files to append to, by what they hold; those in `marks` are as marked, and there are no others.

        `cut` says whether something was taken out of the log.
        """

    # ---- state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return where the log is, and how far its files belong to the run."""
        return {**super().state_dict(), "asked": self._asked, "folder": self.folder, "marks": self._marks()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` returned."""
        super().load_state_dict(state)
        self._asked, self.folder = state["asked"], state["folder"]
        self.marks = [dict(mark) for mark in state["marks"]]

    def _marks(self) -> list[dict[str, Any]]:
        now = {file.mark["name"]: file.mark for file in self._files.values()}
        return [now.pop(mark["name"], mark) for mark in self.marks] + list(now.values())

    # ---- the log --------------------------------------------------------------------------------------------------

    def open_log(self, run: Any) -> None:
        """Find the folder, and cut its files back to where the run is; what cannot be is logged anew."""
        takes_over = self.n_calls == 0 and run.history.calls[0]["verb"] == "resume_fit"
        self._claimed = claim(self._locate(), self.kind, run.id, self.is_log, takes_over=takes_over)
        folder, owner = self._claimed.path, self._claimed.owner()
        ours = owner is not None and owner["run"] == run.id
        cut = {mark["name"]: cut_back(folder, mark) if ours else None for mark in self.marks}
        lost = [name for name, n_bytes in cut.items() if n_bytes is None]
        if lost:
            self._begin_anew(run, folder, lost)
        kept = {mark["name"] for mark in self.marks}
        past = [path for path in folder.iterdir() if self.is_log(path.name) and path.name not in kept]
        for path in past:
            path.unlink()  # of this run but past it, or of one whose place this run takes
        self.folder = str(folder)
        self._claimed.own(run.id, ended=False)
        self._files = self.open_files(run, folder, cut=any(cut.values()) or bool(self.marks and past))

    def _begin_anew(self, run: Any, folder: Path, lost: list[str]) -> None:
        if self.forget(lost):
            warn(
                f"{folder} does not hold the log that this run has left there: epochs and calls are logged again from "
                f"the history, but steps only from step {run.n_steps + 1} on"
            )

    def close_log(self, run: Any, error: BaseException | None) -> None:
        """Close the files, and let others write; a run that has come to no step leaves no log."""
        self.marks, files, self._files = self._marks(), self._files, {}
        for file in files.values():
            file.close()
            if run.n_steps == 0:
                file.path.unlink()
        claimed, self._claimed = self._claimed, None
        if claimed is None:
            return
        if run.n_steps == 0:
            claimed.disown()
        elif error is None:
            claimed.own(run.id, ended=True)
        claimed.unlock()

    def _locate(self) -> str:
        path = self.path
        asked = self._asked or os.path.abspath(path()) if callable(path) else os.path.abspath(path)
        known = self.folder if asked == self._asked else None
        self._asked = asked
        return known or asked
