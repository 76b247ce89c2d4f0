"""scikit-learn's own checks of an estimator, on default-constructed ones, with no expected failure."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from sktorch_continue import TorchClassifier, TorchRegressor


@parametrize_with_checks([TorchClassifier(), TorchRegressor()])
def test_scikit_learn_check(estimator: Any, check: Any) -> None:
    """Every check of scikit-learn passes on the estimator as it is constructed by default."""
    check(estimator)


def skipped(estimator: Any) -> set[str]:
    """Return the names of the checks that scikit-learn skips for an estimator."""
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert len(results) > 50
    return {result["check_name"] for result in results if result["status"] == "skipped"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (TorchClassifier(max_epochs=1), MLPClassifier(max_iter=1)),
        (TorchRegressor(max_epochs=1), MLPRegressor(max_iter=1)),
    ],
)
def test_only_what_scikit_learn_skips_for_its_own_mlp_is_skipped(ours: Any, theirs: Any) -> None:
    """A check is skipped only where scikit-learn skips it for its own MLP (how long they train plays no part)."""
    assert skipped(ours) <= skipped(theirs)
