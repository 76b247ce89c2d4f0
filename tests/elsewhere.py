"""Another process that only loads what was stored, trains on and stores it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import torch


def continue_elsewhere(estimator: Any, folder: Path, verb: str, *data: Any, **arguments: Any) -> Any:
    """Return what another process made of the estimator, which went there and back through joblib files."""
    joblib.dump((estimator, data), folder / "there.joblib")
    joblib.Parallel(n_jobs=2)([joblib.delayed(_continue)(folder, verb, arguments)])  # in a worker, not here
    return joblib.load(folder / "back.joblib")


def _continue(folder: Path, verb: str, arguments: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    estimator, data = joblib.load(folder / "there.joblib")
    joblib.dump(getattr(estimator, verb)(*data, **arguments), folder / "back.joblib")
