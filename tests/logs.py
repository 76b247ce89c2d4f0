"""Reading logs back: every entry that is in the files, in order, duplicates included."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def calls(folder: Path) -> list[dict[str, Any]]:
    """Return the calls a CSVLogger has logged."""
    return [json.loads(line) for line in Path(folder, "calls.jsonl").read_text(encoding="utf-8").splitlines()]


def events(folder: Path) -> list[Any]:
    """Return all events of the event files right in a folder, the older file first."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    return [event for path in sorted(folder.glob("*tfevents*")) for event in LegacyEventFileLoader(str(path)).Load()]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return (step, value) of every scalar in the event files of a folder, by tag."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def texts(folder: Path) -> list[tuple[int, str]]:
    """Return (step, text) of every text in the event files of a folder."""
    values = [(event.step, value) for event in events(folder) for value in event.summary.value]
    return [(step, value.tensor.string_val[0].decode()) for step, value in values if value.tag == "parameters"]
