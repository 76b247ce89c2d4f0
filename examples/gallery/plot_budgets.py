"""
A grid over the number of epochs
================================

How long to train is a question for a search like any other. Candidates that differ in ``max_epochs`` only are one
training per fold here, scored at each of its budgets; the scores are those of scikit-learn's ``GridSearchCV``.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktorch_continue import TorchClassifier, WarmStartGridSearchCV

X, y = load_wine(return_X_y=True)
pipe = make_pipeline(StandardScaler(), TorchClassifier(batch_size=16, optimizer="SGD", random_state=0))
lrs, budgets = [0.01, 0.1, 1.0], [1, 2, 4, 8, 16]
grid = {"torchclassifier__lr": lrs, "torchclassifier__max_epochs": budgets}
search = WarmStartGridSearchCV(pipe, grid, cv=3, scoring="neg_log_loss").fit(X, y)
print(search.best_params_)

# %%
# What was trained, and what training each candidate from the start would have taken.

asked, trained = search.reuse_["epochs_asked"].sum(), search.reuse_["epochs_trained"].sum()
print(f"{asked} epochs asked for, {trained} trained")

# %%
# One line per learning rate: each is one training per fold, looked at five times. The band is the standard deviation
# over the folds.

results = search.cv_results_
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=[3, 1], layout="constrained")
for lr in lrs:
    rows = np.asarray(results["param_torchclassifier__lr"] == lr)
    mean, spread = -results["mean_test_score"][rows], results["std_test_score"][rows]
    (line,) = left.plot(budgets, mean, marker="o", label=f"lr={lr}")
    left.fill_between(budgets, mean - spread, mean + spread, color=line.get_color(), alpha=0.15, linewidth=0)
left.set(xscale="log", xticks=budgets, xticklabels=budgets, xlabel="max_epochs", ylabel="log loss, three folds")
left.minorticks_off()
left.grid(alpha=0.3)
left.legend(frameon=False)
bars = right.bar(["each from\nthe start", "here"], [asked, trained], color=["0.7", "C0"])
right.bar_label(bars)
right.set(ylabel="epochs trained")
