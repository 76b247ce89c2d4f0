"""P7: one row per epoch over all calls, and a record of each call."""

import datetime
import platform

import numpy as np
import pytest
import scipy
import sklearn
import torch
from modules import Linear, Raise, class_data, label, real_data
from scipy.sparse import csr_matrix
from torch import nn

from sktorch_continue import Callback, EpochScoring, History, TorchClassifier, TorchRegressor
from sktorch_continue.testing import Interrupt, first_difference, through_memory, through_pickle

X, Y = class_data()
XR, YR = real_data()
WAYS = pytest.mark.parametrize("way", [through_memory, through_pickle])


def classifier(**params):
    """Return an unfitted classifier of 3 steps per epoch."""
    return TorchClassifier(**{"module": Linear, "max_epochs": 2, "batch_size": 8, "random_state": 0, **params})


def three_calls(way=through_memory, **params):
    """Return a classifier after a fit, two more epochs with validation rows, and a pass."""
    model = way(classifier(**params).fit(X, Y))
    model = way(model.continue_fit(X, Y, X_val=X[:6], y_val=Y[:6]))
    return way(model.partial_fit(X, Y))


# ---- rows ---------------------------------------------------------------------------------------------------------


@WAYS
def test_one_row_per_epoch_over_all_calls(way):
    """In order, with the number of the call, the steps so far, and valid_loss where there were validation rows."""
    history = three_calls(way).history_
    assert len(history) == 5
    assert history["epoch"] == [1, 2, 3, 4, 5]
    assert history["call"] == [1, 1, 2, 2, 3]
    assert history["n_steps"] == [3, 6, 9, 12, 15]
    assert history["lr"] == [1e-3] * 5
    assert [value is not None for value in history["valid_loss"]] == [False, False, True, True, False]
    assert all(isinstance(value, float) and value > 0 for value in history["train_loss"])
    assert all(isinstance(value, float) and value > 0 for value in history["duration"])


def test_columns_in_order_of_first_appearance():
    """A new column comes after those that were there."""
    model = classifier(callbacks=[EpochScoring("accuracy", on="train")]).fit(X, Y)
    assert model.history_.columns == ["epoch", "call", "n_steps", "lr", "train_loss", "train_accuracy", "duration"]
    model.continue_fit(X, Y, X_val=X[:6], y_val=Y[:6])
    assert model.history_.columns[-1] == "valid_loss"


def test_ways_to_read_it():
    """A row, rows, a column, a cell, a column of some rows."""
    history = three_calls().history_
    assert history[-1]["epoch"] == 5
    assert history[0] == next(iter(history))
    assert [row["epoch"] for row in history[1:3]] == [2, 3]
    assert history["epoch"] == [row["epoch"] for row in history]
    assert history[-1, "call"] == 3
    assert history[:2, "epoch"] == [1, 2]
    assert history[0, "valid_loss"] is None
    assert len(list(reversed(history))) == 5


@pytest.mark.parametrize(
    ("key", "error"),
    [("auc", KeyError), ((0, "auc"), KeyError), (99, IndexError), ((99, "lr"), IndexError)],
    ids=label,
)
def test_what_is_not_there(key, error):
    """A column that nobody filled is an error that names those there are; so is a row that is not there."""
    history = classifier().fit(X, Y).history_
    with pytest.raises(error) as caught:
        history[key]
    if error is KeyError:
        assert "train_loss" in str(caught.value)


