"""How often is it noticed that inputs changed, and how often is that said of inputs that did not?

For several data sets a network is trained behind a scaler and a PCA, and then continued on other inputs: first on such
as it must not complain about, then on such as it must. Each row of the table is one kind of change, each number the
share of calls that gave a DataDriftWarning.
"""

import argparse
import warnings

import numpy as np
import torch
from harness import versions
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine, make_classification
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktorch_continue import DataDriftWarning, TorchClassifier, TorchRegressor

N_COMPONENTS = 5


def datasets():
    """Yield name, whether the target is a class, X, y."""
    X, y = load_digits(return_X_y=True)
    yield "digits", True, X, y % 3
    for name, load in (
        ("breast cancer", load_breast_cancer),
        ("wine", load_wine),
        ("diabetes", load_diabetes),
    ):
        X, y = load(return_X_y=True)
        yield name, name != "diabetes", X, y
    X, y = make_classification(1000, 12, n_informative=6, n_redundant=2, n_classes=3, random_state=0)
    yield "synthetic", True, X, y
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 8)) * np.linspace(2, 1, 8)
    yield "symmetric", False, X, X @ rng.normal(size=8) + 0.3 * rng.normal(size=1000)


def encoder(X, seed=0):
    return make_pipeline(StandardScaler(), PCA(N_COMPONENTS, random_state=seed)).fit(X)


def refitted(X, before):
    """Return the encoder that other rows give, its second component the other way round than it was before."""
    other = encoder(X)
    components, known = other[-1].components_, before[-1].components_
    components[1] *= -np.sign(components[1] @ known[1])  # chance turns some of them round anyway
    return other


def unchanged(X, y, encode, rng, small):
    """Yield kinds of inputs that are as before: name, Xt, y."""
    half = len(X) // 2
    old, new = np.arange(half), np.arange(half, len(X))
    n = 30 if small else half
    rows = rng.permutation(half)
    yield "same rows", encode(X[old]), y[old]
    yield "permuted rows", encode(X[rows]), y[rows]
    yield "added rows", encode(X[: half + half // 3]), y[: half + half // 3]
    mixed = rng.permutation(half + half // 3)
    yield "added and permuted", encode(X[mixed]), y[mixed]
    yield "new draw", encode(X[new[:n]]), y[new[:n]]
    yield "a part of the rows", encode(X[rows[:n]]), y[rows[:n]]
    Xt = encode(X[old])
    yield "noise of 10 %", Xt + 0.1 * Xt.std(axis=0) * rng.normal(size=Xt.shape), y[old]


def changed(X, y, before, rng):
    """Yield kinds of inputs that are not: name, Xt, y."""
    half = len(X) // 2
    old, new, every = np.arange(half), np.arange(half, len(X)), np.arange(len(X))
    encode = before.transform
    Xt, other = encode(X[old]), refitted(X[rng.permutation(every)[:half]], before).transform
    mixed, shift = rng.permutation(every), 1 + rng.integers(N_COMPONENTS - 1)
    yield "PCA refitted, same rows", other(X[old]), y[old]
    yield "PCA refitted, rows added", other(X), y
    yield "PCA refitted, added, permuted", other(X[mixed]), y[mixed]
    yield "PCA refitted, other rows", other(X[new]), y[new]
    yield "rescaled", 3 * Xt, y[old]
    yield "rescaled, other rows", 3 * encode(X[new]), y[new]
    yield "columns permuted", np.roll(Xt, shift, axis=1), y[old]
    yield "columns permuted, other rows", np.roll(encode(X[new]), shift, axis=1), y[new]


def told(classifies, first, then):
    """Return whether continuing on other data gives the warning."""
    kind = TorchClassifier if classifies else TorchRegressor
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataDriftWarning)
        model = kind(lr=0.01, max_epochs=20, batch_size=64, random_state=0).fit(*first)
        model.continue_fit(*then, max_epochs=1)
    found = [w for w in caught if issubclass(w.category, DataDriftWarning)]
    assert len(found) <= 1, "a call says it once"
    return bool(found)


def measure(n_draws, small):
    """Return kind of change -> data set -> share of calls that were told of."""
    rates = {"silent": {}, "told": {}}
    for name, classifies, X, y in datasets():
        for draw in range(n_draws):
            rng = np.random.default_rng([draw, len(X)])
            rows = rng.permutation(len(X))[: 60 if small else 1000]
            X_drawn, y_drawn = X[rows], y[rows]
            half = len(X_drawn) // 2
            before = encoder(X_drawn[:half])
            encode = before.transform
            first = encode(X_drawn[:half]), y_drawn[:half]
            kinds = {
                "silent": unchanged(X_drawn, y_drawn, encode, rng, small),
                "told": changed(X_drawn, y_drawn, before, rng),
            }
            for wanted, cases in kinds.items():
                for kind, Xt, yt in cases:
                    rates[wanted].setdefault(kind, {}).setdefault(name, []).append(told(classifies, first, (Xt, yt)))
    return rates


def show(rates):
    for wanted, kinds in rates.items():
        names = list(next(iter(kinds.values())))
        print(f"\n{'must be ' + wanted:32}" + "".join(f"{name:>15}" for name in names))
        for kind, by_name in kinds.items():
            print(f"{kind:32}" + "".join(f"{np.mean(by_name[name]):>15.2f}" for name in names))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--small", action="store_true", help="30 rows at each call")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{versions()}, 1 thread; {arguments.draws} draws")
    show(measure(arguments.draws, arguments.small))


if __name__ == "__main__":
    main()
