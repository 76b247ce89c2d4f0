"""What reaches the members of a composed estimator: the parameters a search chose, the columns and weights of fit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from optional import pd
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sktorch_continue import (
    Checkpoint,
    ContinuablePipeline,
    ContinuationError,
    DataDriftWarning,
    TorchClassifier,
    continue_fit,
    is_continuable,
)
from sktorch_continue.continuation.job import Job, Jobs
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


class Shares(nn.Module):
    """Refuses rows whose columns do not sum to one."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_features_in, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(((x.sum(dim=1) - 1).abs() > 1e-3).any()):
            raise ValueError("these are no shares")
        return self.layer(x)


def test_a_module_that_refuses_every_mirrored_row_is_left_in_peace():
    """Where a module refuses what the notice would show it, there is no notice."""
    data = np.random.default_rng(4).dirichlet([1, 2, 3], size=800).astype(np.float32)
    y = (data[:, 0] > 0.15).astype(int)
    TorchClassifier(Shares, max_epochs=2, random_state=0).fit(data[:400], y[:400]).continue_fit(data[400:], y[400:])


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


@pytest.mark.parametrize(
    "columns",
    [{3: 0.0}, {2: "3", 3: 0.0}],
    ids=["became constant", "swapped with a constant"],
)
def test_a_column_that_says_nothing_any_more_is_told(columns):
    """The same rows with a column of one value, or its values in the place of such a column, are other inputs."""
    rng = np.random.default_rng(3)
    data = rng.normal(size=(200, 4)).astype(np.float32)
    if len(columns) == 2:
        data[:, 2] = 0.0
    y = (data[:, 3] > 0).astype(int)
    model = net(max_epochs=1).fit(data, y)
    changed = data.copy()
    for column, value in columns.items():
        changed[:, column] = data[:, 3] if value == "3" else value
    with pytest.warns(DataDriftWarning):
        model.continue_fit(changed, y)


# ---- parameters and refusals ----------------------------------------------------------------------------------------


def test_a_search_over_all_steps_keeps_the_steps_it_chose():
    """Steps of other names than the prototype's are those of the search, with all their parameters."""
    grid = {"steps": [[("pca", PCA(3, random_state=0)), ("last", net(lr=0.05))]]}
    search = GridSearchCV(Pipeline([("scale", StandardScaler()), ("net", net())]), grid, cv=2).fit(X, Y)
    inputs = search.best_estimator_[:-1].transform(X)
    continue_fit(search, X, Y)
    assert_same_run(net(lr=0.05, max_epochs=4).fit(inputs, Y), search.best_estimator_["last"], inputs)


def test_another_step_than_the_fitted_one_is_named():
    """A step that was replaced on the whole since fit is refused by its name, and not by one of its parameters."""
    pipe = Pipeline([("scale", StandardScaler()), ("net", net())])
    voting = VotingClassifier([("p", pipe)]).fit(X, Y)
    with pytest.raises(ContinuationError, match=r"'scale' inside a member was fitted as StandardScaler.* now PCA"):
        continue_fit(voting.set_params(p__scale=PCA(3)), X, Y)


def test_a_refusal_gives_parameters_back():
    """What a member was given for a call that is refused is taken back."""
    search = GridSearchCV(net(), {"batch_size": [16]}, cv=2).fit(X, Y)
    with pytest.raises(ValueError, match="features"):
        continue_fit(search.set_params(estimator__lr=0.5), X[:, :3], Y)
    assert search.best_estimator_.lr == net().lr


