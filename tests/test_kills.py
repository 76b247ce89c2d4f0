"""P4, killed: a run that SIGKILL ends at any moment, writes included, is finished exactly by the same script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each start is a fork")

KILLING = Path(__file__).with_name("killing.py")


def killed(folder: Path, runs: int, seed: int) -> list[dict[str, Any]]:
    """Return what as many killed runs met; print how many kills fell where."""
    command = [sys.executable, str(KILLING), str(folder), str(runs), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    met: list[dict[str, Any]] = json.loads(done.stdout)["runs"]
    kills = [kill for run in met for kill in run["kills"]]
    exact = sum(not run["problems"] and run["difference"] is None for run in met)
    inside = {where: sum(kill[where] for kill in kills) for where in ("writing", "removing", "before_any")}
    print(
        f"\n{exact} of {len(met)} runs exact after {len(kills)} kills: {inside['writing']} while a checkpoint was "
        f"written, {inside['removing']} while one was removed, {inside['before_any']} before there was any"
    )
    assert not done.stderr, done.stderr
    return met


def assert_nothing_lost(met: list[dict[str, Any]], runs: int) -> None:
    """Raise unless every run was killed, was always readable, and ended where the run that nobody killed ends."""
    assert len(met) == runs
    assert all(run["kills"] for run in met)
    assert [run for run in met if run["problems"] or run["difference"] is not None] == []


def test_a_killed_run_is_finished_exactly_by_the_same_script(tmp_path):
    """Six runs, killed at seeded moments; ``make kills`` does 200."""
    assert_nothing_lost(killed(tmp_path, 6, seed=1), 6)


@pytest.mark.kills
@pytest.mark.parametrize("seed", range(4))
def test_two_hundred_killed_runs_are_finished_exactly(tmp_path, seed):
    """Four times 50 runs, at the start, in the steps, in writes and in removals; no folder is ever unreadable."""
    met = killed(tmp_path, 50, seed=100 + seed)
    assert_nothing_lost(met, 50)
    kills = [kill for run in met for kill in run["kills"]]
    assert all(any(kill[where] for kill in kills) for where in ("writing", "removing", "before_any"))
