"""Pickle and joblib: the run in other processes, mapped into memory, on smaller machines, and for serving."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import pytest
import torch
from elsewhere import continue_elsewhere
from modules import Noisy, class_data
from torch import nn

from sktorch_continue import Callback, Checkpoint, CheckpointError, ContinuationWarning, EarlyStopping, TorchClassifier
from sktorch_continue.testing import Interrupt, assert_same_run, first_difference, through_joblib, through_pickle

X, Y = class_data(40)


def classifier(**params: Any) -> TorchClassifier:
    """Return a classifier whose every part has a state."""
    defaults = {"module": Noisy, "batch_size": 16, "max_epochs": 4, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, "callbacks": [EarlyStopping(patience=9, restore_best=True)], **params})


# ---- other processes ----------------------------------------------------------------------------------------------


def test_a_run_is_resumed_in_another_process(tmp_path):
    """What Ctrl-C cut here is finished in a process that only loads it."""
    model = classifier(callbacks=[Interrupt(3)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    model.set_params(callbacks=[Interrupt(None)])
    there = continue_elsewhere(model, tmp_path, "resume_fit", X, Y)
    assert_same_run(classifier(callbacks=[Interrupt(None)]).fit(X, Y), there, X)


def test_a_module_of_a_script_works_in_two_workers():
    """cross_validate, Bagging, Voting, Stacking and Calibrated train a class of ``__main__`` with n_jobs=2."""
    script = Path(__file__).with_name("workers_script.py")
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode == 0, done.stderr
    names = ["BaggingClassifier", "VotingClassifier", "StackingClassifier", "CalibratedClassifierCV", "cross_validate"]
    assert done.stdout.split() == names


# ---- mapped into memory -------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """Two names for one weight, and a weight NumPy has no dtype for."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_features_in, n_features_in)
        self.second = nn.Linear(n_features_in, n_features_in)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(n_features_in)
        self.head = nn.Linear(n_features_in, n_outputs)
        self.register_buffer("scale", torch.ones(3, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.second(self.first(x)))) * self.scale.float()


@pytest.mark.parametrize("module", [Noisy, Tied])
@pytest.mark.parametrize("mmap_mode", ["r", "c", "r+"])
def test_weights_are_mapped_and_training_goes_on(tmp_path, module, mmap_mode):
    """joblib maps the weights from the file; predictions and every later step are those of the run in memory."""
    model = classifier(module=module).fit(X, Y)
    joblib.dump(model, tmp_path / "model.joblib")
    stored = (tmp_path / "model.joblib").read_bytes()
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode=mmap_mode)
    places = [(weight.data_ptr(), weight.nbytes) for weight in mapped.module_.parameters()]
    assert all(is_mapped(tmp_path / "model.joblib", *place) for place in places)
    assert first_difference(model.predict_proba(X), mapped.predict_proba(X)) is None
    assert_same_run(model, mapped, X)
    assert_same_run(model.continue_fit(X, Y), mapped.continue_fit(X, Y), X)
    assert (tmp_path / "model.joblib").read_bytes() == stored
    assert not any(
        is_mapped(tmp_path / "model.joblib", *place)
        for place in [(weight.data_ptr(), weight.nbytes) for weight in mapped.module_.parameters()]
    )


def is_mapped(path: Path, address: int, n_bytes: int) -> bool:
    """Tell whether memory belongs to a mapping of the file."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("the system does not list its mappings")
    for line in maps.read_text().splitlines():
        if line.endswith(str(path)):
            first, last = (int(end, 16) for end in line.split()[0].split("-"))
            if first <= address and address + n_bytes <= last:
                return True
    return False


def test_a_mapped_weight_may_be_written_to(tmp_path):
    """Writing to a weight of a file mapped read-only changes this process's copy alone."""
    joblib.dump(classifier().fit(X, Y), tmp_path / "model.joblib")
    stored = (tmp_path / "model.joblib").read_bytes()
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    with torch.no_grad():
        mapped.module_.out.bias.add_(1.0)
    assert (tmp_path / "model.joblib").read_bytes() == stored