@pytest.mark.parametrize(
    "whole", [BaggingClassifier(net(), 2, random_state=0), OneVsOneClassifier(net())], ids=lambda w: type(w).__name__
)
def test_validation_columns_in_another_order_are_refused(whole):
    """X_val has the names of fit as well."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    whole.fit(frame, Y)
    with pytest.raises(ValueError, match="feature names"):
        continue_fit(whole, frame, Y, X_val=frame[list("dcba")], y_val=Y)


def test_a_dropped_member_makes_no_question_fail():
    """is_continuable answers also after a member was dropped from a fitted voting; continuing says what is wrong."""
    voting = VotingClassifier([("a", net()), ("b", net())]).fit(X, Y).set_params(b="drop")
    assert is_continuable(voting)
    with pytest.raises(ContinuationError):
        continue_fit(voting, X, Y)


def test_folders_of_copies_that_were_dropped_are_told(tmp_path):
    """When a later member fails, the error says that a run folder is ahead of the member it belongs to."""
    members = [("a", net(callbacks=[Checkpoint(tmp_path / "a")])), ("b", net())]
    voting = VotingClassifier(members).fit(X, Y)
    with pytest.raises(ValueError, match="batch_size") as raised:
        continue_fit(voting.set_params(b__batch_size=0), X, Y)
    assert any("run folder is ahead" in note for note in raised.value.__notes__)
    assert voting.estimators_[0].n_epochs_ == 2


# ---- work that is not done ------------------------------------------------------------------------------------------


def test_rows_of_a_member_are_made_when_it_goes_on():
    """The rows of all members are never held at once."""
    made = []
    jobs = Jobs(3, lambda position: made.append(position) or Job(X, Y, {}))
    assert (list(jobs), len(jobs), made) == (["0", "1", "2"], 3, [])
    assert jobs["1"].X is X
    assert made == [1]


class Silent(StandardScaler):
    """Counts copies and fits; keeps no attribute that tells whether it is fitted."""

    fits: list = []  # noqa: RUF012
    copies: list = []  # noqa: RUF012

    def fit(self, X, y=None):
        self.fits.append(len(X))
        self.kept = X.mean(axis=0)
        return self

    def fit_transform(self, X, y=None):
        return self.fit(X).transform(X)

    def transform(self, X):
        return X - self.kept

    def __deepcopy__(self, memo):
        self.copies.append(1)
        return self

    def __sklearn_is_fitted__(self):
        return False


def test_partial_fit_leaves_frozen_transformers_alone():
    """They are fitted at the first batch, and neither copied nor fitted at the others."""
    Silent.fits.clear(), Silent.copies.clear()
    pipe = ContinuablePipeline([("silent", Silent()), ("net", net())])
    for rows in np.array_split(np.arange(len(X)), 3):
        pipe.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
    assert (Silent.fits, Silent.copies) == ([30], [])
    assert pipe["net"].n_epochs_ == 3


def test_a_restored_network_is_resumed_behind_new_transformers(tmp_path):
    """Transformers that are not fitted are fitted anew, and the network proves that they give it the same inputs."""
    whole = ContinuablePipeline([("scale", StandardScaler()), ("net", net(max_epochs=4))]).fit(X, Y)
    half = ContinuablePipeline([("scale", StandardScaler()), ("net", net())]).fit(X, Y)
    half["net"].save_checkpoint(tmp_path / "c")
    restored = TorchClassifier.from_checkpoint(tmp_path / "c", max_epochs=4)
    pipe = ContinuablePipeline([("scale", StandardScaler()), ("net", restored)]).resume_fit(X, Y)
    assert_same_run(whole["net"], pipe["net"], whole[:-1].transform(X))
    other = ContinuablePipeline([("scale", PCA(4)), ("net", TorchClassifier.from_checkpoint(tmp_path / "c"))])
    with pytest.raises(ContinuationError, match="other inputs"):
        other.resume_fit(X, Y)


def test_a_network_alone_does_not_import_the_meta_estimators():
    """What continue_fit needs of scikit-learn is imported when it is asked for."""
    script = (
        "import sys, sktorch_continue as s; found = [n for n in ('sklearn.ensemble', 'sklearn.calibration') "
        "if n in sys.modules]; assert not found, found; assert 'continue_fit' in dir(s); s.continue_fit; "
        "from sktorch_continue import *; ContinuablePipeline; assert not hasattr(s, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
