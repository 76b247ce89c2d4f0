"""A skorch net as one of our estimators: the same predictions before, and training goes on after."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from sktorch_continue import ContinuationWarning, EarlyStopping, EpochScoring, TorchClassifier, TorchRegressor
from sktorch_continue.criteria import NLLLossOfProbabilities
from sktorch_continue.testing import assert_same_run, check_continuation, first_difference

skorch = pytest.importorskip("skorch")
callbacks = pytest.importorskip("skorch.callbacks")
helper = pytest.importorskip("skorch.helper")
pytestmark = pytest.mark.filterwarnings("ignore:skorch draws its validation rows")

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 5)).astype(np.float32)
PAIR = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(np.int64)
TRIPLE = PAIR + (X[:, 2] > 0.3)
REAL = (X[:, :1] - X[:, 1:2]).astype(np.float32)


class Logits(nn.Module):
    """Gives logits, or real values."""

    def __init__(self, n_out=3, width=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, n_out))

    def forward(self, X):
        return self.layers(X)


class Probabilities(Logits):
    """Gives probabilities, as skorch's NLLLoss expects."""

    def forward(self, X):
        return super().forward(X).softmax(dim=-1)


class Flat(Logits):
    """One logit per row, of shape (n,)."""

    def __init__(self):
        super().__init__(1)

    def forward(self, X):
        return super().forward(X)[:, 0]


class Normalized(nn.Module):
    """Dropout and batch norm."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))

    def forward(self, X):
        return self.layers(X)


class TwoInputs(nn.Module):
    """Reads two arrays, one of them categories."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(4, 3)
        self.layer = nn.Linear(8, 2)

    def forward(self, numbers, category):
        return self.layer(torch.cat([numbers, self.embedding(category)], dim=1))


TWO = {"numbers": X, "category": rng.integers(4, size=120)}

# One line per kind: skorch's class, ours, X, y, what the net is made of, whether X has to be given.
NETS = {
    "binary": ("NeuralNetBinaryClassifier", TorchClassifier, X, PAIR.astype(np.float32), {"module": Flat}, False),
    "probabilities": ("NeuralNetClassifier", TorchClassifier, X, TRIPLE, {"module": Probabilities}, False),
    "multiclass": (
        "NeuralNetClassifier",
        TorchClassifier,
        X,
        TRIPLE,
        {"module": Logits, "module__width": 6, "criterion": nn.CrossEntropyLoss, "optimizer": torch.optim.Adam},
        False,
    ),
    "regressor": (
        "NeuralNetRegressor",
        TorchRegressor,
        X,
        REAL,
        {"module": Logits(1), "optimizer__momentum": 0.9, "optimizer__nesterov": True},
        False,
    ),
    "scheduled": (
        "NeuralNetClassifier",
        TorchClassifier,
        X,
        TRIPLE,
        {
            "module": Logits,
            "criterion": nn.CrossEntropyLoss,
            "callbacks": [callbacks.LRScheduler(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.1)],
        },
        False,
    ),
    "stopped": (
        "NeuralNetRegressor",
        TorchRegressor,
        X,
        REAL,
        {
            "module": Logits,
            "module__n_out": 1,
            "callbacks": [
                callbacks.EarlyStopping(patience=2, threshold=0.0, load_best=True),
                callbacks.EpochScoring("r2", lower_is_better=False, name="valid_r2"),
                callbacks.GradientNormClipping(1.0),
            ],
        },
        False,
    ),
    "normalized": (
        "NeuralNetClassifier",
        TorchClassifier,
        X,
        TRIPLE,
        {"module": Normalized, "criterion": nn.CrossEntropyLoss, "optimizer": torch.optim.AdamW},
        False,
    ),
    "two inputs": (
        "NeuralNetClassifier",
        TorchClassifier,
        TWO,
        PAIR,
        {"module": TwoInputs, "criterion": nn.CrossEntropyLoss(), "iterator_train__shuffle": True},
        True,
    ),
}


def made(kind, *, fit=True, **changed):
    """Return our class, the net, X, y, and the arguments of from_skorch."""
    name, cls, X, y, params, shown = NETS[kind]
    torch.manual_seed(0)
    net = getattr(skorch, name)(**{"max_epochs": 4, "lr": 0.05, "batch_size": 32, "verbose": 0, **params, **changed})
    net = net.fit(X, y) if fit else net.initialize()
    return cls, net, X, y, (X,) if shown else ()


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("fit", [True, False], ids=["fitted", "initialized"])
def test_predictions_are_equal_and_training_goes_on(kind, fit):
    """The same predictions, to the bit; then the loss falls, the history goes on, and the net is as it was."""
    cls, net, X, y, rows = made(kind, fit=fit)
    before = {name: tensor.clone() for name, tensor in net.module_.state_dict().items()}
    model = cls.from_skorch(net, *rows, random_state=0)
    expected = net.predict(X)
    np.testing.assert_array_equal(model.predict(X), expected.ravel())
    if cls is TorchClassifier:
        np.testing.assert_array_equal(model.predict_proba(X), net.predict_proba(X))
        assert model.classes_.tolist() == list(range(len(np.unique(y))))
    assert model.n_epochs_ == len(net.history)
    assert model.history_.columns == [] if not fit else model.history_["train_loss"] == net.history[:, "train_loss"]
    model.continue_fit(X, y.ravel(), max_epochs=10)
    assert model.history_[-1]["epoch"] == model.n_epochs_ > len(net.history)
    assert model.history_["train_loss"][-1] < (net.history[0]["train_loss"] if fit else model.history_[0]["train_loss"])
    assert first_difference(dict(net.module_.state_dict()), before) is None


