"""Format 1 on disk: the committed sample is read for good, holds no code, and its weights need torch alone."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickletools
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from sktorch_continue import EarlyStopping, TorchClassifier
from sktorch_continue.checkpoint import read_checkpoint
from sktorch_continue.testing import assert_same_run

DATA = Path(__file__).parent / "data"
SAMPLE = DATA / "checkpoint-format-1"
EXPECTED = json.loads((DATA / "checkpoint-format-1.json").read_text())
MANIFEST = json.loads((SAMPLE / "manifest.json").read_bytes())
FILES = [
    *("best.safetensors", "history.jsonl", "manifest.json"),
    *("module.safetensors", "state.json", "training.safetensors"),
]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


def rows():
    """Return the rows the sample was trained on, and their classes."""
    position = np.arange(30)
    columns = [(position * 7 % 11) / 11, (position * 5 % 13) / 13, (position * 3 % 7) / 7]
    X = np.column_stack(columns).astype(np.float32)
    return X, np.array(["ash", "birch", "cedar"])[(X[:, 0] * 1.5 + X[:, 1] * 1.5).astype(int)]


def frame():
    """Return the rows with the names of their columns."""
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(rows()[0], columns=["height", "girth", "age"]), rows()[1]


def bare():
    """Return the sample's network as anybody would write it."""
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.25), nn.Linear(4, 3)).eval()


def test_the_sample_is_complete_and_small():
    """Five files and no other, together below 30 kB."""
    assert sorted(path.name for path in SAMPLE.iterdir()) == FILES
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 30_000


def test_the_sample_brings_its_parameters():
    """Every parameter is what the script gave, in value and in kind."""
    params = TorchClassifier.from_checkpoint(SAMPLE).get_params(deep=False)
    assert repr(params.pop("callbacks")) == repr([EarlyStopping(patience=9, restore_best=True)])
    assert params == {
        "module": None,
        "module__hidden_layer_sizes": (4,),
        "module__batch_norm": True,
        "module__dropout": 0.25,
        "criterion": None,
        "optimizer": "Adam",
        "lr": 0.01,
        "lr_scheduler": "OneCycleLR",
        "lr_scheduler__max_lr": 0.3,
        "lr_scheduler__total_steps": 60,
        "lr_scheduler_interval": "step",
        "lr_scheduler_monitor": None,
        "lr_scheduler_on_continue": "continue",
        "validation_fraction": 0.2,
        "class_weight": None,
        "max_epochs": 3,
        "batch_size": 6,
        "random_state": 7,
        "shuffle": True,
        "drop_last": False,
        "check_finite": True,
        "compile": False,
        "autocast": None,
        "grad_scaler": "GradScaler",
        "grad_scaler__init_scale": 1024.0,
        "grad_scaler__growth_interval": 15,
        "num_threads": None,
        "device": "cpu",
        "warm_start": False,
        "verbose": 0,
    }


def test_the_sample_brings_its_run():
    """Counters, classes, names, history, calls, schedule, callbacks and held-out rows have the values of then."""
    model = TorchClassifier.from_checkpoint(SAMPLE)
    run, stopping = model._run, model.callbacks_["EarlyStopping"]
    assert (model.n_epochs_, model.n_steps_, run.progress.n_calls, run.max_epochs) == (5, 17, 2, 5)
    assert model.classes_.tolist() == ["ash", "birch", "cedar"]
    assert model.feature_names_in_.tolist() == ["height", "girth", "age"]
    assert (model.n_features_in_, model.n_outputs_, run.facts.dtype, run.facts.kind) == (3, 3, "float32", "index")
    assert model.history_["call"] == [1, 1, 1, 2, 2]
    assert model.history_["n_steps"] == [3, 6, 9, 13, 17]
    for column in ("train_loss", "valid_loss", "lr"):
        assert model.history_[column] == EXPECTED[column]
    calls = model.history_.calls
    assert [record["verb"] for record in calls] == ["fit", "continue_fit"]
    assert [record["changed"] for record in calls] == [{}, {"batch_size": [8, 6]}]
    assert [(record["n_rows"], record["n_validation_rows"], record["stopped"]) for record in calls] == 2 * [
        (24, 6, None)
    ]
    assert model.lr_scheduler_.last_epoch == 17
    assert (stopping.best_epoch, stopping.best_score, stopping.wait) == (4, EXPECTED["valid_loss"][3], 1)
    assert (run.seed, run.num_threads) == (327741615, 1)
    assert (run.grad_scaler.get_scale(), run.grad_scaler.state_dict()["_growth_tracker"]) == (2048.0, 2)
    held_out = run.held_out.state_dict()
    assert (held_out["fraction"], len(held_out["hashes"]), held_out["hashes"].dtype) == (0.2, 6, torch.int64)
    assert sorted(model.optimizer_.state_dict()["state"][0]) == ["exp_avg", "exp_avg_sq", "step"]
    assert model.optimizer_.state_dict()["state"][0]["step"] == 17


