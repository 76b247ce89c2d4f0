"""
A small convolutional network
=============================

Arrays of more than two dimensions go to the module as they are: here images of one channel. The module is plain
PyTorch, and everything else (the loop, validation, early stopping, the best weights) belongs to the estimator.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from sktorch_continue import EarlyStopping, TorchClassifier

digits = load_digits()
X = digits.images[:, None].astype("float32") / 16  # rows, channels, height, width
X_train, X_test, y_train, y_test = train_test_split(X, digits.target, stratify=digits.target, random_state=0)
print(X_train.shape)


class ConvNet(nn.Sequential):
    def __init__(self, n_outputs, channels=4):
        super().__init__(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(2 * channels * 16, n_outputs),
        )


# %%
# ``module__channels`` goes to the constructor, ``n_outputs`` is filled in. ``predict`` uses the weights of the best
# epoch; a ``continue_fit`` would go on from the newest.

model = TorchClassifier(
    ConvNet,
    module__channels=8,
    lr=1e-2,
    max_epochs=40,
    batch_size=64,
    validation_fraction=0.15,
    callbacks=[EarlyStopping(patience=4, restore_best=True)],
    random_state=0,
).fit(X_train, y_train)
stopping = model.callbacks_["EarlyStopping"]
print(f"stopped after epoch {model.n_epochs_}, best epoch {stopping.best_epoch}")
print(f"test accuracy: {model.score(X_test, y_test):.3f}")

# %%
# The test images it is least sure of, or wrong about: the probability it gives to the right digit, and its own answer.

probabilities = model.predict_proba(X_test)
of_truth = probabilities[range(len(y_test)), y_test]
hardest = of_truth.argsort()[:10]
figure, axes = plt.subplots(2, 5, figsize=(9, 4.4), layout="constrained")
for ax, i in zip(axes.flat, hardest, strict=True):
    ax.imshow(X_test[i, 0], cmap="gray_r")
    answer = probabilities[i].argmax()
    ax.set_title(f"a {y_test[i]}, says {answer} ({of_truth[i]:.2f})", color="C3" if answer != y_test[i] else "black")
    ax.set_axis_off()
