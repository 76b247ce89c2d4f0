"""MLflowLogger: every epoch, call and step is once in MLflow, however the run was cut. Passed over without MLflow."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from killed_logs import EPOCHS, STEPS_PER_EPOCH
from modules import Noisy, class_data
from sklearn.model_selection import cross_validate
from test_loggers import killed

from sktorch_continue import Checkpoint, ContinuationWarning, EarlyStopping, MLflowLogger, TorchClassifier
from sktorch_continue.testing import Interrupt, assert_same_run

mlflow = pytest.importorskip("mlflow")
# MLflow's own imports and its simplest store, files in a folder, give warnings.
pytestmark = pytest.mark.filterwarnings("default:::mlflow", "default:.*filesystem.*")

X, Y = class_data(40)


@pytest.fixture
def uri(tmp_path, monkeypatch):
    """Return where MLflow keeps its runs: files, the only store that is quick to make."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file:{tmp_path / 'mlruns'}"


def classifier(uri, *callbacks, every=1, **params):
    """Return a classifier of 3 epochs of 2 steps that logs to MLflow."""
    logger = MLflowLogger("test", tracking_uri=uri, every_n_steps=every)
    defaults = {"module": Noisy, "batch_size": 16, "max_epochs": 3, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, **params, "callbacks": [logger, *callbacks]})


def logged(uri, model):
    """Return MLflow's run, and the (step, value) of every metric in the order they were logged."""
    client, run_id = mlflow.MlflowClient(tracking_uri=uri), model.callbacks_["MLflowLogger"].run_id
    run = client.get_run(run_id)
    return run, {n: [(m.step, m.value) for m in client.get_metric_history(run_id, n)] for n in run.data.metrics}


def assert_complete(uri, model, every=1):
    """Raise unless each epoch and step is there once, and what the history says."""
    run, metrics = logged(uri, model)
    for name in model.history_.columns:
        if name not in ("epoch", "duration"):  # of an epoch that was trained twice the first duration stays
            assert metrics[name] == [(row["epoch"], row[name]) for row in model.history_]
    assert [step for step, _ in metrics["duration"]] == list(range(1, model.n_epochs_ + 1))
    if every is not None:
        assert [step for step, _ in metrics["step_loss"]] == list(range(every, model.n_steps_ + 1, every))
    return run


def files(uri, model):
    """Return the names of the files of MLflow's run."""
    client, run_id = mlflow.MlflowClient(tracking_uri=uri), model.callbacks_["MLflowLogger"].run_id
    return [file.path for file in client.list_artifacts(run_id, "calls")]


@pytest.mark.parametrize("every", [None, 1, 2])
def test_fit_and_continue_are_one_run(uri, every):
    """Metrics over epochs and steps, parameters, a file per call, and how the last call ended."""
    model = classifier(uri, every=every).fit(X, Y)
    model.set_params(batch_size=8)
    model = pickle.loads(pickle.dumps(model)).continue_fit(X, Y, max_epochs=2)
    run = assert_complete(uri, model, every)
    assert run.info.status == "FINISHED"
    assert run.data.params["batch_size"] == "16"
    assert files(uri, model) == ["calls/1.json", "calls/2.json"]
    call = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/calls/2.json")
    assert call["changed"] == {"batch_size": [16, 8]}
    assert call["parameters"]["batch_size"] == 8
    assert call["versions"] == model.history_.calls[1]["versions"]


def test_a_logger_changes_nothing(uri):
    """The run with it and the run without it are the same."""
    assert_same_run(classifier(uri).fit(X, Y), classifier(uri).set_params(callbacks=None).fit(X, Y))


@pytest.mark.parametrize("at", [1, 3, 4])
def test_interrupted_in_memory(uri, at):
    """The run of MLflow is told, and goes on."""
    model = classifier(uri, Interrupt(at))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert logged(uri, model)[0].info.status == "KILLED"
    model.resume_fit(X, Y)
    assert assert_complete(uri, model).info.status == "FINISHED"


def test_a_branch_is_another_run(uri, tmp_path):
    """Continued from a place that MLflow's run has passed: a new run, with the epochs so far; the old one stays."""
    model = classifier(uri, Checkpoint(tmp_path / "run", keep_last=None)).fit(X, Y)
    first = sorted((tmp_path / "run").glob("epoch*"))[0]
    again = classifier(uri, lr=0.1)
    with pytest.warns(ContinuationWarning, match="Checkpoint"):
        again.load_checkpoint(first)
    again.continue_fit(X, Y, max_epochs=4)
    assert again.callbacks_["MLflowLogger"].run_id != model.callbacks_["MLflowLogger"].run_id
    assert_complete(uri, again, every=None)
    assert_complete(uri, model)


def test_folds_are_runs_of_one_experiment(uri):
    """Also where workers begin at once."""
    found = cross_validate(classifier(uri), X, Y, cv=3, return_estimator=True)
    runs = [assert_complete(uri, model).info for model in found["estimator"]]
    assert len({run.run_id for run in runs}) == 3
    assert len({run.experiment_id for run in runs}) == 1


def test_a_call_that_took_no_step_leaves_no_run(uri):
    """A run that came to no step is deleted in MLflow as well."""
    with pytest.raises(ValueError, match="valid_los"):
        classifier(uri, EarlyStopping("valid_los")).fit(X, Y)
    client = mlflow.MlflowClient(tracking_uri=uri)
    assert client.search_runs([client.get_experiment_by_name("test").experiment_id]) == []


def test_a_run_that_mlflow_has_lost_is_made_again(uri):
    """With all epochs from the history."""
    model = classifier(uri, every=None).fit(X, Y)
    mlflow.MlflowClient(tracking_uri=uri).delete_run(model.callbacks_["MLflowLogger"].run_id)
    assert_complete(uri, model.continue_fit(X, Y), every=None)


def test_a_run_that_is_killed_and_resumed_five_times_is_logged_once(uri, tmp_path):
    """One run of MLflow from the first checkpoint on: steps 1 to n and epochs 1 to n once each."""
    killed(Path(tmp_path), uri)
    with pytest.warns(ContinuationWarning, match="are dropped"):
        model = TorchClassifier.from_checkpoint(
            tmp_path / "checkpoints", module=Noisy, callbacks=[MLflowLogger("killed", tracking_uri=uri)]
        )
    run, metrics = logged(uri, model)
    assert [step for step, _ in metrics["step_loss"]] == list(range(1, EPOCHS * STEPS_PER_EPOCH + 1))
    assert [step for step, _ in metrics["train_loss"]] == list(range(1, EPOCHS + 1))
    assert [value for _, value in metrics["train_loss"]] == model.history_["train_loss"]
    assert run.info.status == "FINISHED"
