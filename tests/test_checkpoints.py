"""save_checkpoint, load_checkpoint and from_checkpoint: the whole run, no code, and nothing guessed."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from data_helpers import refused
from modules import Counter, Linear, Noisy, class_data, continued_quietly, real_data
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from sktorch_continue import (
    MLP,
    CheckpointError,
    ContinuationError,
    ContinuationWarning,
    EarlyStopping,
    EpochScoring,
    TorchClassifier,
    TorchRegressor,
)
from sktorch_continue.testing import assert_same_run, first_difference, run_state

X, Y = class_data(40)
VALUES = real_data(40)[1]


def classifier(**params):
    """Return a classifier whose every part has a state."""
    defaults = {"module": Noisy, "batch_size": 16, "max_epochs": 2, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, **params})


def halve(epoch):
    """A function a schedule does not save."""
    return 0.5**epoch


class Net(nn.Sequential):
    """A user's module that ties two layers and keeps a value that is no tensor."""

    def __init__(self, n_features_in, n_outputs):
        super().__init__(nn.Linear(n_features_in, n_features_in), nn.Linear(n_features_in, n_features_in))
        self[1].weight = self[0].weight
        self.head = nn.Linear(n_features_in, n_outputs)
        self.seen = 0

    def forward(self, x):
        self.seen += self.training
        return self.head(self[1](self[0](x).relu())) * (1 + 0.01 * self.seen)

    def get_extra_state(self):
        return {"seen": self.seen}

    def set_extra_state(self, state):
        self.seen = state["seen"]


# ---- the whole run ------------------------------------------------------------------------------------------------


def test_the_checkpoint_carries_the_state_dictionary_of_memory(tmp_path):
    """What is in memory comes back bit for bit, the record of every call and the name of the run included."""
    model = classifier(callbacks=[Counter(), EarlyStopping(restore_best=True)]).fit(X, Y)
    model.continue_fit(X, Y).save_checkpoint(tmp_path / "c")
    loaded = classifier(callbacks=[Counter(), EarlyStopping(restore_best=True)]).load_checkpoint(tmp_path / "c")
    assert first_difference(model._run.state_dict(), loaded._run.state_dict()) is None
    assert first_difference(model.predict_proba(X), loaded.predict_proba(X)) is None
    assert loaded.n_features_in_ == 4
    assert loaded.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "labels", [["a", "b", "c"], [True, False, True], [3, -1, 7], np.array(["x", "yy", "z"], object)]
)
def test_labels_of_any_kind_come_back(tmp_path, labels):
    """Classes keep their values and their dtype."""
    y = np.asarray(labels)[Y]
    classifier().fit(X, y).save_checkpoint(tmp_path / "c")
    loaded = classifier().load_checkpoint(tmp_path / "c")
    assert loaded.classes_.dtype == np.unique(y).dtype
    assert loaded.predict(X).tolist() == classifier().fit(X, y).predict(X).tolist()


