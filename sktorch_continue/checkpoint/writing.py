"""Writing a checkpoint: beside its place, flushed and renamed, so that it is whole or not there."""

from __future__ import annotations

import datetime
import secrets
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from sktorch_continue.checkpoint.encoding import Encoder
from sktorch_continue.checkpoint.files import (
    APART,
    FILES,
    FORMAT,
    HISTORY,
    HOMES,
    KIND,
    MANIFEST,
    REQUIRED,
    STATE,
    TRAINING,
    as_json,
    asides,
    checksum,
    flush,
    seal,
)
from sktorch_continue.exceptions import CheckpointError
from sktorch_continue.versions import versions


class Rows:
    """The rows of a history as lines of JSON; each is encoded once, since a closed row no longer changes."""

    def __init__(self) -> None:
        self._rows: list[Any] = []
        self._lines: list[bytes] = []

    def lines(self, rows: list[Any]) -> bytes:
        """Return a line per row; all but the last that were there before, as the same objects, are known."""
        known = len(self._rows)
        if known >= len(rows) or (known and rows[known - 1] is not self._rows[-1]):
            self._rows, self._lines = [], []  # another history, or the same one that is no further
        for i in range(len(self._rows), len(rows) - 1):
            self._lines.append(_line(rows[i], i))
            self._rows.append(rows[i])
        return b"".join([*self._lines, *(_line(row, len(rows) - 1) for row in rows[-1:])])


def _line(row: Any, number: int) -> bytes:
    return as_json(Encoder({}, None, {}).encode(row, ("run", "history", "rows", str(number)))) + b"\n"


class Writer:
    """Writes checkpoints, and keeps what is worth keeping from one to the next: threads, and lines of the history."""

    def __init__(self) -> None:
        self._disk = ThreadPoolExecutor(len(FILES) + 1, thread_name_prefix="sktorch_continue.disk")
        self._rows = Rows()

    def write(self, path: Path, contents: dict[str, Any]) -> None:
        """Write `contents` to `path`; a checkpoint that is there already is replaced.

        Parameters
        ----------
        path : Path
            The checkpoint's folder. Its parent must exist.
        contents : dict
            ``summary`` (into the manifest) and any other entries of plain values and tensors; the weights, the best
            weights and the rows of the history get files of their own.

        Raises
        ------
        CheckpointError
            If something in `contents` cannot be stored, the disk refuses, or `path` is something else than a
            checkpoint.
        """
        _refuse_to_replace(path)
        encoder = Encoder(HOMES, TRAINING, APART)
        document = encoder.encode({name: entry for name, entry in contents.items() if name != "summary"})
        texts = {STATE: as_json(document), HISTORY: self._rows.lines(encoder.lists.get(HISTORY, []))}
        beside = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
        try:
            beside.mkdir()
            files = self._write_files(beside, {**texts, **encoder.tensors})
            (beside / MANIFEST).write_bytes(as_json(_sealed(contents["summary"], files)))
            self._side_by_side(flush, [*beside.iterdir(), beside])  # the disk does them as one
            _put_in_place(beside, path)
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(f"checkpoint {path} could not be written: {error}") from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def close(self) -> None:
        """End the threads."""
        self._disk.shutdown()

    def _write_files(self, folder: Path, entries: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Write and hash the files side by side; return their sizes and checksums."""

        def write(name: str) -> dict[str, Any]:
            if isinstance(entries[name], bytes):
                (folder / name).write_bytes(entries[name])
            else:
                _write_tensors(folder / name, entries[name])
            return {"bytes": (folder / name).stat().st_size, "sha256": checksum(folder / name)}

        names = [name for name, entry in entries.items() if entry or name in REQUIRED]
        return dict(zip(names, self._side_by_side(write, names), strict=True))

    def _side_by_side(self, act: Callable[[Any], Any], what: Iterable[Any]) -> list[Any]:
        """Return the results, or raise the first error once nothing is under way: the folder can be removed then."""
        tasks = [self._disk.submit(act, each) for each in what]
        try:
            return [task.result() for task in tasks]
        finally:
            wait(tasks)


def write_checkpoint(path: Path, contents: dict[str, Any]) -> None:
    """Write a single checkpoint; see :meth:`Writer.write`."""
    writer = Writer()
    try:
        writer.write(path, contents)
    finally:
        writer.close()


def _refuse_to_replace(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise CheckpointError(f"{path} is no folder, so no checkpoint is written there; give another path")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise CheckpointError(
            f"{path} is a folder with other things in it, which are not replaced; give a path that does not exist, or "
            "that of an older checkpoint"
        )


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save_file  # takes long to import, and few write

    apart: set[int] = set()
    ready = {}
    for name, tensor in tensors.items():
        shared = tensor.untyped_storage().data_ptr() in apart  # tied weights: each name has its own copy in a file
        ready[name] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()
        apart.add(ready[name].untyped_storage().data_ptr())
    save_file(ready, path, metadata={"format": "pt"})
    path.chmod(path.parent.stat().st_mode & 0o666)  # whoever may read the folder may read the weights


def _sealed(summary: dict[str, Any], files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    manifest = {
        "kind": KIND,
        "format": FORMAT,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "summary": summary,
        "files": files,
    }
    return {**manifest, "sha256": seal(manifest)}


def _put_in_place(beside: Path, path: Path) -> None:
    """Rename; an older checkpoint at `path` is moved aside first, where :func:`found` looks after a kill."""
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
    elif path.exists():
        path.rename(path.with_name(f".{path.name}.old-{secrets.token_hex(4)}"))
    beside.rename(path)
    flush(path.parent)
    for aside in asides(path):  # also what a kill left at an earlier time
        shutil.rmtree(aside, ignore_errors=True)
