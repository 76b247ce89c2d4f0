"""
Give up bad candidates early: Hyperband
=======================================

Hyperband trains many candidates for an epoch or two, keeps the best, gives them more epochs, and so on; several
brackets differ in how early they decide. Candidates that stay go on where they stand, so no epoch is trained twice.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import loguniform
from sklearn.datasets import load_digits

from sktorch_continue import HyperbandSearchCV, TorchClassifier

X, y = load_digits(return_X_y=True)
net = TorchClassifier(max_epochs=9, batch_size=64, optimizer="SGD", optimizer__momentum=0.9, random_state=0)
distributions = {"lr": loguniform(1e-4, 1), "module__hidden_layer_sizes": [(16,), (32,), (64,)]}
search = HyperbandSearchCV(net, distributions, factor=3, cv=2, random_state=0).fit(X[:600] / 16, y[:600])
print(search.best_params_)
print("candidates:", search.n_candidates_)
print("epochs:    ", search.n_resources_)

# %%
# Each line is a candidate, in the colour of its learning rate; it ends where it was given up (a dot: after the first
# rung).

results = search.cv_results_
colors, norm = plt.get_cmap("viridis"), plt.matplotlib.colors.LogNorm(1e-4, 1)
n_brackets = search.n_brackets_
figure, axes = plt.subplots(1, n_brackets, figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
for bracket, rungs, ax in zip(reversed(range(n_brackets)), search.n_candidates_, axes, strict=True):
    in_bracket = results["bracket"] == bracket
    lines = {}
    for i in np.flatnonzero(in_bracket):
        params = {name: value for name, value in results["params"][i].items() if name != "max_epochs"}
        lines.setdefault(str(params), []).append(i)
    for rows in lines.values():
        lr = results["params"][rows[0]]["lr"]
        epochs = [results["params"][i]["max_epochs"] for i in rows]
        ax.plot(epochs, results["mean_test_score"][rows], marker=".", color=colors(norm(lr)))
    ax.set(xscale="log", xticks=[1, 3, 9], xticklabels=[1, 3, 9], xlabel="epochs")
    ax.set_title("candidates: " + " → ".join(map(str, rungs)), fontsize="medium")
    ax.minorticks_off()
    ax.grid(alpha=0.3)
axes[0].set_ylabel("accuracy, two folds")
figure.colorbar(plt.cm.ScalarMappable(norm, colors), ax=axes, label="lr")
