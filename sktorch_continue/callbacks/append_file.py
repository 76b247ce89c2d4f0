"""A file that only grows, and a mark in the state of a callback that says how far it belongs to the run."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

CHUNK = 1 << 20


class AppendFile:
    """A file open at its end; what is written is with the operating system at once, and outlives a kill.

    Parameters
    ----------
    path : Path
        Of a file that is there, or is made.
    size, crc : int
        Bytes of it that belong to the run, and their checksum.
    """

    def __init__(self, path: Path, size: int = 0, crc: int = 0) -> None:
        self.path = path
        self.size = size
        self.crc = crc
        self._file = open(path, "ab")  # noqa: SIM115  # closed at the end of the call

    @property
    def mark(self) -> dict[str, Any]:
        """Name, size and checksum, for the state of a callback."""
        return {"name": self.path.name, "size": self.size, "crc": self.crc}

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self._file.flush()
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)

    def flush(self) -> None:
        """Do nothing: every write is flushed."""

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def cut_back(folder: Path, mark: dict[str, Any]) -> int | None:
    """Cut a file back to its mark.

    Returns
    -------
    int or None
        How many bytes were cut off. None where the file does not begin as marked: it is missing, or somebody has
        changed it, as another copy of the run does.
    """
    path, left, crc = folder / mark["name"], mark["size"], 0
    try:
        file = open(path, "r+b")  # noqa: SIM115  # closed below
    except FileNotFoundError:
        return None
    with file:
        size = os.fstat(file.fileno()).st_size
        if size < left:
            return None
        while left:
            chunk = file.read(min(CHUNK, left))
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
        if crc != mark["crc"]:
            return None
        file.truncate(mark["size"])
    return int(size - mark["size"])


def replaced(path: Path, content: bytes) -> AppendFile:
    """Put a file with this content in the place of one that may be there, whole or not at all, and open it."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_bytes(content)
    os.replace(beside, path)
    return AppendFile(path, len(content), zlib.crc32(content))
