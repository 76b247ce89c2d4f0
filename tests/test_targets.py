"""y in any form: labels, indicators and values, their weights, and the rows that validate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
import torch.nn.functional as F
from data_helpers import (
    BINARY,
    INDICATOR,
    LABELS,
    N_FEATURES,
    N_ROWS,
    SEVERAL_VALUES,
    VALUES,
    Column,
    Flat,
    X,
    classifier,
    regressor,
)
from optional import pd, pl
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from sktorch_continue import ContinuationError, EpochScoring, TorchClassifier, TorchRegressor
from sktorch_continue.data import ClassTarget
from sktorch_continue.data.targets import distinct_labels
from sktorch_continue.testing import assert_same_run, first_difference, run_state, through_pickle

WEIGHTS = np.random.default_rng(1).uniform(0.5, 2.0, size=N_ROWS)


def same_weights(left: Any, right: Any) -> None:
    """Raise unless the modules of two estimators are bit for bit the same."""
    difference = first_difference(run_state(left)["module"], run_state(right)["module"])
    assert difference is None, difference


# ---- labels ----------------------------------------------------------------------------------------------------------

LABEL_KINDS = {
    "int": [0, 1, 2],
    "negative": [-7, 0, 4],
    "whole floats": [0.0, 1.0, 2.0],
    "str": ["b", "ba", "c"],
    "bool": [False, True],
    "two ints": [-1, 1],
    "two floats": [0.0, 1.0],
    "two str": ["no", "yes"],
    "small ints": np.array([3, 7], dtype=np.uint8),
    "str objects": np.array(["x", "y", "zz"], dtype=object),
}


WHOLE = {
    "int8, far apart": np.array([-128, 127, 127, -128], dtype=np.int8),
    "large uint64": np.array([2**63, 2**63 + 5] * 3, dtype=np.uint64),
    "large int64": np.array([-(2**63), -(2**63) + 1] * 3),
    "gaps": np.array([7, 5, 5, 900, 7, 900]),
    "wide": np.array([0, 10**6] * 3),
    "a class per row": np.arange(10),
    "another byte order": np.array([3, 1, 1, 3], dtype=">i4"),
    "strided": np.array([0, 9, 1, 9, 0, 9, 1, 9])[::2],
}


@pytest.mark.parametrize("y", WHOLE.values(), ids=WHOLE)
def test_counted_labels_are_the_distinct_ones(y: np.ndarray) -> None:
    """Whole numbers are counted where they are few, and give what sorting them gives, of the same dtype."""
    found = distinct_labels(y)
    assert np.array_equal(found, np.unique(y))
    assert found.dtype == np.unique(y).dtype


def test_labels_that_count_from_zero_are_positions_only_where_all_are_known() -> None:
    """They are used where they lie, and a label below or above those known is refused."""
    target = ClassTarget.learn(np.array([0, 1, 2, 2, 1, 0]))
    y = np.array([2, 0, 1])
    assert np.shares_memory(target.encode(y), y)
    positions = target.encode(y.astype(np.int8))
    assert (positions.tolist(), positions.dtype) == ([2, 0, 1], np.int64)
    for unknown in (-1, 3):
        with pytest.raises(ContinuationError, match=f"classes \\[{unknown}\\]"):
            target.encode(np.array([0, unknown, 1]))


@pytest.mark.parametrize("kind", LABEL_KINDS)
def test_labels_of_any_kind_come_back_as_they_were(kind: str) -> None:
    """classes_ are the sorted labels, predictions are among them in their dtype, and the run is that of positions."""
    classes = np.asarray(LABEL_KINDS[kind])
    positions = LABELS % len(classes)
    y = classes[positions]
    estimator = classifier(lr=0.1, max_epochs=10).fit(X, y)
    assert estimator.classes_.tolist() == sorted(classes.tolist())
    assert estimator.classes_.dtype == classes.dtype
    assert estimator.n_outputs_ == len(classes)
    assert_same_run(estimator, classifier(lr=0.1, max_epochs=10).fit(X, positions), X)
    probabilities, predicted = estimator.predict_proba(X), estimator.predict(X)
    assert probabilities.shape == (N_ROWS, len(classes))
    assert predicted.shape == (N_ROWS,)
    assert predicted.dtype == classes.dtype
    assert (predicted == classes[probabilities.argmax(axis=1)]).all()
    assert estimator.score(X, y) == np.mean(predicted == y) > 0.5
    again = through_pickle(estimator).continue_fit(X, y)
    assert again.predict(X).tolist() == estimator.continue_fit(X, y).predict(X).tolist()


@pytest.mark.parametrize(
    "container",
    [
        list,
        lambda y: pd.Series(y),
        lambda y: pl.Series(y),
        lambda y: pd.Series(y).astype("category"),
        lambda y: pd.Series(y).astype("string"),
    ],
    ids=["list", "pandas", "polars", "categories", "pandas strings"],
)
def test_labels_come_in_any_container(container: Any) -> None:
    """A list, a series or categories of labels train the run of the array."""
    labels = np.array(["n", "p"])[BINARY]
    estimator = classifier(validation_fraction=0.25, callbacks=[EpochScoring()])
    plain, other = (TorchClassifier(**estimator.get_params()).fit(X, y) for y in (labels, container(labels.tolist())))
    assert_same_run(plain, other)
    assert other.predict(X).tolist() == plain.predict(X).tolist()


def test_a_tensor_of_labels() -> None:
    """Labels in a torch tensor train the run of the array."""
    assert_same_run(classifier().fit(X, LABELS), classifier().fit(X, torch.tensor(LABELS)), X)


def test_a_column_of_labels_is_read_as_labels() -> None:
    """Labels of shape (n, 1) train the run of shape (n,), with scikit-learn's warning."""
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        column = classifier().fit(X, LABELS[:, None])
    assert_same_run(classifier().fit(X, LABELS), column, X)


