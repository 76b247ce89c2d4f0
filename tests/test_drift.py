"""A run notices that its inputs are no longer those it was trained on, and does not cry wolf."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from modules import Affine, Linear, TwoInputs
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from torch import nn

from sktorch_continue import DataDriftWarning, NonFiniteLossError, TorchClassifier, TorchRegressor
from sktorch_continue.data import check_inputs
from sktorch_continue.data.memory import Seen
from sktorch_continue.data.rows import RowIdentities
from sktorch_continue.testing import assert_same_run, first_difference, run_state, through_pickle

N = 120


def source(seed: int, n: int = 3 * N) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return symmetric rows, a real target and classes, both of which all columns tell something about."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)) * [4.0, 3.0, 2.0, 1.0]
    y = X @ [0.5, 1.0, -1.0, 1.0] + rng.normal(size=n)
    return X, y, np.digitize(y, [-3, 3])


@pytest.mark.parametrize(
    "hashes",
    [
        np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64),
        np.random.default_rng(0).integers(0, 300, 20_000).astype(np.uint64),
        np.arange(20_000, 0, -1).astype(np.uint64),
        np.arange(30).astype(np.uint64).repeat(700),
        np.arange(100).astype(np.uint64),
    ],
    ids=["distinct", "each many times", "descending", "few", "short"],
)
def test_rows_that_are_remembered_are_those_of_the_smallest_identities(hashes: np.ndarray) -> None:
    """Each once, where it stands first; whatever their order, and however few there are."""
    X = np.arange(len(hashes), dtype=np.float32).reshape(-1, 1)
    rows = RowIdentities(check_inputs(TorchRegressor(), X, reset=True), X)
    rows.hashes = hashes
    keys, first = np.unique(hashes, return_index=True)
    seen = Seen.of(rows)
    assert seen.keys.tolist() == keys[: len(seen)].tolist()
    assert seen.positions.tolist() == first[: len(seen)].tolist()
    assert len(seen) == min(256, len(keys))


def told(first: Any, then: Any, *, kind: type = TorchRegressor) -> list[str]:
    """Return what is said when a network goes on on other data."""
    model = kind(Linear, lr=0.05, max_epochs=3, random_state=0).fit(*first)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataDriftWarning)
        model.continue_fit(*then, max_epochs=1)
    return [str(w.message) for w in caught if w.category is DataDriftWarning]


def drawn_again(X: np.ndarray, y: np.ndarray, rng: Any) -> Any:
    """Return as many rows as before, others."""
    return X[N : 2 * N], y[N : 2 * N]


def few_rows(X: np.ndarray, y: np.ndarray, rng: Any) -> Any:
    """Return 30 other rows."""
    return X[N : N + 30], y[N : N + 30]


def rows_added(X: np.ndarray, y: np.ndarray, rng: Any) -> Any:
    """Return the rows of before and as many others."""
    return X[: 2 * N], y[: 2 * N]


def rows_permuted(X: np.ndarray, y: np.ndarray, rng: Any) -> Any:
    """Return the rows of before in another order."""
    order = rng.permutation(N)
    return X[order], y[order]


def noise(X: np.ndarray, y: np.ndarray, rng: Any) -> Any:
    """Return the rows of before with a little noise."""
    return X[:N] + 0.1 * X.std(axis=0) * rng.normal(size=(N, 4)), y[:N]


@pytest.mark.parametrize("change", [drawn_again, few_rows, rows_added, rows_permuted, noise])
@pytest.mark.parametrize("classes", [False, True])
def test_the_same_source_is_not_worth_a_word(change: Callable[..., Any], classes: bool) -> None:
    """Other rows of the source, fewer, more, in another order or with noise: of 25 calls, at most one is told of."""
    kind, calls = (TorchClassifier if classes else TorchRegressor), 0
    for seed in range(25):
        X, values, labels = source(seed)
        y = labels if classes else values
        calls += len(told((X[:N], y[:N]), change(X, y, np.random.default_rng(seed)), kind=kind))
    assert calls <= 1


def other_pca(X: np.ndarray, seed: int) -> Any:
    """Return a PCA fitted to some of the rows, one component mirrored."""
    pca = PCA(3).fit(X[np.random.default_rng(seed).permutation(len(X))[:N]])
    pca.components_[1] *= -1
    return pca


@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("rows", ["the same", "added", "added, permuted", "others"])
@pytest.mark.parametrize("seed", range(3))
def test_another_pca_is_told(rows: str, classes: bool, seed: int) -> None:
    """A PCA fitted to other rows mirrors a component: told for the same rows, with rows added, and for others."""
    X, values, labels = source(seed)
    y = labels if classes else values
    first = PCA(3).fit(X[:N]).transform(X[:N]), y[:N]
    mixed = np.random.default_rng(seed).permutation(2 * N)
    chosen = {"the same": slice(N), "added": slice(2 * N), "added, permuted": mixed, "others": slice(N, 3 * N)}[rows]
    then = other_pca(X, seed).transform(X[chosen]), y[chosen]
    assert len(told(first, then, kind=TorchClassifier if classes else TorchRegressor)) == 1


@pytest.mark.parametrize("change", ["rescaled", "permuted"])
@pytest.mark.parametrize("rows", [slice(N), slice(N, 3 * N)])
@pytest.mark.parametrize("seed", range(3))
def test_other_columns_are_told(change: str, rows: slice, seed: int) -> None:
    """Rescaled columns and columns in another order, of the same rows and of others."""
    X, y, _ = source(seed)
    other = X * [1, 3, 1, 1] if change == "rescaled" else X[:, [0, 2, 1, 3]]
    (message,) = told((X[:N], y[:N]), (other[rows], y[rows]))
    assert "no longer those the run was trained on" in message
    assert "column" in message


def test_small_data_is_told_where_its_rows_come_back() -> None:
    """30 rows are enough to tell a mirrored column of the same rows, and one that other rows joined."""
    X, y, _ = source(0, 40)
    mirrored = X * [1, -1, 1, 1]
    for n in (30, 40):
        assert len(told((X[:30], y[:30]), (mirrored[:n], y[:n]))) == 1


def test_a_mirrored_column_is_told_where_rows_come_back_in_any_order() -> None:
    """A column that says nothing about the classes: its rows, found again without their signs, tell the mirror."""
    X, _, _ = source(0)
    labels = (X[:, 3] > 0).astype(int)
    mixed = np.random.default_rng(0).permutation(2 * N)
    first, then = (X[:N], labels[:N]), ((X * [-1, 1, 1, 1])[mixed], labels[mixed])
    (message,) = told(first, then, kind=TorchClassifier)
    assert "column 0 is mirrored" in message


def test_labels_in_the_same_order_do_not_make_rows_the_same() -> None:
    """Sorted or repeating labels agree by position in every draw; the rows have to agree as well."""
    X, _, _ = source(0, 600)
    labels = np.arange(600) % 3
    shifted = X + 3.0 * labels[:, None]
    parts = [slice(start, start + 60) for start in range(60, 600, 60)]
    calls = [told((shifted[:60], labels[:60]), (shifted[p], labels[p]), kind=TorchClassifier) for p in parts]
    assert sum(map(len, calls)) <= 1


def test_what_only_the_network_knows_is_told_by_its_loss() -> None:
    """Where columns matter only together, a mirrored one is seen by nothing but the loss of what was learned."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 2))
    y = X[:, 0] * X[:, 1]
    model = TorchRegressor(lr=0.02, max_epochs=30, random_state=0).fit(X[:300], y[:300])
    model.continue_fit(X[300:600], y[300:600], max_epochs=1)
    with pytest.warns(DataDriftWarning, match=r"fit them better with column \d mirrored"):
        model.continue_fit(X[600:] * [1, -1], y[600:], max_epochs=1)


