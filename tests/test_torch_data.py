"""Data sets of torch: the same rows as arrays, exact wherever they draw, with workers as well."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_script import estimator
from data_sets import (
    ROWS,
    Augmented,
    BagOfWords,
    Fails,
    Part,
    Shuffled,
    Stream,
    TwoInputs,
    Words,
    X,
    Y,
    choose_part,
    named,
    pad,
)
from elsewhere import continue_elsewhere
from modules import Noisy, real_data
from sklearn.base import clone
from torch.utils.data import ConcatDataset, RandomSampler, Subset, TensorDataset, WeightedRandomSampler

from sktorch_continue import MLP, Callback, EpochScoring, TorchClassifier, TorchRegressor, continue_fit, hot_start
from sktorch_continue.testing import (
    Interrupt,
    assert_same_run,
    check_continuation,
    through_checkpoint,
    through_memory,
    through_pickle,
)

TENSOR = ROWS.tensors[0]
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2.0, len(X))
WORKERS = {"dataloader__num_workers": 2}
LASTING = {**WORKERS, "dataloader__persistent_workers": True}


def classifier(**params: Any) -> TorchClassifier:
    """Return a classifier of 3 epochs of 4 steps, whose every part has a state."""
    return TorchClassifier(**{"module": Noisy, "batch_size": 8, "max_epochs": 3, "random_state": 0, **params})


def interrupted(model: TorchClassifier, step: int, data: Any, **fit_params: Any) -> TorchClassifier:
    """Return the estimator after Ctrl-C at a step."""
    model.set_params(callbacks=[Interrupt(step)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(data, **fit_params)
    return model.set_params(callbacks=[Interrupt(None)])


def reference(data: Any, **params: Any) -> TorchClassifier:
    """Return the run that was never cut, with the callback that cuts the others."""
    return classifier(callbacks=[Interrupt(None)], **params).fit(data)


def workers() -> list[Any]:
    """Return the processes that were started here and live, but for those of joblib."""
    return [child for child in multiprocessing.active_children() if "Loky" not in child.name]


# ---- the same as arrays ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "fit_params"),
    [
        ({}, {}),
        (WORKERS, {}),
        ({"validation_fraction": 0.2, "drop_last": True}, {}),
        ({"class_weight": "balanced", "shuffle": False}, {"sample_weight": WEIGHTS}),
        ({"class_weight": {0: 0.0}, "validation_fraction": 0.2, "lr_scheduler": "ReduceLROnPlateau"}, {}),
    ],
)
def test_a_tensor_dataset_ends_at_the_bits_of_its_arrays(params, fit_params):
    """``fit(TensorDataset(X, y))`` is ``fit(X, y)``: weights, held-out rows, fingerprints, what was seen."""
    arrays = {name: value for name, value in params.items() if not name.startswith("dataloader")}
    from_arrays = classifier(**arrays).fit(X, Y, **fit_params)
    from_data = classifier(**params).fit(ROWS, **fit_params)
    assert_same_run(from_arrays, from_data, X)
    assert from_arrays.history_.calls[0]["fingerprint"] == from_data.history_.calls[0]["fingerprint"]
    assert from_data.score(ROWS) == from_arrays.score(X, Y)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_real_target_ends_at_the_bits_of_its_arrays(single, n_outputs):
    """So do regressors, in single and double precision, with one target and several."""
    inputs, target = real_data(30)
    inputs, target = inputs.astype(np.float32 if single else np.float64), np.column_stack([target] * n_outputs)
    params = {"max_epochs": 2, "batch_size": 8, "random_state": 0, "validation_fraction": 0.2}
    data = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(target))
    from_arrays = TorchRegressor(**params).fit(inputs, target)
    from_data = TorchRegressor(**params).fit(data)
    assert_same_run(from_arrays, from_data, inputs)
    assert from_data.score(data) == from_arrays.score(inputs, target)
    assert np.array_equal(from_data.predict(TensorDataset(torch.from_numpy(inputs))), from_arrays.predict(inputs))


def test_inputs_by_name_end_at_the_bits_of_a_dict():
    """A dict from a collate function is a dict of arrays."""
    arrays = {"left": X[:, :2], "right": X[:, 2:]}
    params: dict[str, Any] = {"module": TwoInputs, "validation_fraction": 0.2}
    from_data = classifier(**params, dataloader__collate_fn=named).fit(ROWS)
    assert_same_run(classifier(**params).fit(arrays, Y), from_data, arrays)
    assert from_data.score(ROWS) == from_data.score(arrays, Y)


def test_an_indicator_ends_at_the_bits_of_its_array():
    """So does a multilabel target."""
    indicator = (X[:, :3] > 0).astype(int)
    data = TensorDataset(torch.from_numpy(X), torch.from_numpy(indicator))
    from_data = classifier().fit(data)
    assert_same_run(classifier().fit(X, indicator), from_data, X)
    assert from_data.score(data) == from_data.score(X, indicator)


def test_labels_that_are_text():
    """Labels may be of any kind that a collate function can make a list of."""
    labels = np.array(["a", "b", "c"])[Y]
    data = list_of(zip(torch.from_numpy(X), labels.tolist(), strict=True))
    assert_same_run(classifier().fit(X, labels), classifier().fit(data), X)
    assert classifier().fit(data).predict(data)[0] in ("a", "b", "c")


def list_of(items: Any) -> ConcatDataset:
    """Return a data set of items."""
    return ConcatDataset([list(items)])


def test_a_row_held_out_from_an_array_is_held_out_from_a_data_set():
    """The same row is the same row in both, in another order and with rows added: none is trained on."""
    model = classifier(validation_fraction=0.3, max_epochs=1).fit(X, Y)
    held = model.history_.calls[0]["n_validation_rows"]
    shuffled = Subset(ROWS, np.random.default_rng(2).permutation(len(X)).tolist())
    more = ConcatDataset([shuffled, TensorDataset(torch.ones(5, 4), torch.tensor([0, 1, 2, 0, 1]))])
    model.continue_fit(more)
    assert model.history_.calls[1]["n_validation_rows"] == held
    assert model.history_.calls[1]["n_rows"] == len(more) - held


@pytest.mark.parametrize("step", [2, 5])
def test_a_run_cut_on_an_array_resumes_on_its_data_set(step):
    """An epoch that was cut goes on in the other container."""
    model = classifier(callbacks=[Interrupt(step)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    model.set_params(callbacks=[Interrupt(None)]).resume_fit(ROWS)
    assert_same_run(reference(ROWS), model, X)


# ---- what draws -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "params", "fit_params"),
    [
        (Augmented(), {"validation_fraction": 0.2}, {}),
        (Augmented(), {"dataloader__sampler": Shuffled(), "shuffle": False}, {"X_val": X, "y_val": Y}),
        (Stream(), {"shuffle": False, "class_weight": {0: 2.0}}, {"X_val": Stream()}),
    ],
    ids=["map-style", "sampler", "iterable"],
)
def test_what_a_data_set_draws_is_exact_after_any_cut(data, params, fit_params):
    """Cut at every epoch and every step, disturbed in between, it ends where the uncut run ends."""
    ways = (through_memory, through_pickle, through_checkpoint)
    check_continuation(
        classifier(**params), data, n_epochs=3, step_cuts=range(1, 10), through=ways[:1], cuts=[], **fit_params
    )
    check_continuation(classifier(**params), data, n_epochs=3, through=ways, **fit_params)


@pytest.mark.parametrize(("loading", "step"), [(WORKERS, 6), (LASTING, 1)], ids=["workers", "lasting"])
@pytest.mark.parametrize("data", [Augmented(), Stream()], ids=["map-style", "iterable"])
def test_workers_are_exact_after_any_cut(data, loading, step):
    """Workers draw by position as well, whether they last as long as the call or an epoch."""
    params = {"shuffle": isinstance(data, Augmented), **loading}
    cut = through_pickle(interrupted(classifier(**params), step, data))
    assert_same_run(reference(data, **params), cut.resume_fit(data), X)


@pytest.mark.matrix
def test_a_run_goes_on_in_another_process_with_workers(tmp_path):
    """Through joblib, in a process that starts workers of its own."""
    params = {"callbacks": [], **WORKERS}
    begun = classifier(**{**params, "max_epochs": 1}).fit(Augmented())
    there = continue_elsewhere(begun, tmp_path, "continue_fit", Augmented(), max_epochs=2)
    assert_same_run(classifier(**params).fit(Augmented()), there, X)


def test_the_number_of_workers_changes_no_bit_of_a_map_style_data_set():
    """Items are seeded by epoch and row; a run may be resumed with another number of workers."""
    whole = reference(Augmented(), validation_fraction=0.2)
    assert_same_run(whole, reference(Augmented(), validation_fraction=0.2, **WORKERS), Augmented())
    cut = interrupted(classifier(validation_fraction=0.2, **LASTING), 5, Augmented())
    cut.set_params(dataloader__num_workers=0, dataloader__persistent_workers=False)
    assert_same_run(whole, cut.resume_fit(Augmented()), X)


def test_every_epoch_draws_anew_and_predictions_do_not():
    """Augmentation is another one for every row and epoch, and the same one whenever rows are looked at."""
    seen: list[torch.Tensor] = []

    class Looks(Noisy):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(x.clone())
            return super().forward(x)

    model = classifier(module=Looks, shuffle=False, max_epochs=2).fit(Augmented())
    drawn = torch.cat([seen[0], seen[4]]) - TENSOR[:8].repeat(2, 1)
    assert len({round(value, 5) for value in drawn[:, 0].tolist()}) == 16
    assert np.array_equal(model.predict_proba(Augmented()), model.predict_proba(Augmented()))


@pytest.mark.parametrize("params", [{}, WORKERS], ids=["here", "workers"])
@pytest.mark.parametrize("data", [Augmented(), Stream()], ids=["map-style", "iterable"])
def test_the_streams_of_the_caller_are_undisturbed(data, params):
    """Neither training nor predicting moves a global stream."""
    before = torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state())
    model = classifier(max_epochs=1, shuffle=False, **params).fit(data)
    model.predict(data), model.score(data)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), pickle.dumps(np.random.get_state()))


def test_each_worker_of_an_iterable_has_its_part():
    """``get_worker_info().dataset`` is the user's own in ``worker_init_fn``: every row comes once."""
    params = {"shuffle": False, "dataloader__worker_init_fn": choose_part, **WORKERS}
    model = classifier(**params).fit(Part())
    assert model.history_.calls[0]["n_rows"] == len(X)
    assert_same_run(reference(Part(), **params), interrupted(classifier(**params), 6, Part()).resume_fit(Part()), X)


