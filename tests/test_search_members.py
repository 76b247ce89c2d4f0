"""Searches where one training may be mistaken for another, and what is left when something goes wrong."""

import warnings

import numpy as np
import pytest
from modules import of_width
from searching import NET, TRAINED, XR, YR, Counts, X, Y, assert_same_results, net
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import GridSearchCV, KFold

from sktorch_continue import (
    Callback,
    ContinuationError,
    TorchClassifier,
    WarmStartGridSearchCV,
    WarmStartHalvingSearchCV,
)
from sktorch_continue.testing import first_difference

OPTIONS = {"cv": 2, "scoring": "neg_log_loss"}


class Scaled(TorchClassifier):
    """Keeps a fitted name of its own."""

    def fit(self, X, y):
        """Remember what was asked for."""
        self.asked_ = self.max_epochs
        return super().fit(X, y)


def asked(estimator, X, y):
    """Score by what the estimator was asked for."""
    return estimator.asked_


VOTING = VotingClassifier([("a", NET), ("b", NET)], voting="soft")


@pytest.mark.parametrize(
    ("estimator", "grid", "scoring"),
    [
        (NET, {"module": [of_width(2), of_width(9)], "max_epochs": [1, 3]}, "neg_log_loss"),
        (VOTING, {"a__max_epochs": [2], "b__max_epochs": [3, 4]}, "neg_log_loss"),
        (VOTING, {"a__max_epochs": [1, 2], "b__max_epochs": [2, 1]}, "neg_log_loss"),
        (Scaled(**NET.get_params()), {"max_epochs": [1, 3]}, asked),
    ],
    ids=["modules of one name", "equal members", "equal members, mixed", "own fitted name"],
)
def test_no_training_is_taken_for_another(estimator, grid, scoring):
    """Classes of one name, members of one ensemble that are equal, attributes of a subclass: as in a cold search."""
    options = {**OPTIONS, "scoring": scoring}
    cold, warm = (cls(estimator, grid, **options).fit(X, Y) for cls in (GridSearchCV, WarmStartGridSearchCV))
    assert_same_results(cold.cv_results_, warm.cv_results_)


HELD = []


def holds(estimator, X, y):
    """Keep the estimator that is scored."""
    HELD.append(estimator)
    return estimator.score(X, y)


def test_an_estimator_that_a_scorer_keeps_stays_as_it_was_scored():
    """A run that somebody still holds goes on as a copy."""
    HELD.clear()
    WarmStartGridSearchCV(NET, {"max_epochs": [1, 2, 4]}, cv=2, scoring=holds, refit=False).fit(X, Y)
    assert sorted(estimator.n_epochs_ for estimator in HELD) == [1, 1, 2, 2, 4, 4]


class Interrupts(Callback):
    """Presses Ctrl-C once, when an epoch was reached."""

    reads_max_epochs = False
    at = None

    def on_epoch_end(self, run):
        if run.n_epochs == Interrupts.at:
            Interrupts.at = None
            raise KeyboardInterrupt


