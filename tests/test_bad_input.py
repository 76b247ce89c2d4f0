"""What cannot be used is refused with a clear error of the right class, and the estimator stays as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from data_helpers import (
    INDICATOR,
    LABELS,
    N_ROWS,
    SEVERAL_VALUES,
    VALUES,
    Column,
    Normed,
    NumbersAndCodes,
    X,
    assert_goes_on_like,
    classifier,
    fitted,
    refused,
    regressor,
    snapshot,
)
from optional import made, pd
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from sktorch_continue import (
    Callback,
    ContinuationError,
    EarlyStopping,
    EpochScoring,
    Freeze,
    GradientClipping,
    NonFiniteLossError,
    SktorchContinueError,
)
from sktorch_continue.testing import Interrupt, assert_same_run, first_difference, through_pickle

VERBS = ("fit", "continue_fit", "partial_fit")


def with_entry(value: Any) -> np.ndarray:
    """Return X with one bad entry."""
    rows = X.copy()
    rows[3, 1] = value
    return rows


# ---- X ---------------------------------------------------------------------------------------------------------------

BAD_X = {
    "None": (None, ValueError, ["Expected 2D array"]),
    "a number": (5, ValueError, ["Expected 2D array"]),
    "a str": ("abc", ValueError, ["Expected 2D array"]),
    "an object": (object(), ValueError, ["Expected 2D array"]),
    "a set": ({1, 2}, ValueError, ["Expected 2D array"]),
    "one dimension": (X[:, 0], ValueError, ["Expected 2D array", "reshape(-1, 1)"]),
    "one dimension, tensor": (torch.tensor(X[:, 0]), ValueError, ["feature"]),
    "NaN": (with_entry(np.nan), ValueError, ["Input X contains NaN"]),
    "NaN, list": (with_entry(np.nan).tolist(), ValueError, ["Input X contains NaN"]),
    "NaN, frame": (lambda: pd.DataFrame(with_entry(np.nan)), ValueError, ["Input X contains NaN"]),
    "NaN, tensor": (torch.tensor(with_entry(np.nan)), ValueError, ["Input X contains NaN"]),
    "NaN, CSR": (scipy.sparse.csr_matrix(with_entry(np.nan)), ValueError, ["Input X contains NaN"]),
    "inf": (with_entry(np.inf), ValueError, ["Input X contains infinity"]),
    "inf, tensor": (torch.tensor(with_entry(-np.inf)), ValueError, ["infinity"]),
    "inf, CSR": (scipy.sparse.csr_matrix(with_entry(np.inf)), ValueError, ["Input X contains infinity"]),
    "no rows": (X[:0], ValueError, ["0 sample(s)", "minimum of"]),
    "no rows, tensor": (torch.tensor(X[:0]), ValueError, ["0 sample(s)", "minimum of"]),
    "no rows, CSR": (scipy.sparse.csr_matrix(X[:0]), ValueError, ["0 sample(s)"]),
    "an empty list": ([], ValueError, ["Expected 2D array"]),
    "no columns": (X[:, :0], ValueError, ["0 feature(s)"]),
    "no columns, CSR": (scipy.sparse.csr_matrix((N_ROWS, 0)), ValueError, ["0 feature(s)"]),
    "columns of str": (np.full((N_ROWS, 4), "a"), ValueError, ["not compatible with arrays of bytes/strings"]),
    "objects that are str": (
        np.full((N_ROWS, 4), "a", dtype=object),
        ValueError,
        ["could not convert string", "'a'", "OneHotEncoder"],
    ),
    "a column of str, frame": (lambda: pd.DataFrame({0: ["a"] * N_ROWS, 1: 1.0, 2: 2.0, 3: 3.0}), ValueError, ["'a'"]),
    "ragged lists": ([[1.0, 2.0], [3.0]] * 12, ValueError, ["inhomogeneous"]),
    "complex": (X + 1j, ValueError, ["Complex data not supported"]),
    "complex, tensor": (torch.tensor(X + 1j), ValueError, ["Complex data not supported", "complex128"]),
    "a sparse tensor": (torch.tensor(X).to_sparse(), ValueError, ["sparse tensor", "csr_matrix"]),
    "an empty dict": ({}, ValueError, ["one non-empty str per input"]),
    "a dict of numbered inputs": ({0: X}, ValueError, ["one non-empty str per input", "[0]"]),
    "a dict of unequal lengths": ({"a": X, "b": X[:5]}, ValueError, ["equally many rows", "'b': 5"]),
    "a dict with NaN": ({"a": X, "b": with_entry(np.nan)}, ValueError, ["X['b'] contains NaN"]),
    "a dict with NaN, tensor": ({"a": torch.tensor(with_entry(np.nan))}, ValueError, ["X['a'] contains NaN"]),
    "a dict of str": ({"a": np.full(N_ROWS, "a", dtype=object)}, ValueError, ["could not convert string to float"]),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", BAD_X)
def test_bad_rows_leave_an_unfitted_estimator_unfitted(case: str, verb: str) -> None:
    """A first call on rows that cannot be used raises and learns nothing."""
    rows, error, words = BAD_X[case]
    rows = made(rows)
    estimator = classifier()
    if verb == "continue_fit":
        error, words = NotFittedError, ["not fitted yet"]
    with refused(estimator, error, *words):
        getattr(estimator, verb)(rows, LABELS)
    assert not estimator.__sklearn_is_fitted__()


@pytest.mark.parametrize("case", BAD_X)
def test_bad_rows_leave_a_fitted_estimator_where_it_stands(case: str) -> None:
    """No verb touches the run for rows it cannot use, nor does predict; the run goes on exactly."""
    rows, error, words = BAD_X[case]
    rows = made(rows)
    estimator, twin = fitted()
    for verb in VERBS:
        with refused(estimator, error, *words):
            getattr(estimator, verb)(rows, LABELS)
    with refused(estimator, error):
        estimator.predict(rows)
    assert_goes_on_like(estimator, twin, LABELS)


def test_a_tensor_without_columns() -> None:
    """A tensor of no columns is refused like such an array."""
    estimator = classifier()
    with refused(estimator, ValueError, "0 feature(s)"):
        estimator.fit(torch.zeros(N_ROWS, 0), LABELS)


@pytest.mark.parametrize("kind", ["datetime64[s]", "timedelta64[s]"])
def test_times_are_no_numbers(kind: str) -> None:
    """A column of times is refused."""
    estimator = classifier()
    with refused(estimator, ValueError, kind, "numbers were expected"):
        estimator.fit((X * 10).astype(kind), LABELS)


ONE_ROW = {"array": X[:1], "tensor": torch.tensor(X[:1]), "CSR": scipy.sparse.csr_matrix(X[:1])}


@pytest.mark.parametrize("container", ONE_ROW)
def test_one_row_is_too_few_but_for_partial_fit(container: str) -> None:
    """fit and continue_fit ask for two rows, in scikit-learn's words; partial_fit takes one."""
    rows, label = ONE_ROW[container], LABELS[:1]
    new = classifier()
    with refused(new, ValueError, "1 sample", "minimum of 2"):
        new.fit(rows, label)
    going_on = classifier().fit(X, LABELS)
    with refused(going_on, ValueError, "1 sample", "minimum of 2"):
        going_on.continue_fit(rows, label)
    assert going_on.partial_fit(rows, label).n_epochs_ == 3
    assert classifier().partial_fit(rows, label, classes=[0, 1]).n_epochs_ == 1


