"""What does a search cost that trains no epoch twice, over the same search that trains them all?

Peers: scikit-learn's GridSearchCV over the same estimator; where skorch is installed, its NeuralNetClassifier in
GridSearchCV; the same rungs and brackets trained from the start.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

import joblib
import numpy as np
import sklearn
import torch
from sklearn.model_selection import GridSearchCV

from sktorch_continue import (
    ContinuationWarning,
    HyperbandSearchCV,
    TorchClassifier,
    WarmStartGridSearchCV,
    WarmStartHalvingSearchCV,
)
from sktorch_continue.modules import MLP

THREADS, SEED, SPLITS = 1, 0, 5
N_ROWS, N_FEATURES, N_CLASSES = 2_000, 20, 4
HIDDEN, BATCH = (64, 32), 128
BUDGETS, RATES = [5, 10, 20, 40], [1e-3, 3e-3, 1e-2]
BARS = {"same estimator": 0.56, "skorch": 0.25, "nothing to continue": 1.05}


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS, help="one of the tables; all where none is named")
    parser.add_argument("--quick", action="store_true", help="few epochs on little data; shows only that it works")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    used = [f"Python {platform.python_version()}"]
    used += [f"{library.__name__} {library.__version__}" for library in (torch, np, sklearn, joblib)]
    print(f"{', '.join(used)}; {torch.get_num_threads()} thread, {os.cpu_count()} cores, seed {SEED}")
    print(f"Bars: {', '.join(f'{name} {bar}' for name, bar in BARS.items())}. Medians of paired rounds.\n")
    print("| search | over | time, ratio | CPU, ratio | epochs, ratio | epochs | seconds | rounds |")
    print("|---" * 8 + "|")
    for part in arguments.part or PARTS:
        PARTS[part](Sizes(quick=arguments.quick))


class Sizes:
    """Data and budgets, smaller where it is to be quick."""

    def __init__(self, *, quick: bool) -> None:
        self.rounds = 1 if quick else 3
        self.budgets = [1, 2, 4] if quick else BUDGETS
        self.rates = RATES[:2] if quick else RATES
        self.splits = 2 if quick else SPLITS
        rng = np.random.default_rng(SEED)
        self.X = rng.standard_normal((N_ROWS // 10 if quick else N_ROWS, N_FEATURES)).astype(np.float32)
        self.y = np.argmax(self.X @ rng.standard_normal((N_FEATURES, N_CLASSES)), axis=1)

    @property
    def grid(self) -> dict[str, list[Any]]:
        """Every budget with every rate."""
        return {"max_epochs": self.budgets, "lr": self.rates}


def network(**params: Any) -> TorchClassifier:
    """Return an unfitted MLP."""
    return TorchClassifier(module__hidden_layer_sizes=HIDDEN, batch_size=BATCH, random_state=SEED, **params)


def grid(sizes: Sizes) -> None:
    """Compare a grid over budgets with that of scikit-learn, over the same estimator."""
    options = {"cv": sizes.splits, "refit": False}
    warm = WarmStartGridSearchCV(network(), sizes.grid, **options)
    compare("grid over max_epochs and lr", warm, "GridSearchCV", GridSearchCV(network(), sizes.grid, **options), sizes)


def skorch(sizes: Sizes) -> None:
    """Compare the same grid with GridSearchCV over skorch's estimator."""
    if find_spec("skorch") is None:
        print("| grid over max_epochs and lr | skorch | left out: skorch is not installed |" + " |" * 5)
        return
    from skorch import NeuralNetClassifier

    peer = NeuralNetClassifier(
        MLP,
        module__n_features_in=N_FEATURES,
        module__n_outputs=N_CLASSES,
        module__hidden_layer_sizes=HIDDEN,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    options = {"cv": sizes.splits, "refit": False}
    cold = GridSearchCV(peer, sizes.grid, **options)
    warm = WarmStartGridSearchCV(network(), sizes.grid, **options)
    compare("grid over max_epochs and lr", warm, "skorch in GridSearchCV", cold, sizes, exact=False)


def nothing(sizes: Sizes) -> None:
    """Compare searches in which nothing can be continued with those of scikit-learn."""
    options = {"cv": sizes.splits, "refit": False}
    short = sizes.budgets[-2]
    horizon = {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.01, "lr_scheduler_interval": "step"}
    for name, estimator, space in (
        ("grid over lr", network(max_epochs=short), {"lr": sizes.rates}),
        ("grid over lr, one epoch", network(max_epochs=1), {"lr": sizes.rates}),
        ("filled-in horizon", network(**horizon), {"max_epochs": sizes.budgets[:-1]}),
    ):
        cold, warm = (cls(estimator, space, **options) for cls in (GridSearchCV, WarmStartGridSearchCV))
        compare(name, warm, "GridSearchCV", cold, sizes)


def rungs(sizes: Sizes) -> None:
    """Compare halving and Hyperband with the same rungs trained from the start."""
    space = {"lr": np.geomspace(1e-4, 1e-1, 27).tolist()}
    most = sizes.budgets[-1] if len(sizes.budgets) < 4 else 27
    for factor in (3, 2):
        for cls, name in ((WarmStartHalvingSearchCV, "halving"), (HyperbandSearchCV, "Hyperband")):
            options = {"cv": 2, "refit": False, "max_resources": most, "factor": factor, "random_state": SEED}
            warm, cold = (cls(network(), space, continue_on=on, **options) for on in ("auto", None))
            compare(f"{name}, factor {factor}", warm, "trained from the start", cold, sizes)


def compare(what: str, warm: Any, over: str, cold: Any, sizes: Sizes, *, exact: bool = True) -> None:
    """Print one row, after a check that both sides found the same."""
    measured: dict[str, list[tuple[float, float]]] = {"warm": [], "cold": []}
    sides = {"warm": warm, "cold": cold}
    for side in sides.values():  # warm up
        timed(side, sizes.X[:100], sizes.y[:100])
    for number in range(sizes.rounds):
        for name in ("warm", "cold") if number % 2 else ("cold", "warm"):
            measured[name].append(timed(sides[name], sizes.X, sizes.y))
    if exact:
        left, right = (side.cv_results_["mean_test_score"] for side in (warm, cold))
        assert left.tobytes() == right.tobytes(), "the sides found different scores"
    asked, trained = (int(warm.reuse_[f"epochs_{how}"].sum()) for how in ("asked", "trained"))
    pairs = list(zip(measured["warm"], measured["cold"], strict=True))
    ratios = " | ".join(spread([a[k] / b[k] for a, b in pairs]) for k in (0, 1))
    seconds = f"{median(a[0] for a, _ in pairs):.2f} / {median(b[0] for _, b in pairs):.2f}"
    print(
        f"| {what} | {over} | {ratios} | {trained / asked:.2f} | {trained} of {asked} | {seconds} | {sizes.rounds} |",
        flush=True,
    )


def timed(search: Any, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the seconds, and the processor time, of a fit."""
    begun, used = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ContinuationWarning)  # that horizons differ is what is measured
        search.fit(X, y)
    return time.perf_counter() - begun, time.process_time() - used


def spread(values: list[float]) -> str:
    """Return the median, with the smallest and the largest."""
    return f"**{median(values):.3f}** ({min(values):.3f} to {max(values):.3f})"


PARTS: dict[str, Callable[[Sizes], None]] = {"grid": grid, "skorch": skorch, "nothing": nothing, "rungs": rungs}

if __name__ == "__main__":
    main()