def test_classes_named_at_the_first_call_may_come_later() -> None:
    """partial_fit is told all classes and meets them one by one."""
    estimator = classifier()
    for label in (0, 1, 2):
        estimator.partial_fit(X[label == LABELS], LABELS[label == LABELS], classes=[2, 1, 0])
    assert estimator.classes_.tolist() == [0, 1, 2]
    assert estimator.n_epochs_ == 3
    assert estimator.predict_proba(X).shape == (N_ROWS, 3)


# ---- indicators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "container",
    [
        np.asarray,
        lambda y: y.tolist(),
        lambda y: y.astype(bool),
        lambda y: y.astype(float),
        lambda y: pd.DataFrame(y),
        lambda y: pl.DataFrame(y, schema=["a", "b", "c"]),
        scipy.sparse.csr_matrix,
        torch.tensor,
    ],
    ids=["array", "list", "bool", "float", "pandas", "polars", "csr", "tensor"],
)
def test_a_multilabel_indicator(container: Any) -> None:
    """Each label has a probability of its own, and any container trains the same run."""
    indicator = container(INDICATOR)
    estimator = classifier(lr=0.1, max_epochs=20).fit(X, indicator)
    assert_same_run(estimator, classifier(lr=0.1, max_epochs=20).fit(X, INDICATOR), X)
    assert estimator.classes_.tolist() == [0, 1, 2]
    probabilities, predicted = estimator.predict_proba(X), estimator.predict(X)
    assert probabilities.shape == predicted.shape == INDICATOR.shape
    assert ((probabilities > 0.5) == predicted).all()
    assert (predicted == INDICATOR).mean() > 0.8
    assert isinstance(estimator.criterion_, nn.BCEWithLogitsLoss)
    estimator.continue_fit(X, indicator)


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [Column, Flat, None], ids=["(n, 1)", "(n,)", "built in"])
@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
def test_one_value_per_row_never_broadcasts(module: Any, weight: Any) -> None:
    """y of shape (n,) and (n, 1) train the same run, whatever shape the module returns."""
    one = regressor(module=module, validation_fraction=0.25).fit(X, VALUES, weight)
    column = regressor(module=module, validation_fraction=0.25).fit(X, VALUES[:, None], weight)
    assert_same_run(one, column, X)
    assert one.predict(X).shape == column.predict(X).shape == VALUES.shape
    assert one.n_outputs_ == 1
    assert_same_run(one.continue_fit(X, VALUES[:, None], weight), column.continue_fit(X, VALUES, weight), X)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