def test_names_of_columns_come_back(tmp_path):
    """A loaded estimator refuses columns of other names."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    classifier().fit(frame, Y).save_checkpoint(tmp_path / "c")
    loaded = classifier().load_checkpoint(tmp_path / "c")
    assert loaded.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        loaded.continue_fit(frame.rename(columns={"a": "e"}), Y)


@pytest.mark.parametrize("y", [VALUES, np.column_stack([VALUES, -VALUES])], ids=["one", "several"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_regressor_continues_from_a_checkpoint(tmp_path, y, dtype):
    """2 + 2 epochs through a checkpoint are 4, in both precisions."""
    model = TorchRegressor(random_state=0, max_epochs=2, batch_size=16)
    clone(model).fit(X.astype(dtype), y).save_checkpoint(tmp_path / "c")
    loaded = clone(model).load_checkpoint(tmp_path / "c").continue_fit(X.astype(dtype), y)
    assert_same_run(clone(model).set_params(max_epochs=4).fit(X.astype(dtype), y), loaded, X)


def test_tied_weights_and_extra_state_come_back(tmp_path):
    """Tied layers stay tied, and what a module keeps as extra state is there again."""
    model = classifier(module=Net).fit(X, Y)
    model.save_checkpoint(tmp_path / "c")
    loaded = classifier(module=Net).load_checkpoint(tmp_path / "c")
    assert loaded.module_[0].weight is loaded.module_[1].weight
    assert loaded.module_.seen == model.module_.seen
    assert_same_run(model.continue_fit(X, Y), loaded.continue_fit(X, Y), X)


def test_the_weights_alone_load_into_the_bare_module(tmp_path):
    """module.safetensors is readable by safetensors alone, under the module's plain names."""
    model = classifier(module=None).fit(X, Y)
    model.save_checkpoint(tmp_path / "c")
    bare = MLP(4, 3)
    bare.load_state_dict(safetensors.torch.load_file(tmp_path / "c" / "module.safetensors"))
    assert torch.equal(bare(torch.from_numpy(X)), model.module_(torch.from_numpy(X)))


@pytest.mark.parametrize("whole", [True, False], ids=["module", "layer"])
def test_compiled_modules_are_stored_under_plain_names(tmp_path, whole):
    """What ``torch.compile`` wraps goes by the names of what it wraps, and loads into the plain module."""
    plain = Linear(4, 3)
    wrapped = torch.compile(plain, backend="eager") if whole else Linear(4, 3)
    if not whole:
        wrapped.layer = torch.compile(wrapped.layer, backend="eager")
    model = classifier(module=wrapped, max_epochs=1).fit(X, Y)
    model.save_checkpoint(tmp_path / "c")
    weights = safetensors.torch.load_file(tmp_path / "c" / "module.safetensors")
    assert sorted(weights) == ["layer.bias", "layer.weight"]
    plain.load_state_dict(weights)


def test_saving_copies(tmp_path):
    """A checkpoint is not changed by training on."""
    model = classifier().fit(X, Y)
    before = run_state(model)
    model.save_checkpoint(tmp_path / "c")
    model.continue_fit(X, Y)
    assert first_difference(before, run_state(classifier().load_checkpoint(tmp_path / "c"))) is None


def test_there_is_no_pickle_inside(tmp_path):
    """A checkpoint is JSON and safetensors, and a reader needs nothing else."""
    classifier(callbacks=[EarlyStopping(restore_best=True)]).fit(X, Y).save_checkpoint(tmp_path / "c")
    names = sorted(path.name for path in (tmp_path / "c").iterdir())
    assert names == [
        "best.safetensors",
        "history.jsonl",
        "manifest.json",
        "module.safetensors",
        "state.json",
        "training.safetensors",
    ]
    for name in names:
        if name.endswith("jsonl"):
            [json.loads(line) for line in (tmp_path / "c" / name).read_bytes().splitlines()]
        elif name.endswith("json"):
            json.loads((tmp_path / "c" / name).read_bytes())
        else:
            safetensors.torch.load_file(tmp_path / "c" / name)


