"""What reaches the members of a composed estimator: the parameters a search chose, the columns and weights of fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sktorch_continue import ContinuationError, TorchClassifier, continue_fit, is_continuable
from sktorch_continue.testing import assert_same_run

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)).astype(np.float32)
Y = np.arange(90) % 3


def net(**params: object) -> TorchClassifier:
    """Return a small network of 2 epochs."""
    return TorchClassifier(**{"module__hidden_layer_sizes": (5,), "max_epochs": 2, "random_state": 0, **params})


@pytest.mark.parametrize(
    "grid",
    [
        {"net": [net(lr=0.1, batch_size=16)]},
        {"scale": ["passthrough"]},
        {"scale": [PCA(3, random_state=0)], "net__lr": [0.05]},
    ],
    ids=lambda grid: "-".join(grid),
)
def test_what_a_search_chose_goes_on(grid):
    """A step that the search chose keeps all its parameters, and 2 + 2 epochs of it are 4."""
    search = GridSearchCV(Pipeline([("scale", StandardScaler()), ("net", net())]), grid, cv=2).fit(X, Y)
    best = search.best_estimator_
    rows = best["net"] if best["scale"] == "passthrough" else best
    inputs = X if rows is best["net"] else best[:-1].transform(X)
    params = {**best["net"].get_params(), "max_epochs": 4}
    continue_fit(search, X, Y)
    assert {**search.best_estimator_["net"].get_params(), "max_epochs": 4} == params
    assert_same_run(TorchClassifier(**params).fit(inputs, Y), search.best_estimator_["net"], inputs)


@pytest.mark.parametrize("passing", ["passthrough", None])
def test_a_step_that_passes_is_passed_under_metadata_routing(passing):
    """Weights reach the network past steps that do nothing."""
    with config_context(enable_metadata_routing=True):
        last = net().set_fit_request(sample_weight=True)
        pipe = Pipeline([("a", passing), ("pca", PCA(3)), ("b", passing), ("net", last)])
        weights = RNG.uniform(0.5, 2, len(X))
        pipe.fit(X, Y, sample_weight=weights)
        assert continue_fit(pipe, X, Y, sample_weight=weights)["net"].n_epochs_ == 4


@pytest.mark.parametrize(
    "whole",
    [BaggingClassifier(net(), 2, random_state=0), OneVsOneClassifier(net()), ClassifierChain(net())],
    ids=lambda whole: type(whole).__name__,
)
def test_columns_in_another_order_are_refused_by_the_whole(whole):
    """As in predict, names of columns are those of fit, in their order."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    y = np.column_stack([Y == 0, Y == 1]).astype(int) if isinstance(whole, ClassifierChain) else Y
    whole.fit(frame, y)
    with pytest.raises(ValueError, match="feature names"):
        continue_fit(whole, frame[list("dcba")], y)
    continue_fit(whole, frame, y)


def test_bagging_refuses_other_weights_than_its_rows_were_drawn_by():
    """Where the rows of members were drawn by weights, other weights cannot be honoured."""
    bagging = BaggingClassifier(net(), 2, random_state=0).fit(X, Y)
    if not hasattr(bagging, "_sample_weight"):
        pytest.skip("this scikit-learn hands weights on to the members")
    with pytest.raises(ContinuationError, match="sample_weight"):
        continue_fit(bagging, X, Y, sample_weight=RNG.uniform(0.5, 2, len(X)))


def test_a_class_is_not_continuable():
    """An estimator is asked, not a class."""
    assert is_continuable(net())
    assert not is_continuable(TorchClassifier)


# ---- the notice of other inputs never fails a call and is not given for nothing --------------------------------------


class Codes(nn.Module):
    """One-hot encodes its first column, and refuses what is no code."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_features_in + 9, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x[:, 1] < 0).any()):
            raise ValueError("column 1 is a size")
        codes = nn.functional.one_hot(x[:, 0].long(), 10)
        return self.layer(torch.cat([codes.to(x.dtype), x[:, 1:]], dim=1))


def test_a_module_that_refuses_rows_goes_on_with_others_of_its_kind():
    """Looking for mirrored columns never makes a call fail."""
    rng = np.random.default_rng(1)
    data = np.column_stack([rng.integers(0, 10, 800), rng.exponential(size=800), rng.normal(size=800)])
    y = (data[:, 2] > 0).astype(int)
    model = TorchClassifier(Codes, max_epochs=2, random_state=0).fit(data[:400], y[:400])
    model.continue_fit(data[400:], y[400:])


@pytest.mark.parametrize("kind", ["rarely filled", "heavy tails"])
def test_rows_of_the_same_source_are_no_news(kind):
    """Columns in which a few rows say all are not taken for mirrored ones."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        data = rng.standard_t(1.1, size=(3300, 3)) if kind == "heavy tails" else rng.normal(size=(3300, 3))
        if kind == "rarely filled":
            data[:, 0] *= rng.random(3300) < 0.01
        y = (data[:, 1] > 0).astype(int)
        net(max_epochs=1, check_finite=False).fit(data[:300], y[:300]).continue_fit(data[300:], y[300:])


@pytest.mark.parametrize("part", ["classes", "lowest", "window"])
def test_some_of_the_same_rows_are_no_news(part):
    """Rows that were seen before may come back in any choice of them."""
    rng = np.random.default_rng(2)
    data = rng.normal(size=(700, 4))
    y = np.arange(700) % 3
    chosen = {"classes": y < 2, "lowest": data[:, 0] < -0.5, "window": np.arange(700) < 400}[part]
    net(max_epochs=1).fit(data, y).continue_fit(data[chosen], y[chosen])
