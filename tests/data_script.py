"""A training with workers as a process: ``python data_script.py FOLDER`` says when three steps are done, and waits."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from data_sets import Augmented
from modules import Noisy

from sktorch_continue import Callback, Checkpoint, TorchClassifier


class Wait(Callback):
    """Waits for a signal in the middle of an epoch, after a step that is done and not counted yet."""

    columns = ()
    reads_max_epochs = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_step_end(self, run: Any) -> None:
        if run.n_steps == 3 and self.seconds:
            print("ready", flush=True)
            time.sleep(self.seconds)


def estimator(folder: str, seconds: float) -> TorchClassifier:
    """Return the estimator of the script."""
    return TorchClassifier(
        Noisy,
        batch_size=8,
        max_epochs=3,
        random_state=0,
        callbacks=[Wait(seconds), Checkpoint(folder)],
        dataloader__num_workers=2,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    estimator(sys.argv[1], 2.0).resume_fit(Augmented())