def test_an_older_checkpoint_is_replaced_and_anything_else_is_not(tmp_path):
    """Saving again replaces a checkpoint; a folder with other things, or a file, is left alone."""
    model = classifier().fit(X, Y)
    model.save_checkpoint(tmp_path / "a" / "c")
    model.continue_fit(X, Y).save_checkpoint(tmp_path / "a" / "c")
    assert classifier().load_checkpoint(tmp_path / "a" / "c").n_epochs_ == 4
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["c"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(CheckpointError, match=r"another path|a path that does not exist"):
            model.save_checkpoint(path)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_what_a_checkpoint_cannot_hold_is_named_by_its_path(tmp_path):
    """A callback that keeps an object of its own is told where it is, and nothing is written."""

    class Keeps(Counter):
        def on_epoch_end(self, run):
            self.kept = {"here": [object()]}

    model = classifier(callbacks=[("keeps", Keeps())]).fit(X, Y)
    with pytest.raises(CheckpointError, match=r"run\.callbacks\.keeps\.state\.kept\.here\.0 is a builtins\.object"):
        model.save_checkpoint(tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["save_checkpoint", "export"])
def test_an_unfitted_estimator_has_nothing_to_store(tmp_path, verb):
    """There is no run yet."""
    with pytest.raises(NotFittedError):
        getattr(classifier(), verb)(*([tmp_path / "c"] if verb == "save_checkpoint" else []))


@pytest.mark.parametrize("there", ["nothing", "empty folder", "file", "other folder"])
@pytest.mark.parametrize("verb", ["load_checkpoint", "from_checkpoint"])
def test_a_path_without_a_checkpoint_is_refused(tmp_path, there, verb):
    """The path is named, and a fitted estimator is as it was."""
    path = tmp_path / "c"
    if there == "file":
        path.write_text("x")
    elif there != "nothing":
        path.mkdir()
        if there == "other folder":
            (path / "notes.txt").write_text("x")
    model = classifier().fit(X, Y)
    with refused(model, CheckpointError, str(path)):
        getattr(model, verb)(path)


# ---- parameters ---------------------------------------------------------------------------------------------------


def test_a_parameter_that_differs_counts_as_changed_between_two_calls(tmp_path):
    """After loading into an estimator with another lr, batch size and optimizer the next call does what P3 says."""
    model = classifier(lr=0.01).fit(X, Y)
    model.save_checkpoint(tmp_path / "c")
    for changed in ({"lr": 0.1}, {"batch_size": 8}, {"optimizer": "SGD"}, {"optimizer__weight_decay": 0.1}):
        loaded = classifier(**{"lr": 0.01, **changed}).load_checkpoint(tmp_path / "c")
        before = run_state(loaded)
        assert first_difference(before, run_state(model)) is None
        in_memory = classifier(lr=0.01).fit(X, Y).set_params(**changed)
        assert_same_run(continued_quietly(in_memory, X, Y), continued_quietly(loaded, X, Y), X)
        assert in_memory.history_.calls[-1]["changed"] == loaded.history_.calls[-1]["changed"]


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"module__scale": 2.0}, ["module__scale was 1.0 and is now 2.0"]),
        ({"module": Noisy}, ["module was", "Linear", "Noisy"]),
        ({"module": nn.Linear(4, 3)}, ["module was", "Linear"]),
    ],
)
def test_another_architecture_is_refused(tmp_path, now, words):
    """A checkpoint of another module, or of other arguments of it, names the difference."""
    classifier(module=Linear, module__scale=1.0).fit(X, Y).save_checkpoint(tmp_path / "c")
    model = classifier(**{"module": Linear, "module__scale": 1.0, **now})
    if now.get("module"):
        del model.module__scale
    with pytest.raises(ContinuationError) as caught:
        model.load_checkpoint(tmp_path / "c")
    assert [word for word in words if word not in str(caught.value)] == []
    assert not hasattr(model, "_run")


def test_a_module_of_the_same_name_and_other_shapes_is_refused(tmp_path):
    """The tensors that differ are named with both shapes."""

    def make(width):
        class Same(nn.Sequential):
            def __init__(self, n_features_in, n_outputs):
                super().__init__(nn.Linear(n_features_in, width), nn.Linear(width, n_outputs))

        return Same

    classifier(module=make(5)).fit(X, Y).save_checkpoint(tmp_path / "c")
    model = classifier(module=make(6)).fit(X, Y)
    with refused(model, ContinuationError, "0.weight is (5, 4) in the run and (6, 4) here"):
        model.load_checkpoint(tmp_path / "c")


def test_another_kind_of_estimator_is_refused(tmp_path):
    """A regressor takes no classifier's run."""
    classifier(module=None).fit(X, Y).save_checkpoint(tmp_path / "c")
    for load in (TorchRegressor().load_checkpoint, TorchRegressor.from_checkpoint):
        with pytest.raises(ContinuationError, match="of a TorchClassifier"):
            load(tmp_path / "c")


