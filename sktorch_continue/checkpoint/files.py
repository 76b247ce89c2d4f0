"""One checkpoint on disk: written beside its place, flushed and renamed; read only when every checksum fits."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from sktorch_continue.checkpoint.encoding import Encoder, Tensors, decode
from sktorch_continue.exceptions import CheckpointError, CorruptCheckpointError
from sktorch_continue.versions import versions

KIND = "sktorch_continue checkpoint"
FORMAT = 1
MANIFEST, STATE = "manifest.json", "state.json"
WEIGHTS, BEST, TRAINING = "module.safetensors", "best.safetensors", "training.safetensors"
HOMES: dict[tuple[str, ...], str] = {("run", "module"): WEIGHTS, ("run", "best"): BEST}
TENSOR_FILES = (WEIGHTS, BEST, TRAINING)
REQUIRED = (STATE, WEIGHTS, TRAINING)
FILES = (MANIFEST, STATE, *TENSOR_FILES)
LARGEST_MANIFEST = 1 << 20


def write_checkpoint(path: Path, contents: dict[str, Any]) -> None:
    """Write `contents` to `path`: whole or not there. A checkpoint that is there already is replaced.

    Parameters
    ----------
    path : Path
        The checkpoint's folder. Its parent must exist.
    contents : dict
        ``summary`` (into the manifest) and any other entries of plain values and tensors; tensors below
        ``run.module`` and ``run.best`` get files of their own.

    Raises
    ------
    CheckpointError
        If something in `contents` cannot be stored, the disk refuses, or `path` is something else than a checkpoint.
    """
    _refuse_to_replace(path)
    encoder = Encoder(HOMES, TRAINING)
    document = encoder.encode({name: entry for name, entry in contents.items() if name != "summary"})
    beside = path.with_name(f".{path.name}.tmp-{secrets.token_hex(4)}")
    try:
        beside.mkdir()
        files = _write_files(beside, document, encoder.tensors)
        _write_json(beside / MANIFEST, _sealed(contents["summary"], files))
        flush(beside)
        _put_in_place(beside, path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} could not be written: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _refuse_to_replace(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise CheckpointError(f"{path} is no folder, so no checkpoint is written there; give another path")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise CheckpointError(
            f"{path} is a folder with other things in it, which are not replaced; give a path that does not exist, or "
            "that of an older checkpoint"
        )


def _write_files(folder: Path, document: Any, tensors: Tensors) -> dict[str, dict[str, Any]]:
    """Write, hash and flush the files side by side; return their sizes and checksums."""

    def write(name: str) -> dict[str, Any]:
        if name == STATE:
            _write_json(folder / name, document)
        else:
            _write_tensors(folder / name, tensors[name])
        flush(folder / name)
        return {"bytes": (folder / name).stat().st_size, "sha256": checksum(folder / name)}

    names = [STATE, *(name for name, entries in tensors.items() if entries or name in REQUIRED)]
    with ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(write, names), strict=True))


def _write_json(path: Path, document: Any) -> None:
    path.write_bytes(_json(document))


def _json(document: Any) -> bytes:
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    apart: set[int] = set()
    ready = {}
    for name, tensor in tensors.items():
        shared = tensor.untyped_storage().data_ptr() in apart  # tied weights: each name has its own copy in a file
        ready[name] = tensor.clone(memory_format=torch.contiguous_format) if shared else tensor.contiguous()
        apart.add(ready[name].untyped_storage().data_ptr())
    safetensors.torch.save_file(ready, path, metadata={"format": "pt"})


def _sealed(summary: dict[str, Any], files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    manifest = {
        "kind": KIND,
        "format": FORMAT,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "summary": summary,
        "files": files,
    }
    return {**manifest, "sha256": _seal(manifest)}


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(_json(manifest)).hexdigest()


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Have the disk keep a file, or the entries of a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(beside: Path, path: Path) -> None:
    """Rename; an older checkpoint at `path` is moved aside first, where :func:`found` looks after a kill."""
    aside = path.with_name(f".{path.name}.old-{secrets.token_hex(4)}")
    if path.exists():
        path.rename(aside)
    beside.rename(path)
    flush(path.parent)
    shutil.rmtree(aside, ignore_errors=True)


def found(path: Path) -> Path:
    """Return where the checkpoint `path` is: there, or aside when a kill came while it was being replaced."""
    if path.exists() or not path.parent.is_dir():
        return path
    aside = [entry for entry in path.parent.iterdir() if entry.name.startswith(f".{path.name}.old-")]
    return aside[0] if aside else path


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


def holds_checkpoint(path: Path) -> bool:
    """Tell whether `path` is a checkpoint, sound or not, rather than a folder of some."""
    return any((path / name).exists() for name in FILES)


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a checkpoint, compared with its own checksum.

    Raises
    ------
    CheckpointError, CorruptCheckpointError
        As :func:`read_checkpoint`.
    """
    if not path.is_dir():
        what = "is no folder" if path.exists() else "does not exist"
        raise CheckpointError(f"{path} {what}; the path of a checkpoint or of a run folder was expected")
    with _readable(path):
        if not _is_file(path / MANIFEST):
            raise CorruptCheckpointError(f"{path} holds no {MANIFEST}: it is no checkpoint, or a damaged one")
        if (path / MANIFEST).stat().st_size > LARGEST_MANIFEST:
            raise CorruptCheckpointError(f"{path / MANIFEST} is larger than {LARGEST_MANIFEST} bytes")
        manifest = _parse(path / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise CorruptCheckpointError(f"{path / MANIFEST} is not that of a {KIND}")
    if type(manifest.get("format")) is not int or manifest["format"] not in READERS:
        raise CheckpointError(
            f"{path} has format {manifest.get('format')!r}; this version reads {sorted(READERS)}. A newer version of "
            "sktorch-continue may read it"
        )
    if manifest.pop("sha256", None) != _seal(manifest):
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
    strange = sorted(set(files) - {STATE, *TENSOR_FILES})
    missing = [name for name in REQUIRED if name not in files]
    if strange or missing:
        raise CorruptCheckpointError(
            f"{path / MANIFEST} names {strange} and lacks {missing}; {[STATE, *TENSOR_FILES]} were expected"
        )


def damage(path: Path, manifest: dict[str, Any]) -> list[str]:
    """Return what is wrong with the files of a checkpoint, a line for each."""
    problems = []
    for name, entry in manifest["files"].items():
        file = path / name
        try:
            if not _is_file(file):
                problems.append(f"{name} is missing")
            elif file.stat().st_size != entry["bytes"]:
                problems.append(f"{name} has {file.stat().st_size} bytes, where {entry['bytes']} were written")
            elif checksum(file) != entry["sha256"]:
                problems.append(f"{name} does not fit its checksum")
        except OSError as error:
            problems.append(f"{name} cannot be read: {error}")
    return problems


def _is_file(path: Path) -> bool:
    """Tell whether there is a regular file; a link or a pipe is none."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _read_format_1(path: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    tensors: Tensors = {name: {} for name in TENSOR_FILES}
    for name in set(manifest["files"]) & set(TENSOR_FILES):
        tensors[name] = safetensors.torch.load_file(path / name)
    contents = decode(_parse(path / STATE), tensors)
    if not isinstance(contents, dict):
        raise CorruptCheckpointError(f"{path / STATE} is no dictionary")
    return contents


READERS: dict[Any, Callable[[Path, dict[str, Any]], dict[str, Any]]] = {1: _read_format_1}


def _parse(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(path.read_bytes(), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"{path} is no readable JSON: {error}") from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the decoders say into the package's own errors."""
    try:
        yield
    except CheckpointError:
        raise
    except SafetensorError as error:
        raise CorruptCheckpointError(f"checkpoint {path} holds a file that is no safetensors file: {error}") from error
    except OSError as error:
        with contextlib.suppress(OSError):
            if not path.exists():
                raise CheckpointError(f"checkpoint {path} was removed while it was read") from error
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