def test_it_is_said_once() -> None:
    """The new inputs are those the run knows from then on, and the old ones are not."""
    X, y, _ = source(0)
    model = TorchRegressor(Linear, max_epochs=1, random_state=0).fit(X, y)
    for data in (3 * X, X):
        with pytest.warns(DataDriftWarning) as caught:
            model.continue_fit(data, y)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        model.continue_fit(data[::-1], y[::-1])


def test_warm_start_is_told_too_and_a_new_run_is_not() -> None:
    """fit with warm_start=True continues; without it the inputs may be any."""
    X, y, _ = source(0)
    model = TorchRegressor(Linear, max_epochs=1, random_state=0).fit(X, y).fit(5 * X, y)
    with pytest.warns(DataDriftWarning):
        model.set_params(warm_start=True).fit(X, y)


def test_passes_of_partial_fit_are_not_compared() -> None:
    """A pass may be a few rows of one kind; they are remembered all the same."""
    X, y, _ = source(0)
    model = TorchRegressor(Linear, random_state=0)
    order = np.argsort(y)
    for start in range(0, len(X), 20):
        model.partial_fit(X[order[start : start + 20]], y[order[start : start + 20]])
    model.continue_fit(X, y, max_epochs=1)
    with pytest.warns(DataDriftWarning):
        model.continue_fit(X[:, ::-1].copy(), y, max_epochs=1)