def test_a_flat_output_trains_like_a_column(weight: Any) -> None:
    """A module that returns (n,) ends with the weights of one that returns (n, 1)."""
    same_weights(regressor(module=Column).fit(X, VALUES, weight), regressor(module=Flat).fit(X, VALUES, weight))


@pytest.mark.parametrize("module", [Column, Flat])
@pytest.mark.parametrize("shape", [(N_ROWS,), (N_ROWS, 1)])
def test_the_loss_is_the_mean_over_rows(module: type[nn.Module], shape: tuple[int, ...]) -> None:
    """The recorded loss of a module at rest is the mean squared error of its predictions."""
    estimator = regressor(module=module, lr=0.0, shuffle=False, batch_size=N_ROWS).fit(X, VALUES.reshape(shape))
    expected = np.mean((estimator.predict(X) - VALUES) ** 2)
    assert estimator.history_["train_loss"] == pytest.approx([expected, expected], rel=1e-5)


@pytest.mark.parametrize(
    "container",
    [
        np.asarray,
        lambda y: y.tolist(),
        lambda y: pd.DataFrame(y),
        lambda y: pl.DataFrame(y, schema=["a", "b"]),
        torch.tensor,
    ],
    ids=["array", "list", "pandas", "polars", "tensor"],
)
def test_several_values_per_row(container: Any) -> None:
    """Every output has its column, and any container trains the same run."""
    estimator = regressor(max_epochs=30, lr=0.1).fit(X, container(SEVERAL_VALUES))
    assert_same_run(estimator, regressor(max_epochs=30, lr=0.1).fit(X, SEVERAL_VALUES), X)
    assert estimator.predict(X).shape == SEVERAL_VALUES.shape
    assert estimator.n_outputs_ == 2
    assert estimator.score(X, SEVERAL_VALUES) > 0.8


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "object"])
def test_values_of_any_dtype_are_numbers(dtype: str) -> None:
    """Whole values in any dtype train the run of the same values in float64."""
    whole = (VALUES > 0).astype(dtype)
    assert_same_run(regressor().fit(X, whole.astype(float)), regressor().fit(X, whole), X)