def test_a_module_instance_brings_its_class_and_the_run_its_weights(tmp_path):
    """A run that began from an instance loads into an estimator with a fresh instance of the same class."""
    model = classifier(module=Noisy(4, 3)).fit(X, Y)
    model.save_checkpoint(tmp_path / "c")
    loaded = classifier(module=Noisy(4, 3)).load_checkpoint(tmp_path / "c")
    assert_same_run(model.continue_fit(X, Y), loaded.continue_fit(X, Y), X)
    assert loaded.history_.calls[-1]["changed"] == {}


def test_callbacks_are_matched_when_a_checkpoint_is_loaded(tmp_path):
    """Known ones get their state, new ones start, dropped ones are named, another class of a name is refused."""
    classifier(callbacks=[Counter(), EpochScoring("accuracy")]).fit(X, Y).save_checkpoint(tmp_path / "c")
    with pytest.warns(ContinuationWarning, match="EpochScoring"):
        loaded = classifier(callbacks=[Counter(), EarlyStopping()]).load_checkpoint(tmp_path / "c")
    assert loaded.callbacks_["Counter"].steps == 4
    assert loaded.callbacks_["EarlyStopping"].best_epoch == 0
    with pytest.raises(ContinuationError, match="another name"):
        classifier(callbacks=[("Counter", EarlyStopping())]).load_checkpoint(tmp_path / "c")


# ---- from_checkpoint ----------------------------------------------------------------------------------------------


def test_from_checkpoint_brings_the_parameters(tmp_path):
    """Parameters of torch and of this package come from the file; ``get_params`` is what was saved."""
    model = TorchClassifier(
        module__hidden_layer_sizes=(5, 4),
        module__activation=nn.ELU,
        criterion=nn.CrossEntropyLoss,
        criterion__label_smoothing=0.1,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.5,
        lr_scheduler="StepLR",
        lr_scheduler__step_size=2,
        callbacks=[("stop", EarlyStopping("train_loss", 9)), EpochScoring("accuracy", on="train")],
        class_weight={0: 1.0, 1: 2.0, 2: 0.5},
        max_epochs=3,
        random_state=np.random.RandomState(3),
    ).fit(X, Y)
    model.save_checkpoint(tmp_path / "c")
    loaded = TorchClassifier.from_checkpoint(tmp_path / "c")
    shown = {name: repr(value) for name, value in model.get_params().items()}
    assert {name: repr(value) for name, value in loaded.get_params().items()} == {
        **shown,
        "random_state": repr(loaded.random_state),
    }
    assert loaded.random_state.randint(1000) == model.random_state.randint(1000)
    assert_same_run(model.continue_fit(X, Y), loaded.continue_fit(X, Y), X)


@pytest.mark.parametrize(
    ("params", "given"),
    [
        ({"module": Noisy}, {"module": Noisy}),
        ({"module": Noisy}, {"trusted": [Noisy]}),
        ({"module": Noisy}, {"trusted": Noisy}),
        ({"module": Noisy}, {"trusted": ["modules.Noisy"]}),
        ({"module": Noisy(4, 3)}, {"module": Noisy(4, 3)}),
        ({"callbacks": [Counter()], "module": None}, {"trusted": [Counter]}),
        ({"callbacks": [Counter()], "module": None}, {"callbacks": [Counter()]}),
        (
            {"module": None, "lr_scheduler": "LambdaLR", "lr_scheduler__lr_lambda": halve},
            {"lr_scheduler__lr_lambda": halve},
        ),
        (
            {"module": functools.partial(MLP, hidden_layer_sizes=(3,))},
            {"module": functools.partial(MLP, hidden_layer_sizes=(3,))},
        ),
    ],
    ids=lambda value: "-".join(value),
)
def test_what_is_the_callers_own_is_asked_for(tmp_path, params, given):
    """A class or function of the caller is used where it is given or trusted, and named where it is not."""
    model = classifier(**params).fit(X, Y)
    model.save_checkpoint(tmp_path / "c")
    (missing,) = set(params) - {"lr_scheduler"} - ({"module"} if params["module"] is None else set())
    with pytest.raises(CheckpointError, match=f"parameter '{missing}' .*from_checkpoint\\(path, {missing}="):
        TorchClassifier.from_checkpoint(tmp_path / "c")
    loaded = TorchClassifier.from_checkpoint(tmp_path / "c", **given)
    assert_same_run(model.continue_fit(X, Y), loaded.continue_fit(X, Y), X)


