"""``continue_fit`` and ``is_continuable`` themselves: what they take, refuse, leave alone, and how others join in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from composed import NET, REG, YB, YLAB, YR, X, Y, epochs_inside, networks
from modules import Raise
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sktorch_continue import continue_fit, is_continuable
from sktorch_continue.continuation import Job, advance, members
from sktorch_continue.testing import assert_same_run, first_difference, run_state, through_pickle


def test_a_network_by_itself_goes_on_in_place() -> None:
    """For a network the function is its method, with the epochs asked for."""
    net, twin = clone(NET).fit(X, Y), clone(NET).fit(X, Y)
    module = net.module_
    assert continue_fit(net, X, Y, max_epochs=3) is net
    assert_same_run(net, twin.continue_fit(X, Y, max_epochs=3), X)
    assert net.module_ is module


@pytest.mark.parametrize(
    ("estimator", "wanted"),
    [
        (NET, True),
        (make_pipeline(StandardScaler(), NET), True),
        (make_pipeline(StandardScaler(), SVC()), False),
        (make_pipeline(NET, "passthrough"), False),
        (GridSearchCV(make_pipeline(StandardScaler(), NET), {}), True),
        (VotingClassifier([("svc", SVC()), ("net", NET)]), True),
        (VotingClassifier([("svc", SVC()), ("net", "drop")]), False),
        (StackingClassifier([("net", NET)]), True),
        (BaggingClassifier(SVC()), False),
        (BaggingClassifier(), False),
        (FrozenEstimator(NET), False),
        (SGDClassifier(), True),
        (LogisticRegression(), True),
        (AdaBoostClassifier(), False),
        (HistGradientBoostingClassifier(), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whether_there_is_anything_to_continue(estimator: Any, wanted: bool) -> None:
    """The answer is there before anything is fitted."""
    assert is_continuable(estimator) is wanted


@pytest.mark.parametrize(
    ("estimator", "wanted"),
    [(NET, True), (VotingClassifier([("svc", SVC()), ("net", NET)]), True), (BaggingClassifier(SVC()), False)],
    ids=lambda value: type(value).__name__,
)
def test_the_answer_is_the_same_after_fit(estimator: Any, wanted: bool) -> None:
    """Fitting does not change whether there is anything to continue."""
    assert is_continuable(epochs_inside(estimator, 1).fit(X, YB)) is wanted


@pytest.mark.parametrize("estimator", [NET, make_pipeline(NET), VotingClassifier([("a", NET)]), GridSearchCV(NET, {})])
def test_unfitted_is_not_fitted(estimator: Any) -> None:
    """NotFittedError, as everywhere in scikit-learn."""
    with pytest.raises(NotFittedError):
        continue_fit(estimator, X, Y)


def test_nothing_inside_lists_the_members() -> None:
    """The TypeError names every member with its path and class."""
    voting = VotingClassifier([("svc", SVC()), ("pipe", make_pipeline(StandardScaler(), SVC()))]).fit(X, Y)
    with pytest.raises(TypeError, match=r"svc \(SVC\), pipe\.svc \(SVC\)"):
        continue_fit(voting, X, Y)


def test_epochs_for_what_counts_none_are_refused() -> None:
    """max_epochs that no network would read is not passed over."""
    with pytest.raises(TypeError, match="nothing counts epochs"):
        continue_fit(GaussianNB().fit(X, Y), X, Y, max_epochs=3)


@pytest.mark.parametrize(
    ("transformers", "words"),
    [
        ("fit", r"\['fit'\]; one of \('frozen', 'partial_fit', 'refit'\)"),
        ({"a__standardscaler": "thaw"}, "thaw"),
        ({"c__standardscaler": "refit"}, "members"),
        ({"a": "refit"}, "'member__step'"),
        ({"a__pca": "refit"}, r"transformers of this pipeline are \['standardscaler'\]"),
        ({"b__pca": "refit"}, "has no steps"),
    ],
)
def test_unknown_modes_and_steps_are_refused(transformers: Any, words: str) -> None:
    """A word or a step that is not known is a ValueError, and nothing is trained."""
    voting = VotingRegressor([("a", make_pipeline(StandardScaler(), REG)), ("b", REG)]).fit(X, YR)
    with pytest.raises(ValueError, match=words):
        continue_fit(voting, X, YR, transformers=transformers)
    assert [network.n_epochs_ for network in networks(voting)] == [2, 2]


BOOSTED: dict[str, tuple[Any, Any, str]] = {
    "forest": (RandomForestRegressor(4, random_state=0), YR, "n_estimators"),
    "extra trees": (ExtraTreesClassifier(4, random_state=0), YLAB, "n_estimators"),
    "boosting": (GradientBoostingClassifier(n_estimators=4, random_state=0, subsample=0.8), YLAB, "n_estimators"),
    "histogram boosting": (
        HistGradientBoostingRegressor(max_iter=4, random_state=0, min_samples_leaf=2),
        YR,
        "max_iter",
    ),
}


@pytest.mark.parametrize("name", BOOSTED)
def test_trees_are_added_exactly(name: str) -> None:
    """4 and 4 trees are 8, twice 4 more are 12; the parameter says what a call adds."""
    estimator, y, budget = BOOSTED[name]
    cut = clone(estimator).fit(X, y)
    for total in (8, 12):
        continue_fit(cut, X, y)
        whole = clone(estimator).set_params(**{budget: total}).fit(X, y)
        assert first_difference(whole.predict(X), cut.predict(X)) is None
        assert cut.get_params() == estimator.get_params()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator",
    [SGDClassifier("log_loss", random_state=0), GaussianNB(), MLPClassifier((3,), max_iter=2, random_state=0)],
    ids=lambda value: type(value).__name__,
)
def test_an_estimator_with_partial_fit_makes_one_pass(estimator: Any) -> None:
    """What partial_fit does by hand is done."""
    estimator = clone(estimator).fit(X, YLAB)
    twin = through_pickle(estimator).partial_fit(X[:20], YLAB[:20])
    before = estimator.predict_proba(X)
    continue_fit(estimator, X[:20], YLAB[:20])
    assert first_difference(twin.predict_proba(X), estimator.predict_proba(X)) is None
    assert first_difference(before, estimator.predict_proba(X)) is not None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_optimizer_with_warm_start_goes_on_from_its_solution() -> None:
    """Iterations are added to those of the first call."""
    model = LogisticRegression(max_iter=2).fit(X, Y)
    twin = clone(model).set_params(warm_start=True).fit(X, Y).fit(X, Y)
    continue_fit(model, X, Y)
    assert first_difference(twin.coef_, model.coef_) is None
    assert model.warm_start is False


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_all_or_nothing(n_jobs: int | None) -> None:
    """Where one member fails, none has changed, the error names who failed and who was done, and it still predicts."""
    failing = clone(NET).set_params(callbacks=[Raise("on_step_end", time=7)])
    voting = VotingClassifier([("first", NET), ("second", failing), ("third", NET)], voting="soft", n_jobs=n_jobs)
    voting.fit(X, Y)
    before, answer = [run_state(member) for member in voting.estimators_], voting.predict_proba(X)
    with pytest.raises(RuntimeError, match="raised at on_step_end") as caught:
        continue_fit(voting, X, Y)
    notes = "\n".join(caught.value.__notes__)
    assert "member 'second' (TorchClassifier) of VotingClassifier" in notes
    assert "Nothing in VotingClassifier was changed" in notes
    assert "['first']" in notes or n_jobs == 2
    assert first_difference(before, [run_state(member) for member in voting.estimators_]) is None
    assert first_difference(answer, voting.predict_proba(X)) is None


def test_an_interrupt_of_the_only_network_keeps_its_steps() -> None:
    """In a pipeline or a search the network stands at its last completed step; the next call goes on from there."""
    stopping = clone(NET).set_params(callbacks=[Raise("on_step_end", time=8, error=KeyboardInterrupt)])
    search = GridSearchCV(make_pipeline(StandardScaler(), stopping), {}, cv=2).fit(X, Y)
    with pytest.raises(KeyboardInterrupt):
        continue_fit(search, X, Y)
    assert networks(search)[0].n_steps_ == 8


def test_sample_weights_reach_every_member_that_is_asked_for() -> None:
    """With metadata routing, weights go to the members that request them, and to those alone."""
    weight = np.linspace(0.1, 2, 36)
    with config_context(enable_metadata_routing=True):
        members_ = [
            ("weighted", clone(NET).set_fit_request(sample_weight=True)),
            ("plain", clone(NET).set_fit_request(sample_weight=False)),
        ]
        whole = epochs_inside(VotingClassifier(members_), 5).fit(X, Y, sample_weight=weight)
        cut = epochs_inside(VotingClassifier(members_), 2).fit(X, Y, sample_weight=weight)
        continue_fit(cut, X, Y, sample_weight=weight, max_epochs=3)
    for one, other in zip(networks(whole), networks(cut), strict=True):
        assert_same_run(one, other)
    assert first_difference(run_state(networks(cut)[0]), run_state(networks(cut)[1])) is not None


class Doubled(RegressorMixin, BaseEstimator):
    """A meta-estimator of someone else: trains on targets times two."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any) -> Doubled:
        self.estimator_ = clone(self.estimator).fit(X, 2 * y)
        return self

    def predict(self, X: Any) -> Any:
        return self.estimator_.predict(X) / 2


def test_a_meta_estimator_of_someone_else_can_register() -> None:
    """Two functions make it continuable, also inside others."""
    assert not is_continuable(Doubled(REG))

    @members.register(Doubled)
    def _(estimator: Doubled) -> dict[str, Any]:
        return {"estimator": getattr(estimator, "estimator_", estimator.estimator)}

    @advance.register(Doubled)
    def _(estimator: Doubled, job: Job) -> None:
        advance(estimator.estimator_, job.mapped(lambda X, y: (X, 2 * y)))

    assert is_continuable(Doubled(REG))
    voting = VotingRegressor([("doubled", Doubled(REG)), ("other", REG)])
    whole, cut = epochs_inside(voting, 5).fit(X, YR), epochs_inside(voting, 2).fit(X, YR)
    continue_fit(cut, X, YR, X_val=X, y_val=YR, max_epochs=3)
    assert first_difference(whole.predict(X), cut.predict(X)) is None
