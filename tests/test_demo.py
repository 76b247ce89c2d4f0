"""The demo, run as a reader runs it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_demo_shows_the_continuation_and_draws_it(tmp_path):
    """The demo prints both calls, says that cut and uncut runs are equal, and writes the learning curve."""
    for library in ("matplotlib", "pandas"):
        pytest.importorskip(library)
    copy = shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("*.png"))
    command = [sys.executable, "-W", "error", str(copy / "demo.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    epochs = [tuple(row[:2]) for row in rows if len(row) == 7 and row[0].isdigit()]
    assert {("20", "1"), ("21", "2"), ("60", "2"), ("100", "1"), ("101", "2"), ("150", "2")} <= set(epochs)
    assert "batch_size 128 -> 32" in done.stdout
    assert done.stdout.count("equal to the bit (") == 2
    assert (copy / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