def test_parameters_may_be_given_instead_of_the_stored_ones(tmp_path):
    """``from_checkpoint(path, lr=...)`` continues as a changed lr does."""
    classifier(module=None, lr=0.01).fit(X, Y).save_checkpoint(tmp_path / "c")
    loaded = TorchClassifier.from_checkpoint(tmp_path / "c", lr=0.1, max_epochs=1)
    assert (loaded.lr, loaded.max_epochs) == (0.1, 1)
    other = classifier(module=None, lr=0.01).fit(X, Y).set_params(lr=0.1, max_epochs=1)
    assert_same_run(other.continue_fit(X, Y), loaded.continue_fit(X, Y), X)


def test_a_subclass_loads_its_own(tmp_path):
    """A subclass brings its own fitted attributes, and only the subclass takes its checkpoint."""
    Mine(random_state=0, max_epochs=2).fit(X, Y).save_checkpoint(tmp_path / "c")
    assert Mine.from_checkpoint(tmp_path / "c").means_.tolist() == X.mean(axis=0).tolist()
    with pytest.raises(ContinuationError, match="of a Mine"):
        TorchClassifier.from_checkpoint(tmp_path / "c")


class Mine(TorchClassifier):
    """A user's subclass with a fitted attribute of its own."""

    def fit(self, X, y, sample_weight=None, **fit_params):
        self.means_ = X.mean(axis=0)
        return super().fit(X, y, sample_weight, **fit_params)


def test_a_trusted_name_that_is_none_is_refused(tmp_path):
    """A misspelled name in ``trusted`` is told."""
    classifier(module=None).fit(X, Y).save_checkpoint(tmp_path / "c")
    with pytest.raises(ValueError, match=r"'nowhere\.Net', which cannot be imported"):
        TorchClassifier.from_checkpoint(tmp_path / "c", trusted=["nowhere.Net"])


def test_a_format_of_the_future_is_told(tmp_path):
    """A number this version does not know names what it reads."""
    classifier().fit(X, Y).save_checkpoint(tmp_path / "c")
    manifest = Path(tmp_path / "c" / "manifest.json")
    manifest.write_text(manifest.read_text().replace('"format":1', '"format":2'))
    with pytest.raises(CheckpointError, match=r"format 2; this version reads \[1\]"):
        classifier().load_checkpoint(tmp_path / "c")


# ---- serving ------------------------------------------------------------------------------------------------------


def test_an_export_predicts_clones_and_is_stored_but_does_not_train(tmp_path):
    """It has the weights that ``predict`` uses, and says so when it is to be continued."""
    model = classifier(callbacks=[EarlyStopping("train_loss", restore_best=True)], max_epochs=4).fit(X, Y)
    served = model.export()
    assert first_difference(model.predict_proba(X), served.predict_proba(X)) is None
    with refused(served, ContinuationError, "exported for serving"):
        served.continue_fit(X, Y)
    with pytest.raises(AttributeError, match="exported"):
        served.optimizer_  # noqa: B018
    served.save_checkpoint(tmp_path / "c")
    again = classifier(callbacks=[EarlyStopping("train_loss", restore_best=True)]).load_checkpoint(tmp_path / "c")
    assert first_difference(model.predict_proba(X), again.predict_proba(X)) is None
    assert_same_run(
        model.continue_fit(X, Y), classifier(callbacks=model.callbacks, max_epochs=4).fit(X, Y).continue_fit(X, Y)
    )
    assert_same_run(clone(model).fit(X, Y), clone(served).fit(X, Y), X)
    assert served.fit(X, Y).n_epochs_ == 4