# ---- a machine without the accelerator ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["pickle", "checkpoint"])
def test_a_run_of_an_accelerator_goes_on_without_it(tmp_path, way):
    """A run stored on a device this machine lacks is loaded to the CPU, which is told, and goes on there."""
    model = classifier(max_epochs=2).fit(X, Y)
    whole = classifier().fit(X, Y)
    if way == "pickle":
        state = model.__getstate__()
        stored = {**state, "device": "cuda:7", "_run": {**state["_run"], "device": "cuda:7"}}
        moved = TorchClassifier.__new__(TorchClassifier)
        with pytest.warns(ContinuationWarning, match="cuda:7, which this machine lacks"):
            moved.__setstate__(pickle.loads(pickle.dumps(stored)))
    else:
        model.save_checkpoint(tmp_path / "c")
        moved = classifier(device="cpu", max_epochs=2).load_checkpoint(tmp_path / "c")
    assert moved.get_params()["device"] == "cpu"
    assert_same_run(whole, moved.continue_fit(X, Y), X)


# ---- sizes --------------------------------------------------------------------------------------------------------


class Wide(nn.Sequential):
    """Large enough for sizes to say something: 1 MB of weights."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__(
            nn.Linear(n_features_in, 500), nn.ReLU(), nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, n_outputs)
        )


def test_what_is_stored_is_no_larger_than_it_has_to_be(tmp_path):
    """With Adam three times the weights, exported once, in every form."""
    model = classifier(module=Wide, validation_fraction=None, callbacks=None, max_epochs=1).fit(X, Y)
    weights = sum(weight.nbytes for weight in model.module_.parameters())
    model.save_checkpoint(tmp_path / "c")
    checkpoint = sum(path.stat().st_size for path in (tmp_path / "c").iterdir())
    assert 3.0 < checkpoint / weights < 3.05
    assert 3.0 < len(pickle.dumps(model)) / weights < 3.05
    assert 1.0 < len(pickle.dumps(model.export())) / weights < 1.02
    model.export().save_checkpoint(tmp_path / "served")
    assert sum(path.stat().st_size for path in (tmp_path / "served").iterdir()) / weights < 1.02


@pytest.mark.parametrize("way", [through_pickle, through_joblib])
def test_an_export_travels(way):
    """What was exported predicts the same after a round through pickle and joblib."""
    model = classifier().fit(X, Y)
    assert first_difference(model.predict_proba(X), way(model.export()).predict_proba(X)) is None


def test_a_pickle_shares_no_memory_with_what_it_came_from():
    """Training the original leaves a copy alone, and the other way round."""
    model = classifier().fit(X, Y)
    copied = through_pickle(model)
    model.continue_fit(X, Y)
    assert_same_run(model, copied.continue_fit(X, Y), X)
    assert (
        np.shares_memory(model.module_.out.weight.detach().numpy(), copied.module_.out.weight.detach().numpy()) is False
    )


def test_a_checkpoint_callback_travels_through_pickle(tmp_path):
    """A run that writes checkpoints is pickled with its folder, and goes on writing there."""
    model = classifier(callbacks=[Checkpoint(tmp_path / "run")], max_epochs=2).fit(X, Y)
    copied = through_pickle(model).continue_fit(X, Y)
    loaded = classifier(callbacks=[Checkpoint(tmp_path / "run")]).load_checkpoint(tmp_path / "run")
    assert loaded.n_epochs_ == 4
    assert_same_run(copied, loaded, X)


def test_nothing_of_the_file_is_used_once_training_has_gone_on(tmp_path):
    """After continuing, a mapped file may be written over: weights, classes and held-out rows are copies."""
    model = classifier(max_epochs=2).fit(X, np.array(["a", "b", "c"])[Y])
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    mapped.predict(X)
    mapped.continue_fit(X, np.array(["a", "b", "c"])[Y])
    gc.collect()
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert [line for line in maps.read_text().splitlines() if line.endswith("model.joblib")] == []
    joblib.dump(mapped, tmp_path / "model.joblib")
    assert_same_run(mapped, joblib.load(tmp_path / "model.joblib"), X)


class Pair(NamedTuple):
    """A value with names."""

    left: int
    right: float


class Named(Callback):
    """Keeps a named tuple."""

    def on_epoch_end(self, run: Any) -> None:
        self.pair = Pair(run.n_epochs, 0.5)


def test_a_named_tuple_travels_through_pickle(tmp_path):
    """A callback may keep one; a checkpoint, which would forget its kind, names it instead."""
    model = classifier(callbacks=[Named()]).fit(X, Y)
    assert through_pickle(model).callbacks_["Named"].pair == Pair(4, 0.5)
    with pytest.raises(CheckpointError, match=r"callbacks\.Named\.state\.pair is a test_joblib\.Pair"):
        model.save_checkpoint(tmp_path / "c")
