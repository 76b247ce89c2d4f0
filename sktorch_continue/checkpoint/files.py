"""The files of a checkpoint: their names, checksums and seal, and where a checkpoint is."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

KIND = "sktorch_continue checkpoint"
FORMAT = 1
MANIFEST, STATE, HISTORY = "manifest.json", "state.json", "history.jsonl"
WEIGHTS, BEST, TRAINING = "module.safetensors", "best.safetensors", "training.safetensors"
HOMES: dict[tuple[str, ...], str] = {("run", "module"): WEIGHTS, ("run", "best"): BEST}
APART: dict[tuple[str, ...], str] = {("run", "history", "rows"): HISTORY}
TENSOR_FILES = (WEIGHTS, BEST, TRAINING)
REQUIRED = (STATE, HISTORY, WEIGHTS, TRAINING)
FILES = (MANIFEST, STATE, HISTORY, *TENSOR_FILES)


def as_json(document: Any) -> bytes:
    """Return a document in the one form that is hashed: the same document is the same bytes."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def seal(manifest: dict[str, Any]) -> str:
    """Return the checksum of a manifest, which is its last entry on disk."""
    return hashlib.sha256(as_json(manifest)).hexdigest()


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


def found(path: Path) -> Path:
    """Return where the checkpoint `path` is: there, or aside when a kill came while it was being replaced."""
    if path.exists() or not path.parent.is_dir():
        return path
    return max(asides(path), key=lambda aside: (aside / MANIFEST).stat().st_mtime_ns, default=path)


def asides(path: Path) -> list[Path]:
    """Return the older checkpoints that were moved aside when `path` was replaced, and not removed."""
    beside = [entry for entry in path.parent.iterdir() if entry.name.startswith(f".{path.name}.old-")]
    return [entry for entry in beside if (entry / MANIFEST).is_file()]


def holds_checkpoint(path: Path) -> bool:
    """Tell whether `path` is a checkpoint, sound or not, rather than a folder of some."""
    return any((path / name).exists() for name in FILES)
