"""Train and continue on digits and on mtcars, and show that 60 epochs equal 20 + 40 to the bit.

``make demo`` runs it. The learning curve is drawn to ``learning_curve.png`` next to this file.
"""

import pickle
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, scale

from sktorch_continue import ContinuablePipeline, EpochScoring, HistoryDisplay, TorchClassifier, TorchRegressor
from sktorch_continue.testing import assert_same_run

matplotlib.use("Agg")  # draw to a file, without a screen
torch.set_num_threads(1)  # networks this small are not faster on more
HERE = Path(__file__).resolve().parent


def main() -> None:
    X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), test_size=0.25, random_state=0)
    train_digits(make_pipeline(), X, y, X_test, y_test)
    compare_runs(make_pipeline(), X, y)
    train_mtcars()


def make_pipeline() -> ContinuablePipeline:
    net = TorchClassifier(
        module__hidden_layer_sizes=(64,),
        module__dropout=0.2,
        lr_scheduler="CosineAnnealingLR",
        lr_scheduler__T_max=60,  # epochs of both calls; left out, it would be the 20 of the first
        max_epochs=20,
        batch_size=128,
        validation_fraction=0.2,
        callbacks=[EpochScoring("accuracy")],
        random_state=0,
    )
    steps = [("scale", StandardScaler()), ("pca", PCA(n_components=30, random_state=0)), ("net", net)]
    return ContinuablePipeline(steps)


def train_digits(
    pipe: ContinuablePipeline, X: np.ndarray, y: np.ndarray, X_test: np.ndarray, y_test: np.ndarray
) -> None:
    print_title("digits: 20 epochs in batches of 128, then 40 more in batches of 32")
    pipe.fit(X, y)
    before = pipe.score(X_test, y_test)
    # Scaler and PCA stay as they were fitted. A PCA fitted again on other rows may flip the sign of a component or swap
    # two of them, and the network would read inputs that no longer mean what it was trained on.
    pipe.set_params(net__max_epochs=40, net__batch_size=32).continue_fit(X, y)
    print_history(pipe[-1], every=5)
    print(f"\naccuracy on test rows: {before:.3f} after 20 epochs, {pipe.score(X_test, y_test):.3f} after 60")
    save_curve(pipe, HERE / "learning_curve.png")


def compare_runs(pipe: ContinuablePipeline, X: np.ndarray, y: np.ndarray) -> None:
    """When nothing but the cut differs, the cut leaves no trace."""
    print_title("digits: 60 epochs against 20 + 40 epochs, everything else the same")
    whole = clone(pipe).set_params(net__max_epochs=60).fit(X, y)
    kept = pipe.fit(X, y)
    loaded = pickle.loads(pickle.dumps(kept))
    for way, cut in [("in memory", kept), ("through pickle", loaded)]:
        cut.predict(X)  # looking at the estimator between two calls changes nothing
        cut.continue_fit(X, y, max_epochs=40)
        assert_same_run(whole[-1], cut[-1], whole[:-1].transform(X))  # raises, naming the first difference, if any
        print(f"{way + ':':16} equal to the bit (weights, optimizer moments, schedule, history, predictions)")


def train_mtcars() -> None:
    """The smallest case: miles per gallon of 32 cars from ten other columns."""
    print_title("mtcars: 100 epochs in batches of 8, then 50 more in batches of 32")
    cars = pd.read_csv(HERE / "data" / "mtcars.csv", index_col="model")
    X, y = cars.drop(columns="mpg"), scale(cars["mpg"])
    net = TorchRegressor(
        module__hidden_layer_sizes=(16,),
        lr=3e-3,
        max_epochs=100,
        batch_size=8,
        validation_fraction=0.25,
        callbacks=[EpochScoring("r2")],
        random_state=0,
    )
    pipe = ContinuablePipeline(
        [("scale", StandardScaler()), ("pca", PCA(n_components=3, random_state=0)), ("net", net)]
    )
    pipe.fit(X, y)
    pipe.set_params(net__max_epochs=50, net__batch_size=32).continue_fit(X, y)
    print_history(pipe[-1], every=25)


def print_history(model: TorchClassifier | TorchRegressor, every: int) -> None:
    """Print every few epochs and those on both sides of a cut, then what each call was."""
    rows = model.history_.to_frame().drop(columns="duration")
    at_cut = rows["call"].ne(rows["call"].shift()) | rows["call"].ne(rows["call"].shift(-1))
    shown = rows[at_cut | rows["epoch"].mod(every).eq(0)]
    print(shown.to_string(index=False, float_format="{:.4f}".format, formatters={"lr": "{:.2e}".format}))
    for call in model.history_.calls:
        changed = ", ".join(f"{name} {before} -> {now}" for name, (before, now) in call["changed"].items())
        print(f"call {call['call']}: {call['verb']} on {call['n_rows']} rows" + (f", {changed}" if changed else ""))


def save_curve(pipe: ContinuablePipeline, path: Path) -> None:
    HistoryDisplay.from_estimator(pipe).figure_.savefig(path, dpi=150)
    print(f"learning curve: {path}")


def print_title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}")


if __name__ == "__main__":
    main()
