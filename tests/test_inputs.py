"""X in any container trains the same run, and is used where it lies."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from data_helpers import LABELS, N_FEATURES, N_ROWS, VALUES, NumbersAndCodes, X, classifier, regressor
from optional import made, pd, pl
from sklearn.datasets import load_digits
from sklearn.utils.validation import _get_feature_names
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sktorch_continue import EpochScoring
from sktorch_continue.data import check_inputs
from sktorch_continue.testing import assert_same_run, first_difference, run_state

NAMES = ["a", "b", "c", "d"]
SPACED = np.zeros((2 * N_ROWS, 2 * N_FEATURES))
SPACED[::2, ::2] = X
READ_ONLY = X.copy()
READ_ONLY.setflags(write=False)

CONTAINERS = {
    "list": X.tolist(),
    "pandas": lambda: pd.DataFrame(X, columns=NAMES),
    "pandas without names": lambda: pd.DataFrame(X),
    "polars": lambda: pl.DataFrame(X, schema=NAMES),
    "tensor": torch.tensor(X),
    "tensor with gradient": torch.tensor(X, requires_grad=True),
    "transposed tensor": torch.tensor(X.T.copy()).T,
    "csr_matrix": scipy.sparse.csr_matrix(X),
    "csr_array": scipy.sparse.csr_array(X),
    "csc": scipy.sparse.csc_matrix(X),
    "coo": scipy.sparse.coo_matrix(X),
    "F-ordered": np.asfortranarray(X),
    "negative strides": np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1],
    "strided": SPACED[::2, ::2],
    "big-endian": X.astype(">f8"),
    "read-only": READ_ONLY,
    "objects": X.astype(object),
}


def positions(array: Any) -> int:
    """Return where the memory of the checked input begins."""
    source = check_inputs(classifier(), array, reset=True).sources[""]
    return source._tensor.data_ptr()


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_trains_the_same_run(name: str) -> None:
    """Weights, history and predictions are bit for bit those of a plain array, validation rows included."""
    container = made(CONTAINERS[name])
    params = {"validation_fraction": 0.25, "class_weight": {0: 2.0, 1: 1.0, 2: 0.5}}
    plain = classifier(**params).fit(X, LABELS).continue_fit(X, LABELS)
    other = classifier(**params).fit(container, LABELS).continue_fit(container, LABELS)
    assert_same_run(plain, other)
    for method in ("predict", "predict_proba"):
        assert first_difference(getattr(plain, method)(X), getattr(other, method)(container)) is None
    assert other.score(container, LABELS) == plain.score(X, LABELS)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_scorer_reads_every_container(name: str) -> None:
    """Scores on held-out rows are taken from the caller's own container."""
    scoring = [("valid", EpochScoring("accuracy")), ("train", EpochScoring("accuracy", on="train"))]
    params = {"validation_fraction": 0.25, "callbacks": scoring}
    plain = classifier(**params).fit(X, LABELS)
    other = classifier(**params).fit(made(CONTAINERS[name]), LABELS)
    assert_same_run(plain, other)


@pytest.mark.parametrize(
    "dtype",
    [
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        "ulonglong",
        "longdouble",
    ],
)
def test_every_numeric_dtype_trains_like_the_same_numbers_in_float64(dtype: str) -> None:
    """Integers and booleans go through a linear layer as the numbers they are."""
    whole = np.abs(np.round(X * 3)).astype(dtype)
    plain = classifier().fit(whole.astype(np.float64), LABELS)
    assert_same_run(plain, classifier().fit(whole, LABELS), whole.astype(np.float64))