@WAYS
def test_to_frame(way):
    """One row per epoch; what an epoch lacks is missing."""
    pd = pytest.importorskip("pandas")
    frame = three_calls(way).history_.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert frame.shape == (5, 7)
    assert frame["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert frame["valid_loss"].isna().tolist() == [True, True, False, False, True]
    assert frame.groupby("call").size().tolist() == [2, 2, 1]


def test_the_loss_of_a_row_is_the_mean_over_its_rows():
    """Ragged batches count by their rows, and weights by their sums."""

    class Still(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return self.bias * x[:, :1] * 0

    params = {"module": Still, "lr": 0.0, "max_epochs": 1, "batch_size": 7, "shuffle": False}
    model = TorchRegressor(**params).fit(XR.astype(np.float64), YR, X_val=XR[:5].astype(np.float64), y_val=YR[:5])
    assert model.history_[-1]["train_loss"] == pytest.approx((YR**2).mean())
    assert model.history_[-1]["valid_loss"] == pytest.approx((YR[:5] ** 2).mean())
    weight = np.arange(24.0)
    model = TorchRegressor(**params).fit(XR.astype(np.float64), YR, weight)
    assert model.history_[-1]["train_loss"] == pytest.approx(np.average(YR**2, weights=weight))


def test_the_rate_of_a_row_is_that_of_its_first_step():
    """A schedule by step moves within the epoch."""
    params = {"lr_scheduler": "ExponentialLR", "lr_scheduler__gamma": 0.5, "lr_scheduler_interval": "step"}
    assert classifier(lr=1.0, **params).fit(X, Y).history_["lr"] == [1.0, 0.125]


def test_the_row_of_an_epoch_that_was_cut():
    """It belongs to the call that ended it, and its duration and loss are those of all its steps."""
    model = classifier(callbacks=[Interrupt(4)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert len(model.history_) == 1
    model.set_params(callbacks=[Interrupt(None)]).continue_fit(X, Y, max_epochs=1)
    assert model.history_["call"] == [1, 2]
    whole = classifier().fit(X, Y)
    assert model.history_["train_loss"] == whole.history_["train_loss"]


def test_a_second_fit_starts_a_new_history():
    """fit is a new run; under warm_start it is not."""
    model = classifier().fit(X, Y)
    assert len(model.fit(X, Y).history_) == 2
    assert len(model.set_params(warm_start=True).fit(X, Y).history_) == 4
    assert [record["verb"] for record in model.history_.calls] == ["fit", "continue_fit"]


def test_repr_tells_where_it_stands():
    """Epochs, calls and the last row."""
    assert "5 epochs in 3 calls; last epoch=5, call=3" in repr(three_calls().history_)
    model = classifier(callbacks=[Interrupt(1)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert repr(model.history_) == "<History: no epoch yet>"


# ---- records of calls ---------------------------------------------------------------------------------------------


@WAYS
def test_each_call_leaves_a_record(way):
    """Number, verb, target, rows and epochs reached."""
    records = three_calls(way).history_.calls
    assert [record["call"] for record in records] == [1, 2, 3]
    assert [record["verb"] for record in records] == ["fit", "continue_fit", "partial_fit"]
    assert [record["max_epochs"] for record in records] == [2, 4, 5]
    assert [record["n_epochs"] for record in records] == [2, 4, 5]
    assert [record["n_rows"] for record in records] == [24] * 3
    assert [record["n_validation_rows"] for record in records] == [0, 6, 0]
    assert [record["changed"] for record in records] == [{}, {}, {}]
    assert [record["stopped"] for record in records] == [None] * 3


def test_a_record_says_when():
    """In UTC, ISO 8601, between the moment before and the moment after."""
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    started = datetime.datetime.fromisoformat(classifier().fit(X, Y).history_.calls[0]["started"])
    assert before <= started <= datetime.datetime.now(datetime.UTC)
    assert started.utcoffset() == datetime.timedelta(0)


def test_a_record_says_with_which_versions():
    """Those that can decide bits."""
    versions = classifier().fit(X, Y).history_.calls[0]["versions"]
    assert versions["python"] == platform.python_version()
    assert (versions["torch"], versions["numpy"]) == (str(torch.__version__), np.__version__)
    assert (versions["sklearn"], versions["scipy"]) == (sklearn.__version__, scipy.__version__)


def test_a_record_belongs_to_its_call():
    """What is done to one record is not seen in the next."""
    model = classifier().fit(X, Y)
    model.history_.calls[0]["versions"]["torch"] = "mine"
    assert model.continue_fit(X, Y).history_.calls[1]["versions"]["torch"] != "mine"


def test_a_record_says_what_changed():
    """Parameter -> [before, now]; a call that changed nothing has nothing."""
    model = classifier(lr=0.1).fit(X, Y).set_params(lr=0.2, batch_size=4).continue_fit(X, Y)
    assert model.history_.calls[1]["changed"] == {"lr": [0.1, 0.2], "batch_size": [8, 4]}


def test_a_record_says_why_a_call_was_stopped():
    """And how far it came."""

    class Stop(Callback):
        def on_epoch_end(self, run):
            run.stop("enough")

    record = classifier(max_epochs=9, callbacks=[Stop()]).fit(X, Y).history_.calls[0]
    assert (record["stopped"], record["n_epochs"], record["max_epochs"]) == ("enough", 1, 9)


@pytest.mark.parametrize(("hook", "time", "n_epochs"), [("on_step_end", 2, 0), ("on_epoch_end", 1, 1)])
def test_a_call_that_failed_after_a_step_has_a_record(hook, time, n_epochs):
    """It trained: what it trained on, and how far it came, is kept."""
    model = classifier(callbacks=[Raise(hook, time)])
    with pytest.raises(RuntimeError, match=hook):
        model.fit(X, Y)
    assert len(model.history_.calls) == 1
    assert model.history_.calls[0]["n_epochs"] == n_epochs
    assert model.history_.calls[0]["n_rows"] == 24


def fingerprints(*calls, **params):
    """Return the fingerprint of each call's data."""
    model = classifier(**params)
    for data in calls:
        model.fit(*data) if not hasattr(model, "n_epochs_") else model.continue_fit(*data)
    return [record["fingerprint"] for record in model.history_.calls]


CHANGED_X = X.copy()
CHANGED_X[3, 2] += 1e-3
CHANGED_Y = Y.copy()
CHANGED_Y[5] = (CHANGED_Y[5] + 1) % 3
WEIGHT = np.linspace(0.5, 1.5, 24)
CHANGED_WEIGHT = np.where(np.arange(24) == 3, 1.7, WEIGHT)


@pytest.mark.parametrize(
    "same",
    [
        (X.copy(), Y.copy()),
        (X.astype(np.float64), Y),
        (X.tolist(), Y.tolist()),
        (torch.from_numpy(X), torch.from_numpy(Y)),
        (csr_matrix(X), Y),
        (np.asfortranarray(X), Y.astype(np.int32)),
        (np.concatenate([X, X])[:24], Y),
        (X, Y, np.ones(24)),
    ],
    ids=["copy", "float64", "lists", "tensors", "csr", "fortran", "view", "ones"],
)
def test_equal_data_has_the_same_fingerprint(same):
    """In any container and precision."""
    first, second = fingerprints((X, Y), same)
    assert first == second
    assert len(first) == 16
    assert int(first, 16) >= 0


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ((X, Y), (CHANGED_X, Y)),
        ((X, Y), (X, CHANGED_Y)),
        ((X, Y), (X[::-1].copy(), Y[::-1].copy())),
        ((X, Y), (X[:-1], Y[:-1])),
        ((X, Y), (np.concatenate([X, X[:1]]), np.concatenate([Y, Y[:1]]))),
        ((X, Y), (X, Y, WEIGHT)),
        ((X, Y, WEIGHT), (X, Y, CHANGED_WEIGHT)),
    ],
    ids=["value", "target", "order", "fewer", "more", "weights", "weight"],
)
def test_other_data_has_another_fingerprint(first, other):
    """A value, a target, a weight, the order or the number of rows."""
    before, now = fingerprints(first, other)
    assert before != now


def test_both_zeros_have_one_fingerprint():
    """-0.0 is 0.0."""
    rows = np.where(X > 1, 0.0, X).astype(np.float32)
    first, second = fingerprints((rows, Y), (np.where(rows == 0, np.float32(-0.0), rows), Y))
    assert first == second


def test_the_fingerprint_is_of_the_data_and_not_of_the_run():
    """Another seed, batch size or process: equal data, equal fingerprint; rows held out are not trained on."""
    assert fingerprints((X, Y), random_state=1, batch_size=3) == fingerprints((X, Y))
    assert fingerprints((X, Y), validation_fraction=0.25) != fingerprints((X, Y))


def test_the_state_of_a_history_is_a_copy():
    """What is done to a state dictionary is not seen in the history it came from, nor in one that took it."""
    model = classifier().fit(X, Y)
    state, other = model.history_.state_dict(), History()
    other.load_state_dict(state)
    state["rows"][0]["lr"] = 9.0
    state["calls"][0]["versions"]["torch"] = "mine"
    for history in (model.history_, other):
        assert history[0, "lr"] == 1e-3
        assert history.calls[0]["versions"]["torch"] != "mine"


def test_history_is_part_of_the_state():
    """Rows and records are the same after a pickle, and apart from those before."""
    model = three_calls()
    loaded = through_pickle(model)
    assert first_difference(model.history_.state_dict(), loaded.history_.state_dict()) is None
    loaded.continue_fit(X, Y)
    assert (len(model.history_), len(loaded.history_)) == (5, 7)
    assert (len(model.history_.calls), len(loaded.history_.calls)) == (3, 4)
