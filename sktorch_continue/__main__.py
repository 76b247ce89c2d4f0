"""``python -m sktorch_continue``: look at checkpoints, and check that they are sound."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sktorch_continue.checkpoint import RunFolder
from sktorch_continue.checkpoint.files import holds_checkpoint
from sktorch_continue.checkpoint.reading import damage, read_manifest
from sktorch_continue.exceptions import CheckpointError

SOUND, DAMAGED, NOTHING = 0, 1, 2
SUMMARY = ("estimator", "run", "n_epochs", "n_steps", "n_calls", "max_epochs", "stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0; 1 where ``verify`` found damage; 2 where there is no checkpoint.
    """
    parser = argparse.ArgumentParser(prog="python -m sktorch_continue", description="Look at checkpoints on disk.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("inspect", "print what a checkpoint or a run folder holds"),
        ("verify", "compare every checksum; the exit status is 1 where something is damaged"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("path", type=Path, help="a checkpoint, or the folder of a run")
        command.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    found = [given.path] if holds_checkpoint(given.path) else RunFolder(given.path).checkpoints()
    if not found:
        print(f"there is no checkpoint at {given.path}", file=sys.stderr)
        return NOTHING
    reports = [report(path) for path in found]
    if given.json:
        print(json.dumps(reports[0] if found == [given.path] else reports, indent=2))
    elif given.command == "verify":
        print("\n".join(verdict(entry) for entry in reports))
    else:
        print(details(reports[0]) if found == [given.path] else table(given.path, reports))
    return DAMAGED if given.command == "verify" and any(entry["problems"] for entry in reports) else SOUND


def report(path: Path) -> dict[str, Any]:
    """Return what is known of a checkpoint: its manifest as far as it can be read, and what is wrong with it."""
    try:
        manifest = read_manifest(path)
    except CheckpointError as error:
        return {"checkpoint": str(path), "sound": False, "problems": [str(error)]}
    problems = damage(path, manifest)
    return {
        "checkpoint": str(path),
        "sound": not problems,
        "problems": problems,
        "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
        "summary": {**dict.fromkeys(SUMMARY, "?"), "last": {}, **manifest["summary"]},
        **{name: manifest.get(name) for name in ("format", "written", "versions", "files")},
    }


def verdict(entry: dict[str, Any]) -> str:
    """Return one line on whether a checkpoint is sound."""
    return f"{entry['checkpoint']}: {'sound' if entry['sound'] else 'DAMAGED: ' + '; '.join(entry['problems'])}"


def details(entry: dict[str, Any]) -> str:
    """Return everything about one checkpoint."""
    if "summary" not in entry:
        return verdict(entry)
    summary = entry["summary"]
    lines = {
        "checkpoint": entry["checkpoint"],
        "sound": "yes" if entry["sound"] else "NO: " + "; ".join(entry["problems"]),
        "estimator": summary["estimator"],
        "run": summary["run"],
        "epochs": f"{summary['n_epochs']} of {summary['max_epochs']}"
        + (f", stopped: {summary['stopped']}" if summary["stopped"] else ""),
        "steps": summary["n_steps"],
        "calls": summary["n_calls"],
        "last epoch": ", ".join(f"{name} {cell(value)}" for name, value in summary["last"].items()),
        "written": entry["written"],
        "versions": ", ".join(f"{name} {version}" for name, version in (entry["versions"] or {}).items()),
        "files": ", ".join(f"{name} {size(file['bytes'])}" for name, file in entry["files"].items()),
    }
    return "\n".join(f"{name:<11} {value}" for name, value in lines.items())


def table(path: Path, reports: list[dict[str, Any]]) -> str:
    """Return the checkpoints of a run folder, one per line, the newest first."""
    known = [entry["summary"] for entry in reports if "summary" in entry]
    metrics = list(dict.fromkeys(n for s in known for n in s["last"] if n.endswith(("loss", "lr")) or "_" in n))
    metrics = [name for name in metrics if name != "n_steps"]
    rows = [["checkpoint", "epochs", "steps", "calls", "size", "sound", *metrics]]
    for entry in reports:
        name = Path(entry["checkpoint"]).name
        if "summary" not in entry:
            rows.append([name, *["?"] * 4, "NO", *["?"] * len(metrics)])
            continue
        summary = entry["summary"]
        sound = "yes" if entry["sound"] else "NO"
        counts = [f"{summary['n_epochs']}/{summary['max_epochs']}", str(summary["n_steps"]), str(summary["n_calls"])]
        scores = [cell(summary["last"].get(metric, "")) for metric in metrics]
        rows.append([name, *counts, size(entry["bytes"]), sound, *scores])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(f"{value:<{width}}" for value, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    runs = sorted({f"{s['run']} ({s['estimator']})" for s in known})
    return "\n".join([f"{path}: {len(reports)} checkpoints of run {', '.join(runs) or '?'}", *lines])


def cell(value: Any) -> str:
    """Return a value of the history in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def size(n_bytes: int) -> str:
    """Return a number of bytes in the unit a reader likes."""
    amount, units = float(n_bytes), ["B", "kB", "MB", "GB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}"


if __name__ == "__main__":
    sys.exit(main())
