"""Write the sample of checkpoint format 1 beside this file: ``python tests/data/make_checkpoint_sample.py``.

The sample proves that this version reads what older ones wrote. It may be made again only while its format has not been
released. Once a version that writes format 1 is out, the sample stays as it is for good: a new format number gets a new
sample in a folder of its own, and this script is changed to write that one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sktorch_continue import EarlyStopping, TorchClassifier

FOLDER = Path(__file__).parent / "checkpoint-format-1"
EXPECTED = Path(__file__).parent / "checkpoint-format-1.json"


def rows() -> tuple[Any, np.ndarray]:
    """Return 30 rows on a grid (no random numbers, whose streams may change) and their classes."""
    position = np.arange(30)
    columns = [(position * 7 % 11) / 11, (position * 5 % 13) / 13, (position * 3 % 7) / 7]
    X = np.column_stack(columns).astype(np.float32)
    y = np.array(["ash", "birch", "cedar"])[(X[:, 0] * 1.5 + X[:, 1] * 1.5).astype(int)]
    return pd.DataFrame(X, columns=["height", "girth", "age"]), y


def main() -> None:
    """Train, store, and write down what the stored model predicts."""
    torch.set_num_threads(1)
    X, y = rows()
    model = TorchClassifier(
        module__hidden_layer_sizes=(4,),
        module__batch_norm=True,
        module__dropout=0.25,
        optimizer="Adam",
        lr=0.01,
        lr_scheduler="OneCycleLR",
        lr_scheduler__max_lr=0.3,
        lr_scheduler__total_steps=60,
        lr_scheduler_interval="step",
        validation_fraction=0.2,
        grad_scaler="GradScaler",
        grad_scaler__init_scale=1024.0,
        grad_scaler__growth_interval=15,
        callbacks=[EarlyStopping(patience=9, restore_best=True)],
        max_epochs=3,
        batch_size=8,
        random_state=7,
    )
    model.fit(X, y).set_params(batch_size=6).continue_fit(X, y, max_epochs=2)
    model.save_checkpoint(FOLDER)
    expected = {
        "probabilities": model.predict_proba(X).tolist(),
        "predictions": model.predict(X).tolist(),
        "train_loss": model.history_["train_loss"],
        "valid_loss": model.history_["valid_loss"],
        "lr": model.history_["lr"],
    }
    EXPECTED.write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
