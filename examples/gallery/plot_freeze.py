"""
Freeze layers, thaw them later
==============================

A small convolutional network knows the digits 0 to 4 and is to learn 5 to 9 from 50 images. Its convolutions are frozen
while a new output layer finds its place, and thawed at epoch 13. The same network from random weights shows what that
is worth.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from torch import nn

from sktorch_continue import EpochScoring, Freeze, TorchClassifier, Unfreeze

digits = load_digits()
X, y = digits.images[:, None].astype("float32") / 16, digits.target
small, large = (y < 5).nonzero()[0], (y >= 5).nonzero()[0]


class ConvNet(nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.output = nn.Linear(16 * 16, n_outputs)

    def forward(self, X):
        return self.output(self.features(X))


first = TorchClassifier(ConvNet, lr=3e-3, max_epochs=10, batch_size=32, random_state=0).fit(X[small], y[small])
print(f"0 to 4: accuracy {first.score(X[small], y[small]):.3f}")

# %%
# A module that is given as an instance is copied, and its weights are the start. It gets a new output layer.

module = first.export().module_
module.output = nn.Linear(16 * 16, 5)
few, others = large[:50], large[50:]
tuned = TorchClassifier(
    module,
    max_epochs=24,
    batch_size=16,
    callbacks=[Freeze("features.*"), Unfreeze("features.*", at=13), EpochScoring("accuracy")],
    random_state=0,
)
scratch = TorchClassifier(ConvNet, max_epochs=24, batch_size=16, callbacks=[EpochScoring("accuracy")], random_state=0)
for model in (tuned, scratch):
    model.fit(X[few], y[few], X_val=X[others], y_val=y[others])

# %%
# What is frozen is part of the run: a pickle or a checkpoint in between would remember it. The features of other digits
# bring the network off to a good start; by the end, the one from random weights has caught up.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for model, label, color in ((tuned, "convolutions of 0 to 4", "C0"), (scratch, "random weights", "C1")):
    ax.plot(model.history_["epoch"], model.history_["valid_accuracy"], marker=".", color=color, label=label)
ax.axvline(12.5, color="C0", linestyle="--", linewidth=1)
ax.annotate("thawed", (12.5, ax.get_ylim()[0]), xytext=(4, 4), textcoords="offset points", color="C0")
ax.set(xlabel="epoch", ylabel="accuracy on 5 to 9")
ax.grid(alpha=0.3)
ax.legend(frameon=False, loc="lower right")
