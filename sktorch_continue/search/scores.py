"""What one task of a search found out, and a folder of such results."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from sktorch_continue.checkpoint.files import flush
from sktorch_continue.estimators.stores import Leg
from sktorch_continue.exceptions import warn

FORMAT = 1
NEEDED = {"test_scores", "fit_time", "score_time", "n_test_samples", "fit_error"}


@dataclass(frozen=True)
class Scored:
    """Result of one task.

    Attributes
    ----------
    result : dict
        As scikit-learn's task returns it; ``fit_time`` is what a fit from scratch would have taken.
    asked, trained : int
        Epochs.
    seconds : float
        That were saved.
    failed : bool
        Whether the fit or a score failed; such a result is found out again.
    """

    result: dict[str, Any]
    asked: int
    trained: int
    seconds: float
    failed: bool = False

    @classmethod
    def of(cls, result: dict[str, Any], legs: Iterable[Leg], error_score: Any) -> Scored:
        """Return what a task gave whose fits were `legs`."""
        legs = list(legs)
        saved = math.fsum(leg.seconds_saved for leg in legs)
        whole = {**result, "fit_time": result["fit_time"] + saved}
        failed = result["fit_error"] is not None or any(_is_failure(score, error_score) for score in _scores(result))
        return cls(whole, sum(leg.asked for leg in legs), sum(leg.trained for leg in legs), saved, failed)

    def again(self) -> Scored:
        """Return the same as what a task gives that did not have to be done."""
        return Scored(dict(self.result), self.asked, 0, self.result["fit_time"])


class ScoreFolder:
    """One small JSON file per result, whole or not there; failures are not kept, they are tried again.

    Parameters
    ----------
    path : Path
        Made when the first result is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, key: str) -> Scored | None:
        """Return the result of a key; one that cannot be read is told of and passed over."""
        file = self.path / f"{key}.json"
        try:
            document = json.loads(file.read_text())
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']} is not {FORMAT}")
            result = {name: _number(value) for name, value in document["result"].items()}
            if not result.keys() >= NEEDED:
                raise ValueError(f"{sorted(NEEDED - result.keys())} are missing")
            return Scored(result, int(document["asked"]), int(document["trained"]), float(document["seconds"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            warn(f"the scores in {file} cannot be read ({error!r}); they are found out again")
            return None

    def write(self, key: str, scored: Scored) -> None:
        """Write a result; one that cannot be written is told of, and the search goes on."""
        if scored.failed:
            return
        document = {"format": FORMAT, "asked": scored.asked, "trained": scored.trained, "seconds": scored.seconds}
        beside = self.path / f".{key}.tmp-{secrets.token_hex(4)}"
        try:
            result = {name: _plain(value) for name, value in scored.result.items()}
            self.path.mkdir(parents=True, exist_ok=True)
            beside.write_text(json.dumps({**document, "result": result}))
            flush(beside)
            os.replace(beside, self.path / f"{key}.json")
        except (OSError, TypeError) as error:
            beside.unlink(missing_ok=True)
            warn(f"the scores of a candidate could not be kept in {self.path}: {error}. The search goes on")


def _scores(result: dict[str, Any]) -> Iterator[Any]:
    for name in ("test_scores", "train_scores"):
        scores = result.get(name)
        yield from scores.values() if isinstance(scores, dict) else [scores]


def _is_failure(score: Any, error_score: Any) -> bool:
    """Tell whether a score stands for an error of the scorer; one that happens to be equal is found out again."""
    return isinstance(score, Real) and (score != score or score == error_score)


def _plain(value: Any) -> Any:
    """Return a result as JSON has it; a float is read back to the bit."""
    if isinstance(value, dict):
        return {"scores": {str(name): _plain(score) for name, score in value.items()}}
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    raise TypeError(f"{value!r} of type {type(value).__name__} is no number")


def _number(value: Any) -> Any:
    return value["scores"] if isinstance(value, dict) else value
