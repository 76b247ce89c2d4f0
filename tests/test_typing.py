"""What a type checker makes of a user's program."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("typed_program.py")
OLD_NUMPY = np.lib.NumpyVersion(np.__version__) < "2.2.0"


@pytest.mark.skipif(OLD_NUMPY, reason="before NumPy 2.2 a strict mypy accepts no plain np.ndarray")
def test_mypy_passes_a_program_of_a_user_and_knows_its_types():
    """With `strict = true` (pyproject.toml) it finds no error, nor an `assert_type` that does not hold."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", str(PROGRAM)]
    done = subprocess.run(command, cwd=PROGRAM.parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
