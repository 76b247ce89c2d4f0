"""Two trainings have one digest only where they are one training."""

import copy
import functools
import subprocess
import sys
import textwrap
from types import ModuleType

import numpy as np
import pytest
import torch
from modules import Noisy, of_width
from torch import nn

from sktorch_continue.callbacks import Callback, EarlyStopping, EpochScoring
from sktorch_continue.callbacks.base import reads_max_epochs
from sktorch_continue.estimators.digests import digest


def with_attribute(value):
    """Return a class with an attribute."""

    class Net(nn.Module):
        slope = value

    return Net


def with_helper(value):
    """Return a class whose static method closes over a value."""

    class Net(nn.Module):
        @staticmethod
        def shape():
            return value

        @property
        def other(self):
            return value

    return Net


def decorated(factor):
    """Return a decorator that hides what it closes over."""

    def decorator(function):
        @functools.wraps(function)
        def scaled(x):
            return factor * function(x)

        return scaled

    return decorator


def plain(x):
    """Return what is given."""
    return x


def tied(*, same):
    """Return layers of equal weights, that are one tensor or two."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    layers[1].weight = layers[0].weight if same else nn.Parameter(layers[0].weight.detach().clone())
    return layers


def changed(module):
    """Return a module after a change of a weight."""
    with torch.no_grad():
        next(module.parameters()).add_(1)
    return module


torch.manual_seed(0)
NOISY = Noisy(4, 3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (of_width(4), of_width(8)),
        (with_attribute(1.0), with_attribute(2.0)),
        (with_helper(1), with_helper(2)),
        (decorated(1.0)(plain), decorated(5.0)(plain)),
        (lambda x: x + 1, lambda x: x + 2),
        (functools.partial(plain, x=1), functools.partial(plain, x=2)),
        (tied(same=True), tied(same=False)),
        (NOISY, changed(copy.deepcopy(NOISY))),
        (np.random.RandomState(0), np.random.RandomState(1)),
        (EarlyStopping(patience=2), EarlyStopping(patience=3)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
    ],
)
def test_what_differs_has_another_digest(one, other):
    """A closure, a class attribute, a static method, a default, tied weights, a value: each makes a difference."""
    assert None not in (digest(one), digest(other))
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    "value",
    [NOISY, of_width(4), EarlyStopping(), [EpochScoring("accuracy"), ("a", EarlyStopping())], {"b": 1, "a": {2, 3}}],
)
def test_a_copy_has_the_same_digest(value):
    """A clone in a search is the same training."""
    assert digest(value) == digest(copy.deepcopy(value))


def test_a_class_that_counts_is_the_same_class():
    """What a class does to its own attributes while it trains makes no other training of it."""

    class Counts(Callback):
        total = 0

        def on_epoch_end(self, run):
            Counts.total += 1

    before = digest(Counts())
    Counts.total += 1
    assert digest(Counts()) == before


class CannotBeCompared:
    def __reduce__(self):
        raise ValueError("no")


def test_what_cannot_be_told_has_none():
    """Whatever an object raises when it is pickled, it is an object of no digest."""
    assert digest(CannotBeCompared()) is None
    assert digest([CannotBeCompared()]) is None


MODULE = """
from torch import nn

SCALE = {scale}

def helper(x):
    return x {operation} 1

class Block(nn.Module):
    def forward(self, x):
        return {block}(x)

def make(n_features_in, n_outputs, width={width}):
    return Net(width)

class Net(nn.Module):
    slope = {slope}

    def __init__(self, n_features_in, n_outputs):
        super().__init__()
        self.block = Block()

    def forward(self, x):
        return SCALE * self.block(x) * self.slope
"""
AS_IT_IS = {"scale": 1.0, "operation": "+", "block": "helper", "width": 3, "slope": 1.0}


def defined(**edits):
    """Return the digests of what the module defines, with some edits."""
    own = ModuleType("own")
    exec(MODULE.format(**{**AS_IT_IS, **edits}), vars(own))
    return digest(own.Net), digest(own.make)


@pytest.mark.parametrize(
    ("edit", "where"),
    [({"scale": 2.0}, 0), ({"operation": "-"}, 0), ({"block": "abs"}, 0), ({"slope": 2.0}, 0), ({"width": 4}, 1)],
    ids=str,
)
def test_an_edited_module_is_another_one(edit, where):
    """A constant, a helper, a block, an attribute or a default was edited: another digest, and else the same."""
    assert None not in defined()
    assert defined() == defined()
    assert defined(**edit)[where] != defined()[where]


def test_digests_are_the_same_in_every_process(tmp_path):
    """They are the names of what is kept on disk."""
    (tmp_path / "own.py").write_text(MODULE.format(**AS_IT_IS))
    code = (
        "import own; from sktorch_continue.estimators.digests import digest; print(digest(own.Net), digest(own.make))"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONHASHSEED": "7", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert tuple(done.stdout.split()) == defined()


def with_hook(code):
    """Return a callback of a class in source code."""
    namespace = {"Callback": Callback, "EarlyStopping": EarlyStopping}
    exec(textwrap.dedent(code), namespace)
    return namespace["Own"]()


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ("class Own(Callback):\n    def on_epoch_end(self, run): self.seen = run.n_epochs", False),
        ("class Own(Callback):\n    def on_epoch_begin(self, run): self.left = run.max_epochs - run.n_epochs", True),
        ("class Own(Callback):\n    def on_train_end(self, run): pass", True),
        ("class Own(Callback):\n    reads_max_epochs = False\n    def on_train_end(self, run): pass", False),
        ("class Own(EarlyStopping):\n    pass", False),
        ("class Own(EarlyStopping):\n    def on_train_begin(self, run): pass", True),
    ],
)
def test_a_callback_that_may_act_otherwise_in_a_longer_training_is_known(code, reads):
    """By what it overrides and names, unless its class says so itself."""
    assert reads_max_epochs(with_hook(code)) is reads