@pytest.mark.parametrize("kind", NETS)
def test_what_was_taken_over_continues_exactly(kind, tmp_path):
    """Cut and continued, through pickle and through a checkpoint, it ends where it ends in one go."""
    cls, net, X, y, rows = made(kind)
    y = y.ravel()
    model = cls.from_skorch(net, *rows, random_state=0)
    model.save_checkpoint(tmp_path / "start")
    loaded = cls.from_skorch(net, *rows, random_state=0).load_checkpoint(tmp_path / "start")
    whole = pickle.loads(pickle.dumps(model)).continue_fit(X, y, max_epochs=3)
    for cut in (model, loaded):
        cut.continue_fit(X, y, max_epochs=1)
        cut = pickle.loads(pickle.dumps(cut)).continue_fit(X, y, max_epochs=2)
        if not whole.history_.calls[-1]["stopped"]:
            assert_same_run(whole, cut, X)


@pytest.mark.parametrize("kind", ["multiclass", "regressor"])
def test_it_goes_on_as_skorch_would(kind):
    """With the moments of Adam or SGD the next epoch is skorch's own, up to rounding."""
    cls, net, X, y, _ = made(kind, train_split=None)
    model = cls.from_skorch(net, callbacks=None).continue_fit(X, y.ravel(), max_epochs=1)
    net.partial_fit(X, y, epochs=1)
    method = "predict_proba" if cls is TorchClassifier else "predict"
    ours, theirs = getattr(model, method)(X), getattr(net, method)(X)
    np.testing.assert_allclose(ours, theirs.reshape(ours.shape), rtol=1e-4, atol=1e-5)
    assert model.history_["train_loss"][-1] == pytest.approx(net.history[-1, "train_loss"], rel=1e-5)


def test_parameters_and_callbacks_are_mapped():
    """By the table in the docstring."""
    cls, net, *_ = made("scheduled", iterator_train__drop_last=True, iterator_train__shuffle=True)
    model = cls.from_skorch(net)
    params = model.get_params()
    assert (params["lr"], params["max_epochs"], params["batch_size"]) == (0.05, 4, 32)
    assert (params["shuffle"], params["drop_last"], params["validation_fraction"]) == (True, True, 0.2)
    assert (params["lr_scheduler__step_size"], params["lr_scheduler_interval"]) == (2, "epoch")
    assert model.optimizer_.param_groups[0]["lr"] == net.optimizer_.param_groups[0]["lr"] == pytest.approx(5e-4)
    assert model.lr_scheduler_.last_epoch == 4
    assert model.history_["lr"] == pytest.approx([0.05, 0.05, 0.005, 0.005])
    assert isinstance(model.callbacks_["valid_acc"], EpochScoring)
    assert model.n_steps_ == 4 * 3
    cls, net, *_ = made("stopped")
    stopping = cls.from_skorch(net).callbacks_["EarlyStopping"]
    assert isinstance(stopping, EarlyStopping)
    assert (stopping.patience, stopping.restore_best, stopping.mode) == (2, True, "min")
    assert cls.from_skorch(net, lr=0.5, callbacks=None).get_params()["lr"] == 0.5


def test_a_classifier_of_probabilities_has_their_criterion():
    """skorch takes the logarithm in get_loss; here the criterion does, weights of the classes included."""
    weight = torch.tensor([1.0, 2.0, 3.0])
    cls, net, X, y, _ = made("probabilities", criterion__weight=weight)
    model = cls.from_skorch(net)
    assert isinstance(model.criterion_, NLLLossOfProbabilities)
    outputs, target = torch.as_tensor(model.predict_proba(X)), torch.as_tensor(y)
    assert model.criterion_(outputs, target) == net.get_loss(outputs, target)
    again = TorchClassifier(Probabilities, criterion=NLLLossOfProbabilities, max_epochs=2, random_state=0)
    check_continuation(again, X, y, n_epochs=2)