@pytest.mark.parametrize(
    "single",
    [
        X.astype(np.float32),
        X.astype(">f4"),
        torch.tensor(X, dtype=torch.float32),
        scipy.sparse.csr_matrix(X.astype(np.float32)),
        lambda: pd.DataFrame(X.astype(np.float32)),
    ],
    ids=["array", "big-endian", "tensor", "csr", "pandas"],
)
def test_single_precision_stays_single(single: Any) -> None:
    """Float32 in any container gives the float32 network and float32 predictions of the array."""
    single = made(single)
    plain = classifier().fit(X.astype(np.float32), LABELS)
    other = classifier().fit(single, LABELS)
    assert_same_run(plain, other)
    assert other.predict_proba(single).dtype == np.float32
    assert first_difference(plain.predict_proba(X.astype(np.float32)), other.predict_proba(single)) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_trains_like_the_same_numbers_in_float32(dtype: torch.dtype) -> None:
    """A module in float32 reads half precision without a loss of its own."""
    half = torch.tensor(X).to(dtype)
    plain = classifier().fit(half.to(torch.float32), LABELS)
    assert_same_run(plain, classifier().fit(half, LABELS), half)


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_names_of_columns_are_kept(name: str) -> None:
    """A frame's column names are in feature_names_in_, and stay there when the run goes on."""
    frame = made(CONTAINERS[name])
    if _get_feature_names(frame) is None:
        pytest.skip(f"this scikit-learn reads no names from this {name}")
    fitted = classifier().fit(frame, LABELS)
    assert fitted.feature_names_in_.tolist() == NAMES
    assert fitted.continue_fit(frame, LABELS).feature_names_in_.tolist() == NAMES
    assert fitted.n_features_in_ == N_FEATURES


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_rows_without_names_are_told_after_a_fit_with_names(dtype: Any) -> None:
    """Predictions on an array say, as scikit-learn's do, that the names of its columns cannot be compared."""
    fitted = classifier().fit(pd.DataFrame(X, columns=NAMES), LABELS)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X.astype(dtype))


@pytest.mark.parametrize(
    "later",
    [
        X,
        torch.tensor(X),
        scipy.sparse.csr_matrix(X),
        {"x": X},
    ],
    ids=["array", "tensor", "csr", "dict"],
)
def test_names_of_an_earlier_fit_are_forgotten(later: Any) -> None:
    """A new fit on data without column names has no feature_names_in_."""
    estimator = classifier(module=nn.Linear, module__in_features=N_FEATURES, module__out_features=3)
    estimator.fit(pd.DataFrame(X, columns=NAMES), LABELS)
    if isinstance(later, dict):
        estimator.set_params(module=by_keyword, module__in_features=N_FEATURES, module__out_features=3)
    assert not hasattr(estimator.fit(later, LABELS), "feature_names_in_")


class by_keyword(nn.Linear):  # noqa: N801
    """A linear layer whose input is called x."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


@pytest.mark.parametrize(
    "array",
    [
        X.astype(np.float32),
        X,
        np.asfortranarray(X.astype(np.float32)),
        SPACED[::2, ::2],
        READ_ONLY,
        np.arange(N_ROWS * N_FEATURES).reshape(N_ROWS, N_FEATURES),
        X.reshape(N_ROWS, 2, 2).astype(np.float32),
    ],
    ids=["float32", "float64", "F-ordered", "strided", "read-only", "int64", "3-D"],
)
def test_an_array_is_used_where_it_lies(array: np.ndarray) -> None:
    """The checked input shares its memory with the caller's array."""
    assert positions(array) == array.ctypes.data


def test_a_tensor_is_used_where_it_lies() -> None:
    """The checked input shares its memory with the caller's tensor."""
    tensor = torch.tensor(X, requires_grad=True)
    assert positions(tensor) == tensor.data_ptr()


def test_training_does_not_write_into_the_callers_data() -> None:
    """A module that works in place changes a batch, never X or y."""
    rows, values = X.astype(np.float32), VALUES.astype(np.float32)
    before = rows.copy(), values.copy()
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(N_FEATURES, 1))
    regressor(module=module, shuffle=False).fit(rows, values).predict(rows)
    assert first_difference(before, (rows, values)) is None


def test_a_memory_map_is_used_where_it_lies(tmp_path: Path) -> None:
    """A read-only map trains, predicts and continues like the array, from its own pages, and stays as it is."""
    path = tmp_path / "rows.bin"
    rows = X.astype(np.float32)
    rows.tofile(path)
    path.chmod(0o444)
    mapped = np.memmap(path, dtype=np.float32, mode="r", shape=rows.shape)
    assert positions(mapped) == mapped.ctypes.data
    params = {"validation_fraction": 0.25}
    plain = classifier(**params).fit(rows, LABELS).continue_fit(rows, LABELS)
    assert_same_run(plain, classifier(**params).fit(mapped, LABELS).continue_fit(mapped, LABELS), mapped)
    assert path.read_bytes() == rows.tobytes()