def test_cut_or_not_the_same_is_remembered() -> None:
    """The record depends on the content of the data alone: not on calls, and not on a pickle."""
    X, y, _ = source(0)
    whole = TorchRegressor(Linear, max_epochs=3, random_state=0).fit(X, y)
    cut = TorchRegressor(Linear, max_epochs=1, random_state=0).fit(X, y)
    assert_same_run(whole, through_pickle(cut).continue_fit(X, y, max_epochs=2))


def test_rows_that_come_again_are_kept_once() -> None:
    """In another order, and with rows added, no row is remembered twice."""
    X, y, _ = source(0, 100)
    model = TorchRegressor(Linear, max_epochs=1, random_state=0).fit(X[:60], y[:60])
    model.continue_fit(X[::-1].copy(), y[::-1].copy())
    keys = run_state(model)["seen"]["keys"]
    assert len(keys) == len(set(keys.tolist())) == 100


def test_a_call_that_fails_leaves_the_record_as_it_was() -> None:
    """What a refused call brought is not remembered."""
    X, y, _ = source(0)
    model = TorchRegressor(Linear, max_epochs=1, random_state=0).fit(X, y)
    before = run_state(model)
    with pytest.warns(DataDriftWarning), pytest.raises(NonFiniteLossError):
        model.continue_fit(X * 1e25, y)
    assert first_difference(before, run_state(model)) is None


def test_the_record_is_small() -> None:
    """However many rows and columns there are, some 32 KiB are kept."""
    rng = np.random.default_rng(0)
    for shape in [(2000, 4), (500, 500)]:
        model = TorchRegressor(Linear, max_epochs=1, random_state=0).fit(
            rng.normal(size=shape), rng.normal(size=shape[0])
        )
        seen = run_state(model)["seen"]
        assert sum(value.nbytes for name, value in seen.items() if name != "codes") < 40_000


@pytest.mark.parametrize("criterion", [Affine, "HuberLoss", nn.L1Loss(reduction="sum")])
def test_criteria_of_every_kind(criterion: Any) -> None:
    """A criterion that cannot tell the loss of a row is not asked for it."""
    X, y, _ = source(1)
    model = TorchRegressor(Linear, criterion=criterion, max_epochs=2, random_state=0).fit(X[:N], y[:N])
    model.continue_fit(X[N:], y[N:])
    with pytest.warns(DataDriftWarning):
        model.continue_fit(5 * X[N:], y[N:])


class Flat(nn.Module):
    """Reads rows of any shape."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(n_outputs)

    def forward(self, x: Any) -> Any:
        return self.layer(x.flatten(1).float())


@pytest.mark.parametrize("form", ["sparse", "mapping", "several dimensions", "integers", "constant"])
def test_inputs_of_every_form(form: str) -> None:
    """Sparse, named, many-dimensional, integer and constant inputs are remembered and compared like plain ones."""
    X, y, _ = source(0)
    X = X.astype(np.float32)
    change: Callable[[Any], Any] = lambda X: 5 * X[:, [1, 0, 2, 3]]  # noqa: E731
    module, given = {
        "sparse": (Linear, scipy.sparse.csr_matrix),
        "mapping": (TwoInputs, lambda X: {"left": X[:, :2], "right": X[:, 2:]}),
        "several dimensions": (Flat, lambda X: X.reshape(-1, 2, 2)),
        "integers": (Flat, lambda X: (10 * X).astype(np.int64)),
        "constant": (Linear, lambda X: np.column_stack([X, np.ones(len(X))])),
    }[form]
    model = TorchRegressor(module, max_epochs=1, random_state=0).fit(given(X[:N]), y[:N])
    model.continue_fit(given(X[: 2 * N]), y[: 2 * N])
    with pytest.warns(DataDriftWarning):
        model.continue_fit(given(change(X[N:])), y[N:])


def test_warm_start_inside_a_plain_pipeline_tells_of_another_pca() -> None:
    """The trap: Pipeline.fit a second time, with rows added, refits the PCA; the network says so, once."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(60, 3)) @ [[3, 0, 0], [0, 1.02, 0], [0, 0, 1]]
    y = X @ [0.2, 1.0, -1.0]
    pipe = make_pipeline(PCA(2), TorchRegressor(Linear, max_epochs=1, warm_start=True, random_state=0))
    pipe.fit(X[:40], y[:40])
    old = pipe[:-1].transform(X[:40])
    with pytest.warns(DataDriftWarning, match="no longer those") as caught:
        pipe.fit(X, y)
    assert len(caught) == 1
    assert np.abs(pipe[:-1].transform(X[:40]) - old).max() > 1
    pipe.fit(X, y)