OTHER_SHAPES = {
    "narrower": (X[:, :3], ["3 features", "expecting 4 features"]),
    "wider": (np.hstack([X, X]), ["8 features", "expecting 4 features"]),
    "narrower, tensor": (torch.tensor(X[:, :3]), ["3 features", "expecting 4 features"]),
    "wider, CSR": (scipy.sparse.csr_matrix(np.hstack([X, X])), ["8 features", "expecting 4 features"]),
    "more dimensions": (np.stack([X, X], axis=2), ["[4, 2]", "[4]"]),
    "a dict": ({"x": X}, ["'x': [4]", "'': [4]"]),
}


@pytest.mark.parametrize("case", OTHER_SHAPES)
def test_rows_of_another_shape(case: str) -> None:
    """A fitted estimator names the shape it was given and the shape it knows."""
    rows, words = OTHER_SHAPES[case]
    estimator, twin = fitted()
    for verb in ("continue_fit", "partial_fit"):
        with refused(estimator, ValueError, *words):
            getattr(estimator, verb)(rows, LABELS)
    with refused(estimator, ValueError, *words):
        estimator.predict(rows)
    assert_goes_on_like(estimator, twin, LABELS)


OTHER_NAMES = {
    "other names": (["a", "b", "c", "z"], ["feature names", "z", "d"]),
    "another order": (["b", "a", "c", "d"], ["feature names", "same order"]),
    "fewer": (["a", "b", "c"], ["feature names", "d"]),
}


@pytest.mark.parametrize("case", OTHER_NAMES)
def test_other_names_of_columns(case: str) -> None:
    """Columns of other names, or in another order, are refused with the names that differ."""
    names, words = OTHER_NAMES[case]
    known = pd.DataFrame(X, columns=list("abcd"))
    estimator = classifier().fit(known, LABELS)
    twin = through_pickle(estimator)
    other = pd.DataFrame(X[:, : len(names)], columns=names)
    for verb in ("continue_fit", "partial_fit"):
        with refused(estimator, ValueError, *words):
            getattr(estimator, verb)(other, LABELS)
    with refused(estimator, ValueError, *words):
        estimator.predict(other)
    assert_same_run(estimator.continue_fit(known, LABELS), twin.continue_fit(known, LABELS), known)


NAMED = {"numbers": X, "codes": np.arange(N_ROWS) % 6}
OTHER_ENTRIES = {
    "an entry is missing": {"numbers": X},
    "an entry is new": {**NAMED, "more": X},
    "an entry is wider": {"numbers": np.hstack([X, X]), "codes": NAMED["codes"]},
    "an array": X,
}


@pytest.mark.parametrize("case", OTHER_ENTRIES)
def test_a_dict_of_other_entries(case: str) -> None:
    """A module with several inputs gets the entries it was fitted on, or a refusal."""
    estimator = classifier(module=NumbersAndCodes).fit(NAMED, LABELS)
    twin = through_pickle(estimator)
    for verb in ("continue_fit", "partial_fit"):
        with refused(estimator, ValueError):
            getattr(estimator, verb)(OTHER_ENTRIES[case], LABELS)
    with refused(estimator, ValueError):
        estimator.predict(OTHER_ENTRIES[case])
    assert_same_run(estimator.continue_fit(NAMED, LABELS), twin.continue_fit(NAMED, LABELS), NAMED)


@pytest.mark.parametrize("rows", [{"x": X}, {"a": X, "b": X}, X.reshape(N_ROWS, 2, 2)], ids=["1", "2", "3-D"])
def test_the_built_in_module_takes_one_matrix(rows: Any) -> None:
    """The MLP says that it takes one X of two dimensions."""
    estimator = classifier()
    with refused(estimator, ValueError, "built-in MLP takes one X of shape (n_samples, n_features)"):
        estimator.fit(rows, LABELS)


# ---- y ---------------------------------------------------------------------------------------------------------------

