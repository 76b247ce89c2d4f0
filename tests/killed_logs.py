"""Trainings with loggers that SIGKILL ends, started again until they are finished; each start is a fork.

``python killed_logs.py FOLDER TRACKING_URI`` prints the exit status of every start. An empty TRACKING_URI leaves MLflow
out.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
from modules import Noisy, class_data

from sktorch_continue import Callback, Checkpoint, CSVLogger, MLflowLogger, TensorBoardLogger, TorchClassifier

X, Y = class_data(120)
EPOCHS, STEPS_PER_EPOCH = 8, 5


class Die(Callback):
    """Ends the process at a hook, once the run has come to a step: nothing is flushed, nobody is told."""

    def __init__(self, hook: str, step: int, *, runs_last: bool = False) -> None:
        self.hook = hook
        self.step = step
        self.runs_last = runs_last

    def _die(self, hook: str, run: Any) -> None:
        if hook == self.hook and run.n_steps == self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_step_end(self, run: Any) -> None:
        self._die("on_step_end", run)

    def on_epoch_end(self, run: Any) -> None:
        self._die("on_epoch_end", run)


# Before there is a checkpoint; after a step that is logged; between the log of an epoch and its checkpoint; before the
# log of an epoch; in the epoch before the next checkpoint. The last start finishes.
STARTS = [
    Die("on_step_end", 3),
    Die("on_step_end", 12, runs_last=True),
    Die("on_epoch_end", 20, runs_last=True),
    Die("on_epoch_end", 25),
    Die("on_step_end", 29, runs_last=True),
    Die("on_step_end", -1),
]


def script(folder: Path, uri: str, die: Die) -> None:
    """The one script of the first start and of every restart; a warning ends it."""
    loggers = [CSVLogger(folder / "csv", 1), TensorBoardLogger(folder / "tensorboard", 1)]
    if uri:
        loggers.append(MLflowLogger("killed", tracking_uri=uri, every_n_steps=1))
    TorchClassifier(
        Noisy,
        batch_size=18,
        max_epochs=EPOCHS,
        validation_fraction=0.25,
        random_state=3,
        callbacks=[die, Checkpoint(folder / "checkpoints", every_n_epochs=2), *loggers],
    ).resume_fit(X, Y)


def start(folder: Path, uri: str, die: Die) -> int:
    """Fork a process that runs the script; return its exit status, or minus the signal that ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        script(folder, uri, die)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
    raise AssertionError("not reached")


def tear(folder: Path) -> None:
    """Add half an entry to every file of the logs, as a kill in the middle of a write leaves it."""
    for path in [*folder.glob("csv/[a-z]*"), *folder.glob("tensorboard/events*")]:
        with open(path, "ab") as file:
            file.write(b"\x07")


def main(folder: Path, uri: str) -> list[int]:
    """Kill five times, let it finish, and return the exit statuses."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as elsewhere:  # what the first fit imports, no child has to
        TorchClassifier(max_epochs=1, callbacks=[TensorBoardLogger(elsewhere)]).fit(X, Y)
    statuses = []
    for die in STARTS:
        statuses.append(start(folder, uri, die))
        if statuses[-1]:
            tear(folder)
    return statuses


if __name__ == "__main__":
    if not sys.argv[2]:
        warnings.simplefilter("error")  # MLflow gives some of its own
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
