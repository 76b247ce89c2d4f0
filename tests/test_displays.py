"""HistoryDisplay: the learning curve shows what the history says."""

import subprocess
import sys

import numpy as np
import pytest
from modules import Linear, class_data, real_data
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktorch_continue import Callback, EarlyStopping, EpochScoring, HistoryDisplay, TorchClassifier, TorchRegressor
from sktorch_continue.testing import Interrupt, first_difference

plt = pytest.importorskip("matplotlib.pyplot")

X, Y = class_data()
XR, YR = real_data()


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def classifier(**params):
    """Return an unfitted classifier of 3 steps per epoch."""
    return TorchClassifier(**{"module": Linear, "max_epochs": 2, "batch_size": 8, "random_state": 0, **params})


def gap():
    """Return a classifier after a fit, two more epochs with validation rows, and a pass."""
    model = classifier().fit(X, Y).continue_fit(X, Y, X_val=X[:6], y_val=Y[:6])
    return model.partial_fit(X, Y)


def scored():
    """Return a classifier with scores, after two calls."""
    model = classifier(validation_fraction=0.25, callbacks=[EpochScoring("accuracy")]).fit(X, Y)
    return model.continue_fit(X, Y, max_epochs=3)


class StopAt(Callback):
    """Stops at an epoch, and records what two callers might."""

    columns = ("train_size", "valid_size", "count")

    def __init__(self, epoch=2):
        self.epoch = epoch

    def on_validation_end(self, run):
        run.record("train_size", -1.0)
        run.record("valid_size", -2.0)
        run.record("count", 300)

    def on_epoch_end(self, run):
        if run.n_epochs == self.epoch:
            run.stop("enough")


def line(ax, label):
    """Return the line of a label."""
    return next(drawn for drawn in ax.get_lines() if drawn.get_label() == label)


def texts(ax):
    """Return the texts over a panel."""
    return [text.get_text() for text in ax.texts]


def test_losses_scores_and_rate():
    """One panel each, with the numbers of the history."""
    model = scored()
    display = HistoryDisplay.from_estimator(model)
    assert list(display.axes_) == ["loss", "accuracy", "lr"]
    assert line(display.axes_["loss"], "train_loss").get_ydata().tolist() == model.history_["train_loss"]
    assert line(display.axes_["loss"], "valid_loss").get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert display.axes_["accuracy"].get_lines()[0].get_label() == "valid_accuracy"
    assert display.axes_["lr"].get_ylabel() == "learning rate"
    assert line(display.axes_["lr"], "lr").get_ydata().tolist() == model.history_["lr"]
    assert display.figure_.axes == list(display.axes_.values())


def test_a_panel_per_score():
    """Scores have no common scale; those of training and validation rows share a panel, negative ones as well."""
    display = HistoryDisplay.from_estimator(classifier(callbacks=[StopAt(9)]).fit(X, Y))
    assert list(display.axes_) == ["loss", "size", "count", "lr"]
    assert line(display.axes_["size"], "train_size").get_ydata().tolist() == [-1.0, -1.0]
    assert line(display.axes_["size"], "valid_size").get_ydata().tolist() == [-2.0, -2.0]
    assert display.axes_["count"].get_ylabel() == "count"


def test_a_long_name_is_wrapped():
    """It does not run into the panel above, and nothing of it is lost."""
    scoring = EpochScoring("neg_mean_absolute_percentage_error", on="train")
    model = TorchRegressor(module=Linear, max_epochs=2, callbacks=[scoring], random_state=0).fit(XR, YR)
    (name,) = (
        ax.get_ylabel() for key, ax in HistoryDisplay.from_estimator(model).axes_.items() if key.startswith("neg")
    )
    assert name.replace("\n", "") == "train_neg_mean_absolute_percentage_error"
    assert max(len(part) for part in name.split("\n")) <= 24


def test_calls_are_marked():
    """A line in every panel between two calls; at the top the number of each call and, with room, its verb."""
    display = HistoryDisplay.from_estimator(scored().partial_fit(X, Y))
    for ax in display.axes_.values():
        marks = [drawn.get_xdata()[0] for drawn in ax.get_lines() if drawn.get_linestyle() == "--"]
        assert marks == [2.5, 5.5]
    assert texts(display.axes_["loss"]) == ["1: fit", "2: continue_fit", "3: partial_fit"]


def test_what_a_call_changed_is_told_where_there_is_room():
    """All of it, else how much, else the verb."""
    model = classifier().fit(X, Y).set_params(batch_size=4).continue_fit(X, Y, max_epochs=2)
    assert texts(HistoryDisplay.from_estimator(model).axes_["loss"])[1] == "2: continue_fit, batch_size 8 → 4"
    model.set_params(batch_size=5, lr=0.01, drop_last=True, random_state=1).continue_fit(X, Y, max_epochs=4)
    told = texts(HistoryDisplay.from_estimator(model).axes_["loss"])
    assert told == ["1: fit", "2: continue_fit", "3: continue_fit, 4 parameters changed"]


def test_many_calls_are_counted():
    """Beyond a dozen there is no room for each of them."""
    model = classifier(max_epochs=1)
    for _ in range(13):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    display = HistoryDisplay.from_estimator(model)
    assert texts(display.axes_["loss"]) == ["13 calls"]


def test_an_early_stop_is_marked():
    """After its last epoch, in every panel, also where the run went on."""
    model = classifier(max_epochs=9, callbacks=[StopAt(2)]).fit(X, Y).continue_fit(X, Y, max_epochs=2)
    display = HistoryDisplay.from_estimator(model)
    assert line(display.axes_["loss"], "stopped").get_xdata()[0] == 2.5
    assert texts(display.axes_["loss"]) == ["1: fit (stopped)", "2: continue_fit"]
    assert all(2.5 in [drawn.get_xdata()[0] for drawn in ax.get_lines()] for ax in display.axes_.values())


