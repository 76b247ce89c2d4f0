"""
Held-out rows stay held out
===========================

A fifth of the rows is held out for validation. Then the training is continued three times, and each time the data comes
back differently: as it was, shuffled, and with rows added. A run recognises the rows it has held out by their values.
If each call drew its validation rows anew instead, they would be rows the network was trained on before.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from sktorch_continue import EpochScoring, TorchRegressor

X, y = load_diabetes(return_X_y=True)
X, y = scale(X), scale(y)
shuffled = np.random.default_rng(0).permutation(300)
calls = {"fit": np.arange(300), "same rows": np.arange(300), "shuffled": shuffled, "rows added": np.arange(len(X))}

# %%
# A scorer sees the validation rows, so one that counts them can tell us which they are.

validated = {}


def count(estimator, X_valid, y_valid):
    validated["X"] = X_valid
    return len(X_valid)


net = TorchRegressor(lr=3e-3, max_epochs=25, batch_size=32, random_state=0)
kept = clone(net).set_params(validation_fraction=0.2, callbacks=[EpochScoring(count, name="n_valid")])
held_out = []
for name, rows in calls.items():
    train = kept.fit if name == "fit" else kept.continue_fit
    train(X[rows], y[rows])
    held_out.append((X[:, None] == validated["X"]).all(axis=2).any(axis=1))
    print(f"{name:>10}: {len(rows)} rows, {held_out[-1].sum()} of them held out")

# %%
# The other way, by hand: new validation rows for every call.

redrawn = clone(net)
for i, (name, rows) in enumerate(calls.items()):
    X_train, X_valid, y_train, y_valid = train_test_split(X[rows], y[rows], test_size=0.2, random_state=i)
    train = redrawn.fit if name == "fit" else redrawn.continue_fit
    train(X_train, y_train, X_val=X_valid, y_val=y_valid)

# %%
# On the left, which rows each call held out. On the right, what the validation loss says. Held out for good, the rows
# tell from the fifth epoch on that the network only learns its training rows by heart. Drawn anew, they are mostly rows
# it knows by heart: the loss falls with the third call, and epoch 51 looks best of all.

picture = np.array(held_out, dtype=float)
for line, rows in zip(picture, calls.values(), strict=True):
    line[np.setdiff1d(np.arange(len(X)), rows)] = np.nan
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
left.imshow(picture, aspect="auto", interpolation="nearest", cmap=ListedColormap(["#c6dbef", "#d62728"]))
left.set(xlabel="row of the data", yticks=range(4), yticklabels=calls, title="red: held out, blue: trained on")
for label, model, color in (("drawn anew", redrawn, "C3"), ("held out for good", kept, "C0")):
    right.plot(model.history_["epoch"], model.history_["valid_loss"], color=color, label=f"validation, {label}")
    right.plot(model.history_["epoch"], model.history_["train_loss"], ":", color=color, label="training")
for cut in (25.5, 50.5, 75.5):
    right.axvline(cut, color="0.5", linestyle="--", linewidth=1)
right.set(xlabel="epoch", ylabel="mean squared error", ylim=(0.1, 1.1))
right.grid(alpha=0.3)
right.legend(frameon=False, ncols=2, loc="upper right")
