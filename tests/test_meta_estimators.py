"""What continuing means for each meta-estimator: its members go on as by hand, and exactly where ``fit`` is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from composed import NET, REG, Y2, YB, YLAB, YM, YR, X, Y, epochs_inside, networks
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktorch_continue import ContinuationError, ContinuationWarning, continue_fit
from sktorch_continue.testing import assert_same_run, first_difference, through_pickle

EXACT = {
    "voting": (VotingClassifier([("a", NET), ("b", NET)], voting="soft"), YLAB),
    "voting with one dropped": (VotingClassifier([("a", NET), ("b", "drop")], voting="soft"), YLAB),
    "voting, two jobs": (VotingRegressor([("a", REG), ("b", REG)], n_jobs=2), YR),
    "bagging by weights": (BaggingClassifier(NET, n_estimators=2, random_state=0), YLAB),
    "bagging, some columns": (BaggingRegressor(REG, n_estimators=2, max_features=0.5, random_state=0), YR),
    "bagging by rows": (BaggingClassifier(make_pipeline(StandardScaler(), NET), n_estimators=2, random_state=0), Y),
    "outputs": (MultiOutputClassifier(NET), YM),
    "real outputs": (MultiOutputRegressor(REG), Y2),
    "chain": (ClassifierChain(NET, order=[1, 0]), YM),
    "real chain": (RegressorChain(REG), Y2),
    "one against the rest": (OneVsRestClassifier(NET), YLAB),
    "one against the rest, several labels": (OneVsRestClassifier(NET), YM),
    "one against one": (OneVsOneClassifier(NET), YLAB),
    "output code": (OutputCodeClassifier(NET, random_state=6), YLAB),
    "transformed target": (TransformedTargetRegressor(REG, transformer=StandardScaler()), YR),
    "transformed targets": (TransformedTargetRegressor(REG, func=np.cbrt, inverse_func=lambda t: t**3), Y2),
    "grid search": (GridSearchCV(NET, {"batch_size": [8]}, cv=2), YLAB),
    "random search": (RandomizedSearchCV(NET, {"batch_size": [8]}, n_iter=1, cv=2, random_state=0), YLAB),
    "calibrated by fold": (CalibratedClassifierCV(NET, cv=2), YLAB),
    "calibrated by fold, isotonic": (CalibratedClassifierCV(NET, cv=2, method="isotonic"), YB),
    "fixed threshold": (FixedThresholdClassifier(NET, threshold=0.3), YB),
    "nested": (
        VotingRegressor(
            [("a", make_pipeline(StandardScaler(), BaggingRegressor(REG, n_estimators=2, random_state=0)))]
        ),
        YR,
    ),
}


def answers(estimator: Any) -> Any:
    """Return predictions, as probabilities where there are any."""
    method = "predict_proba" if hasattr(estimator, "predict_proba") else "predict"
    return getattr(estimator, method)(X)


@pytest.mark.parametrize("name", EXACT)
def test_2_and_3_epochs_are_5(name: str) -> None:
    """A meta-estimator continued predicts, to the bit, what it predicts when all epochs are trained at once."""
    estimator, y = EXACT[name]
    whole = epochs_inside(estimator, 5).fit(X, y)
    cut = epochs_inside(estimator, 2).fit(X, y)
    assert continue_fit(cut, X, y, max_epochs=3) is cut
    assert first_difference(answers(whole), answers(cut)) is None
    for one, other in zip(networks(whole), networks(cut), strict=True):
        assert_same_run(one, other)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_stacking_continues_its_members_and_keeps_the_final_estimator(n_jobs: int | None) -> None:
    """The members go on as by hand; the final estimator, which read predictions for unseen rows, stays."""
    stack = StackingClassifier([("a", NET), ("b", NET)], final_estimator=LogisticRegression(), cv=2, n_jobs=n_jobs)
    stack.fit(X, YLAB)
    by_hand = [through_pickle(member).continue_fit(X, Y) for member in stack.estimators_]
    final = stack.final_estimator_.coef_.copy()
    continue_fit(stack, X, YLAB)
    for one, other in zip(by_hand, stack.estimators_, strict=True):
        assert_same_run(one, other)
    assert stack.named_estimators_["a"] is stack.estimators_[0]
    assert np.array_equal(stack.final_estimator_.coef_, final)
    columns = np.hstack([member.predict_proba(X) for member in by_hand])
    assert first_difference(stack.predict_proba(X), stack.final_estimator_.predict_proba(columns)) is None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_default_final_estimator_goes_on() -> None:
    """A stack over frozen members without a final estimator of the user's own continues the default one."""
    fixed = FrozenEstimator(clone(NET).fit(X, Y))
    stack = StackingClassifier([("a", fixed)], cv=2).fit(X, Y)
    twin = through_pickle(stack.final_estimator_).set_params(warm_start=True).fit(stack.transform(X), Y)
    continue_fit(stack, X, Y)
    assert first_difference(twin.coef_, stack.final_estimator_.coef_) is None


