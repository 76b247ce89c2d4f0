"""The diagram scikit-learn shows in a notebook says how far a network has been trained."""

import re
import warnings
from html.parser import HTMLParser

import pytest
import torch
from modules import Linear, class_data, real_data
from sklearn import config_context
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from torch import nn

from sktorch_continue import (
    EarlyStopping,
    TorchClassifier,
    TorchRegressor,
    WarmStartGridSearchCV,
    make_continuable_pipeline,
)
from sktorch_continue.testing import Interrupt, first_difference, run_state, through_pickle

X, Y = class_data()
XR, YR = real_data()


class Seen(HTMLParser):
    """Collects the captions, the tags, and all text outside of styles and scripts."""

    def __init__(self, document):
        super().__init__()
        self.captions, self.tags, self.text, self._inside = [], [], "", []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._inside = ["caption"] if ("class", "caption") in attrs else [tag]

    def handle_data(self, data):
        if self._inside == ["caption"]:
            self.captions.append(data)
        if self._inside not in (["style"], ["script"]):
            self.text += data

    def handle_endtag(self, tag):
        self._inside = []


def captions(estimator):
    """Return what a diagram says below the names in its boxes."""
    return Seen(estimator_html_repr(estimator)).captions


def classifier(**params):
    """Return an unfitted classifier of 3 steps per epoch."""
    return TorchClassifier(**{"module": Linear, "max_epochs": 2, "batch_size": 8, "random_state": 0, **params})


def losses(model):
    """Return the last losses as the caption has them."""
    row = model.history_[-1]
    return " · ".join(f"{name} {row[name]:.4g}" for name in ("train_loss", "valid_loss") if name in row)


def test_an_unfitted_network():
    """Nothing but its name and parameters."""
    seen = Seen(estimator_html_repr(classifier()))
    assert seen.captions == []
    assert "TorchClassifier" in seen.text
    assert "Not fitted" in seen.text


@pytest.mark.parametrize("way", [lambda model: model, through_pickle])
def test_a_fitted_network(way):
    """Epochs, calls, last losses and device, all of them over the whole life of the run."""
    model = way(classifier(max_epochs=1).fit(X, Y))
    assert captions(model) == [f"1 epoch in 1 call · {losses(model)} · cpu"]
    model = way(model.continue_fit(X, Y, max_epochs=3, X_val=X[:6], y_val=Y[:6]))
    assert "valid_loss" in losses(model)
    assert captions(model) == [f"4 epochs in 2 calls · {losses(model)} · cpu"]


def test_a_regressor():
    """The same."""
    model = TorchRegressor(module=Linear, max_epochs=2, random_state=0).fit(XR, YR)
    assert captions(model) == [f"2 epochs in 1 call · {losses(model)} · cpu"]


@pytest.mark.parametrize(
    ("step", "told"), [(1, "0 of 2 epochs in 1 call · cpu"), (4, "1 of 2 epochs in 1 call · train")]
)
def test_a_run_that_was_cut(step, told):
    """How far it is, and where it was to go."""
    model = classifier(callbacks=[Interrupt(step)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert captions(model)[0].startswith(told)


def test_a_run_that_a_callback_stopped():
    """It is finished, and that is said."""
    model = classifier(max_epochs=9, callbacks=[EarlyStopping("train_loss", patience=1, min_delta=99.0)]).fit(X, Y)
    assert captions(model)[0].startswith("2 epochs (stopped early) in 1 call · train_loss")


def test_a_network_for_serving():
    """It has no history, and that is why."""
    assert captions(classifier().fit(X, Y).export()) == ["2 epochs in 1 call · cpu, exported for serving"]


def test_losses_that_are_no_numbers():
    """Are shown as they are."""
    model = TorchRegressor(Linear, lr=1e30, optimizer="SGD", check_finite=False, max_epochs=5, random_state=0)
    assert "train_loss nan" in captions(model.fit(XR, YR))[0]


@pytest.mark.parametrize("make", [make_pipeline, make_continuable_pipeline])
def test_inside_a_pipeline(make):
    """The box of the network says it."""
    pipeline = make(StandardScaler(), classifier())
    assert captions(pipeline) == []
    pipeline.fit(X, Y)
    assert captions(pipeline) == [f"2 epochs in 1 call · {losses(pipeline[-1])} · cpu"]


def test_inside_a_search():
    """The best estimator says it."""
    search = WarmStartGridSearchCV(classifier(), {"max_epochs": [1, 3]}, cv=2).fit(X, Y)
    assert captions(search) == [captions(search.best_estimator_)[0]]


def test_what_a_user_names_is_text():
    """No tag comes from a parameter, whatever it is called, and every kind of parameter can be shown."""
    hostile = "<script>alert(1)</script><b title='\"'>"

    class Odd(nn.Module):
        def __init__(self, n_features_in, n_outputs, note=None):
            super().__init__()
            self.layer = nn.Linear(n_features_in, n_outputs)

        def forward(self, x):
            return self.layer(x)

        def __repr__(self):
            return hostile

    Odd.__name__ = hostile
    odd = Odd(4, 3)
    params = {"module": odd, "criterion": nn.CrossEntropyLoss(), "optimizer__lr": torch.tensor(0.1)}
    plain = Seen(estimator_html_repr(classifier(**{**params, "module": Linear(4, 3)}).fit(X, Y))).tags
    model = classifier(**params).fit(X, Y)
    for estimator in (model, classifier(module=Odd, module__note=hostile).fit(X, Y)):
        document = estimator_html_repr(estimator)
        assert "<script>alert" not in document
        assert "<b title" not in document
    assert Seen(estimator_html_repr(model)).tags == plain


def test_a_class_named_by_a_user():
    """The name of a subclass is text as well."""
    named = type("A<i>b", (TorchClassifier,), {})
    document = estimator_html_repr(named(Linear, max_epochs=1, random_state=0).fit(X, Y))
    assert "A<i>b" not in document
    assert "A&lt;i&gt;b" in document


def test_where_diagrams_are_switched_off():
    """Text is what there is, as in scikit-learn."""
    model = classifier().fit(X, Y)
    assert captions(model)
    assert hasattr(model, "_repr_html_")
    assert "text/html" in model._repr_mimebundle_()
    with config_context(display="text"):
        assert not hasattr(model, "_repr_html_")


def test_showing_changes_nothing():
    """The run is as it was, no stream has moved, and nothing warns."""
    model = classifier(validation_fraction=0.25, lr_scheduler="StepLR", lr_scheduler__step_size=1).fit(X, Y)
    before, stream = run_state(model), torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert re.search("2 epochs", model._repr_html_())
    assert first_difference(before, run_state(model)) is None
    assert torch.equal(stream, torch.get_rng_state())