def test_a_net_without_held_out_rows_goes_on():
    """Scores on validation rows, which skorch adds by itself and then passes over, are left out here too."""
    net = skorch.NeuralNetClassifier(Logits, criterion=nn.CrossEntropyLoss, max_epochs=2, train_split=None, verbose=0)
    ours = TorchClassifier.from_skorch(net.fit(X, TRIPLE))
    assert ours.continue_fit(X, TRIPLE, max_epochs=1).n_epochs_ == 3


def test_frozen_weights_stay_frozen_and_what_is_left_out_is_named():
    """Freezer has no counterpart that knows it was there; Checkpoint writes another format."""
    cls, net, X, y, _ = made(
        "multiclass", callbacks=[callbacks.Freezer("layers.0.*"), callbacks.ProgressBar(), callbacks.EpochTimer()]
    )
    with pytest.warns(ContinuationWarning, match="Freezer"):
        model = cls.from_skorch(net)
    before = model.module_.layers[0].weight.clone()
    model.continue_fit(X, y, max_epochs=1)
    assert torch.equal(model.module_.layers[0].weight, before)


def test_what_changes_its_meaning_is_told():
    """A relative threshold, a split of one's own, and rows that were held out."""
    cls, net, *_ = made("stopped", callbacks=[callbacks.EarlyStopping()])
    with pytest.warns(ContinuationWarning, match="threshold_mode='rel'"):
        cls.from_skorch(net)
    cls, net, *_ = made("multiclass", train_split=helper.predefined_split(skorch.dataset.Dataset(X, TRIPLE)))
    with pytest.warns(ContinuationWarning, match="no validation rows are drawn"):
        cls.from_skorch(net, callbacks=None)


@pytest.mark.filterwarnings("default:skorch draws its validation rows")
def test_rows_that_skorch_held_out_are_told():
    """Where the net was fitted with a split; not where it was only initialized, nor without one."""
    cls, net, *_ = made("multiclass")
    with pytest.warns(ContinuationWarning, match="X_val"):
        cls.from_skorch(net)
    cls.from_skorch(net, validation_fraction=None, callbacks=None)
    cls, net, *_ = made("multiclass", fit=False)
    cls.from_skorch(net)


class OwnLoss(skorch.NeuralNetClassifier):
    """Adds something to the loss."""

    def get_loss(self, y_pred, y_true, *args, **kwargs):
        return super().get_loss(y_pred, y_true, *args, **kwargs) + 1


def refused():
    """Yield a net each that is refused, with the error and a part of its message."""
    yield "another library", lambda: LogisticRegression(), TypeError, "got LogisticRegression"
    yield "none", lambda: None, TypeError, "got NoneType"
    yield "not initialized", lambda: skorch.NeuralNetClassifier(Logits), ValueError, "initialize"
    yield "bare net", lambda: skorch.NeuralNet(Logits, nn.MSELoss).initialize(), TypeError, "what its outputs mean"
    yield "own loss", lambda: OwnLoss(Logits, criterion=nn.CrossEntropyLoss).initialize(), TypeError, "get_loss"
    yield "regressor", lambda: made("regressor")[1], TypeError, "TorchRegressor.from_skorch"
    yield "threshold", lambda: made("binary", threshold=0.4)[1], ValueError, "FixedThresholdClassifier"
    yield "nonlinearity", lambda: made("multiclass", predict_nonlinearity=None)[1], ValueError, "predict_nonlinearity"
    yield "criterion", lambda: made("multiclass", criterion=nn.MultiMarginLoss)[1], ValueError, "MultiMarginLoss"
    groups = {"optimizer__param_groups": [("layers.0.*", {"lr": 0.1})]}
    yield "groups", lambda: made("multiclass", **groups)[1], ValueError, "param_groups"
    sampler = {"iterator_train__sampler": torch.utils.data.SequentialSampler(range(96))}
    yield "sampler", lambda: made("multiclass", **sampler)[1], ValueError, "iterator_train__sampler"
    yield "rows", lambda: made("two inputs")[1], ValueError, r"from_skorch\(net, X\)"
    schedules = [
        ("one", callbacks.LRScheduler("StepLR", step_size=1)),
        ("two", callbacks.LRScheduler("StepLR", step_size=1)),
    ]
    yield "schedules", lambda: made("multiclass", callbacks=schedules)[1], ValueError, "several LRScheduler"


@pytest.mark.parametrize(
    ("make", "error", "message"), [entry[1:] for entry in refused()], ids=[e[0] for e in refused()]
)
def test_what_cannot_be_taken_over_is_refused(make, error, message):
    """With what it was, and what to do."""
    net = make()
    with pytest.raises(error, match=message):
        TorchClassifier.from_skorch(net)


def test_skorch_is_not_imported():
    """Not even to refuse what is no net."""
    code = (
        "import sys; from sktorch_continue import TorchClassifier\n"
        "try: TorchClassifier.from_skorch(object())\n"
        "except TypeError: print('skorch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