@pytest.fixture
def every_warning() -> Iterator[None]:
    """Let torch warn each time and not only the first."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.mark.usefixtures("every_warning")
@pytest.mark.parametrize("kind", ["labels", "values", "values of a frame", "weights"])
def test_read_only_targets_and_weights(kind: str) -> None:
    """Targets and weights that cannot be written to (a frame's, a memory map's) train without a warning."""
    read_only = {"values": VALUES, "labels": INDICATOR.astype(float), "weights": WEIGHTS}.get(kind, SEVERAL_VALUES)
    read_only = pd.DataFrame(read_only) if kind == "values of a frame" else read_only.copy()
    if isinstance(read_only, np.ndarray):
        read_only.setflags(write=False)
    make = classifier if kind == "labels" else regressor
    rows = (X, VALUES, read_only) if kind == "weights" else (X, read_only)
    plain = (X, VALUES, WEIGHTS) if kind == "weights" else (X, np.array(read_only))
    assert_same_run(make().fit(*rows), make().fit(*plain), X)


# ---- criteria --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [Column, Flat, None], ids=["(n, 1)", "(n,)", "built in"])
@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"]], ids=["int", "str"])
def test_two_classes_from_one_output(module: Any, labels: list[Any]) -> None:
    """BCEWithLogitsLoss takes one logit per row; the second column is its probability."""
    y = np.array(labels)[BINARY]
    estimator = classifier(module=module, criterion="BCEWithLogitsLoss", lr=0.1, max_epochs=20).fit(X, y)
    assert estimator.n_outputs_ == 1
    probabilities = estimator.predict_proba(X)
    assert probabilities.shape == (N_ROWS, 2)
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert estimator.predict(X).tolist() == np.array(labels)[probabilities.argmax(axis=1)].tolist()
    with torch.no_grad():
        logits = estimator.module_.eval()(torch.tensor(X, dtype=next(estimator.module_.parameters()).dtype))
    assert probabilities[:, 1] == pytest.approx(logits.reshape(-1).sigmoid().numpy())
    assert estimator.score(X, y) > 0.8


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
def test_a_flat_logit_trains_like_a_column(weight: Any) -> None:
    """BCEWithLogitsLoss with an output of (n,) ends with the weights of (n, 1)."""
    column, flat = (classifier(module=m, criterion="BCEWithLogitsLoss") for m in (Column, Flat))
    same_weights(column.fit(X, BINARY, weight), flat.fit(X, BINARY, weight))


def test_probabilities_go_into_bce_loss() -> None:
    """Under BCELoss outputs are probabilities and are not squashed again."""
    module = nn.Sequential(nn.Linear(N_FEATURES, 1), nn.Sigmoid())
    estimator = classifier(module=module, criterion=nn.BCELoss).fit(X, BINARY)
    with torch.no_grad():
        outputs = estimator.module_(torch.tensor(X, dtype=torch.float32)).numpy()
    assert estimator.predict_proba(X)[:, 1] == pytest.approx(outputs.reshape(-1))


def test_log_probabilities_go_into_nll_loss() -> None:
    """NLLLoss of log-softmax is CrossEntropyLoss of the logits, in training and in predicted probabilities."""
    logits = nn.Linear(N_FEATURES, 3)
    cross = classifier(module=logits).fit(X, LABELS)
    nll = classifier(module=nn.Sequential(logits, nn.LogSoftmax(dim=1)), criterion="NLLLoss").fit(X, LABELS)
    assert nll.history_["train_loss"] == pytest.approx(cross.history_["train_loss"])
    assert nll.predict_proba(X) == pytest.approx(cross.predict_proba(X))
    assert nll.predict_proba(X).sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
def test_a_criterion_that_sums_is_recorded_per_row(weight: Any) -> None:
    """The history has the mean over rows whatever the reduction, over unequal batches and with weights as well."""
    some = slice(0, 11)
    validation = {
        "X_val": X[some],
        "y_val": VALUES[some],
        "sample_weight_val": None if weight is None else weight[some],
    }
    mean, summed = (
        regressor(criterion=nn.L1Loss(reduction=reduction), lr=0.0, max_epochs=1, batch_size=7)
        .fit(X, VALUES, weight, **validation)
        .history_[0]
        for reduction in ("mean", "sum")
    )
    assert N_ROWS % 7
    assert summed["train_loss"] == pytest.approx(mean["train_loss"], rel=1e-6)
    assert summed["valid_loss"] == pytest.approx(mean["valid_loss"], rel=1e-6)
    assert mean["train_loss"] != pytest.approx(mean["valid_loss"], rel=1e-3)


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["plain", "weighted"])
def test_a_loss_function_trains_like_its_class(weight: Any) -> None:
    """A function of (output, target) is a criterion, with per-sample losses where it has a reduction."""
    same_weights(classifier().fit(X, LABELS, weight), classifier(criterion=F.cross_entropy).fit(X, LABELS, weight))


# ---- weights ---------------------------------------------------------------------------------------------------------

KINDS = {
    "classes": (classifier, LABELS),
    "two classes": (classifier, BINARY),
    "labels": (classifier, INDICATOR),
    "value": (regressor, VALUES),
    "values": (regressor, SEVERAL_VALUES),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ones", [np.ones(N_ROWS), [1] * N_ROWS, np.ones(N_ROWS, dtype=bool), 1.0])
def test_weights_of_one_change_nothing(kind: str, ones: Any) -> None:
    """Weights that are all one give the run without weights, bit for bit."""
    make, y = KINDS[kind]
    assert_same_run(make(validation_fraction=0.25).fit(X, y), make(validation_fraction=0.25).fit(X, y, ones), X)


@pytest.mark.parametrize(
    ("kind", "weight"),
    [pytest.param(k, WEIGHTS, id=f"{k}, real weights") for k in KINDS]
    + [pytest.param(k, np.ones(N_ROWS), id=f"{k}, ones") for k in ("value", "values")]
    + [pytest.param(k, np.ones(N_ROWS), id=f"{k}, ones") for k in ("classes", "two classes", "labels")],
)
def test_a_row_of_weight_zero_is_left_out(kind: str, weight: np.ndarray) -> None:
    """Rows of weight zero give the run of the data without them, bit for bit, order and batches included."""
    make, y = KINDS[kind]
    zeroed = np.where(np.arange(N_ROWS) % 5 == 1, 0.0, weight)
    kept = zeroed > 0
    with_zeros = make().fit(X, y, zeroed).continue_fit(X, y, zeroed)
    without = make().fit(X[kept], y[kept], zeroed[kept]).continue_fit(X[kept], y[kept], zeroed[kept])
    assert_same_run(with_zeros, without, X)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weighted_loss_is_the_weighted_mean(kind: str) -> None:
    """The recorded loss of a module at rest is the weighted mean of its rows' losses."""
    make, y = KINDS[kind]
    estimator = make(lr=0.0, max_epochs=1).fit(X, y, WEIGHTS)
    plain = [make(lr=0.0, max_epochs=1).fit(X, y, np.eye(N_ROWS)[i]).history_[0, "train_loss"] for i in range(N_ROWS)]
    assert estimator.history_["train_loss"] == pytest.approx([np.average(plain, weights=WEIGHTS)])


