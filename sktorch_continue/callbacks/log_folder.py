"""The folder a run logs to: its own, and with one writer at a time."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


class LogFolder:
    """A folder that says which run logs there, and is locked while it does.

    Parameters
    ----------
    path : str
        Of the folder.
    kind : str
        Of the log; logs of several kinds may share a folder.
    """

    def __init__(self, path: str, kind: str) -> None:
        self.path = Path(path)
        self._owner = self.path / f".{kind}.json"
        from filelock import FileLock  # few runs are logged

        self._lock = FileLock(self.path / f".{kind}.lock", timeout=0, thread_local=False)

    def take(self, run: str, is_log: Callable[[str], bool], *, takes_over: bool) -> bool:
        """Lock the folder for a run; False where another one writes, or where it is not free for this one."""
        if not self.lock():
            return False
        free = self.is_free(run, is_log, takes_over=takes_over)
        if not free:
            self.unlock()
        return free

    def lock(self) -> bool:
        """Become the one writer, until :meth:`unlock` or the end of the process; False where another one is."""
        from filelock import Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True

    def unlock(self) -> None:
        """Let others write."""
        self._lock.release()

    def owner(self) -> dict[str, Any] | None:
        """Return whose log it is, ``{"run": id, "ended": bool}``; None for nobody's."""
        try:
            owner: dict[str, Any] = json.loads(self._owner.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return owner

    def is_free(self, run: str, is_log: Callable[[str], bool], *, takes_over: bool) -> bool:
        """Tell whether a run may log here."""
        owner = self.owner()
        if owner is None:
            return not any(is_log(path.name) for path in self.path.iterdir())
        return owner["run"] == run or (takes_over and not owner["ended"])

    def disown(self) -> None:
        """Let it be nobody's log."""
        self._owner.unlink(missing_ok=True)

    def own(self, run: str, *, ended: bool) -> None:
        """Write whose log it is, and whether the last call of the run came to its end."""
        beside = self._owner.with_suffix(".tmp")
        beside.write_text(json.dumps({"run": run, "ended": ended}), encoding="utf-8")
        os.replace(beside, self._owner)


def claim(path: str, kind: str, run: str, is_log: Callable[[str], bool], *, takes_over: bool) -> LogFolder:
    """Return the folder for the log of a run, locked: `path`, or the first of path-2, path-3, ... that is free.

    Parameters
    ----------
    path : str
        Of the folder.
    kind : str
        Of the log.
    run : str
        The name of the run.
    is_log : callable
        Tells by its name whether a file is part of such a log; where there is one and nobody's, the folder is not free.
    takes_over : bool
        Whether the log of another run that did not come to its end may be replaced.
    """
    names = itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2)))
    return next(folder for name in names if (folder := LogFolder(name, kind)).take(run, is_log, takes_over=takes_over))
