"""
Killed, started again, and nothing to see
=========================================

A script trains with a ``Checkpoint`` and calls ``resume_fit`` in the place of ``fit``. It is killed in the middle of an
epoch with SIGKILL, which no program can catch. Started again it goes on, and the run ends where a run that nobody
touched ends, bit for bit.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from sktorch_continue import TorchClassifier

# %%
# This is the script. The callback stands for the power cut: it ends the process before step 101, in epoch 9.

folder = Path(tempfile.mkdtemp()) / "run"
script = f"""
import os, signal
import torch
from sklearn.datasets import load_digits
from sktorch_continue import Callback, Checkpoint, TorchClassifier

class PowerCut(Callback):
    def on_step_begin(self, run):
        if run.n_steps == 100:
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads({torch.get_num_threads()})
X, y = load_digits(return_X_y=True)
TorchClassifier(
    module__dropout=0.2,
    lr=3e-3,
    lr_scheduler="CosineAnnealingLR",
    max_epochs=20,
    validation_fraction=0.2,
    callbacks=[Checkpoint({str(folder)!r}, every_n_steps=5), PowerCut()],
    random_state=0,
).resume_fit(X / 16, y)
"""
ended = subprocess.run([sys.executable, "-c", script])
print(f"exit status {ended.returncode}")
print("on disk:", *sorted(path.name for path in folder.glob("epoch-*")), sep="\n  ")

# %%
# The second start happens here, with the same parameters, and without callbacks: a warning says so. Dropout, the cosine
# and the order of rows are part of the run; ``resume_fit`` takes up the epoch that was cut at the newest checkpoint.

X, y = load_digits(return_X_y=True)
net = TorchClassifier(
    module__dropout=0.2,
    lr=3e-3,
    lr_scheduler="CosineAnnealingLR",
    max_epochs=20,
    validation_fraction=0.2,
    random_state=0,
)
resumed = clone(net)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    resumed.resume_fit(X / 16, y, path=folder)
print(told[0].message)

# %%
# And this is the run that nobody touched.

untouched = clone(net).fit(X / 16, y)
same = np.array_equal(resumed.predict_proba(X / 16), untouched.predict_proba(X / 16))
print(f"the same probabilities to the bit: {same}")

# %%
# Both learning curves are in the picture; one lies on the other.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for model, style, label in ((untouched, {"linewidth": 6, "alpha": 0.3}, "untouched"), (resumed, {}, "killed")):
    for column, color in (("train_loss", "C0"), ("valid_loss", "C1")):
        ax.plot(model.history_["epoch"], model.history_[column], color=color, label=f"{column}, {label}", **style)
cut = 0.5 + 100 * untouched.n_epochs_ / untouched.n_steps_
ax.axvline(cut, color="C3", linestyle="--", linewidth=1)
ax.annotate("killed", (cut, 1.5), xytext=(4, 0), textcoords="offset points", color="C3")
ax.set(xlabel="epoch", ylabel="loss", xticks=range(2, 21, 2))
ax.grid(alpha=0.3)
ax.legend(frameon=False)
