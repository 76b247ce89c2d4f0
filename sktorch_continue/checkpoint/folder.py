"""The folder of one run: its checkpoints by position, the newest sound one, and one writer at a time."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from sktorch_continue.checkpoint.files import flush, found, holds_checkpoint
from sktorch_continue.checkpoint.reading import read_checkpoint
from sktorch_continue.exceptions import CheckpointError, CorruptCheckpointError

LOCK = ".lock"
NAME = re.compile(r"epoch-(\d{6,})-step-(\d{12,})(?:-(\d+))?")
LEFTOVER = re.compile(r"\.epoch-.*\.(tmp|old)-[0-9a-f]{8}")

Position = tuple[int, int, int]


def position(checkpoint: Path) -> Position:
    """Return where in the run a checkpoint stands: steps, epochs, and which one of the same place it is."""
    match = NAME.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint.name!r} is not the name of a checkpoint in a run folder")
    epoch, step, again = match.groups()
    return int(step), int(epoch), int(again or 0)


class RunFolder:
    """A folder that holds the checkpoints of one run.

    Parameters
    ----------
    path : path-like
        Made, with its parents, by :meth:`lock`.
    """

    def __init__(self, path: Any) -> None:
        self.path = Path(path)
        self._lock: Any = None

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, sound or not, the furthest first."""
        entries = list(self.path.iterdir()) if self.path.is_dir() else []
        return sorted((entry for entry in entries if NAME.fullmatch(entry.name)), key=position, reverse=True)

    def lock(self) -> None:
        """Become the one writer, until :meth:`unlock` or the end of the process.

        Raises
        ------
        CheckpointError
            If another one is writing, or the folder cannot be made or written to.
        """
        from filelock import FileLock, Timeout  # few runs are stored

        if holds_checkpoint(self.path):
            raise CheckpointError(f"{self.path} is a single checkpoint and not the folder of a run; give another path")
        if (self.path / LOCK).is_symlink():
            raise CheckpointError(f"{self.path / LOCK} is a link, which is not written through; remove it")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = self._lock or FileLock(self.path / LOCK, timeout=0, thread_local=False)
            self._lock.acquire()
        except Timeout:
            raise CheckpointError(
                f"another training is writing its checkpoints to {self.path} right now; wait for it, or give this one "
                "another path"
            ) from None
        except (OSError, NotImplementedError) as error:
            raise CheckpointError(f"checkpoints cannot be written to {self.path}: {error}") from error

    def unlock(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.release()

    def newest_sound(self) -> tuple[Path, dict[str, Any], list[str]] | None:
        """Return the furthest checkpoint that can be read, its contents, and what is wrong with those before it.

        None where there is no checkpoint at all.

        Raises
        ------
        CorruptCheckpointError
            If there are checkpoints, and none can be read.
        CheckpointError
            If one may not be read, or is of a newer format.
        """
        problems: list[str] = []
        listed = self.checkpoints()
        while listed:
            checkpoint = listed.pop(0)
            try:
                return checkpoint, _read_in_place(checkpoint), problems
            except CheckpointError as error:
                if not checkpoint.exists():  # its writer has moved on and removed it
                    listed, problems = self.checkpoints(), []
                elif isinstance(error, CorruptCheckpointError):
                    problems.append(str(error))
                else:
                    raise
        if problems:
            raise CorruptCheckpointError(f"no checkpoint in {self.path} can be read: {'; '.join(problems)}")
        return None

    def free_name(self, n_epochs: int, n_steps: int) -> str:
        """Return a name for a checkpoint at this position that is not taken."""
        name = f"epoch-{n_epochs:06d}-step-{n_steps:012d}"
        taken = [position(c)[2] for c in self.checkpoints() if position(c)[:2] == (n_steps, n_epochs)]
        return f"{name}-{max(taken) + 1}" if taken else name

    def prune(self, keep_last: int | None, keep: Collection[str]) -> None:
        """Remove all but the furthest `keep_last` checkpoints and those named in `keep`."""
        if keep_last is None:
            return
        for checkpoint in self.checkpoints()[keep_last:]:
            if checkpoint.name not in keep:
                _remove(checkpoint)

    def tidy(self, furthest: tuple[int, int]) -> None:
        """Remove what a killed writer left, and set aside damaged checkpoints that claim to be past `furthest`.

        Only for the one who has the lock. A damaged checkpoint further on than the run would otherwise pass for the
        newest until the run has come that far again.
        """
        for entry in list(self.path.iterdir()):
            if LEFTOVER.fullmatch(entry.name):
                shutil.rmtree(entry, ignore_errors=True)
        for checkpoint in self.checkpoints():
            if position(checkpoint)[:2] > furthest:
                checkpoint.rename(self.path / f"damaged-{checkpoint.name}-{secrets.token_hex(4)}")
        flush(self.path)


def _read_in_place(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint, and refuse one that is not where its name says."""
    contents = read_checkpoint(checkpoint)
    summary = contents["summary"]
    if (summary.get("n_steps"), summary.get("n_epochs")) != position(checkpoint)[:2]:
        raise CorruptCheckpointError(
            f"checkpoint {checkpoint} is of epoch {summary.get('n_epochs')}, step {summary.get('n_steps')}, and not of "
            "those in its name"
        )
    return contents


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint; a kill meanwhile leaves something that no longer looks like one."""
    aside = checkpoint.with_name(f".{checkpoint.name}.old-{secrets.token_hex(4)}")
    try:
        checkpoint.rename(aside)
    except FileNotFoundError:
        return  # another one that trains the same has removed it
    except OSError as error:
        raise CheckpointError(f"the older checkpoint {checkpoint} could not be removed: {error}") from error
    shutil.rmtree(aside, ignore_errors=True)


def read_newest(path: Any, tell: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """Read a checkpoint, or the newest sound one of a run folder.

    Parameters
    ----------
    path : path-like
        Of either.
    tell : callable
        Is given a message where damaged checkpoints were passed over.

    Returns
    -------
    (Path, dict) or None
        The checkpoint and its contents; None if there is nothing at `path` yet, or an empty folder.

    Raises
    ------
    CheckpointError, CorruptCheckpointError
        If something is there and cannot be read.
    """
    path = found(Path(path))
    if not path.exists():
        return None
    if not path.is_dir() or NAME.fullmatch(path.name) or holds_checkpoint(path):
        return path, read_checkpoint(path)
    newest = RunFolder(path).newest_sound()
    if newest is None:
        return None
    checkpoint, contents, problems = newest
    if problems:
        tell(f"{'; '.join(problems)}. {checkpoint.name}, the newest sound checkpoint, is used instead")
    return checkpoint, contents
