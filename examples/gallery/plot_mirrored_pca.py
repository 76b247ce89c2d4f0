"""
A PCA that is fitted again hands the network mirrored inputs
============================================================

The directions of a PCA have no sign: fitted to other rows, a component may come out the other way round. A network
behind it then reads inputs that no longer mean what it has learned. Here one half of the digits arrives after the
network was trained on the other.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from sktorch_continue import DataDriftWarning, TorchClassifier, make_continuable_pipeline

X, y = load_digits(return_X_y=True)
X = X / 16
first, second = np.array_split(np.random.default_rng(0).permutation(len(X)), 2)
net = TorchClassifier(lr=3e-3, max_epochs=30, batch_size=32, random_state=0)

# %%
# ``warm_start=True`` in a plain Pipeline: the network goes on, but ``Pipeline.fit`` fits the PCA anew. The run
# remembers a few rows of what came in, notices, and says so.

plain = make_pipeline(PCA(8), clone(net).set_params(warm_start=True)).fit(X[first], y[first])
before = plain[:-1].transform(X)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always", DataDriftWarning)
    plain.fit(X[second], y[second])
after = plain[:-1].transform(X)
print(told[0].message)

# %%
# The pipeline of this package transforms only, unless it is told to fit its transformers again.

kept = make_continuable_pipeline(PCA(8), net).fit(X[first], y[first])
kept.continue_fit(X[second], y[second])

# %%
# On the left, each column that the PCA makes, before and after the second fit, as the correlation of its values over
# all rows: near -1 it is mirrored. On the right, what the network makes of it: at the cut its loss jumps, and it spends
# epochs on learning again what it knew.

agreement = [np.corrcoef(before[:, i], after[:, i])[0, 1] for i in range(8)]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.bar(range(8), agreement, color=["C3" if value < 0 else "C0" for value in agreement])
left.axhline(0, color="0.3", linewidth=0.8)
left.set(xlabel="column that the PCA makes", ylabel="correlation before/after", ylim=(-1.05, 1.05), xticks=range(8))
for label, pipe, color in (("fitted again", plain, "C3"), ("as it was fitted first", kept, "C0")):
    right.plot(pipe[-1].history_["epoch"], pipe[-1].history_["train_loss"], color=color, label=f"PCA {label}")
right.axvline(30.5, color="0.5", linestyle="--", linewidth=1)
right.set(xlabel="epoch", ylabel="training loss", yscale="log")
right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
for ax in (left, right):
    ax.grid(alpha=0.3)
