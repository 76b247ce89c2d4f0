"""SearchDisplay: score against budget, as cv_results_ says it."""

import warnings

import numpy as np
import pytest
from modules import Linear, class_data, label
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktorch_continue import (
    HyperbandSearchCV,
    SearchDisplay,
    TorchClassifier,
    WarmStartGridSearchCV,
    WarmStartHalvingSearchCV,
    WarmStartRandomizedSearchCV,
)

plt = pytest.importorskip("matplotlib.pyplot")

X, Y = class_data(48)
NET = TorchClassifier(Linear, batch_size=8, max_epochs=4, random_state=0)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def grid(params, net=NET, **arguments):
    """Return a fitted grid search over 3 splits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitFailedWarning)
        warnings.filterwarnings("ignore", message="One or more of the test scores are non-finite")
        return WarmStartGridSearchCV(net, params, cv=3, **arguments).fit(X, Y)


def lines(ax):
    """Return the line of every candidate by its label."""
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith(("_", "best_params_"))}


def star(display):
    """Return where the best candidate is marked."""
    found = [line for ax in display.axes_ for line in ax.get_lines() if line.get_label() == "best_params_"]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in found]


def legend(display):
    """Return the texts of the legend."""
    return [text.get_text() for text in display.figure_.legends[0].get_texts()]


def test_a_line_per_chain():
    """Its mean scores against the budgets, from the smallest; the band is one standard deviation to each side."""
    search = grid({"max_epochs": [4, 1, 2], "lr": [0.01, 0.1]})
    display = SearchDisplay.from_search(search)
    (ax,) = display.axes_
    assert display.labels == ["lr=0.01", "lr=0.1"]
    for rate in (0.01, 0.1):
        rows = [search.cv_results_["params"].index({"lr": rate, "max_epochs": budget}) for budget in (1, 2, 4)]
        line = lines(ax)[f"lr={rate}"]
        assert line.get_xdata().tolist() == [1, 2, 4]
        assert line.get_ydata().tolist() == search.cv_results_["mean_test_score"][rows].tolist()
        (band,) = (c for c in ax.collections if c.get_facecolor()[0][:3].tolist() == list(plt_color(line)))
        edges = band.get_paths()[0].vertices[:, 1]
        mean, std = line.get_ydata(), search.cv_results_["std_test_score"][rows]
        assert edges.min() == pytest.approx((mean - std).min())
        assert edges.max() == pytest.approx((mean + std).max())
    assert ax.get_xlabel() == "max_epochs"
    assert ax.get_xticks().tolist() == [1, 2, 4]


def plt_color(line):
    """Return the color of a line as three numbers."""
    return plt.matplotlib.colors.to_rgb(line.get_color())


def test_the_best_candidate_is_marked():
    """Where best_index_ is, and first in the legend."""
    search = grid({"max_epochs": [1, 2, 4], "lr": [0.001, 0.1]})
    display = SearchDisplay.from_search(search)
    assert star(display) == [(search.best_params_["max_epochs"], search.best_score_)]
    assert legend(display)[0] == f"lr={search.best_params_['lr']}"
    assert legend(display)[-1] == "best_params_"


def test_one_candidate():
    """A single chain, named though it differs from nothing."""
    assert SearchDisplay.from_search(grid({"max_epochs": [1, 2]})).labels == ["the one candidate"]
    assert SearchDisplay.from_search(grid({"max_epochs": [1, 2], "lr": [0.1]})).labels == ["lr=0.1"]


def test_many_candidates():
    """All are drawn, the best have colors and names, the others are counted."""
    search = WarmStartRandomizedSearchCV(
        NET, {"lr": np.geomspace(1e-4, 1, 40).tolist(), "max_epochs": [1, 2]}, n_iter=80, cv=2, random_state=0
    ).fit(X, Y)
    display = SearchDisplay.from_search(search)
    drawn = lines(display.axes_[0])
    assert len(drawn) == 40
    assert legend(display)[8:] == ["32 others", "best_params_"]
    colored = [name for name, line in drawn.items() if line.get_color() != "0.75"]
    assert sorted(legend(display)[:8]) == sorted(colored)
    best = search.cv_results_["mean_test_score"].reshape(-1)
    assert max(drawn[legend(display)[0]].get_ydata()) == best.max()
    assert len(display.axes_[0].collections) == 3


def test_a_network_in_a_pipeline():
    """The budget has its full name, other parameters their last part, unless that is ambiguous."""
    pipe = make_pipeline(StandardScaler(), NET)
    search = grid({"torchclassifier__max_epochs": [1, 2], "torchclassifier__lr": [0.1, 0.2]}, pipe)
    display = SearchDisplay.from_search(search)
    assert (display.budget_name, display.labels) == ("torchclassifier__max_epochs", ["lr=0.1", "lr=0.2"])
    search = grid({"max_epochs": [1, 2], "optimizer__lr": [0.1, 0.2], "lr": [0.1]}, NET)
    assert SearchDisplay.from_search(search).labels == ["lr=0.1", "lr=0.2"]
    search = grid({"max_epochs": [1, 2], "lr": [0.1, 0.2], "optimizer__lr": [0.1, 0.2]}, NET)
    assert SearchDisplay.from_search(search).labels[0] == "lr=0.1, optimizer__lr=0.1"


def test_long_names_are_cut():
    """Values and whole labels, so that they fit below the picture."""
    search = grid({"max_epochs": [1, 2], "callbacks": [None, []], "lr_scheduler": [None, None], "optimizer": ["SGD"]})
    assert SearchDisplay.from_search(search).labels == ["callbacks=None", "callbacks=[]"]
    display = SearchDisplay([1, 2], [[0.1], [0.2]], chains=[0, 0], labels=["x" * 200]).plot()
    assert legend(display) == ["x" * 89 + "…"]


def test_negative_scores():
    """Are drawn as they are, under the name of the scorer."""
    search = grid({"max_epochs": [1, 2], "lr": [0.1]}, scoring="neg_log_loss")
    (ax,) = SearchDisplay.from_search(search).axes_
    assert lines(ax)["lr=0.1"].get_ydata().tolist() == search.cv_results_["mean_test_score"].tolist()
    assert (lines(ax)["lr=0.1"].get_ydata() < 0).all()
    assert ax.get_ylabel().startswith("neg_log_loss")


def test_fits_that_failed():
    """A gap, and a word in the legend."""
    display = SearchDisplay.from_search(grid({"max_epochs": [1, 2], "batch_size": [8, 0]}))
    assert np.isnan(lines(display.axes_[0])["batch_size=0"].get_ydata()).all()
    assert legend(display)[:2] == ["batch_size=8", "batch_size=0 (2 of 2 without a score)"]


@pytest.mark.parametrize("refit", ["neg_log_loss", False])
def test_several_scores(refit):
    """The one that refit names, else the first, else the one that is asked for; without refit nothing is the best."""
    search = grid({"max_epochs": [1, 2], "lr": [0.1]}, scoring=["accuracy", "neg_log_loss"], refit=refit)
    asked = SearchDisplay.from_search(search, score="neg_log_loss")
    display = SearchDisplay.from_search(search)
    assert display.score_name == (refit or "accuracy")
    assert asked.scores.mean(axis=1).tolist() == search.cv_results_["mean_test_neg_log_loss"].tolist()
    assert bool(star(display)) == bool(refit)


def test_what_is_far_off_does_not_flatten_the_better_half():
    """It leaves the panel, and the legend says so."""
    scores = [[0.5, 0.6], [0.6, 0.7], [0.4, 0.5], [0.5, 0.6], [-900.0, -1000.0], [0.0, 0.1], [-5.0, -6.0], [0.4, 0.4]]
    display = SearchDisplay([1, 2] * 4, scores, chains=[0, 0, 1, 1, 2, 2, 3, 3], labels=list("abcd")).plot()
    low, high = display.axes_[0].get_ylim()
    assert 0.3 < low < 0.4
    assert 0.7 < high < 0.8
    assert legend(display) == ["a", "b", "d (partly off the scale)", "c (partly off the scale)"]
    display = SearchDisplay(
        [1, 2] * 4, np.clip(scores, 0, 1), chains=[0, 0, 1, 1, 2, 2, 3, 3], labels=list("abcd")
    ).plot()
    assert display.axes_[0].get_ylim()[0] < 0
    assert legend(display) == list("abdc")


def over(ax):
    """Return the texts over a panel."""
    return [text.get_text() for text in ax.texts]


def test_rungs_of_halving():
    """A line where candidates were given up, with how many there were; lines end where their candidate did."""
    search = WarmStartHalvingSearchCV(NET, {"lr": [1e-4, 1e-3, 1e-2, 1e-1]}, factor=2, cv=2).fit(X, Y)
    display = SearchDisplay.from_search(search)
    (ax,) = display.axes_
    assert over(ax) == ["n=4", "n=2", "n=1"]
    marks = [line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == ":"]
    assert marks == search.n_resources_ == [1, 2, 4]
    assert sorted(len(line.get_xdata()) for line in lines(ax).values()) == [1, 1, 2, 3]
    assert len(lines(ax)[legend(display)[0]].get_xdata()) == 3
    assert star(display) == [(4, search.best_score_)]
    assert display.budget_name == "max_epochs"


def test_who_came_further_comes_first():
    """A candidate that was given up is not the best, whatever its score was."""
    scores = [[0.9], [0.5], [0.5], [0.8]]
    display = SearchDisplay([1, 1, 2, 1], scores, chains=[0, 1, 1, 2], labels=list("abc"), rungs=True).plot()
    assert legend(display) == ["b", "a", "c"]
    display = SearchDisplay([1, 1, 2, 1], scores, chains=[0, 1, 1, 2], labels=list("abc")).plot()
    assert legend(display) == ["a", "c", "b"]


def test_brackets_of_hyperband():
    """A panel each, with their own rungs, and one star."""
    search = HyperbandSearchCV(NET, {"lr": np.geomspace(1e-4, 1, 20).tolist()}, factor=2, cv=2, random_state=0)
    display = SearchDisplay.from_search(search.fit(X, Y))
    assert [ax.get_title() for ax in display.axes_] == ["bracket 2", "bracket 1", "bracket 0"]
    assert [over(ax) for ax in display.axes_] == [[f"n={n}" for n in rung] for rung in search.n_candidates_]
    drawn = sum(len(line.get_xdata()) for ax in display.axes_ for line in lines(ax).values())
    assert drawn == len(search.cv_results_["params"])
    assert star(display) == [(4, search.best_score_)]


def test_a_candidate_of_two_brackets_is_two_chains():
    """Each begins in its own bracket."""
    search = HyperbandSearchCV(NET, {"lr": [0.1, 0.2]}, factor=2, cv=2, random_state=0).fit(X, Y)
    display = SearchDisplay.from_search(search)
    assert sorted(display.labels) == ["lr=0.1"] * 3 + ["lr=0.2"] * 3
    assert all(len(set(display.brackets[display.chains == chain])) == 1 for chain in range(6))


def test_searches_of_others():
    """Any budget of a grid, and the resource of scikit-learn's halving."""
    model = SGDClassifier(random_state=0, tol=None)
    search = GridSearchCV(model, {"max_iter": [5, 10], "alpha": [0.1, 1.0]}, cv=2).fit(X, Y)
    display = SearchDisplay.from_search(search, budget="max_iter")
    assert (display.labels, display.budgets.tolist()) == (["alpha=0.1", "alpha=1"], [5, 10, 5, 10])
    halving = HalvingGridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=2, factor=2, random_state=0).fit(X, Y)
    assert SearchDisplay.from_search(halving).budget_name == "n_samples"