@pytest.mark.parametrize(("drop_last", "n_steps"), [(False, 4), (True, 2)])
def test_steps_of_an_iterable_are_those_its_workers_make(drop_last, n_steps):
    """Each of two workers has 15 rows, 8 and 7 of a batch; a schedule per step counts them before."""
    params = {"shuffle": False, "drop_last": drop_last, **WORKERS}
    params |= {"lr_scheduler": "OneCycleLR", "lr_scheduler__max_lr": 0.1, "lr_scheduler_interval": "step"}
    whole = reference(Stream(), **params)
    assert whole.n_steps_ == 3 * n_steps
    assert_same_run(whole, interrupted(classifier(**params), 3, Stream()).resume_fit(Stream()), X)


# ---- samplers, padding, scores --------------------------------------------------------------------------------------


def test_a_sampler_of_torch_draws_the_same_after_a_cut():
    """A weighted sampler without a generator of its own is seeded for every epoch."""
    sampler = WeightedRandomSampler(np.arange(1.0, len(X) + 1).tolist(), 20)
    params = {"dataloader__sampler": sampler, "shuffle": False}
    whole = reference(ROWS, **params)
    assert whole.n_steps_ == 3 * 3
    assert_same_run(whole, interrupted(classifier(**params), 4, ROWS).resume_fit(ROWS), X)