# ---- what is stored is the run, not what the estimator says by now --------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": 0.001},
        {"optimizer": "SGD"},
        {"lr_scheduler__step_size": 2},
        {"lr_scheduler": None},
        {"criterion": "MultiMarginLoss"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_parameters_changed_before_saving_are_changes_after_loading(tmp_path, changed):
    """What was set after the last call is a change to the next one, through a checkpoint as in memory."""

    def made():
        schedule = {"lr_scheduler": "StepLR", "lr_scheduler__step_size": 1}
        model = classifier(module=None, lr=0.1, optimizer="Adam", **schedule).fit(X, Y).set_params(**changed)
        if changed == {"lr_scheduler": None}:
            del model.lr_scheduler__step_size
        return model

    made().save_checkpoint(tmp_path / "c")
    loaded = TorchClassifier.from_checkpoint(tmp_path / "c")
    assert_same_run(continued_quietly(made(), X, Y), continued_quietly(loaded, X, Y), X)


def test_a_trusted_class_of_a_script_is_the_same_class_when_it_is_imported(tmp_path):
    """A run trained in a script, where the class is ``__main__``'s, is loaded with the class from its module."""
    model = classifier().fit(X, Y)
    place, Noisy.__module__ = Noisy.__module__, "__main__"
    try:
        model = classifier().fit(X, Y)
        model.save_checkpoint(tmp_path / "c")
    finally:
        Noisy.__module__ = place
    for given in ({"trusted": [Noisy]}, {"trusted": ["modules.Noisy"]}, {"module": Noisy}):
        assert_same_run(model, TorchClassifier.from_checkpoint(tmp_path / "c", **given), X)


def test_long_cells_of_the_history_do_not_make_a_manifest_too_long(tmp_path):
    """A callback may record long lists; they are in the history and not in the summary."""

    class Long(Counter):
        def on_epoch_end(self, run):
            run.record("long", [0.5] * 100_000)

    classifier(callbacks=[("long", Long())]).fit(X, Y).save_checkpoint(tmp_path / "c")
    loaded = classifier(callbacks=[("long", Long())]).load_checkpoint(tmp_path / "c")
    assert len(loaded.history_[-1, "long"]) == 100_000


def test_who_may_read_the_folder_may_read_every_file(tmp_path):
    """Weights are not kept from those who may read the manifest."""
    classifier().fit(X, Y).save_checkpoint(tmp_path / "c")
    assert len({path.stat().st_mode for path in (tmp_path / "c").iterdir()}) == 1


def test_an_empty_folder_becomes_the_checkpoint(tmp_path):
    """Nothing is left beside it."""
    (tmp_path / "c").mkdir()
    classifier().fit(X, Y).save_checkpoint(tmp_path / "c")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_an_export_has_no_rows_of_the_training_data():
    """What is served predicts, and carries nothing of what it was trained on."""
    model = classifier().fit(X, Y)
    assert len(model._run.seen.values)
    assert len(model.export()._run.seen.values) == 0
    assert len(model.export()._run.held_out.state_dict()["hashes"]) == 0


def test_a_callback_that_cannot_be_made_again_is_asked_for(tmp_path):
    """A constructor of any keywords, or one that keeps an argument elsewhere, is not guessed at."""

    class AnyKeywords(Counter):
        def __init__(self, **kwargs):
            super().__init__()
            self.kwargs = kwargs

    classifier(callbacks=[AnyKeywords(u=1)], module=None).fit(X, Y).save_checkpoint(tmp_path / "c")
    with pytest.raises(CheckpointError, match="parameter 'callbacks'"):
        TorchClassifier.from_checkpoint(tmp_path / "c", trusted=[AnyKeywords])
