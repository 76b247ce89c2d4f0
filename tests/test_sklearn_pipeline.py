"""scikit-learn's own tests of its Pipeline, run on ours."""

import re
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "replace_pipeline"]


def test_scikit_learn_tests_of_pipeline_pass_with_ours(tmp_path):
    """Every test of sklearn.tests.test_pipeline passes when Pipeline is ContinuablePipeline."""
    command = [*COMMAND, "--rootdir", str(tmp_path), "--pyargs", "sklearn.tests.test_pipeline"]
    found = {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=found)
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 100
