"""Small data, small modules, schedules and callbacks that several files of tests share."""

import re
import warnings

import numpy as np
import torch
from torch import nn

from sktorch_continue import Callback, ContinuationWarning
from sktorch_continue.testing import first_difference, run_state


def label(value):
    """Return the id of a test's argument, the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def class_data(n=24, n_classes=3, seed=0):
    """Return float32 rows and their classes, every class there."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)).astype(np.float32), np.arange(n) % n_classes


def real_data(n=24, seed=0):
    """Return float32 rows and a real target."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=n)


def snapshot(estimator):
    """Return all that a refused call must leave alone: the run, its records, its parameters, its fitted names."""
    return {
        "run": run_state(estimator),
        "calls": [dict(record) for record in estimator.history_.calls],
        "progress": estimator._run.progress.state_dict(),
        "specification": estimator._run.specification.describe(),
        "seed": estimator._run.seed,
        "parts": [id(part) for part in (estimator.module_, estimator.optimizer_, estimator.lr_scheduler_)],
        "n_features_in": estimator.n_features_in_,
    }


def assert_untouched(estimator, before):
    """Raise unless the estimator is bit for bit what it was at its snapshot."""
    assert first_difference(before, snapshot(estimator)) is None


def continued_quietly(estimator, *data, **arguments):
    """Continue and let warnings of the package about it pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ContinuationWarning)
        return estimator.continue_fit(*data, **arguments)


class Linear(nn.Module):
    """One layer; smaller and quicker than the built-in module."""

    def __init__(self, n_features_in, n_outputs, scale=1.0):
        super().__init__()
        self.layer = nn.Linear(n_features_in, n_outputs)
        self.scale = scale

    def forward(self, x):
        return self.layer(x) * self.scale


class Noisy(nn.Module):
    """Dropout and batch norm: what it computes depends on random numbers, on order and on buffers."""

    def __init__(self, n_features_in, n_outputs):
        super().__init__()
        self.hidden = nn.Linear(n_features_in, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(6, n_outputs)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.norm(self.hidden(x)))))


def of_width(width):
    """Return a class that has the name of all others, and closes over its width."""

    class Net(nn.Module):
        def __init__(self, n_features_in, n_outputs):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(n_features_in, width), nn.Tanh(), nn.Linear(width, n_outputs))

        def forward(self, x):
            return self.layers(x)

    return Net


class Watching(nn.Module):
    """Appends what it sees in training mode to ``Watching.seen``, which all copies share."""

    seen: list = []  # noqa: RUF012

    def __init__(self, n_features_in, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_features_in, n_outputs)

    def forward(self, x):
        if self.training:
            self.seen.append(x.detach().clone())
        return self.layer(x)

    @classmethod
    def rows_seen(cls):
        """Return every distinct row seen in training mode."""
        return {tuple(row) for batch in cls.seen for row in batch.to(torch.float32).tolist()}


class Draws(nn.Module):
    """Draws from torch's global stream in every forward pass, evaluation included."""

    def __init__(self, n_features_in, n_outputs):
        super().__init__()
        self.layer = nn.Linear(n_features_in, n_outputs)

    def forward(self, x):
        return self.layer(x) + 0.01 * torch.rand(1)


class Affine(nn.Module):
    """A criterion with a parameter that starts random."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.randn(()))

    def forward(self, output, target):
        return ((output - target) ** 2).mean() * torch.exp(-self.log_scale) + self.log_scale


class TwoInputs(nn.Module):
    """Reads the rows of two arrays."""

    def __init__(self, n_outputs):
        super().__init__()
        self.layer = nn.Linear(2, n_outputs)

    def forward(self, left, right):
        if self.training:
            Watching.seen.append(torch.cat([left, right], dim=1).detach().clone())
        return self.layer(left - right)


class Halving:
    """Not a torch class, but with the interface of a schedule: halves the rate at every step."""

    def __init__(self, optimizer, by=0.5):
        self.optimizer = optimizer
        self.by = by
        self.count = 0

    def step(self):
        """Multiply every rate."""
        self.count += 1
        for group in self.optimizer.param_groups:
            group["lr"] *= self.by

    def state_dict(self):
        """Return the count."""
        return {"count": self.count}

    def load_state_dict(self, state):
        """Take the count."""
        self.count = state["count"]


class Counter(Callback):
    """Counts steps, and the epochs in which it saw a module in training mode end."""

    def __init__(self, start=0):
        self.start = start
        self.steps = 0
        self.losses = []

    def on_step_end(self, run):
        self.steps += 1

    def on_epoch_end(self, run):
        self.losses.append(run.history[-1]["train_loss"])


class Raise(Callback):
    """Raises at a hook when it is called for the given time."""

    def __init__(self, hook, time=1, error=RuntimeError):
        self.hook = hook
        self.time = time
        self.error = error
        self.calls = 0

    def _count(self, name):
        if name == self.hook:
            self.calls += 1
            if self.calls == self.time:
                raise self.error(f"raised at {name}")

    def on_train_begin(self, run):
        self._count("on_train_begin")

    def on_epoch_begin(self, run):
        self._count("on_epoch_begin")

    def on_step_begin(self, run):
        self._count("on_step_begin")

    def on_gradients(self, run):
        self._count("on_gradients")

    def on_step_end(self, run):
        self._count("on_step_end")

    def on_validation_end(self, run):
        self._count("on_validation_end")

    def on_epoch_end(self, run):
        self._count("on_epoch_end")
