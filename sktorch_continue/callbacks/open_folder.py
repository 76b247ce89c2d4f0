"""A run folder that one call writes to."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from sktorch_continue.checkpoint import RunFolder
from sktorch_continue.checkpoint.folder import position
from sktorch_continue.checkpoint.writing import Writer
from sktorch_continue.exceptions import CheckpointError, CorruptCheckpointError


class OpenFolder:
    """The folder, the lock on it, and the thread that writes to it aside.

    Parameters
    ----------
    path : str
        Of the run folder.
    run : Run
        That is stored there.

    Raises
    ------
    CheckpointError
        If the folder belongs to another run, or another one is writing to it.
    """

    def __init__(self, path: str, run: Any) -> None:
        self._folder = folder = RunFolder(path)
        self._writer = Writer()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sktorch_continue.checkpoint")
        self._writing: Future[None] | None = None
        self._begun = time.monotonic()
        self.stored: tuple[int, int] | None = None
        self.opened = place(run)
        folder.lock()
        try:
            _refuse_another_run(folder, run)
            folder.tidy(place(run))
        except BaseException:
            folder.unlock()
            raise

    def seconds(self) -> float:
        """Return how long ago the last checkpoint was begun."""
        return time.monotonic() - self._begun

    def name(self, run: Any) -> str:
        """Return the name the next checkpoint will have."""
        return self._folder.free_name(run.n_epochs, run.n_steps)

    def save(self, run: Any, keep_last: int | None, keep: list[str]) -> None:
        """Copy the run, and have the thread write it and remove what is no longer to be kept."""
        name, contents = self.name(run), run.session.contents()
        self._begun, self.stored = time.monotonic(), place(run)
        self._writing = self._pool.submit(partial(self._write, name, contents, keep_last, keep))

    def _write(self, name: str, contents: dict[str, Any], keep_last: int | None, keep: list[str]) -> None:
        self._writer.write(self._folder.path / name, contents)
        self._folder.prune(keep_last, keep)

    def wait(self) -> None:
        """Wait for the write under way; raise what went wrong with it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            try:
                writing.result()
            except BaseException:
                self.stored = None
                raise

    def close(self) -> None:
        """Wait, end the thread and let others write."""
        try:
            self.wait()
        finally:
            self._pool.shutdown()
            self._writer.close()
            self._folder.unlock()


def place(run: Any) -> tuple[int, int]:
    """Return where a run stands: completed steps and epochs."""
    return run.n_steps, run.n_epochs


def _refuse_another_run(folder: RunFolder, run: Any) -> None:
    """Refuse a folder whose newest checkpoint is not a place this run has passed.

    Raises
    ------
    CheckpointError
        Naming both.
    """
    way_out = (
        "to go on with what is there, use resume_fit or load_checkpoint; to keep it, give this run another path (in a "
        "search or an ensemble a function as path, which is called once per run)"
    )
    try:
        newest = folder.newest_sound()
    except CorruptCheckpointError as error:
        raise CheckpointError(f"{folder.path} holds checkpoints that cannot be read; {way_out}. {error}") from error
    if newest is None:
        return
    checkpoint, contents, _ = newest
    stored = contents["run"]
    if stored["id"] != run.id:
        raise CheckpointError(
            f"{folder.path} holds another run (at epoch {contents['summary']['n_epochs']}), which is not mixed with "
            f"this one; {way_out}"
        )
    passed = [row["duration"] for row in stored["history"]["rows"]]  # no two trainings take the same time
    if position(checkpoint)[:2] > place(run) or passed != [row["duration"] for row in run.history[: len(passed)]]:
        raise CheckpointError(
            f"{folder.path} holds this run at epoch {contents['summary']['n_epochs']}, step "
            f"{contents['summary']['n_steps']}, where this estimator, at epoch {run.n_epochs}, step {run.n_steps}, has "
            f"not been; {way_out}"
        )