def test_rows_of_different_lengths_are_padded_and_stay_the_same_rows():
    """Padding depends on the batch, the identity of a row does not: the fingerprint is that of any batch size."""
    params: dict[str, Any] = {"module": BagOfWords, "dataloader__collate_fn": pad}
    whole = reference(Words(), **params)
    assert whole._run.facts.row_shapes == {"": [-1]}
    cut = through_checkpoint(interrupted(classifier(**params), 6, Words()))
    assert_same_run(whole, cut.resume_fit(Words()), Words())
    other = classifier(**params, **WORKERS).set_params(batch_size=5, max_epochs=1)
    other.fit(Words(), X_val=Subset(Words(), range(9)))
    assert other.history_.calls[0]["fingerprint"] == whole.history_.calls[0]["fingerprint"]
    assert whole.continue_fit(Words()).score(Words()) > 0


def test_an_epoch_that_was_cut_begins_anew_under_another_order():
    """Another sampler, or another number of workers of an iterable, makes another epoch of it: no row is left out."""
    other = WeightedRandomSampler([1.0] * len(X), 26)
    for data, before, after in [
        (ROWS, {"dataloader__sampler": Shuffled(26)}, {"dataloader__sampler": other}),
        (Stream(), {}, WORKERS),
    ]:
        model = interrupted(classifier(**before, shuffle=False), 2, data).set_params(**after)
        assert model.continue_fit(data, max_epochs=1).n_steps_ == 2 + 4