@pytest.mark.parametrize("frozen", [True, False])
def test_stacking_over_members_that_stay_continues_the_final_estimator(frozen: bool) -> None:
    """Where the members were given fitted, the final estimator goes on on their predictions, exactly."""
    member = LinearRegression().fit(X, YR)
    given = FrozenEstimator(member) if frozen else member
    stack = StackingRegressor([("a", given)], final_estimator=REG, cv=2 if frozen else "prefit", passthrough=True)
    whole, cut = epochs_inside(stack, 5), epochs_inside(stack, 2)
    if not frozen:
        whole.estimators = cut.estimators = stack.estimators  # clone would forget the fit
    continue_fit(cut.fit(X, YR), X, YR, max_epochs=3)
    assert first_difference(whole.fit(X, YR).predict(X), cut.predict(X)) is None


def test_calibration_of_one_classifier_keeps_its_calibrator() -> None:
    """With ensemble=False the classifier goes on on all rows, the calibrator stays."""
    calibrated = CalibratedClassifierCV(NET, cv=2, ensemble=False).fit(X, YB)
    fold = calibrated.calibrated_classifiers_[0]
    by_hand, before = through_pickle(fold.estimator).continue_fit(X, YB), fold.calibrators[0].a_
    continue_fit(calibrated, X, YB)
    assert_same_run(by_hand, fold.estimator)
    assert fold.calibrators[0].a_ == before


def test_calibration_by_weight_is_exact() -> None:
    """Sample weights reach the classifiers and the calibrators as in fit."""
    weight, data = np.linspace(0.5, 2, 36), X.astype(float)  # scikit-learn 1.6 cannot weight single precision here
    net = clone(NET).set_params(module=None)
    whole, cut = (CalibratedClassifierCV(epochs_inside(net, n), cv=2) for n in (5, 2))
    whole.fit(data, YB, sample_weight=weight)
    continue_fit(cut.fit(data, YB, sample_weight=weight), data, YB, sample_weight=weight, max_epochs=3)
    assert first_difference(whole.predict_proba(data), cut.predict_proba(data)) is None


def test_calibration_refuses_folds_that_cannot_be_drawn_again() -> None:
    """A splitter that shuffles anew would calibrate on rows a classifier was trained on."""
    calibrated = CalibratedClassifierCV(NET, cv=KFold(2, shuffle=True)).fit(X, YB)
    with pytest.raises(ContinuationError, match="int as random_state"):
        continue_fit(calibrated, X, YB)
    calibrated = CalibratedClassifierCV(NET, cv=KFold(2, shuffle=True, random_state=0)).fit(X, YB)
    assert [n.n_epochs_ for n in networks(continue_fit(calibrated, X, YB))] == [4, 4]


@pytest.mark.parametrize("kind", ["calibrated", "search"])
def test_groups_reach_the_splitter(kind: str) -> None:
    """With metadata routing, groups make the folds in continue_fit that they made in fit."""
    groups = np.arange(36) % 4
    with config_context(enable_metadata_routing=True):
        folds = GroupKFold(2).set_split_request(groups=True)
        estimator = CalibratedClassifierCV(NET, cv=folds)
        if kind == "search":
            estimator = GridSearchCV(NET, {"batch_size": [8]}, cv=folds)
        whole = epochs_inside(estimator, 5).fit(X, YB, groups=groups)
        cut = epochs_inside(estimator, 2).fit(X, YB, groups=groups)
        continue_fit(cut, X, YB, groups=groups, max_epochs=3)
    assert first_difference(answers(whole), answers(cut)) is None


