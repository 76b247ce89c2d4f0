"""
Go on with another batch size and learning rate
===============================================

Large batches first, small ones after: a network is trained for 20 epochs in batches of 256 rows, and then for 20 more
in batches of 32, at a fifth of the learning rate. Weights, Adam's moments and the rows held out for validation go on;
what changed is used from the first step of the second call.
"""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sktorch_continue import EpochScoring, HistoryDisplay, TorchClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, stratify=y, random_state=0)

model = TorchClassifier(
    max_epochs=20,
    batch_size=256,
    lr=5e-3,
    validation_fraction=0.2,
    callbacks=[EpochScoring("accuracy")],
    random_state=0,
).fit(X_train, y_train)
print(f"test accuracy after {model.n_epochs_} epochs: {model.score(X_test, y_test):.3f}")

# %%
# Parameters are set as on any scikit-learn estimator, and the next call uses them.

model.set_params(batch_size=32, lr=1e-3).continue_fit(X_train, y_train)
print(f"test accuracy after {model.n_epochs_} epochs: {model.score(X_test, y_test):.3f}")

# %%
# The history has one row per epoch over both calls, and one record per call that says what had changed.

for call in model.history_.calls:
    print(f"call {call['call']}: {call['verb']} to epoch {call['n_epochs']}, changed: {call['changed']}")

# %%
# The picture marks where the second call begins.

HistoryDisplay.from_estimator(model, log_loss=True)