def test_kept_models_survive_an_interrupt():
    """What was trained before Ctrl-C, the epochs of the chain that it cut included, is not trained again."""
    search = WarmStartGridSearchCV(
        net(callbacks=[Counts(), Interrupts()]), {"lr": [0.02, 0.1], "max_epochs": [2]}, keep_models=True, **OPTIONS
    )
    search.set_params(refit=False).fit(X, Y)
    Interrupts.at = 4
    with pytest.raises(KeyboardInterrupt):
        search.continue_fit(X, Y, param_grid={"lr": [0.02, 0.1], "max_epochs": [6]})
    TRAINED.clear()
    search.continue_fit(X, Y, param_grid={"lr": [0.02, 0.1], "max_epochs": [6]})
    assert len(TRAINED) == 4 * 4 - 2
    grid = {"lr": [0.02, 0.1], "max_epochs": [2, 6]}
    cold = GridSearchCV(net(), grid, **OPTIONS, refit=False).fit(X, Y)
    rows = [cold.cv_results_["params"].index(params) for params in search.cv_results_["params"]]
    assert (cold.cv_results_["mean_test_score"][rows] == search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    "change", [{"cv": KFold(2, shuffle=True, random_state=1)}, {"cv": 3}, {"checkpoint_dir": "elsewhere"}], ids=str
)
def test_a_search_does_not_go_on_with_other_splits_or_elsewhere(change):
    """It says which parameter was changed, and goes on once that is set back."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [1]}, keep_models=True, **OPTIONS).fit(X, Y)
    before = {name: search.get_params()[name] for name in change}
    with pytest.raises(ContinuationError, match=next(iter(change))):
        search.set_params(**change).continue_fit(X, Y, param_grid={"max_epochs": [2]})
    search.set_params(**before).continue_fit(X, Y, param_grid={"max_epochs": [2]})
    assert search.reuse_["epochs_trained"].tolist() == [[0, 0], [1, 1]]


def test_models_of_a_grid_without_budget_go_on_as_well():
    """A search over rates alone is extended by more epochs for each of them."""
    search = WarmStartGridSearchCV(NET, {"lr": [0.02, 0.1]}, keep_models=True, **OPTIONS).fit(X, Y)
    search.continue_fit(X, Y, param_grid={"lr": [0.02, 0.1], "max_epochs": [5]})
    assert search.reuse_["epochs_trained"].tolist() == [[0, 0], [0, 0], [3, 3], [3, 3]]


FAIL = [True]


def fails_once(estimator, X, y):
    """Fail the first time."""
    if FAIL:
        FAIL.pop()
        raise ValueError("for a moment")
    return estimator.score(X, y)


def test_a_scorer_that_failed_is_asked_again(tmp_path):
    """A failure is not what a candidate is worth; it is not stored."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [1]}, cv=2, scoring=fails_once, checkpoint_dir=tmp_path)
    FAIL[:] = [True]
    with pytest.warns(UserWarning, match="(?i)scor"):
        search.fit(X, Y)
    assert np.isnan(search.cv_results_["split0_test_score"]).all()
    assert np.isfinite(search.fit(X, Y).cv_results_["split0_test_score"]).all()


@pytest.mark.parametrize("scoring", ["accuracy", None])
def test_refit_may_name_the_only_score(scoring):
    """As in scikit-learn's halving, where there is one score it decides."""
    search = WarmStartHalvingSearchCV(
        NET, {"lr": [0.01, 0.1]}, max_resources=4, factor=2, cv=2, scoring=scoring, refit="accuracy"
    ).fit(X, Y)
    assert search.n_resources_ == [2, 4]


def test_other_searches_in_the_same_folder_keep_their_runs(tmp_path):
    """A search removes what it stored itself."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [3]}, keep_models=True, checkpoint_dir=tmp_path, **OPTIONS)
    search.fit(X, Y)
    WarmStartGridSearchCV(NET, {"lr": [0.3]}, checkpoint_dir=tmp_path, **OPTIONS).fit(X, Y)
    search.continue_fit(X, Y, param_grid={"max_epochs": [4]})
    assert search.reuse_["epochs_trained"].tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    "grid",
    [
        {"lr_scheduler": ["NoSuch", None], "max_epochs": [1, 2]},
        {"callbacks": [[3], None], "max_epochs": [1, 2]},
        {"max_epochs": [[1, 2], 2]},
    ],
    ids=["schedule", "callbacks", "budget"],
)
def test_a_candidate_that_cannot_be_fitted_fails_as_in_scikit_learn(grid):
    """It has the error score, and the others are as if it were not there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*(fits failed|are non-finite)")
        cold, warm = (cls(NET, grid, **OPTIONS).fit(X, Y) for cls in (GridSearchCV, WarmStartGridSearchCV))
    assert_same_results(cold.cv_results_, warm.cv_results_)


def test_a_failed_search_leaves_what_it_had():
    """Results and models of before are there after an error."""
    search = WarmStartGridSearchCV(NET, {"max_epochs": [1]}, keep_models=True, **OPTIONS).fit(X, Y)
    before = dict(search.reuse_)
    with pytest.raises(ValueError, match="inconsistent"):
        search.fit(XR, YR[:-1])
    assert first_difference(before, dict(search.reuse_)) is None
    search.continue_fit(X, Y, param_grid={"max_epochs": [2]})