class Largest(TorchDispatchMode):
    """Watches torch for the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compare what comes out with what went in: a view makes nothing."""
        made = function(*args, **(kwargs or {}))
        known = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        fresh = [t.untyped_storage() for t in tree_leaves(made) if isinstance(t, torch.Tensor)]
        self.nbytes = max([self.nbytes, *(s.nbytes() for s in fresh if s.data_ptr() not in known)])
        return made


@pytest.mark.parametrize("kind", ["array", "memory map", "tensor"])
def test_rows_are_never_copied_whole(kind: str, tmp_path: Path) -> None:
    """Neither NumPy nor torch ever holds three quarters of the bytes of X while training, continuing, predicting."""
    rows = np.memmap(tmp_path / "rows.bin", dtype=np.float32, mode="w+", shape=(3072, 1024))
    rows[:, 0] = np.arange(3072) / 3072
    whole = rows.nbytes
    rows = {"array": np.array(rows), "memory map": rows, "tensor": torch.tensor(rows)}[kind]
    labels = np.arange(3072) % 2
    estimator = classifier(module__hidden_layer_sizes=(), optimizer="SGD", max_epochs=1, batch_size=512)
    tracemalloc.start()
    try:
        with Largest() as made:
            estimator.set_params(validation_fraction=0.1).fit(rows, labels).continue_fit(rows, labels).predict(rows)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 0.75 * whole
    assert 0 < made.nbytes < 0.75 * whole


def test_a_sparse_matrix_is_never_densified_whole() -> None:
    """No more rows than a batch has are dense at once, whether it is trained on, hashed or predicted."""
    densified = []

    class Counting(scipy.sparse.csr_matrix):
        def toarray(self, *args: Any, **kwargs: Any) -> np.ndarray:
            densified.append(self.shape[0])
            return super().toarray(*args, **kwargs)

    matrix = Counting(scipy.sparse.random(21, 160_000, density=1e-4, format="csr", dtype=np.float32, random_state=0))
    estimator = classifier(module__hidden_layer_sizes=(), optimizer="SGD", max_epochs=1, batch_size=7)
    estimator.fit(matrix, np.arange(21) % 2).predict(matrix)
    assert max(densified) == 7
    assert sum(densified) >= 3 * 21


@pytest.mark.parametrize("as_tensor", [False, True], ids=["array", "tensor"])
def test_images_go_to_a_convolution_in_their_shape(as_tensor: bool) -> None:
    """An array of more than two dimensions reaches the module as batches of that shape and predicts."""
    digits = load_digits()
    images, labels = digits.images[:64, None].astype(np.float32) / 16, digits.target[:64]
    rows = torch.tensor(images) if as_tensor else images
    module = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    estimator = classifier(module=module, max_epochs=8, lr=0.05, batch_size=16).fit(rows, labels)
    assert estimator.predict_proba(rows).shape == (64, 10)
    assert estimator.score(rows, labels) > 0.8
    assert estimator.continue_fit(rows, labels).n_epochs_ == 16
    with pytest.raises(ValueError, match=r"\[1, 5, 8\].*\[1, 8, 8\]"):
        estimator.predict(rows[:, :, :5])


NAMED = {"numbers": X, "codes": np.arange(N_ROWS) % 6}
NAMED_CONTAINERS = {
    "tensors": {name: torch.tensor(values) for name, values in NAMED.items()},
    "lists": {name: values.tolist() for name, values in NAMED.items()},
    "small integers": {"numbers": X, "codes": NAMED["codes"].astype(np.int8)},
    "csr": {"numbers": scipy.sparse.csr_matrix(X), "codes": NAMED["codes"]},
    "pandas": lambda: {"numbers": pd.DataFrame(X), "codes": pd.Series(NAMED["codes"])},
    "polars": lambda: {"numbers": pl.DataFrame(X), "codes": pl.Series(NAMED["codes"])},
}