@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"]], ids=["int", "str"])
def test_class_weights_are_weights_of_the_rows(labels: list[Any]) -> None:
    """A dict of class weights equals the weights of the rows, and multiplies those that are given."""
    y = np.array(labels)[LABELS]
    by_class = dict(zip(labels, (0.5, 1.0, 3.0), strict=True))
    by_row = np.array([0.5, 1.0, 3.0])[LABELS]
    assert_same_run(classifier(class_weight=by_class).fit(X, y), classifier().fit(X, y, by_row), X)
    both = classifier(class_weight=by_class).fit(X, y, WEIGHTS)
    assert_same_run(both, classifier().fit(X, y, by_row * WEIGHTS), X)


def test_a_class_without_a_weight_has_one() -> None:
    """A dict may leave classes out; they weigh one."""
    named, full = {2: 3.0}, {0: 1.0, 1: 1.0, 2: 3.0}
    assert_same_run(classifier(class_weight=named).fit(X, LABELS), classifier(class_weight=full).fit(X, LABELS), X)


@pytest.mark.parametrize("verb", ["continue_fit", "partial_fit"])
def test_class_weights_hold_for_rows_that_lack_a_class(verb: str) -> None:
    """A later call whose rows lack a class uses the same class weights."""
    some = LABELS != 1
    by_class, by_row = {0: 2.0, 1: 3.0}, np.array([2.0, 3.0, 1.0])[LABELS]
    left = classifier(class_weight=by_class).fit(X, LABELS)
    right = classifier().fit(X, LABELS, by_row)
    getattr(left, verb)(X[some], LABELS[some])
    getattr(right, verb)(X[some], LABELS[some], sample_weight=by_row[some])
    assert_same_run(left, right, X)


@pytest.mark.parametrize("y", [np.minimum(LABELS, 1), INDICATOR], ids=["classes", "labels"])
def test_balanced_class_weights_are_those_of_scikit_learn(y: np.ndarray) -> None:
    """ "balanced" equals scikit-learn's own weights of the rows; on balanced classes it changes nothing."""
    balanced = classifier(class_weight="balanced").fit(X, y)
    assert_same_run(balanced, classifier().fit(X, y, compute_sample_weight("balanced", y)), X)
    assert_same_run(classifier(class_weight="balanced").fit(X, LABELS), classifier().fit(X, LABELS), X)


# ---- validation rows -------------------------------------------------------------------------------------------------


def held_out(y: Any, **params: Any) -> list[Any]:
    """Return the targets of the rows a run holds out."""
    seen = []

    def collect(estimator: Any, rows: Any, target: Any) -> float:
        seen.append(target)
        return 0.0

    make = classifier if np.asarray(y).dtype.kind != "f" else regressor
    make(max_epochs=1, callbacks=[EpochScoring(collect)], **params).fit(X, y)
    return list(seen[0])