NAN_LABELS = np.where(LABELS == 0, np.nan, LABELS)
BAD_LABELS = {
    "None": (None, ["requires y to be passed", "None"]),
    "too few": (LABELS[:5], ["inconsistent numbers of samples", "24", "5"]),
    "too many": (np.tile(LABELS, 2), ["inconsistent numbers of samples", "24", "48"]),
    "NaN": (NAN_LABELS, ["Input y contains NaN"]),
    "inf": (np.where(LABELS == 0, np.inf, LABELS), ["Input y contains infinity"]),
    "continuous": (VALUES, ["Unknown label type: continuous"]),
    "three dimensions": (np.zeros((N_ROWS, 2, 2), dtype=int), ["dim"]),
    "two columns of classes": (np.stack([LABELS, LABELS], axis=1), ["(24, 2)", "multiclass-multioutput"]),
    "a str": ("abc", ["1d array"]),
    "a number": (5, ["1d array"]),
    "mixed": (np.array([1, "a"] * 12, dtype=object), ["Unknown label type"]),
    "with None": (np.array([None, "a"] * 12, dtype=object), ["Unknown label type"]),
    "complex": (LABELS + 1j, ["Complex data not supported"]),
    "ragged": ([[1], [1, 2]] * 12, ["inhomogeneous"]),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(case: str) -> None:
    """A target that is no target of a classifier is refused by every verb."""
    y, words = BAD_LABELS[case]
    new = classifier()
    for verb in ("fit", "partial_fit"):
        with refused(new, ValueError, *words):
            getattr(new, verb)(X, y)
    estimator, twin = fitted()
    for verb in ("fit", "continue_fit", "partial_fit"):
        with refused(estimator, ValueError):
            getattr(estimator, verb)(X, y)
    assert_goes_on_like(estimator, twin, LABELS)


BAD_VALUES = {
    "None": (None, ["requires y to be passed", "None"]),
    "too few": (VALUES[:5], ["inconsistent numbers of samples", "24", "5"]),
    "NaN": (NAN_LABELS, ["Input y contains NaN"]),
    "inf": (np.where(LABELS == 0, np.inf, LABELS), ["Input y contains infinity"]),
    "three dimensions": (np.zeros((N_ROWS, 2, 2)), ["dim"]),
    "str": (["a"] * N_ROWS, ["could not convert string to float"]),
    "complex": (VALUES + 1j, ["Complex data not supported"]),
    "no columns": (np.zeros((N_ROWS, 0)), ["0 feature(s)"]),
    "a number": (5.0, []),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_values(case: str) -> None:
    """A target that is no target of a regressor is refused by every verb."""
    y, words = BAD_VALUES[case]
    new = regressor()
    for verb in ("fit", "partial_fit"):
        with refused(new, ValueError, *words):
            getattr(new, verb)(X, y)
    estimator, twin = fitted("regressor")
    for verb in ("fit", "continue_fit", "partial_fit"):
        with refused(estimator, ValueError, *words):
            getattr(estimator, verb)(X, y)
    assert_goes_on_like(estimator, twin, VALUES)


@pytest.mark.parametrize("y", [np.zeros(N_ROWS, dtype=int), ["a"] * N_ROWS, [True] * N_ROWS])
def test_one_class_is_too_few(y: Any) -> None:
    """A first call needs two classes and says which one it has; later rows of one class are fine."""
    new = classifier()
    with refused(new, ValueError, "1 class", str(y[0]), "at least 2", "classes="):
        new.fit(X, y)
    with refused(new, ValueError, "1 class"):
        new.partial_fit(X, LABELS, classes=y)
    assert classifier().fit(X, LABELS).continue_fit(X, np.ones(N_ROWS)).n_epochs_ == 4


@pytest.mark.parametrize("verb", ["continue_fit", "partial_fit"])
@pytest.mark.parametrize(
    ("y", "words"),
    [
        (LABELS + 1, ["[3]", "[0, 1, 2]", "classes="]),
        (np.array(["a", "b", "c"])[LABELS], ["['a', 'b', 'c']", "[0, 1, 2]"]),
        (INDICATOR, ["multilabel indicator", "one label per row"]),
    ],
    ids=["a new class", "labels of another kind", "an indicator"],
)
def test_unseen_classes(verb: str, y: Any, words: list[str]) -> None:
    """A run refuses classes it was not started with and names them, those it knows, and the way out."""
    estimator, twin = fitted()
    with refused(estimator, ContinuationError, *words):
        getattr(estimator, verb)(X, y)
    assert_goes_on_like(estimator, twin, LABELS)


def test_classes_that_contradict() -> None:
    """classes= must name every class of the rows, and those of the run later on."""
    new = classifier()
    with refused(new, ContinuationError, "[2]", "[0, 1]"):
        new.partial_fit(X, LABELS, classes=[0, 1])
    estimator, twin = fitted()
    with refused(estimator, ContinuationError, "[0, 1, 2, 3]", "[0, 1, 2]"):
        estimator.partial_fit(X, LABELS, classes=[0, 1, 2, 3])
    assert_goes_on_like(estimator, twin, LABELS)


@pytest.mark.parametrize(
    ("kind", "known", "given", "words"),
    [
        ("classifier", INDICATOR, INDICATOR[:, :2], ["2 labels", "3"]),
        ("classifier", INDICATOR, LABELS, ["multilabel indicator", "one label per row"]),
        ("regressor", SEVERAL_VALUES, VALUES, ["1 outputs", "(24,)", "2"]),
        ("regressor", VALUES, SEVERAL_VALUES, ["2 outputs", "(24, 2)", "1"]),
    ],
)
@pytest.mark.parametrize("verb", ["continue_fit", "partial_fit"])
def test_a_target_of_another_shape(kind: str, known: Any, given: Any, words: list[str], verb: str) -> None:
    """A run refuses a target of another shape and names both."""
    estimator = (classifier if kind == "classifier" else regressor)().fit(X, known)
    twin = through_pickle(estimator)
    with refused(estimator, ContinuationError, *words):
        getattr(estimator, verb)(X, given)
    assert_goes_on_like(estimator, twin, known)


# ---- weights and validation rows -------------------------------------------------------------------------------------

BAD_WEIGHTS = {
    "negative": (np.where(LABELS == 1, -0.5, 1.0), ["sample_weight", "8 negative", "-0.5"]),
    "all zero": (np.zeros(N_ROWS), ["non-zero"]),
    "too few": (np.ones(5), ["sample_weight.shape == (5,)", "(24,)"]),
    "NaN": (np.where(LABELS == 1, np.nan, 1.0), ["sample_weight contains NaN"]),
    "inf": (np.where(LABELS == 1, np.inf, 1.0), ["sample_weight contains infinity"]),
    "two dimensions": (np.ones((N_ROWS, 2)), ["1D array"]),
    "str": (np.full(N_ROWS, "a"), ["could not convert string"]),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights(case: str) -> None:
    """Weights that weigh nothing sensible are refused by every verb."""
    weight, words = BAD_WEIGHTS[case]
    new = classifier()
    with refused(new, ValueError, *words):
        new.fit(X, LABELS, sample_weight=weight)
    estimator, twin = fitted()
    for verb in VERBS:
        with refused(estimator, ValueError, *words):
            getattr(estimator, verb)(X, LABELS, sample_weight=weight)
    assert_goes_on_like(estimator, twin, LABELS)


@pytest.mark.parametrize(
    ("class_weight", "words"),
    [
        ("equal", ["'equal'", "balanced"]),
        ({"a": 2.0}, ["class_weight", "no classes"]),
        (5, ["class_weight=5", "dict"]),
        ([1, 2, 3], ["class_weight=[1, 2, 3]", "dict"]),
        ({0: 0.0, 1: 0.0, 2: 0.0}, ["non-zero"]),
        ({1: -1.0}, ["class_weight", "-1.0"]),
        ({1: np.nan}, ["class_weight", "nan"]),
    ],
)
def test_bad_class_weights(class_weight: Any, words: list[str]) -> None:
    """Class weights are checked before anything is trained."""
    new = classifier(class_weight=class_weight)
    with refused(new, ValueError, *words):
        new.fit(X, LABELS)
    estimator, twin = fitted()
    estimator.set_params(class_weight=class_weight)
    with refused(estimator, ValueError, *words):
        estimator.continue_fit(X, LABELS)
    assert_goes_on_like(estimator.set_params(class_weight=None), twin, LABELS)


def test_balanced_class_weights_and_partial_fit() -> None:
    """partial_fit cannot know the balance of rows to come and says so."""
    new = classifier(class_weight="balanced")
    with refused(new, ValueError, "balanced", "dict"):
        new.partial_fit(X, LABELS)


BAD_VALIDATION = {
    "no y_val": ({"X_val": X}, ValueError, ["X_val was given without y_val"]),
    "no X_val": ({"y_val": LABELS}, ValueError, ["without X_val"]),
    "weights alone": ({"sample_weight_val": np.ones(N_ROWS)}, ValueError, ["without X_val"]),
    "narrower": ({"X_val": X[:, :3], "y_val": LABELS}, ValueError, ["3 features", "expecting 4"]),
    "NaN": ({"X_val": with_entry(np.nan), "y_val": LABELS}, ValueError, ["NaN"]),
    "no rows": ({"X_val": X[:0], "y_val": LABELS[:0]}, ValueError, ["0 sample(s)"]),
    "too few labels": ({"X_val": X, "y_val": LABELS[:5]}, ValueError, ["inconsistent numbers of samples", "24", "5"]),
    "unseen class": ({"X_val": X, "y_val": LABELS + 1}, ValueError, ["[3]", "[0, 1, 2]"]),
    "an indicator": ({"X_val": X, "y_val": INDICATOR}, ValueError, ["multilabel indicator"]),
    "bad weights": ({"X_val": X, "y_val": LABELS, "sample_weight_val": -LABELS}, ValueError, ["negative"]),
    "more dimensions": ({"X_val": np.stack([X, X], axis=2), "y_val": LABELS}, ValueError, []),
    "a dict": ({"X_val": {"x": X}, "y_val": LABELS}, ValueError, []),
}


@pytest.mark.parametrize("case", BAD_VALIDATION)
def test_bad_validation_rows(case: str) -> None:
    """Validation rows are checked like training rows, before anything is trained."""
    given, error, words = BAD_VALIDATION[case]
    new = classifier()
    with refused(new, error, *words):
        new.fit(X, LABELS, **given)
    estimator, twin = fitted()
    for verb in ("fit", "continue_fit"):
        with refused(estimator, error, *words):
            getattr(estimator, verb)(X, LABELS, **given)
    assert_goes_on_like(estimator, twin, LABELS)


def test_a_fraction_that_leaves_nothing() -> None:
    """Holding out every row is refused with the numbers and the way out."""
    new = classifier(validation_fraction=0.99)
    with refused(new, ValueError, "validation_fraction=0.99", "24 rows", "X_val"):
        new.fit(X, LABELS)
    estimator, twin = fitted()
    estimator.set_params(validation_fraction=0.99)
    with refused(estimator, ValueError, "24 rows"):
        estimator.continue_fit(X, LABELS)
    assert_goes_on_like(estimator.set_params(validation_fraction=None), twin, LABELS)


# ---- parameters ------------------------------------------------------------------------------------------------------


class Five:
    """Neither a module nor a callback."""


BAD_PARAMETERS = [
    ({"max_epochs": 0}, ValueError, ["max_epochs=0 asks for nothing", "at least 1"]),
    ({"max_epochs": -3}, ValueError, ["max_epochs=-3"]),
    ({"max_epochs": "abc"}, TypeError, ["max_epochs='abc'", "str", "integer"]),
    ({"max_epochs": 1.5}, TypeError, ["max_epochs=1.5", "float", "integer"]),
    ({"max_epochs": None}, TypeError, ["max_epochs=None"]),
    ({"batch_size": 0}, ValueError, ["batch_size=0", "at least 1"]),
    ({"batch_size": -1}, ValueError, ["batch_size=-1", "at least 1"]),
    ({"batch_size": "abc"}, TypeError, ["batch_size='abc'", "str", "integer"]),
    ({"batch_size": 8.0}, TypeError, ["batch_size=8.0", "float", "integer"]),
    ({"verbose": "loud"}, TypeError, ["verbose='loud'"]),
    ({"verbose": -1}, ValueError, ["verbose=-1"]),
    ({"shuffle": "yes"}, TypeError, ["shuffle='yes'", "True or False"]),
    ({"drop_last": 2}, TypeError, ["drop_last=2", "True or False"]),
    ({"check_finite": None}, TypeError, ["check_finite=None", "True or False"]),
    ({"compile": "yes"}, TypeError, ["compile='yes'", "True or False"]),
    ({"warm_start": "yes"}, TypeError, ["warm_start='yes'", "True or False"]),
    ({"validation_fraction": 2}, ValueError, ["validation_fraction=2", "between 0 and 1"]),
    ({"validation_fraction": 0.0}, ValueError, ["validation_fraction=0.0", "between 0 and 1"]),
    ({"validation_fraction": "abc"}, ValueError, ["validation_fraction='abc'", "between 0 and 1"]),
    ({"lr": -1}, ValueError, ["lr=-1", "at least 0"]),
    ({"lr": float("nan")}, ValueError, ["lr=nan", "finite"]),
    ({"lr": float("inf")}, ValueError, ["lr=inf", "finite"]),
    ({"lr": "abc"}, ValueError, ["lr='abc'"]),
    ({"device": "gpu"}, ValueError, ["device='gpu'", "cuda"]),
    ({"device": None}, ValueError, ["device=None"]),
    ({"random_state": "abc"}, ValueError, ["'abc'"]),
    ({"callbacks": GradientClipping(1.0)}, TypeError, ["callbacks=GradientClipping", "list"]),
    ({"callbacks": {"clip": GradientClipping(1.0)}}, TypeError, ["dict", "list"]),
    ({"callbacks": [GradientClipping]}, TypeError, ["Callback instance", "(name, callback)"]),
    ({"callbacks": [Five()]}, TypeError, ["Five", "Callback instance"]),
    ({"callbacks": [("clip", 5)]}, TypeError, ["('clip', 5)", "Callback instance"]),
    ({"callbacks": "abc"}, TypeError, ["callbacks='abc'", "list"]),
    ({"callbacks": [Interrupt(None), Interrupt(None)]}, ValueError, ["two callbacks", "'Interrupt'", "another name"]),
    ({"callbacks": [("a", Interrupt(None)), ("a", Freeze("*"))]}, ValueError, ["two callbacks", "'a'"]),
    ({"callbacks": [EarlyStopping()]}, ValueError, ["monitor='valid_loss'", "validation_fraction", "train_loss"]),
    ({"callbacks": [EpochScoring()]}, ValueError, ["EpochScoring", "validation_fraction", "on='train'"]),
    ({"callbacks": [Freeze("nope.*")]}, ValueError, ["'nope.*'", "layer.weight"]),
    ({"optimizer": "Adamm"}, ValueError, ["optimizer='Adamm'", "did you mean 'Adam'"]),
    ({"optimizer": "zzz"}, ValueError, ["optimizer='zzz'", "torch.optim"]),
    ({"optimizer": 5}, TypeError, ["optimizer", "5", "torch.optim"]),
    ({"optimizer": None}, TypeError, ["optimizer", "None"]),
    ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, TypeError, ["optimizer is an instance of SGD", "class"]),
    ({"optimizer__nope": 1}, TypeError, ["nope"]),
    ({"criterion": "CrossEntropyLos"}, ValueError, ["criterion='CrossEntropyLos'", "did you mean 'CrossEntropyLoss'"]),
    ({"criterion": 5}, TypeError, ["criterion", "5", "torch.nn"]),
    ({"criterion": "BCEWithLogitsLoss"}, ValueError, ["BCEWithLogitsLoss", "3", "CrossEntropyLoss"]),
    ({"lr_scheduler": "StepLRR"}, ValueError, ["lr_scheduler='StepLRR'", "did you mean 'StepLR'"]),
    ({"lr_scheduler": 5}, TypeError, ["lr_scheduler", "5"]),
    ({"lr_scheduler_interval": "batch"}, ValueError, ["lr_scheduler_interval='batch'", "'epoch'", "'step'"]),
    ({"lr_scheduler_on_continue": "stop"}, ValueError, ["'stop'", "'continue'", "'extend'", "'restart'"]),
    (
        {"lr_scheduler": "ReduceLROnPlateau", "lr_scheduler_interval": "step"},
        ValueError,
        ["ReduceLROnPlateau", "lr_scheduler_interval='epoch'"],
    ),
    ({"drop_last": True, "batch_size": 25}, ValueError, ["drop_last=True", "batch_size=25", "24"]),
    ({"batch_size": 23}, ValueError, ["last batch of one row", "batch normalization", "drop_last=True"]),
    ({"batch_size": 1}, ValueError, ["one row", "batch normalization"]),
]
PARAMETERS = {"module": Normed, "lr_scheduler": "StepLR", "lr_scheduler__step_size": 2}


def given(params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a run with one thing wrong."""
    kept = {} if params.get("lr_scheduler", "StepLR") != "StepLR" else PARAMETERS
    return {**(kept or {"module": Normed}), **params}


@pytest.mark.parametrize(("params", "error", "words"), BAD_PARAMETERS, ids=[" ".join(p) for p, _, _ in BAD_PARAMETERS])
def test_bad_parameters(params: dict[str, Any], error: type[Exception], words: list[str]) -> None:
    """fit and continue_fit refuse a parameter, naming it, its value and what is expected."""
    new = classifier(**given(params))
    with refused(new, error, *words):
        new.fit(X, LABELS)
    estimator, twin = fitted()
    usual = {name: twin.get_params().get(name) for name in params}
    estimator.set_params(**params)
    for verb in ("fit", "continue_fit"):
        with refused(estimator, error, *words):
            getattr(estimator, verb)(X, LABELS)
    estimator.set_params(**{name: value for name, value in usual.items() if name in twin.get_params()})
    for name in set(estimator.get_params()) - set(twin.get_params()):
        delattr(estimator, name)
    assert_goes_on_like(estimator, twin, LABELS)


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.5},
        {"optimizer__amsgrad": True},
        {"optimizer__weight_decay": 0.1},
        {"optimizer": "SGD"},
        {"criterion": "MultiMarginLoss"},
        {"lr_scheduler": None},
        {"lr_scheduler": "ExponentialLR", "lr_scheduler__gamma": 0.5},
        {"lr_scheduler_on_continue": "restart"},
        {"validation_fraction": 0.25},
        {"random_state": 7},
        {"batch_size": 5, "shuffle": False, "max_epochs": 7},
    ],
    ids=" ".join,
)
@pytest.mark.filterwarnings("ignore::sktorch_continue.ContinuationWarning")
def test_a_refused_call_applies_none_of_its_changes(changes: dict[str, Any]) -> None:
    """When one thing is wrong, the changes that are right are not made either."""
    estimator, twin = fitted()
    usual = estimator.get_params()
    if changes.get("lr_scheduler", "StepLR") != "StepLR":
        delattr(estimator, "lr_scheduler__step_size")
    estimator.set_params(**changes, callbacks=[Freeze("nope.*")])
    with refused(estimator, ValueError, "nope"):
        estimator.continue_fit(X, LABELS)
    for name in set(changes) - set(usual):
        delattr(estimator, name)
    assert_goes_on_like(estimator.set_params(**usual), twin, LABELS)


def test_asking_for_nothing_names_the_numbers() -> None:
    """continue_fit(max_epochs=0) says from where to where it would have trained."""
    estimator, twin = fitted()
    with refused(estimator, ValueError, "max_epochs=0", "has 2 epochs", "from 2 to 2"):
        estimator.continue_fit(X, LABELS, max_epochs=0)
    assert_goes_on_like(estimator, twin, LABELS)


@pytest.mark.parametrize("value", [np.True_, np.bool_(False)])
@pytest.mark.parametrize("name", ["shuffle", "drop_last", "warm_start"])
def test_booleans_of_numpy_are_booleans(name: str, value: Any) -> None:
    """What a search over an array of booleans passes is accepted, as scikit-learn does."""
    assert_same_run(classifier(**{name: value}).fit(X, LABELS), classifier(**{name: bool(value)}).fit(X, LABELS))


def test_true_is_no_batch_size() -> None:
    """batch_size=True is refused, as max_epochs=True is."""
    new = classifier(batch_size=True)
    with refused(new, TypeError, "batch_size=True"):
        new.fit(X, LABELS)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"callbacks": [EarlyStopping("valid_acc")]}, ["valid_acc"]),
        ({"lr_scheduler": "ReduceLROnPlateau", "lr_scheduler_monitor": "valid_acc"}, ["valid_acc"]),
    ],
)
def test_a_monitor_nobody_fills(params: dict[str, Any], words: list[str]) -> None:
    """A column that is misspelled is refused before anything is trained."""
    new = classifier(**params)
    with refused(new, ValueError, *words):
        new.fit(X, LABELS)


@pytest.mark.parametrize("make", [classifier, regressor])
def test_a_misspelled_parameter(make: Any) -> None:
    """A parameter nobody has is an error when the estimator is made, set or cloned, with the names there are."""
    with pytest.raises(TypeError, match=r"batchsize.*batch_size"):
        make(batchsize=3)
    estimator = make()
    with refused(estimator, ValueError, "batchsize", "batch_size"):
        estimator.set_params(batchsize=3)
    with pytest.raises(TypeError, match="module__"):
        make(**{"module__": 3})
    assert clone(estimator).get_params() == estimator.get_params()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("learning_rate", "lr"), ("hidden_layer_sizes", "module__hidden_layer_sizes"), ("epochs", "max_epochs")],
)
def test_a_parameter_by_its_name_elsewhere(name: str, meant: str) -> None:
    """Who uses the name another library has is told the one that is meant."""
    with pytest.raises(TypeError, match=f"{name!r}; did you mean {meant!r}"):
        classifier(**{name: 1})


def test_a_misspelled_hook() -> None:
    """A method that looks like a hook and is none is an error when the class is defined."""
    with pytest.raises(TypeError, match=r"Careless\.on_epoch_ends is no hook; did you mean on_epoch_end\?"):
        type("Careless", (Callback,), {"on_epoch_ends": lambda self, run: None})
    with pytest.raises(TypeError, match=r"on_zzz is no hook.*on_train_begin"):
        type("Careless", (Callback,), {"on_zzz": lambda self, run: None})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EarlyStopping(patience=0), "patience=0"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta=-1"),
        (lambda: EarlyStopping(mode="up"), "mode='up'"),
        (lambda: EpochScoring(on="test"), "on='test'"),
        (lambda: GradientClipping(), "one positive bound"),
        (lambda: GradientClipping(1.0, max_value=1.0), "one positive bound"),
        (lambda: GradientClipping(-1.0), "one positive bound"),
        (lambda: Freeze("*", at=0), "at=0"),
    ],
)
def test_bad_arguments_of_callbacks(make: Any, words: str) -> None:
    """A callback refuses an argument when it is made."""
    with pytest.raises(ValueError, match=words):
        make()


# ---- modules and criteria --------------------------------------------------------------------------------------------


class TwoOutputs(Column):
    """Returns a tuple."""

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x), x


def five(**_: Any) -> int:
    """Return no module."""
    return 5


BAD_MODULES = {
    "a number": ({"module": 5}, TypeError, ["module=5", "nn.Module"]),
    "a name": ({"module": "MLP"}, TypeError, ["module='MLP'", "nn.Module"]),
    "returns no module": ({"module": five}, TypeError, ["five", "returned int", "Module"]),
    "a class that is no module": ({"module": Five}, TypeError, ["Five", "Module"]),
    "too few outputs": ({"module": nn.Linear(4, 2)}, ValueError, ["(2, 2)", "(2, 3)", "n_outputs"]),
    "too many outputs": ({"module": nn.Linear(4, 5)}, ValueError, ["(2, 5)", "(2, 3)", "n_outputs"]),
    "flat output": ({"module": nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))}, ValueError, ["(2,)", "(2, 3)"]),
    "too many inputs": ({"module": nn.Linear(5, 3)}, ValueError, ["Linear failed", "(2, 4)", "n_features_in"]),
    "no parameters": ({"module": nn.AdaptiveAvgPool1d(3)}, ValueError, ["AdaptiveAvgPool1d has no parameters"]),
    "a tuple": ({"module": TwoOutputs}, TypeError, ["TwoOutputs", "tuple", "tensor"]),
    "an argument for an instance": (
        {"module": nn.Linear(4, 3), "module__bias": False},
        ValueError,
        ["instance of Linear", "module__bias", "class"],
    ),
    "an unknown argument": ({"module__nope": 1}, TypeError, ["nope"]),
    "an unknown activation": ({"module__activation": "rel"}, ValueError, ["activation='rel'", "relu"]),
    "two inputs, one array": ({"module": NumbersAndCodes}, ValueError, ["NumbersAndCodes", "codes"]),
}


@pytest.mark.parametrize("case", BAD_MODULES)
def test_bad_modules(case: str) -> None:
    """A module that cannot be trained on these rows is refused before a step, also by a fit of a fitted estimator."""
    params, error, words = BAD_MODULES[case]
    new = classifier(**params)
    with refused(new, error, *words):
        new.fit(X, LABELS)
    other = classifier().fit(X, LABELS)
    twin = through_pickle(other)
    other.set_params(**params)
    with refused(other, error, *words):
        other.fit(X, LABELS)
    assert_same_run(other, twin)


def test_a_code_outside_of_an_embedding() -> None:
    """A module that fails on the first rows is named, whatever it raises."""
    module = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 3))
    new = classifier(module=module)
    with refused(new, ValueError, "Sequential failed"):
        new.fit(np.full((N_ROWS, 4), 7), LABELS)


class Total(nn.Module):
    """A criterion that can only give one number."""

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output, target)


class Pretender(Total):
    """Has a reduction and does not honour it."""

    reduction = "mean"


def total(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return one number."""
    return nn.functional.cross_entropy(output, target)


@pytest.mark.parametrize("criterion", [Total, Pretender, total])
def test_a_criterion_without_a_loss_per_sample_under_weights(criterion: Any) -> None:
    """Weights need a loss per sample; without them the criterion is fine, and stays so."""
    new = classifier(criterion=criterion)
    words = ["loss per sample", "reduction", "sample_weight"]
    with refused(new, ValueError, *words):
        new.fit(X, LABELS, sample_weight=LABELS + 1.0)
    balanced = classifier(criterion=criterion, class_weight={0: 2.0})
    with refused(balanced, ValueError, *words):
        balanced.fit(X, LABELS)
    estimator = new.fit(X, LABELS)
    twin = through_pickle(estimator)
    for verb in VERBS:
        with refused(estimator, ValueError, *words):
            getattr(estimator, verb)(X, LABELS, sample_weight=LABELS + 1.0)
    assert_goes_on_like(estimator, twin, LABELS)


@pytest.mark.parametrize("criterion", [Total, Pretender])
def test_a_criterion_without_a_loss_per_sample_under_validation_weights(criterion: Any) -> None:
    """Weights of validation rows are refused like those of training rows, before anything is trained."""
    new = classifier(criterion=criterion)
    with refused(new, ValueError, "loss per sample"):
        new.fit(X, LABELS, X_val=X, y_val=LABELS, sample_weight_val=LABELS + 1.0)


def counts(output: torch.Tensor, target: torch.Tensor) -> int:
    """Return no tensor."""
    return len(target)


BAD_CRITERIA = {
    "returns a number": (counts, ValueError, ["returned int", "tensor"]),
    "reads three tensors": (nn.CosineEmbeddingLoss, ValueError, ["CosineEmbeddingLoss failed", "(2, 3)"]),
    "returns no module": (five, TypeError, ["five", "returned int", "Module"]),
}


@pytest.mark.parametrize("case", BAD_CRITERIA)
@pytest.mark.filterwarnings("ignore::sktorch_continue.ContinuationWarning")
def test_bad_criteria(case: str) -> None:
    """A criterion that cannot be used on these rows is refused before a step, and by a run that would go on."""
    criterion, error, words = BAD_CRITERIA[case]
    new = classifier(criterion=criterion)
    with refused(new, error, *words):
        new.fit(X, LABELS)
    estimator, twin = fitted()
    estimator.set_params(criterion=criterion)
    for verb in VERBS:
        with refused(estimator, error, *words):
            getattr(estimator, verb)(X, LABELS)
    assert_goes_on_like(estimator.set_params(criterion=None), twin, LABELS)


def test_a_multilabel_target_and_a_criterion_of_classes() -> None:
    """CrossEntropyLoss on an indicator is refused with the criterion that fits."""
    new = classifier(criterion="CrossEntropyLoss")
    with refused(new, ValueError, "multilabel", "CrossEntropyLoss", "BCEWithLogitsLoss"):
        new.fit(X, INDICATOR)


def test_predicting_before_fitting() -> None:
    """Every question to an unfitted estimator says that it is not fitted."""
    new = classifier()
    for method in (new.predict, new.predict_proba):
        with refused(new, NotFittedError, "not fitted"):
            method(X)
    with refused(new, NotFittedError, "not fitted"):
        new.continue_fit(X, LABELS)
    for name in ("module_", "history_", "n_epochs_", "optimizer_", "callbacks_"):
        with pytest.raises(AttributeError, match=f"no {name}: it is not fitted yet"):
            getattr(new, name)


# ---- batch norm and drop_last ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [Normed, None], ids=["own", "built in"])
def test_a_last_batch_of_one_row(module: Any) -> None:
    """Batch norm on a last batch of one row is foreseen; drop_last trains without that row."""
    extra = {} if module else {"module__batch_norm": True, "module__hidden_layer_sizes": (5,)}
    new = classifier(module=module, batch_size=23, **extra)
    with refused(new, ValueError, "24 training rows", "batches of 23", "one row", "drop_last=True"):
        new.fit(X, LABELS)
    assert new.set_params(drop_last=True).fit(X, LABELS).n_steps_ == 2
    assert classifier(module=Column, module__n_outputs=3, batch_size=23).fit(X, LABELS).n_steps_ == 4


def test_a_last_batch_of_one_row_among_the_training_rows() -> None:
    """Validation rows and rows of weight zero do not count."""
    new = classifier(module=Normed, batch_size=17, validation_fraction=0.25)
    with refused(new, ValueError, "18 training rows", "batches of 17"):
        new.fit(X, LABELS)
    weighted = classifier(module=Normed, batch_size=11)
    with refused(weighted, ValueError, "23 training rows", "batches of 11"):
        weighted.fit(X, LABELS, sample_weight=np.arange(N_ROWS))


# ---- losses that are not finite --------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["SGD", "LBFGS"])
def test_a_loss_that_is_not_finite_leaves_the_last_good_step(optimizer: str) -> None:
    """The error names epoch, step and learning rate; the run is the one interrupted after the step before."""
    params = {"module": Normed, "optimizer": optimizer, "shuffle": False}
    params.update({"optimizer__max_iter": 2} if optimizer == "LBFGS" else {})
    rows = X.copy()
    rows[17] = 1000.0  # the third batch of every epoch
    new = regressor(**params, callbacks=[Interrupt(None)])
    with pytest.raises(NonFiniteLossError, match=r"loss is nan at epoch 1, step 3, learning rate 0\.001.*step 2"):
        new.fit(rows, VALUES)
    stopped = regressor(**params, callbacks=[Interrupt(2)])
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(rows, VALUES)
    assert new.n_steps_ == 2
    assert first_difference(new.module_.state_dict(), stopped.module_.state_dict()) is None
    assert_same_run(new, stopped, X)
    again = stopped.set_params(callbacks=[Interrupt(None)]).continue_fit(X, VALUES)
    assert_same_run(new.continue_fit(X, VALUES), again, X)


@pytest.mark.filterwarnings("ignore::sktorch_continue.DataDriftWarning")
@pytest.mark.parametrize("optimizer", ["Adam", "LBFGS"])
def test_a_first_loss_that_is_not_finite_changes_nothing(optimizer: str) -> None:
    """A call whose first step fails leaves an unfitted estimator unfitted and a run where it was, buffers included."""
    new = regressor(module=Normed, optimizer=optimizer)
    if optimizer == "LBFGS":
        new.set_params(optimizer__max_iter=2)
    with refused(new, NonFiniteLossError, "epoch 1, step 1", "learning rate 0.001", "check_finite=False"):
        new.fit(X + 1000.0, VALUES)
    assert not new.__sklearn_is_fitted__()
    estimator = new.fit(X, VALUES)
    twin = through_pickle(estimator)
    for verb in VERBS:
        with refused(estimator, NonFiniteLossError, "step"):
            getattr(estimator, verb)(X + 1000.0, VALUES)
    assert_goes_on_like(estimator, twin, VALUES)


def test_a_learning_rate_that_is_too_large() -> None:
    """A training that diverges stops with the learning rate that did it, and the weights are finite."""
    new = regressor(optimizer="SGD", lr=1e30)
    with pytest.raises(NonFiniteLossError, match=r"learning rate 1e\+30.*smaller lr"):
        new.fit(X.astype(np.float32), VALUES)
    assert all(torch.isfinite(tensor).all() for tensor in new.module_.state_dict().values())


def test_check_finite_can_be_turned_off() -> None:
    """check_finite=False trains on regardless."""
    estimator = regressor(module=Normed, check_finite=False).fit(X + 1000.0, VALUES)
    assert estimator.n_epochs_ == 2
    assert np.isnan(estimator.history_["train_loss"]).all()


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        (ContinuationError, (SktorchContinueError, ValueError)),
        (NonFiniteLossError, (SktorchContinueError, ArithmeticError)),
    ],
)
def test_errors_can_be_caught_at_the_root_or_by_kind(error: type[Exception], kinds: tuple[type, ...]) -> None:
    """An error of this package is caught at its root and as Python's own kind."""
    assert all(issubclass(error, kind) for kind in kinds)


def test_a_snapshot_sees_a_difference() -> None:
    """What these tests compare with is not blind: one more step, or one parameter, is a difference."""
    estimator, twin = fitted()
    assert first_difference(snapshot(estimator), snapshot(twin)) is None
    assert first_difference(snapshot(estimator), snapshot(twin.set_params(lr=1.0))) is not None
    assert first_difference(snapshot(estimator), snapshot(twin.set_params(lr=1e-3).partial_fit(X, LABELS))) is not None