@pytest.mark.parametrize("on", ["train", "valid"])
def test_a_score_of_each_epoch_gets_a_subset_and_its_targets(on):
    """A scorer is called as with arrays, with a data set in the place of X."""
    given = []

    def scorer(estimator: Any, rows: Any, target: np.ndarray) -> float:
        given.append((rows, target))
        return float(estimator.score(rows))

    callbacks = [EpochScoring("accuracy", on=on), ("own", EpochScoring(scorer, on=on, name="own"))]
    model = classifier(validation_fraction=0.2, callbacks=callbacks).fit(ROWS)
    rows, target = given[-1]
    assert isinstance(rows, Subset)
    assert np.array_equal([int(label) for _, label in rows], target)
    assert model.history_[f"{on}_accuracy"] == model.history_["own"]


@pytest.mark.parametrize("params", [{}, WORKERS], ids=["here", "workers"])
def test_an_iterable_is_scored_in_the_order_it_is_predicted(params):
    """Workers take turns; predictions and targets come in one order."""
    model = classifier(shuffle=False, **params)
    callbacks = [("train", EpochScoring("accuracy", on="train")), EpochScoring("accuracy")]
    model.set_params(callbacks=callbacks).fit(Stream(), X_val=Stream())
    labels = np.concatenate([target for _, target in batches_of(Stream(), model)])
    assert model.score(Stream()) == np.mean(model.predict(Stream()) == labels) == model.history_["valid_accuracy"][-1]


def batches_of(data: Any, model: TorchClassifier) -> Any:
    """Read a data set as a prediction does."""
    from sktorch_continue.data.collated import unpack
    from sktorch_continue.estimators.torch_data import reader_to_predict

    return (unpack(batch) for batch in reader_to_predict(model, data).read_all(model.batch_size))


def test_a_pass_over_a_data_set():
    """``partial_fit`` trains one pass; the classes may be named."""
    by_arrays = classifier().partial_fit(X[:10], Y[:10], classes=[0, 1, 2]).partial_fit(X[10:], Y[10:])
    first, rest = Subset(ROWS, range(10)), Subset(ROWS, range(10, len(X)))
    assert_same_run(by_arrays, classifier().partial_fit(first, classes=[0, 1, 2]).partial_fit(rest), X)


def test_a_data_set_is_never_taken_for_the_same_training(tmp_path):
    """Files may change behind it: ``hot_start`` trains it from the start."""
    with hot_start(tmp_path):
        classifier(max_epochs=1).fit(ROWS)
        classifier(max_epochs=2).fit(ROWS)
    assert list(tmp_path.iterdir()) == []


def test_continue_fit_and_clone_take_a_data_set():
    """The function goes on as the method does; parameters of the loader are parameters like others."""
    model = classifier(dataloader__collate_fn=named, module=TwoInputs)
    assert clone(model).get_params()["dataloader__collate_fn"] is named
    one, two = clone(model).fit(ROWS), clone(model).fit(ROWS)
    assert_same_run(one.continue_fit(ROWS), continue_fit(two, ROWS), ROWS)


# ---- workers end ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loading", [WORKERS, LASTING], ids=["workers", "lasting"])
def test_workers_end_with_the_call(loading):
    """Also when it is ended by Ctrl-C; the run stands at its last step."""
    model = classifier(**loading, validation_fraction=0.2, max_epochs=2).fit(Augmented())
    model.predict(Augmented())
    assert workers() == []
    cut = interrupted(classifier(**loading), 3, Augmented())
    assert workers() == []
    assert cut.n_steps_ == 3