@pytest.mark.parametrize("monitor", ["valid_loss", "valid_accuracy"])
def test_the_best_epoch_is_that_of_early_stopping(monitor):
    """A star on the column it watches."""
    stopping = EarlyStopping(monitor, patience=3)
    model = classifier(
        lr=0.1, max_epochs=30, validation_fraction=0.25, callbacks=[EpochScoring("accuracy"), stopping]
    ).fit(X, Y)
    best = model.callbacks_["EarlyStopping"].best_epoch
    display = HistoryDisplay.from_estimator(model)
    stars = {
        name: [drawn for drawn in ax.get_lines() if drawn.get_marker() == "*"] for name, ax in display.axes_.items()
    }
    assert {name for name, drawn in stars.items() if drawn} == {monitor.removeprefix("valid_")}
    (star,) = stars[monitor.removeprefix("valid_")]
    assert star.get_label() == f"best: epoch {best}"
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (best, model.history_[best - 1, monitor])


def test_the_best_epoch_without_early_stopping_is_that_of_the_lowest_validation_loss():
    """Epochs that lack one are passed over."""
    model = gap()
    (star,) = [
        drawn for drawn in HistoryDisplay.from_estimator(model).axes_["loss"].get_lines() if drawn.get_marker() == "*"
    ]
    assert star.get_ydata()[0] == min(loss for loss in model.history_["valid_loss"] if loss is not None)


def test_without_scores_and_with_gaps():
    """No empty panel; an epoch that lacks a column leaves a gap."""
    display = HistoryDisplay.from_estimator(gap())
    assert list(display.axes_) == ["loss", "lr"]
    assert np.isnan(line(display.axes_["loss"], "valid_loss").get_ydata()).tolist() == [True, True, False, False, True]


def test_losses_that_are_not_finite():
    """A panel without any finite value says so."""
    model = TorchRegressor(module=Linear, max_epochs=2, lr=1e30, optimizer="SGD", check_finite=False, random_state=0)
    display = HistoryDisplay.from_estimator(model.fit(XR, YR).continue_fit(XR, YR))
    values = line(display.axes_["loss"], "train_loss").get_ydata()
    assert np.isfinite(values[0])
    assert "no value is finite" not in texts(display.axes_["loss"])
    model.history_._rows[0]["train_loss"] = float("nan")
    assert "no value is finite" in texts(HistoryDisplay.from_estimator(model).axes_["loss"])


def test_a_lone_value_of_a_long_run_is_seen():
    """Many points are a line without markers; a point without neighbours is none, and gets one."""
    model = classifier(max_epochs=40).fit(X, Y).continue_fit(X, Y, max_epochs=1, X_val=X[:6], y_val=Y[:6])
    loss = HistoryDisplay.from_estimator(model.continue_fit(X, Y, max_epochs=1)).axes_["loss"]
    assert line(loss, "train_loss").get_markevery() == []
    assert line(loss, "valid_loss").get_markevery() == [40]


@pytest.mark.parametrize(
    "wrap", [lambda net: make_pipeline(StandardScaler(), net), lambda net: GridSearchCV(net, {"lr": [0.1]}, cv=2)]
)
def test_the_network_is_found(wrap):
    """The last step of a pipeline, and in a search the best."""
    whole = wrap(classifier(max_epochs=1)).fit(X, Y)
    display = HistoryDisplay.from_estimator(whole, log_loss=True)
    inner = whole.best_estimator_ if hasattr(whole, "best_estimator_") else whole[-1]
    assert display.history is inner.history_
    assert display.axes_["loss"].get_yscale() == "log"


@pytest.mark.parametrize(
    "unfitted", [classifier(), GridSearchCV(classifier(), {"lr": [0.1]})], ids=["network", "search"]
)
def test_what_is_not_fitted(unfitted):
    """scikit-learn's own error."""
    with pytest.raises(NotFittedError):
        HistoryDisplay.from_estimator(unfitted)


@pytest.mark.parametrize(
    "other",
    [
        LogisticRegression(),
        make_pipeline(LogisticRegression()),
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2).fit(X, Y),
    ],
)
def test_what_has_no_network(other):
    """The error says what was expected."""
    with pytest.raises(TypeError, match=f"{type(other).__name__} is no TorchClassifier"):
        HistoryDisplay.from_estimator(other)


def test_before_the_first_epoch_is_complete():
    """A run cut in its first epoch has nothing to draw: the error says so."""
    model = classifier(callbacks=[Interrupt(1)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    with pytest.raises(ValueError, match="no epoch"):
        HistoryDisplay.from_estimator(model)


def test_a_logarithm_of_what_has_none():
    """A loss of zero or less is refused, not left out."""
    model = classifier().fit(X, Y)
    model.history_._rows[1]["train_loss"] = -0.5
    with pytest.raises(ValueError, match="log_loss=True needs losses above zero"):
        HistoryDisplay.from_estimator(model, log_loss=True)


def test_drawing_is_reading():
    """The history is as it was."""
    model = scored()
    before = model.history_.state_dict()
    HistoryDisplay.from_estimator(model)
    assert first_difference(before, model.history_.state_dict()) is None


def test_importing_the_package_imports_no_matplotlib():
    """It is imported when a picture is drawn."""
    code = "import sys, sktorch_continue; sktorch_continue.SearchDisplay; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_matplotlib(monkeypatch):
    """The error says how to get it."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'sktorch-continue\[plot\]'"):
        HistoryDisplay.from_estimator(scored())
