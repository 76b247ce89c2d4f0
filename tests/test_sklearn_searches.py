"""scikit-learn's own tests of its searches, run on ours."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = ("sklearn.model_selection.tests.test_search", "sklearn.model_selection.tests.test_successive_halving")


def counts(folder: Path, *options: str) -> dict[str, int]:
    """Run scikit-learn's tests of searches in a process of its own, and return how many ended how."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), *options]
    found = {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1", "PATH": "", "HOME": str(folder)}
    done = subprocess.run([*command, "--pyargs", *TESTS], cwd=folder, capture_output=True, text=True, env=found)
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.findall(r"(\d+) (passed|skipped|failed|error|xfailed|xpassed)", done.stdout.splitlines()[-1])
    return {how: int(number) for number, how in said}


def test_scikit_learn_tests_of_both_searches_pass_with_ours(tmp_path: Path) -> None:
    """A selection of them, with GridSearchCV and RandomizedSearchCV replaced."""
    chosen = "(grid_search or random_search) and not array_api"
    assert counts(tmp_path, "-p", "replace_searches", "-k", chosen)["passed"] > 30


@pytest.mark.peers
def test_as_many_scikit_learn_tests_of_searches_pass_with_ours(tmp_path: Path) -> None:
    """All of them end as they do with scikit-learn's classes."""
    assert counts(tmp_path, "-p", "replace_searches") == counts(tmp_path)
