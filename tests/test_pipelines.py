"""Pipelines go on behind their transformers: exactly, with their validation rows, and told where inputs change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from composed import NET, REG, XS, YR, X, Y, epochs_inside, networks
from optional import pd
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

from sktorch_continue import (
    Checkpoint,
    ContinuablePipeline,
    ContinuationError,
    ContinuationWarning,
    DataDriftWarning,
    TorchClassifier,
    TorchRegressor,
    continue_fit,
    make_continuable_pipeline,
)
from sktorch_continue.testing import (
    Interrupt,
    assert_same_run,
    first_difference,
    run_state,
    through_joblib,
    through_memory,
    through_pickle,
)


def network() -> TorchClassifier:
    """Return an unfitted classifier; a pipeline fits its last step itself, not a copy."""
    return clone(NET)


def regression() -> TorchRegressor:
    """Return an unfitted regressor."""
    return clone(REG)


def pca_and_net(kind: type[Pipeline] = ContinuablePipeline, **net: Any) -> Any:
    """Return PCA and a network that holds out rows."""
    last = network().set_params(validation_fraction=0.2, **net)
    return kind([("pca", PCA(3, random_state=0)), ("net", last)])


@pytest.mark.parametrize("way", [through_memory, through_pickle, through_joblib])
def test_30_epochs_are_10_and_20(way: Any) -> None:
    """A ContinuablePipeline of PCA and network continues exactly, in memory, through pickle and through joblib."""
    whole = pca_and_net(max_epochs=30).fit(X, Y)
    cut = way(pca_and_net(max_epochs=10).fit(X, Y)).continue_fit(X, Y, max_epochs=20)
    assert_same_run(whole["net"], cut["net"])
    assert first_difference(whole.predict_proba(X), cut.predict_proba(X)) is None


STEPS: dict[str, list[Any]] = {
    "nothing": [],
    "passthrough": ["passthrough", StandardScaler(), None],
    "nested": [make_pipeline(StandardScaler(), make_pipeline(PCA(2)))],
    "union": [FeatureUnion([("pca", PCA(2, random_state=0)), ("scale", StandardScaler())])],
    "columns": [ColumnTransformer([("pca", PCA(2), [0, 1, 2]), ("code", OneHotEncoder(max_categories=3), [3])])],
    "randomized": [PCA(2, svd_solver="randomized", random_state=0)],
    "frames": [StandardScaler().set_output(transform="pandas"), PCA(2).set_output(transform="pandas")],
}


@pytest.mark.parametrize("name", STEPS)
def test_whatever_stands_before_the_network(name: str) -> None:
    """Nested pipelines, unions, columns, frames and steps that do nothing are gone through as in predict."""
    if name == "frames":
        pytest.importorskip("pandas")
    steps = [(str(i), step) for i, step in enumerate(STEPS[name])]
    pipe = ContinuablePipeline([*steps, ("net", network())])
    whole, cut = epochs_inside(pipe, 5).fit(XS, Y), epochs_inside(pipe, 2).fit(XS, Y)
    cut.continue_fit(XS, Y, max_epochs=3)
    assert_same_run(whole["net"], cut["net"])


def test_memory_keeps_fitted_transformers(tmp_path: Any) -> None:
    """With memory the steps are those of the cache, and the network goes on behind them."""
    pipe = ContinuablePipeline([("pca", PCA(2)), ("net", network())], memory=str(tmp_path))
    whole, cut = epochs_inside(pipe, 5).fit(X, Y), epochs_inside(pipe, 2).fit(X, Y)
    assert_same_run(whole["net"], cut.continue_fit(X, Y, max_epochs=3)["net"])


@pytest.mark.parametrize("kind", [Pipeline, ContinuablePipeline])
def test_a_pipeline_is_continued_as_by_hand(kind: type[Pipeline]) -> None:
    """The last step goes on, in place, on what the fitted steps give; the parameter max_epochs counts."""
    pipe = pca_and_net(kind).fit(X, Y)
    net, twin = pipe["net"], through_pickle(pipe["net"])
    twin.set_params(max_epochs=4, batch_size=8).continue_fit(pipe["pca"].transform(X), Y)
    continue_fit(pipe.set_params(net__max_epochs=4, net__batch_size=8), X, Y)
    assert pipe["net"] is net
    assert_same_run(net, twin)


def test_a_pipeline_in_a_pipeline_goes_on() -> None:
    """The last step may be a pipeline itself; its steps and fit parameters are named from outside."""
    pipe = make_pipeline(StandardScaler(), Pipeline([("pca", PCA(2)), ("net", network())])).fit(X, Y)
    continue_fit(pipe, X, Y, pipeline__net__max_epochs=3, transformers={"pipeline__pca": "frozen"})
    assert pipe[-1]["net"].n_epochs_ == 5


def test_fit_parameters_by_step() -> None:
    """``net__sample_weight`` reaches the network as in Pipeline.fit, and so does what has no prefix."""
    weight = np.linspace(0.1, 2, len(X))
    whole = pca_and_net(max_epochs=5).fit(X, Y, net__sample_weight=weight)
    for name in ("net__sample_weight", "sample_weight"):
        cut = pca_and_net(max_epochs=2).fit(X, Y, net__sample_weight=weight)
        cut.continue_fit(X, Y, max_epochs=3, **{name: weight})
        assert_same_run(whole["net"], cut["net"])


@pytest.mark.parametrize(
    ("params", "words"),
    [({"lda__x": 1}, r"steps are \['pca', 'net'\]"), ({"pca__sample_weight": 1}, "'pca' is frozen")],
)
def test_fit_parameters_without_effect_are_refused(params: dict[str, Any], words: str) -> None:
    """An unknown step, or a parameter of a step that does not learn, is a ValueError."""
    pipe = pca_and_net().fit(X, Y)
    with pytest.raises(ValueError, match=words):
        pipe.continue_fit(X, Y, **params)
    assert pipe["net"].n_epochs_ == 2


def test_validation_rows_go_through_the_transformers() -> None:
    """``X_val`` is given as X is, and reaches the network as X does."""
    pipe = make_continuable_pipeline(StandardScaler(), PCA(2), network()).fit(XS, Y)
    twin = through_pickle(pipe[-1])
    moved = pipe[:-1].transform(XS[:12])
    twin.continue_fit(pipe[:-1].transform(XS), Y, X_val=moved, y_val=Y[:12])
    assert_same_run(pipe.continue_fit(XS, Y, X_val=XS[:12], y_val=Y[:12])[-1], twin)
    by_step = pipe.continue_fit(XS, Y, torchclassifier__X_val=moved, torchclassifier__y_val=Y[:12])[-1]
    assert_same_run(by_step, twin.continue_fit(pipe[:-1].transform(XS), Y, X_val=moved, y_val=Y[:12]))


def test_validation_rows_by_metadata_routing() -> None:
    """With routing, ``transform_input`` and requests mean in continue_fit what they mean in fit."""
    with config_context(enable_metadata_routing=True):
        net = network().set_fit_request(X_val=True, y_val=True, sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        pipe = make_continuable_pipeline(scaler, PCA(2), net, transform_input=["X_val"])
        data = {"X_val": XS[:12], "y_val": Y[:12], "sample_weight": np.linspace(1, 2, len(XS))}
        whole, cut = epochs_inside(pipe, 5).fit(XS, Y, **data), epochs_inside(pipe, 2).fit(XS, Y, **data)
        cut.continue_fit(XS, Y, max_epochs=3, **data)
    assert_same_run(whole[-1], cut[-1])
    assert "valid_loss" in cut[-1].history_.columns


def test_a_frame_keeps_its_names_on_the_way() -> None:
    """``set_output(transform="pandas")`` upstream: the network knows and checks the names of its columns."""
    frame = pd.DataFrame(XS, columns=list("abcd"))
    pipe = make_continuable_pipeline(StandardScaler().set_output(transform="pandas"), network())
    pipe.fit(frame, Y).continue_fit(frame, Y, X_val=frame[:9], y_val=Y[:9])
    assert list(pipe[-1].feature_names_in_) == list("abcd")


def test_refit_learns_from_the_new_rows_and_says_so() -> None:
    """Refitted transformers feed the network, with one warning that names them."""
    pipe = Pipeline([("scale", StandardScaler()), ("net", network())]).fit(XS, Y)
    other = 3 * XS
    with pytest.warns(DataDriftWarning, match=r"\['scale'\] were fitted again") as told:
        continue_fit(pipe, other, Y, transformers="refit")
    assert len(told) == 1
    assert np.allclose(pipe["scale"].mean_, other.mean(axis=0))
    assert pipe["net"].n_epochs_ == 4


def test_refit_is_told_once() -> None:
    """What the pipeline has said of its transformers, the network does not say again."""
    pipe = Pipeline([("pca", PCA(2)), ("net", network())]).fit(XS, Y)
    with pytest.warns(DataDriftWarning) as told:
        continue_fit(pipe, XS[:, ::-1] * [1, 20, 3, 1], Y, transformers="refit")
    assert len(told) == 1


def test_refit_that_changes_nothing_is_silent() -> None:
    """The same rows give the same transformer, and the training is exact."""
    pipe = ContinuablePipeline([("scale", StandardScaler()), ("net", network())])
    whole, cut = epochs_inside(pipe, 5).fit(XS, Y), epochs_inside(pipe, 2).fit(XS, Y)
    assert_same_run(whole["net"], cut.continue_fit(XS, Y, transformers="refit", max_epochs=3)["net"])


def test_partial_fit_by_step() -> None:
    """A step that is named learns from the new rows as well, the others stay."""
    pipe = ContinuablePipeline([("scale", StandardScaler()), ("pca", IncrementalPCA(2)), ("net", network())]).fit(XS, Y)
    components = pipe["pca"].components_.copy()
    scaler = through_pickle(pipe["scale"]).partial_fit(XS[:20] + 0.1)
    pipe.continue_fit(XS[:20] + 0.1, Y[:20], transformers={"scale": "partial_fit"})
    assert first_difference(scaler.mean_, pipe["scale"].mean_) is None
    assert first_difference(components, pipe["pca"].components_) is None


def test_a_step_that_cannot_learn_more_is_named() -> None:
    """TypeError before anything is changed."""
    pipe = pca_and_net().fit(X, Y)
    with pytest.raises(TypeError, match=r"\['pca'\] have no partial_fit"):
        pipe.continue_fit(X, Y, transformers="partial_fit")
    assert pipe["net"].n_epochs_ == 2


def test_refit_is_all_or_nothing() -> None:
    """Where the network refuses, the transformers are as they were."""
    pipe = Pipeline([("scale", StandardScaler()), ("net", network())]).fit(XS, Y)
    mean, before = pipe["scale"].mean_.copy(), run_state(pipe["net"])
    with pytest.warns(DataDriftWarning), pytest.raises(ValueError, match="classes"):
        continue_fit(pipe, 3 * XS, Y + 1, transformers="refit")
    assert first_difference([mean, before], [pipe["scale"].mean_, run_state(pipe["net"])]) is None


def test_modes_reach_pipelines_inside_other_estimators() -> None:
    """A mapping names a step of a member as ``member__step``."""
    pipe = Pipeline([("scale", StandardScaler()), ("net", network())])
    voting = VotingClassifier([("a", pipe), ("b", pipe)]).fit(XS, Y)
    with pytest.warns(DataDriftWarning):
        continue_fit(voting, 2 * XS, Y, transformers={"a__scale": "refit"})
    a, b = voting.estimators_
    assert np.allclose(a["scale"].mean_, 2 * b["scale"].mean_)


@pytest.mark.filterwarnings("ignore:`TargetEncoder:FutureWarning")
def test_a_transformer_that_fits_across_folds_is_told_of() -> None:
    """TargetEncoder gives fit_transform other values on purpose: they are used, and the difference is told."""
    codes = (np.arange(36) % 5)[:, None]
    pipe = make_continuable_pipeline(TargetEncoder(random_state=0), regression())
    with pytest.warns(ContinuationWarning, match="fit_transform of the steps before 'torchregressor'"):
        pipe.fit(codes, YR)
    encoded = TargetEncoder(random_state=0).fit_transform(codes, YR)
    assert_same_run(pipe[-1], regression().fit(encoded, YR))


def test_partial_fit_from_the_first_rows_on() -> None:
    """The transformers are fitted to the first rows and stay; every call is one pass of the network."""
    pipe = make_continuable_pipeline(StandardScaler(), network())
    for rows in np.array_split(np.arange(36), 3):
        pipe.partial_fit(XS[rows], Y[rows], classes=[0, 1, 2])
    assert np.allclose(pipe[0].mean_, XS[:12].mean(axis=0))
    assert pipe[-1].n_epochs_ == 3
    assert pipe.predict(XS).shape == (36,)


def test_partial_fit_of_the_transformers_as_well() -> None:
    """With transformers="partial_fit" they learn from all rows."""
    pipe = make_continuable_pipeline(StandardScaler(), network())
    for rows in np.array_split(np.arange(36), 3):
        pipe.partial_fit(XS[rows], Y[rows], classes=[0, 1, 2], transformers="partial_fit")
    assert np.allclose(pipe[0].mean_, XS.mean(axis=0))


def test_methods_are_there_where_they_work() -> None:
    """A pipeline has a verb where its last step can carry it out."""
    assert not hasattr(ContinuablePipeline([("scale", StandardScaler()), ("pca", PCA())]), "continue_fit")
    lasting = ContinuablePipeline([("model", LogisticRegression())])
    assert hasattr(lasting, "continue_fit")
    assert not hasattr(lasting, "partial_fit")
    with pytest.raises(NotFittedError):
        pca_and_net().continue_fit(X, Y)


def test_it_is_a_pipeline_in_every_respect() -> None:
    """It clones, slices to its own kind, takes parameters, and is drawn as a diagram."""
    pipe = make_continuable_pipeline(StandardScaler(), PCA(2), network(), verbose=False).fit(X, Y)
    assert [name for name, _ in pipe.steps] == ["standardscaler", "pca", "torchclassifier"]
    assert type(pipe[1:]) is type(clone(pipe)) is type(through_pickle(pipe)) is ContinuablePipeline
    assert pipe[1:][-1] is pipe[-1]
    assert pipe.set_params(pca__n_components=1)[1].n_components == 1
    assert "ContinuablePipeline" in pipe._repr_html_()


def test_a_slice_continues_the_network_of_the_whole() -> None:
    """A slice shares its steps with the pipeline it is from."""
    pipe = make_continuable_pipeline(StandardScaler(), network()).fit(XS, Y)
    pipe[1:].continue_fit(pipe[0].transform(XS), Y)
    assert [network.n_epochs_ for network in networks(pipe)] == [4]


def resumable(folder: Any, at: int | None = None, **net: Any) -> Any:
    """Return PCA and a network that stores its run, and that is interrupted after some steps."""
    callbacks = [Checkpoint(folder, every_n_epochs=1), Interrupt(at)]
    return pca_and_net(max_epochs=6, callbacks=callbacks, **net)


def interrupted(folder: Any, at: int = 7) -> Any:
    """Return a pipeline that was interrupted in the middle of an epoch."""
    pipe = resumable(folder, at)
    with pytest.raises(KeyboardInterrupt):
        pipe.fit(X, Y)
    return pipe


@pytest.mark.parametrize("way", ["in memory", "in a new process"])
def test_resume_finishes_the_run_exactly(way: str, tmp_path: Any) -> None:
    """After an interrupt, in memory or from the checkpoint of an unfitted pipeline: bit for bit the uncut run."""
    whole = resumable(tmp_path / "whole").fit(X, Y)
    cut = interrupted(tmp_path / "cut")
    pipe = cut.set_params(net__callbacks=resumable(tmp_path / "cut")["net"].callbacks)
    pipe = pipe if way == "in memory" else clone(pipe)
    pipe.resume_fit(X, Y)
    assert pipe["net"].n_epochs_ == 6
    assert_same_run(whole["net"], pipe["net"])
    assert first_difference(whole.predict_proba(X), pipe.predict_proba(X)) is None
    steps = pipe["net"].n_steps_
    assert clone(pipe).resume_fit(X, Y)["net"].n_steps_ == steps


def test_30_epochs_are_10_and_20_through_a_checkpoint(tmp_path: Any) -> None:
    """A pipeline that another process trained for 10 epochs goes on to 30 from its checkpoint, exactly."""
    whole = pca_and_net(max_epochs=30).fit(X, Y)
    pca_and_net(max_epochs=10).resume_fit(X, Y, path=tmp_path / "run")
    other = pca_and_net(max_epochs=30).resume_fit(X, Y, path=tmp_path / "run")
    assert [call["verb"] for call in other["net"].history_.calls] == ["resume_fit", "resume_fit"]
    assert_same_run(whole["net"], other["net"])


def test_resume_starts_what_was_never_started(tmp_path: Any) -> None:
    """One call serves the first start: without a checkpoint it is fit, fit parameters and a folder included."""
    weight = np.linspace(0.1, 2, len(X))
    whole = pca_and_net(max_epochs=3).fit(X, Y, net__sample_weight=weight)
    started = pca_and_net(max_epochs=3).resume_fit(X, Y, net__sample_weight=weight, path=tmp_path / "run")
    assert_same_run(whole["net"], started["net"])
    again = pca_and_net(max_epochs=3).resume_fit(X, Y, net__sample_weight=weight, path=tmp_path / "run")
    assert_same_run(whole["net"], again["net"])


def test_resume_with_metadata_routing_and_a_cache(tmp_path: Any) -> None:
    """Requests, ``transform_input`` and ``memory`` mean in resume_fit what they mean in fit."""
    with config_context(enable_metadata_routing=True):
        net = network().set_fit_request(X_val=True, y_val=True)
        pipe = ContinuablePipeline(
            [("scale", StandardScaler()), ("net", net)], transform_input=["X_val"], memory=str(tmp_path / "cache")
        )
        whole = clone(pipe).fit(XS, Y, X_val=XS[:9], y_val=Y[:9])
        started = pipe.resume_fit(XS, Y, X_val=XS[:9], y_val=Y[:9], path=tmp_path / "run")
    assert_same_run(whole["net"], started["net"])
    assert started["scale"].mean_ is not None


def test_resume_on_other_rows_is_refused_in_words_about_the_transformers(tmp_path: Any) -> None:
    """Transformers that come out differently would give the network other inputs: refused, and the run is as it was."""
    cut = interrupted(tmp_path)
    stored = run_state(cut["net"])
    unfitted = resumable(tmp_path)
    with pytest.raises(ContinuationError, match=r"transformers \['pca'\] were fitted anew and give 'net' other inputs"):
        unfitted.resume_fit(X[::-1], Y[::-1])
    with pytest.raises(NotFittedError):
        unfitted.predict(X)
    with pytest.raises(ContinuationError, match="resumed on the data it was interrupted on"):
        cut.resume_fit(X[::-1], Y[::-1])
    assert first_difference(stored, run_state(cut["net"])) is None


def test_a_fitted_pipeline_resumes_behind_its_own_transformers(tmp_path: Any) -> None:
    """Loaded with joblib it does not fit a PCA that would come out differently."""
    pipe = through_joblib(interrupted(tmp_path))
    pipe["pca"].components_[0] *= -1
    pipe.set_params(net__callbacks=resumable(tmp_path)["net"].callbacks)
    with pytest.raises(ContinuationError, match="resumed on the data"):
        pipe.resume_fit(X, Y)
    pipe["pca"].components_[0] *= -1
    assert pipe.resume_fit(X, Y)["net"].n_epochs_ == 6


def test_the_example_of_the_readme_is_exact() -> None:
    """PCA and network on mtcars, 100 epochs, then 50 in larger batches: wherever it is cut, the same run."""
    cars = pd.read_csv(Path(__file__).parent.parent / "examples" / "data" / "mtcars.csv", index_col="model")
    X, y = cars.drop(columns="mpg"), cars["mpg"]

    def trained(*small: int, large: tuple[int, ...]) -> Any:
        net = TorchRegressor(lr=0.01, max_epochs=small[0], batch_size=8, random_state=0)
        pipe = make_continuable_pipeline(StandardScaler(), PCA(3), net).fit(X, y)
        for epochs in small[1:]:
            pipe = through_pickle(pipe).continue_fit(X, y, max_epochs=epochs)
        pipe.set_params(torchregressor__batch_size=32)
        for epochs in large:
            pipe.continue_fit(X, y, max_epochs=epochs)
        return pipe

    whole, cut = trained(100, large=(50,)), trained(60, 1, 39, large=(20, 30))
    assert_same_run(whole[-1], cut[-1])
    assert first_difference(whole.predict(X), cut.predict(X)) is None
    assert whole.score(X, y) > 0.7