def test_the_sample_predicts_what_it_predicted():
    """Probabilities are those that were written down, from the best weights and not from the last."""
    X, _ = frame()
    model = TorchClassifier.from_checkpoint(SAMPLE)
    np.testing.assert_allclose(model.predict_proba(X), EXPECTED["probabilities"], **TOLERANCE)
    assert model.predict(X).tolist() == EXPECTED["predictions"]
    last = model.module_.eval()(torch.from_numpy(rows()[0])).softmax(dim=1).detach().numpy()
    assert np.abs(last - EXPECTED["probabilities"]).max() > 0.01


def test_the_sample_goes_on(tmp_path):
    """It trains on with the rows it held out, twice alike, and can be stored and read again."""
    X, y = frame()
    model, twin = (TorchClassifier.from_checkpoint(SAMPLE).continue_fit(X, y, max_epochs=2) for _ in range(2))
    assert (model.n_epochs_, model.n_steps_, len(model.history_.calls)) == (7, 25, 3)
    assert model.history_.calls[-1]["n_validation_rows"] == 6
    assert model.history_["train_loss"][:5] == EXPECTED["train_loss"]
    model.save_checkpoint(tmp_path / "c")
    assert_same_run(twin, TorchClassifier.from_checkpoint(tmp_path / "c"), X)


def test_the_sample_refuses_other_columns():
    """The names of its columns bind."""
    X, y = frame()
    with pytest.raises(ValueError, match="feature names"):
        TorchClassifier.from_checkpoint(SAMPLE).continue_fit(X.rename(columns={"age": "weight"}), y)


def test_the_weights_load_into_a_network_of_torch_alone():
    """safetensors and torch are enough: a network built by hand gives the outputs of the estimator's."""
    X = torch.from_numpy(rows()[0])
    newest, best = bare(), bare()
    newest.load_state_dict(safetensors.torch.load_file(SAMPLE / "module.safetensors"))
    best.load_state_dict(safetensors.torch.load_file(SAMPLE / "best.safetensors"))
    model = TorchClassifier.from_checkpoint(SAMPLE)
    assert torch.equal(newest(X), model.module_.eval()(X))
    np.testing.assert_allclose(best(X).softmax(dim=1).detach(), EXPECTED["probabilities"], **TOLERANCE)


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_a_pickle_or_an_archive(name):
    """No file can be unpickled or unzipped: JSON begins with a brace, safetensors with the size of its JSON header."""
    content = (SAMPLE / name).read_bytes()
    assert not zipfile.is_zipfile(SAMPLE / name)
    with pytest.raises(ValueError):  # noqa: PT011 - each opcode says it in its own words
        list(pickletools.genops(content))
    header = content.split(b"\n")[0] if ".json" in name else content[8 : 8 + int.from_bytes(content[:8], "little")]
    assert isinstance(json.loads(header), dict)


def test_the_manifest_says_what_is_there():
    """Kind, format number, versions and a summary; sizes and SHA-256 of the other files, and of itself."""
    assert (MANIFEST["kind"], MANIFEST["format"]) == ("sktorch_continue checkpoint", 1)
    assert sorted(MANIFEST) == ["files", "format", "kind", "sha256", "summary", "versions", "written"]
    assert {"python", "torch", "numpy", "safetensors"} <= set(MANIFEST["versions"])
    assert (MANIFEST["summary"]["estimator"], MANIFEST["summary"]["n_epochs"]) == ("TorchClassifier", 5)
    assert MANIFEST["files"] == {
        name: {
            "bytes": (SAMPLE / name).stat().st_size,
            "sha256": hashlib.sha256((SAMPLE / name).read_bytes()).hexdigest(),
        }
        for name in FILES
        if name != "manifest.json"
    }
    unsealed = {name: entry for name, entry in MANIFEST.items() if name != "sha256"}
    written = json.dumps(unsealed, separators=(",", ":")).encode()
    assert hashlib.sha256(written).hexdigest() == MANIFEST["sha256"]


def test_what_is_written_today_reads_as_the_sample_does(tmp_path):
    """A loaded sample that is stored again holds the same dictionary and the same kinds of files."""
    TorchClassifier.from_checkpoint(SAMPLE).save_checkpoint(tmp_path / "c")
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == FILES
    before, after = read_checkpoint(SAMPLE), read_checkpoint(tmp_path / "c")
    assert sorted(before) == sorted(after)
    assert sorted(before["run"]) == sorted(after["run"])
    assert sorted(before["estimator"]) == sorted(after["estimator"])


def test_the_script_that_made_the_sample_uses_these_rows():
    """The script and this file speak of the same rows."""
    pytest.importorskip("pandas")
    spec = importlib.util.spec_from_file_location("make_checkpoint_sample", DATA / "make_checkpoint_sample.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    X, y = script.rows()
    assert X.to_numpy().tolist() == rows()[0].tolist()
    assert y.tolist() == rows()[1].tolist()