@pytest.mark.parametrize("seed", range(5))
def test_validation_rows_keep_the_proportions_of_classes(seed: int) -> None:
    """A quarter held out of 12, 8 and 4 rows is 3, 2 and 1, whatever the seed."""
    y = np.repeat(["a", "b", "c"], [12, 8, 4])
    assert sorted(held_out(y, validation_fraction=0.25, random_state=seed)) == ["a"] * 3 + ["b"] * 2 + ["c"]


def test_a_class_too_small_to_be_split_does_not_stop_the_split() -> None:
    """A class of one row is held out or trained on as it happens."""
    y = np.repeat([0, 1, 2], [12, 11, 1])
    assert len(held_out(y, validation_fraction=0.25)) == 6


def test_real_values_are_held_out_without_strata() -> None:
    """A quarter of the rows of a regression validates."""
    assert len(held_out(VALUES, validation_fraction=0.25)) == 6


@pytest.mark.parametrize(("make", "y"), KINDS.values(), ids=KINDS)
def test_given_validation_rows_are_scored_and_never_trained_on(make: Any, y: Any) -> None:
    """X_val gives the training of all of X, a loss over X_val in each row of the history, and takes no rows away."""
    rows, target = X[:8] + 1.0, y[:8]
    plain = make(lr=0.05).fit(X, y)
    watched = make(lr=0.05, validation_fraction=0.25).fit(X, y, X_val=rows, y_val=target)
    same_weights(plain, watched)
    assert watched.history_["train_loss"] == plain.history_["train_loss"]
    assert [call["n_validation_rows"] for call in watched.history_.calls] == [8]
    at_rest = make(lr=0.0, max_epochs=1).fit(X, y, X_val=rows, y_val=target)
    alone = make(lr=0.0, max_epochs=1, shuffle=False).fit(rows, target) if make is regressor else None
    if alone is not None:
        assert at_rest.history_[0, "valid_loss"] == pytest.approx(alone.history_[0, "train_loss"])


def test_the_validation_loss_is_that_of_the_predictions() -> None:
    """valid_loss is the cross-entropy of predict_proba over X_val, weighted where weights are given."""
    rows, target, weight = X[:9] + 1.0, LABELS[:9], WEIGHTS[:9]
    for given in (None, weight):
        estimator = classifier(max_epochs=1).fit(X, LABELS, X_val=rows, y_val=target, sample_weight_val=given)
        losses = -np.log(estimator.predict_proba(rows)[np.arange(9), target])
        assert estimator.history_[-1, "valid_loss"] == pytest.approx(np.average(losses, weights=given))


@pytest.mark.parametrize(
    "container", [X.tolist(), torch.tensor(X), scipy.sparse.csr_matrix(X)], ids=["list", "tensor", "csr"]
)
def test_validation_rows_come_in_any_container(container: Any) -> None:
    """X_val may lie in another container than X."""
    plain = classifier().fit(X, LABELS, X_val=X, y_val=LABELS)
    other = classifier().fit(X, LABELS, X_val=container, y_val=LABELS.tolist())
    assert_same_run(plain, other, X)


def test_validation_weights_of_zero_leave_rows_out() -> None:
    """Validation rows of weight zero are not scored."""
    weight = np.where(LABELS == 0, 0.0, 1.0)
    kept = weight > 0
    left = classifier().fit(X, LABELS, X_val=X, y_val=LABELS, sample_weight_val=weight)
    right = classifier().fit(X, LABELS, X_val=X[kept], y_val=LABELS[kept])
    assert left.history_["valid_loss"] == pytest.approx(right.history_["valid_loss"])
    assert left.history_.calls[0]["n_validation_rows"] == kept.sum()


def test_predictions_are_in_the_precision_of_the_module() -> None:
    """The built-in module takes the precision of X, an own one keeps its own."""
    for dtype in (np.float32, np.float64):
        assert regressor().fit(X.astype(dtype), VALUES).predict(X.astype(dtype)).dtype == dtype
        assert classifier().fit(X.astype(dtype), LABELS).predict_proba(X.astype(dtype)).dtype == dtype
    assert TorchRegressor(Column, max_epochs=1, random_state=0).fit(X, VALUES).predict(X).dtype == np.float32