@pytest.mark.parametrize("name", NAMED_CONTAINERS)
def test_a_dict_of_any_containers_feeds_several_inputs(name: str) -> None:
    """Entries go to the module by name, real ones as real numbers and integers as integers."""
    params = {"module": NumbersAndCodes, "validation_fraction": 0.25}
    plain = classifier(**params).fit(NAMED, LABELS)
    other = classifier(**params).fit(made(NAMED_CONTAINERS[name]), LABELS)
    assert_same_run(plain, other, NAMED)
    assert first_difference(plain.predict_proba(NAMED), other.predict_proba(made(NAMED_CONTAINERS[name]))) is None
    assert other.n_features_in_ == N_FEATURES + 1


def test_the_order_of_the_entries_of_a_dict_does_not_matter() -> None:
    """The run is the same, and rows held out stay held out, whatever the order of the entries."""
    turned = {"codes": NAMED["codes"], "numbers": NAMED["numbers"]}
    params = {"module": NumbersAndCodes, "validation_fraction": 0.25}
    plain = classifier(**params).fit(NAMED, LABELS).continue_fit(NAMED, LABELS)
    other = classifier(**params).fit(NAMED, LABELS).continue_fit(turned, LABELS)
    assert_same_run(plain, other, turned)


@pytest.mark.parametrize("n_rows", [1, N_ROWS])
def test_a_module_that_squeezes_predicts_a_single_row(n_rows: int) -> None:
    """Where the output of one row is a single value, it is the prediction of that row."""

    class Squeezed(nn.Linear):
        def forward(self, X: torch.Tensor) -> torch.Tensor:
            return super().forward(X).squeeze()

    estimator = regressor(module=Squeezed(N_FEATURES, 1), max_epochs=1).fit(X, X[:, 0])
    assert estimator.predict(X[:n_rows]).shape == (n_rows,)


@pytest.mark.parametrize("size", [7, np.int64(7)])
def test_one_hidden_layer_is_named_by_its_size(size: Any) -> None:
    """As in scikit-learn's MLP, a number is the only hidden layer of the built-in module."""
    params = {"module": None, "max_epochs": 1}
    plain = classifier(**params, module__hidden_layer_sizes=(7,)).fit(X, LABELS)
    assert_same_run(plain, classifier(**params, module__hidden_layer_sizes=size).fit(X, LABELS))


def test_images_with_channels_last() -> None:
    """A convolution that does not fit says where it looks for channels."""
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(ValueError, match="channels before height and width"):
        classifier(module=module).fit(np.zeros((N_ROWS, 8, 8, 3)), LABELS)


def test_a_scorer_reads_a_dict() -> None:
    """Held-out rows of every entry are scored."""
    params = {"module": NumbersAndCodes, "validation_fraction": 0.25, "callbacks": [EpochScoring("accuracy")]}
    estimator = classifier(**params).fit(NAMED, LABELS)
    assert all(0 <= score <= 1 for score in estimator.history_["valid_accuracy"])


CODES = np.arange(N_ROWS * 2).reshape(N_ROWS, 2) % 5


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_integers_stay_integers_for_an_embedding(dtype: str) -> None:
    """An embedding looks up the integers of X."""
    module = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 3))
    plain = classifier(module=module).fit(CODES, LABELS)
    assert_same_run(plain, classifier(module=module).fit(CODES.astype(dtype), LABELS), CODES)
    assert torch.any(plain.module_[0].weight != module[0].weight)


def test_integers_become_real_numbers_for_a_linear_layer() -> None:
    """The same integers are numbers to a module without an embedding."""
    module = nn.Linear(2, 3)
    plain = classifier(module=module).fit(CODES.astype(np.float32), LABELS)
    whole = classifier(module=module).fit(CODES, LABELS)
    assert first_difference(run_state(plain)["module"], run_state(whole)["module"]) is None
    assert first_difference(plain.predict_proba(CODES), whole.predict_proba(CODES)) is None