@pytest.mark.parametrize("loading", [{}, WORKERS, LASTING], ids=["here", "workers", "lasting"])
def test_an_error_in_an_item_is_raised_and_leaves_the_run_at_its_last_step(loading):
    """The cause is in the message; what was trained before can be resumed."""
    params = {"shuffle": False, "callbacks": [Interrupt(None)], **loading}
    model = classifier(**params)
    with pytest.raises(KeyError, match="row 20 cannot be read"):
        model.fit(Fails(20))
    assert workers() == []
    assert model.n_steps_ == 2
    assert_same_run(classifier(**params).fit(ROWS), model.resume_fit(ROWS), X)


def test_a_worker_that_is_killed_leaves_the_run_at_its_last_step():
    """torch says so; the run goes on from where it stood."""
    model = classifier(shuffle=False, callbacks=[Interrupt(None)], **WORKERS)
    with pytest.raises(RuntimeError, match=r"killed by signal|exited unexpectedly"):
        model.fit(Fails(20, kills=True))
    assert workers() == []
    assert_same_run(reference(ROWS, shuffle=False), model.resume_fit(ROWS), X)


@pytest.mark.kills
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_sigterm_to_all_processes_of_a_training_stores_the_run(tmp_path):
    """As clusters send it: workers wait for their end, the training ends between two steps, and can be resumed."""
    script = [sys.executable, str(Path(__file__).with_name("data_script.py")), str(tmp_path / "run")]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (128 + signal.SIGTERM, b"")
    resumed = estimator(str(tmp_path / "run"), 0.0).resume_fit(Augmented())
    assert [call["verb"] for call in resumed.history_.calls] == ["resume_fit"] * 2
    assert_same_run(estimator(str(tmp_path / "whole"), 0.0).fit(Augmented()), resumed, X)


def test_a_prediction_in_a_thread_waits_for_no_training():
    """It reads a data set while the training waits for it, and draws nothing from the streams of the training."""

    class Predicts(Callback):
        columns = ()

        def on_step_end(self, run: Any) -> None:
            thread = threading.Thread(target=run.session.estimator.predict, args=(Augmented(),))
            thread.start()
            thread.join(timeout=30)
            assert not thread.is_alive()

    without = classifier(module=MLP, module__dropout=0.2, max_epochs=1).fit(ROWS)
    within = classifier(module=MLP, module__dropout=0.2, max_epochs=1, callbacks=[Predicts()]).fit(ROWS)
    assert np.array_equal(without.predict_proba(X), within.predict_proba(X))


def test_callbacks_of_scikit_learn_get_the_rows_that_are_trained_on():
    """X is the data set, or the part of it that is not held out, and y its targets."""
    helpers = pytest.importorskip("sklearn.callback.tests._utils", reason="scikit-learn before 1.9 has no callbacks")
    recorder = helpers.RecordingCallback()
    model = classifier(max_epochs=1, validation_fraction=0.2)
    model.set_callbacks(recorder)
    model.fit(ROWS)
    given = recorder.record[1]["kwargs"]
    assert [int(label) for _, label in given["X"]] == given["y"].tolist()
    assert len(given["X"]) == model.history_.calls[0]["n_rows"] < len(X)


def test_a_callback_may_predict_in_the_middle_of_an_epoch():
    """Reading for a prediction disturbs neither the epoch's reading nor its noise."""

    class Predicts(Callback):
        columns = ()

        def on_step_end(self, run: Any) -> None:
            run.session.estimator.predict(Augmented())

    without = classifier(max_epochs=2).fit(Augmented())
    here = classifier(max_epochs=2, callbacks=[Predicts()]).fit(Augmented())
    there = classifier(max_epochs=1, callbacks=[Predicts()], **LASTING).fit(Augmented())
    assert_same_run(here, there.set_params(dataloader__persistent_workers=False).continue_fit(Augmented()), X)
    assert np.array_equal(without.predict_proba(X), here.predict_proba(X))


def test_a_random_sampler_with_its_data_set_can_be_cloned_and_stored(tmp_path):
    """A sampler that holds its data set is a parameter like any other; its data are no part of the record."""
    model = classifier(dataloader__sampler=RandomSampler(ROWS), shuffle=False)
    clone(model).fit(ROWS).save_checkpoint(tmp_path / "c")
    described = model.fit(ROWS)._run.specification.parameters["dataloader__sampler"]
    assert "TensorDataset" in str(described)
    assert "digest" not in str(described)