def test_a_tuned_threshold_stays() -> None:
    """The classifier goes on on all rows as by hand; the threshold was tuned on rows held out from clones."""
    tuned = TunedThresholdClassifierCV(NET, cv=2).fit(X, YB)
    by_hand, threshold = through_pickle(tuned.estimator_).continue_fit(X, YB), tuned.best_threshold_
    continue_fit(tuned, X, YB)
    assert_same_run(by_hand, tuned.estimator_)
    assert tuned.best_threshold_ == threshold
    part = TunedThresholdClassifierCV(NET, cv=0.5, refit=False, random_state=0).fit(X, YB)
    with pytest.raises(TypeError, match="refit=True"):
        continue_fit(part, X, YB)


@pytest.mark.parametrize(
    "estimator",
    [
        FrozenEstimator(epochs_inside(NET, 1).fit(X, YB)),
        TunedThresholdClassifierCV(epochs_inside(NET, 1).fit(X, YB), cv="prefit", refit=False).fit(X, YB),
        GridSearchCV(NET, {"lr": [0.1]}, refit=False, cv=2).fit(X, YB),
        VotingClassifier([("a", FrozenEstimator(NET)), ("b", LogisticRegression(warm_start=False))]),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_what_was_asked_to_stay_is_left_alone(estimator: Any) -> None:
    """Frozen and prefitted members are nothing to continue; TypeError if there is nothing else."""
    if isinstance(estimator, VotingClassifier):
        fixed = FrozenEstimator(epochs_inside(NET, 1).fit(X, YB))
        estimator = VotingClassifier([("a", fixed), ("b", fixed)]).fit(X, YB)
    with pytest.raises(TypeError, match="nothing here can be continued"):
        continue_fit(estimator, X, YB)


def test_a_member_that_cannot_go_on_stays_and_is_named() -> None:
    """The others go on; a member that is frozen is not worth a word."""
    fixed = FrozenEstimator(LinearRegression().fit(X, YR))
    voting = VotingRegressor([("net", REG), ("line", LinearRegression()), ("fixed", fixed)]).fit(X, YR)
    line = voting.named_estimators_["line"].coef_.copy()
    with pytest.warns(ContinuationWarning, match=r"line \(LinearRegression\) cannot go on") as told:
        continue_fit(voting, X, YR)
    assert "fixed" not in str(told[0].message)
    assert voting.named_estimators_["net"].n_epochs_ == 4
    assert np.array_equal(voting.named_estimators_["line"].coef_, line)


def test_a_network_and_a_forest_go_on_together() -> None:
    """An ensemble of a network and trees continues as a whole: more epochs, more trees."""
    members = [("net", NET), ("forest", RandomForestClassifier(5, random_state=0))]
    voting = VotingClassifier(members, voting="soft")
    whole = epochs_inside(voting, 5).set_params(forest__n_estimators=10).fit(X, Y)
    cut = continue_fit(voting.fit(X, Y), X, Y, max_epochs=3)
    assert first_difference(answers(whole), answers(cut)) is None
    assert cut.named_estimators_["forest"].n_estimators == 5


def test_validation_rows_go_the_way_of_the_training_rows() -> None:
    """Labels are encoded, columns chosen and targets scaled for X_val and y_val as for X and y."""
    bagging = BaggingClassifier(NET, n_estimators=2, max_features=2, random_state=0).fit(X, YLAB)
    columns = bagging.estimators_features_[0]
    wanted = through_pickle(bagging.estimators_[0])
    weight = np.bincount(bagging.estimators_samples_[0], minlength=36)
    wanted.continue_fit(X[:, columns], Y, weight, X_val=X[:9, columns], y_val=Y[:9])
    continue_fit(bagging, X, YLAB, X_val=X[:9], y_val=YLAB[:9])
    assert_same_run(wanted, bagging.estimators_[0])
    scaled = TransformedTargetRegressor(REG, transformer=StandardScaler()).fit(X, 10 * YR)
    continue_fit(scaled, X, 10 * YR, X_val=X, y_val=10 * YR)
    assert scaled.regressor_.history_[-1, "valid_loss"] < 2


@pytest.mark.parametrize(
    ("estimator", "y", "rows", "other", "error", "words"),
    [
        (BaggingRegressor(REG, n_estimators=2), YR, slice(20), YR[:20], ContinuationError, "20 rows"),
        (BaggingClassifier(NET, n_estimators=2), Y, slice(None), Y + 1, ContinuationError, "classes \\[3\\]"),
        (OneVsOneClassifier(NET), Y, slice(None), Y + 1, ContinuationError, "classes \\[3\\]"),
        (OneVsRestClassifier(NET), Y, slice(None), Y + 1, ContinuationError, "classes \\[3\\]"),
        (MultiOutputRegressor(REG), Y2, slice(None), YR, ContinuationError, "2 columns"),
        (RegressorChain(REG, cv=2), Y2, slice(None), Y2, ContinuationError, "cv=None"),
        (TransformedTargetRegressor(REG), YR, slice(None), Y2, ContinuationError, "2 dimensions"),
        (CalibratedClassifierCV(NET, cv=2), YB, slice(None), 0 * YB, ContinuationError, "needs all"),
        (VotingClassifier([("a", NET)]), Y, slice(None), Y + 1, ValueError, "previously unseen labels"),
    ],
)
def test_rows_a_member_cannot_go_on_with_are_refused(
    estimator: Any, y: Any, rows: slice, other: Any, error: type[Exception], words: str
) -> None:
    """The message says what differs, and the members are as they were."""
    estimator = epochs_inside(estimator, 1).fit(X, y)
    before = answers(estimator)
    with pytest.raises(error, match=words):
        continue_fit(estimator, X[rows], other)
    assert first_difference(before, answers(estimator)) is None
    assert {network.n_epochs_ for network in networks(estimator)} == {1}


@pytest.mark.parametrize(
    ("estimator", "y", "name"),
    [
        (VotingClassifier([("net", NET)], n_jobs=2), Y, "net"),
        (StackingClassifier([("net", NET)], cv=2), Y, "net"),
        (BaggingClassifier(make_pipeline(StandardScaler(), NET), n_estimators=2), Y, "estimator__torchclassifier"),
        (GridSearchCV(NET, {"lr": [0.03]}, cv=2), Y, "estimator"),
        (CalibratedClassifierCV(NET, cv=2), YB, "estimator"),
        (CalibratedClassifierCV(NET, cv=2, ensemble=False), YB, "estimator"),
        (TransformedTargetRegressor(REG), YR, "regressor"),
        (FixedThresholdClassifier(NET), YB, "estimator"),
        (TunedThresholdClassifierCV(NET, cv=2), YB, "estimator"),
        (OneVsRestClassifier(NET), Y, "estimator"),
        (RegressorChain(REG), Y2, None),
        (VotingRegressor([("bag", BaggingRegressor(REG, n_estimators=2))]), YR, "bag__estimator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_parameters_set_on_the_whole_reach_the_members(estimator: Any, y: Any, name: str | None) -> None:
    """What get_params says is what the next call uses, though the members are clones."""
    estimator = clone(estimator).fit(X, y)
    rates = [network.lr for network in networks(estimator)]
    if name is None:  # scikit-learn has two names for it
        name = "estimator" if "estimator" in estimator.get_params(deep=False) else "base_estimator"
    estimator.set_params(
        **{f"{name}__max_epochs": 3, f"{name}__batch_size": 8, f"{name}__optimizer__weight_decay": 0.1}
    )
    continue_fit(estimator, X, y)
    for network, rate in zip(networks(estimator), rates, strict=True):
        assert network.n_epochs_ == 5
        assert network.history_.calls[-1]["changed"]["batch_size"] == [16, 8]
        assert network.optimizer_.param_groups[0]["weight_decay"] == 0.1
        assert network.lr == rate


def test_another_estimator_in_the_place_of_a_member_is_refused() -> None:
    """Another class, or another number of members, needs a new fit."""
    voting = VotingClassifier([("a", clone(NET)), ("b", clone(NET))]).fit(X, Y)
    with pytest.raises(
        ContinuationError, match="fitted as TorchClassifier, and its parameter is now LogisticRegression"
    ):
        continue_fit(voting.set_params(a=LogisticRegression()), X, Y)
    with pytest.raises(ContinuationError, match="2 members and has 1 by now"):
        continue_fit(voting.set_params(a="drop"), X, Y)
    assert [network.n_epochs_ for network in voting.estimators_] == [2, 2]
