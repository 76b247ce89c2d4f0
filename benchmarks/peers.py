"""The sides of a comparison: our estimator, the loops written by hand, skorch, and scikit-learn's MLP.

All train the same layers with Adam on the same rows in batches of the same size, from a fresh module to the end.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from harness import OURS, Work
from loops import LOOPS, LR
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from torch import nn

from sktorch_continue import TorchClassifier

SEED = 0
SKORCH = importlib.util.find_spec("skorch") is not None
LEFT_OUT = [] if SKORCH else ["skorch is left out: it is not installed (pip install skorch)."]
SKLEARN = "scikit-learn MLP"
FASTEST, TENSOR, DATALOADER = (f"{name} loop" for name in ("fastest", "tensor", "DataLoader"))


@dataclass
class Problem:
    """Rows, layers and the length of a training.

    Attributes
    ----------
    X, y : ndarray
        float32 of shape (n, ...) and int64 of shape (n,).
    make : callable
        Returns a fresh module.
    batch_size, n_epochs : int
        Of a training.
    hidden : tuple of int or None
        Hidden layers, where the module is an MLP that scikit-learn has too.
    valid : tuple of ndarray or None
        Rows to validate on after each epoch.
    rate : callable or None
        Step -> learning rate, for the loops written by hand.
    """

    X: np.ndarray
    y: np.ndarray
    make: Callable[[], nn.Module]
    batch_size: int
    n_epochs: int
    hidden: tuple[int, ...] | None = None
    valid: tuple[np.ndarray, np.ndarray] | None = None
    rate: Callable[[int], float] | None = None

    @property
    def n_steps(self) -> int:
        """Steps of the whole training."""
        return self.n_epochs * -(-len(self.y) // self.batch_size)


# ---- problems -------------------------------------------------------------------------------------------------------


def layers(n_in: int, hidden: Sequence[int], n_out: int) -> nn.Module:
    """Return an MLP."""
    found: list[nn.Module] = []
    for size in hidden:
        found += [nn.Linear(n_in, size), nn.ReLU()]
        n_in = size
    return nn.Sequential(*found, nn.Linear(n_in, n_out))


def tabular(
    n_rows: int, batch_size: int, n_epochs: int, n_columns: int = 50, hidden: tuple[int, ...] = (128, 64)
) -> Problem:
    """Return rows of ten classes that a linear model could tell apart, and an MLP."""
    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((n_rows, n_columns), dtype=np.float32)
    y = np.argmax(X @ rng.standard_normal((n_columns, 10), dtype=np.float32), axis=1)
    y[:10] = np.arange(10)
    return Problem(X, y, partial(layers, n_columns, hidden, 10), batch_size, n_epochs, hidden)


def convolution() -> nn.Module:
    """Return a small convolutional network for the digits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(),
        nn.Linear(64, 10),
    )  # fmt: skip


def images(batch_size: int, n_epochs: int) -> Problem:
    """Return scikit-learn's digits as 1x8x8 images."""
    X, y = load_digits(return_X_y=True)
    return Problem((X / 16).astype(np.float32).reshape(-1, 1, 8, 8), y, convolution, batch_size, n_epochs)


# ---- sides ----------------------------------------------------------------------------------------------------------


def estimator(problem: Problem, **params: Any) -> TorchClassifier:
    """Return our estimator, unfitted."""
    return TorchClassifier(
        problem.make, lr=LR, batch_size=problem.batch_size, max_epochs=problem.n_epochs, random_state=SEED
    ).set_params(**params)


def fit_ours(problem: Problem, **params: Any) -> Work:
    """Train with the package."""
    given = {} if problem.valid is None else dict(zip(("X_val", "y_val"), problem.valid, strict=True))
    fitted = estimator(problem, **params).fit(problem.X, problem.y, **given)
    return Work(fitted.n_steps_, fitted.history_[-1]["train_loss"])


def fit_by_hand(name: str, problem: Problem) -> Work:
    """Train with one of the loops written by hand."""
    torch.manual_seed(SEED)
    loop = LOOPS[name](problem.make(), nn.CrossEntropyLoss(), problem.batch_size, problem.rate)
    valid = problem.valid and tuple(map(torch.from_numpy, problem.valid))
    loop.fit(torch.from_numpy(problem.X), torch.from_numpy(problem.y), problem.n_epochs, valid)
    return Work(loop.n_steps, loop.loss)


def skorch_net(problem: Problem) -> Any:
    """Return skorch's classifier with its defaults, but no split, no printing, and Adam."""
    from skorch import NeuralNetClassifier

    torch.manual_seed(SEED)
    return NeuralNetClassifier(
        problem.make,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=LR,
        max_epochs=problem.n_epochs,
        batch_size=problem.batch_size,
        train_split=None,
        verbose=0,
    )


def fit_skorch(problem: Problem) -> Work:
    """Train with skorch."""
    net = skorch_net(problem).fit(problem.X, problem.y)
    steps = next(iter(net.optimizer_.state.values()))["step"]
    return Work(int(steps), net.history[-1]["train_loss"])


def fit_sklearn(problem: Problem) -> Work:
    """Train with scikit-learn's MLP, without its penalty and its early end."""
    mlp = MLPClassifier(
        problem.hidden,
        alpha=0.0,
        batch_size=problem.batch_size,
        learning_rate_init=LR,
        max_iter=problem.n_epochs,
        n_iter_no_change=problem.n_epochs + 1,
        random_state=SEED,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is what was asked for
        mlp.fit(problem.X, problem.y)
    return Work(mlp._optimizer.t, mlp.loss_)


def sides(problem: Problem) -> dict[str, Callable[[], Work]]:
    """Return every side that can train the problem and is installed, ours first."""
    found: dict[str, Callable[[], Work]] = {OURS: partial(fit_ours, problem)}
    found |= {f"{name} loop": partial(fit_by_hand, name, problem) for name in reversed(LOOPS)}
    if SKORCH:
        found["skorch"] = partial(fit_skorch, problem)
    if problem.hidden is not None:
        found[SKLEARN] = partial(fit_sklearn, problem)
    return found
