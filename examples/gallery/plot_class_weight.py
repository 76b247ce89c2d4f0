"""
Rare classes: weigh them, also later
====================================

Is it an 8? One image in ten is, and a network that is trained shortly on a hundred of them says no too often.
``class_weight="balanced"`` makes an 8 count nine times; like any parameter it may change between two calls, and so may
``sample_weight``.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay, recall_score
from sklearn.model_selection import train_test_split

from sktorch_continue import TorchClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, (y == 8).astype(int), train_size=600, stratify=y, random_state=0
)

model = TorchClassifier(max_epochs=10, batch_size=64, random_state=0).fit(X_train, y_train)
plain = model.predict(X_test)
print(f"eights found: {recall_score(y_test, plain):.2f}")

# %%
# The same run goes on, with weights.

model.set_params(class_weight="balanced").continue_fit(X_train, y_train)
weighted = model.predict(X_test)
print(f"eights found: {recall_score(y_test, weighted):.2f}")

# %%
# For comparison, ten more epochs without.

longer = TorchClassifier(max_epochs=20, batch_size=64, random_state=0).fit(X_train, y_train).predict(X_test)

figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
titles = ("10 epochs", "20 epochs", "10 epochs, 10 more balanced")
for ax, predicted, title in zip(axes, (plain, longer, weighted), titles, strict=True):
    ConfusionMatrixDisplay.from_predictions(
        y_test,
        predicted,
        display_labels=["other", "8"],
        ax=ax,
        colorbar=False,
        cmap="Blues",
        normalize="true",
        values_format=".2f",
    )
    ax.set_title(title)