def test_axes_of_ones_own():
    """They are drawn on, the legend within; a wrong number of them is refused."""
    search = grid({"max_epochs": [1, 2], "lr": [0.1]})
    figure, axes = plt.subplots(1, 2)
    display = SearchDisplay.from_search(search, ax=axes[0])
    assert (display.figure_, display.axes_.tolist()) == (figure, [axes[0]])
    assert axes[0].get_legend() is not None
    with pytest.raises(ValueError, match="2 axes were given for 1 brackets"):
        SearchDisplay.from_search(search, ax=axes)


@pytest.mark.parametrize(
    ("params", "arguments", "message"),
    [
        ({"lr": [0.1, 0.2]}, {}, "no parameter that differs between candidates is 'max_epochs'.*'lr'"),
        ({"max_epochs": [1, 2]}, {"budget": "optimizer"}, "is no number in every candidate"),
        ({"max_epochs": [1, 2], "shuffle": [True]}, {"budget": "shuffle"}, "is no number in every candidate"),
        ({"max_epochs": [1, 2]}, {"score": "accuracy"}, "score='accuracy' is none of this search"),
    ],
    ids=label,
)
def test_what_cannot_be_drawn(params, arguments, message):
    """The error says what could be."""
    search = grid(params)
    with pytest.raises(ValueError, match=message):
        SearchDisplay.from_search(search, **arguments)


def test_two_budgets():
    """One has to be named; the other tells candidates apart."""
    vote = VotingClassifier([("a", NET), ("b", NET)])
    search = grid({"a__max_epochs": [1, 2], "b__max_epochs": [1, 2]}, vote)
    with pytest.raises(ValueError, match="several parameters are 'max_epochs'"):
        SearchDisplay.from_search(search)
    display = SearchDisplay.from_search(search, budget="b__max_epochs")
    assert display.labels == ["max_epochs=1", "max_epochs=2"]


def test_a_search_that_is_not_fitted():
    """scikit-learn's own error."""
    with pytest.raises(NotFittedError):
        SearchDisplay.from_search(WarmStartGridSearchCV(NET, {"max_epochs": [1, 2]}))


def test_drawing_a_search_is_reading():
    """Its results are as they were."""
    search = grid({"max_epochs": [1, 2], "lr": [0.1, 0.2]})
    before = {name: np.array(column) for name, column in search.cv_results_.items()}
    SearchDisplay.from_search(search)
    assert list(before) == list(search.cv_results_)
    assert all(np.array_equal(before[name], column) for name, column in search.cv_results_.items())
