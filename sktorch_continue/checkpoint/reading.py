"""Reading a checkpoint: nothing is taken from it before every checksum has been compared."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from sktorch_continue.checkpoint.encoding import Tensors, decode
from sktorch_continue.checkpoint.files import (
    FILES,
    HISTORY,
    KIND,
    MANIFEST,
    REQUIRED,
    STATE,
    TENSOR_FILES,
    checksum,
    found,
    seal,
)
from sktorch_continue.exceptions import CheckpointError, CorruptCheckpointError

LARGEST_MANIFEST = 1 << 20
WORTH_THREADS = 4 << 20  # bytes: hashing fewer takes less time than starting threads


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, after every checksum has been compared.

    Raises
    ------
    CorruptCheckpointError
        If anything is missing, damaged or of another kind.
    CheckpointError
        If there is no checkpoint, it may not be read, or its format is unknown.
    """
    path = found(path)
    manifest = read_manifest(path)
    problems = damage(path, manifest)
    if problems:
        raise CorruptCheckpointError(f"checkpoint {path} is damaged: {'; '.join(problems)}")
    with _readable(path):
        return {"summary": manifest["summary"], **READERS[manifest["format"]](path, manifest)}


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint, compared with its own checksum.

    Raises
    ------
    CheckpointError, CorruptCheckpointError
        As :func:`read_checkpoint`.
    """
    if not path.is_dir():
        kind, what = (CorruptCheckpointError, "is no folder") if path.exists() else (CheckpointError, "does not exist")
        raise kind(f"{path} {what}; the path of a checkpoint or of a run folder was expected")
    with _readable(path):
        if not _is_file(path / MANIFEST):
            raise CorruptCheckpointError(f"{path} holds no {MANIFEST}: it is no checkpoint, or a damaged one")
        if (path / MANIFEST).stat().st_size > LARGEST_MANIFEST:
            raise CorruptCheckpointError(f"{path / MANIFEST} is larger than {LARGEST_MANIFEST} bytes")
        manifest = _parsed((path / MANIFEST).read_bytes(), path / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise CorruptCheckpointError(f"{path / MANIFEST} is not that of a {KIND}")
    if type(manifest.get("format")) is not int or manifest["format"] not in READERS:
        raise CheckpointError(
            f"{path} has format {manifest.get('format')!r}; this version reads {sorted(READERS)}. A newer version of "
            "sktorch-continue may read it"
        )
    try:
        fits = manifest.pop("sha256", None) == seal(manifest)
    except (ValueError, RecursionError):  # a number beyond a float, which JSON reads and does not write
        fits = False
    if not fits:
        raise CorruptCheckpointError(f"{path / MANIFEST} does not fit its own checksum")
    _check_names(path, manifest)
    return manifest


def _check_names(path: Path, manifest: dict[str, Any]) -> None:
    files = manifest.get("files")
    if not isinstance(files, dict) or not isinstance(manifest.get("summary"), dict):
        raise CorruptCheckpointError(f"{path / MANIFEST} lists no files or has no summary")
    for name, entry in files.items():
        if not isinstance(entry, dict) or type(entry.get("bytes")) is not int or "sha256" not in entry:
            raise CorruptCheckpointError(f"{path / MANIFEST} has no size or no checksum for {name!r}")
    strange = sorted(set(files) - set(FILES[1:]))
    missing = [name for name in REQUIRED if name not in files]
    if strange or missing:
        raise CorruptCheckpointError(
            f"{path / MANIFEST} names {strange} and lacks {missing}; {list(FILES[1:])} were expected"
        )


def damage(path: Path, manifest: dict[str, Any]) -> list[str]:
    """Return what is wrong with the files of a checkpoint, a line for each."""

    def problem(name: str) -> str | None:
        file, entry = path / name, manifest["files"][name]
        try:
            if not _is_file(file):
                return f"{name} is missing"
            if file.stat().st_size != entry["bytes"]:
                return f"{name} has {file.stat().st_size} bytes, where {entry['bytes']} were written"
            return None if checksum(file) == entry["sha256"] else f"{name} does not fit its checksum"
        except OSError as error:
            return f"{name} cannot be read: {error}"

    if sum(entry["bytes"] for entry in manifest["files"].values()) < WORTH_THREADS:
        return [line for line in map(problem, manifest["files"]) if line is not None]
    with ThreadPoolExecutor(len(FILES)) as disk:
        return [line for line in disk.map(problem, manifest["files"]) if line is not None]


def _is_file(path: Path) -> bool:
    """Tell whether there is a regular file; a link or a pipe is none."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _read_format_1(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    from safetensors.torch import load_file  # takes long to import, and few read

    tensors: Tensors = {name: {} for name in TENSOR_FILES}
    for name in set(manifest["files"]) & set(TENSOR_FILES):
        tensors[name] = load_file(path / name)
    rows = [_parsed(line, path / HISTORY) for line in (path / HISTORY).read_bytes().splitlines()]
    contents = decode(_parsed((path / STATE).read_bytes(), path / STATE), tensors, {HISTORY: rows})
    if not isinstance(contents, dict):
        raise CorruptCheckpointError(f"{path / STATE} is no dictionary")
    return contents


READERS: dict[Any, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {1: _read_format_1}


def _parsed(text: bytes, path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path} is no readable JSON: {error}") from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the decoders say into the package's own errors."""
    try:
        yield
    except CheckpointError:
        raise
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CorruptCheckpointError(f"checkpoint {path} holds a file that cannot be decoded: {error}") from error
    except OSError as error:
        with contextlib.suppress(OSError):
            if not path.exists():
                raise CheckpointError(f"checkpoint {path} was removed while it was read") from error
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
