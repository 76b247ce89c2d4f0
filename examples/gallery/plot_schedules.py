"""
What becomes of a schedule: continue, extend or restart
=======================================================

A cosine schedule brings the learning rate to zero in the 20 epochs that were planned. Then 20 more are wanted. What the
schedule does with them is a question of intent, so it is a parameter: ``lr_scheduler_on_continue``.
"""

import matplotlib.pyplot as plt
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from sktorch_continue import TorchClassifier

X, y = load_breast_cancer(return_X_y=True)
X = scale(X)
net = TorchClassifier(
    lr=3e-3,
    lr_scheduler="CosineAnnealingLR",  # its horizon T_max is filled in from max_epochs
    max_epochs=20,
    batch_size=64,
    random_state=0,
)

# %%
# The same 20 + 20 epochs under each of the three values. A fourth run knew from the start that there would be 40: with
# the horizon of the whole given as ``lr_scheduler__T_max=40``, the cut leaves no trace.

runs = {}
for intent in ("continue", "extend", "restart"):
    runs[f'"{intent}"'] = clone(net).set_params(lr_scheduler_on_continue=intent).fit(X, y).continue_fit(X, y)
runs["planned: T_max=40"] = clone(net).set_params(lr_scheduler__T_max=40).fit(X, y).continue_fit(X, y)

# %%
# PyTorch's cosine rises again past its horizon, and ``"continue"``, the default, leaves that as it is. ``"extend"``
# stretches the schedule over all 40 epochs: it goes on from where a schedule of 40 epochs would stand. ``"restart"``
# begins anew.

figure, axes = plt.subplots(2, 4, figsize=(11, 5), sharex=True, sharey="row", layout="constrained")
for (upper, lower), (label, model) in zip(axes.T, runs.items(), strict=True):
    history = model.history_
    upper.plot(history["epoch"], history["lr"])
    lower.plot(history["epoch"], history["train_loss"], color="C1")
    lower.set(yscale="log", xlabel="epoch")
    upper.set_title(label)
    for ax in (upper, lower):
        ax.axvline(20.5, color="0.5", linestyle="--", linewidth=1)
        ax.grid(alpha=0.3)
axes[0, 0].set_ylabel("learning rate")
axes[1, 0].set_ylabel("training loss")
