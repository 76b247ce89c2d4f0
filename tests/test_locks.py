"""P4, one writer: a run folder belongs to one run, to one branch of it, and to one process at a time."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from killing import X as ROWS
from killing import Y as LABELS
from killing import estimator, unreadable
from modules import Noisy, assert_untouched, class_data, snapshot

from sktorch_continue import Callback, Checkpoint, CheckpointError, TorchClassifier
from sktorch_continue.checkpoint import RunFolder
from sktorch_continue.testing import Interrupt, assert_same_run

X, Y = class_data(40)
START = Path(__file__).with_name("start_script.py")


def classifier(*callbacks: Callback, **params: Any) -> TorchClassifier:
    """Return a classifier of 2 epochs of 2 steps."""
    defaults = {"module": Noisy, "batch_size": 16, "max_epochs": 2, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, **params, "callbacks": list(callbacks)})


def process(folder: Path, variant: str, count: int = 1) -> subprocess.Popen[str]:
    """Return a process, or one that forks some, to start or resume the run of a folder when told."""
    command = [sys.executable, str(START), str(folder), variant, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder but the lock."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def begin_and_kill(folder: Path) -> int:
    """Kill a process once it has stored a checkpoint, and return how many steps it stored."""
    with process(folder, "always") as first:
        start(first)
        while first.poll() is None and not list(folder.glob("epoch-*")):
            time.sleep(0.001)
        first.kill()
    return int(RunFolder(folder).newest_sound()[1]["summary"]["n_steps"])


def start(other: subprocess.Popen[str]) -> None:
    """Tell a process to begin, once it is ready."""
    assert other.stdout.readline() == "ready\n"
    other.stdin.write("\n")
    other.stdin.flush()


@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
def test_of_four_processes_in_one_folder_one_trains(tmp_path, begun):
    """The others are told, or find the run finished; the run is the one that a single process trains."""
    folder = tmp_path / "run"
    done = begin_and_kill(folder) if begun else 0
    with process(folder, "always", 4) as processes:
        assert [processes.stdout.readline() for _ in range(4)] == ["ready\n"] * 4
        answers, complaints = processes.communicate()  # closes what they read from: all begin at once
    assert complaints == ""
    met = [json.loads(answer) for answer in answers.splitlines()]
    assert sorted(one["steps"] for one in met) == [0, 0, 0, 30 - done]
    told = ("another training is writing", "holds another run", "has not been")
    for one in met:
        assert one["refused"] is None or (one["steps"] == 0 and any(words in one["refused"] for words in told))
    assert unreadable(folder) == []
    whole = estimator(tmp_path / "whole", "always").fit(ROWS, LABELS)
    assert_same_run(whole, estimator(folder, "always").load_checkpoint(folder), ROWS)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_lock_lives_and_dies_with_its_process(tmp_path):
    """While a process has the folder another is told; once it is killed the folder is free, and the run is exact."""
    folder = tmp_path / "run"
    with process(folder, "always") as other:
        start(other)
        while other.poll() is None and not list(folder.glob("epoch-*")):
            time.sleep(0.001)
        other.send_signal(signal.SIGSTOP)  # it holds the lock and does nothing
        assert other.poll() is None
        with pytest.raises(CheckpointError, match="another training is writing"):
            estimator(folder, "always").resume_fit(ROWS, LABELS)
        other.kill()
    assert other.returncode == -signal.SIGKILL
    whole = estimator(tmp_path / "whole", "always").fit(ROWS, LABELS)
    assert_same_run(whole, estimator(folder, "always").resume_fit(ROWS, LABELS), ROWS)


class Inside(Callback):
    """Lets another estimator train at the end of the first epoch."""

    columns = ()
    other: list[TorchClassifier] = []  # noqa: RUF012
    told: list[str] = []  # noqa: RUF012

    def on_epoch_end(self, run: Any) -> None:
        for other in self.other:
            try:
                other.fit(X, Y)
            except CheckpointError as error:
                self.told.append(str(error))


def test_two_estimators_of_one_process_do_not_write_to_one_folder(tmp_path, monkeypatch):
    """The second is told while the first trains, and the first is undisturbed."""
    whole = classifier(Inside(), Checkpoint(tmp_path / "whole")).fit(X, Y)
    second = classifier(Checkpoint(tmp_path / "run"))
    monkeypatch.setattr(Inside, "other", [second])
    monkeypatch.setattr(Inside, "told", [])
    first = classifier(Inside(), Checkpoint(tmp_path / "run")).fit(X, Y)
    assert len(Inside.told) == 2
    assert all("another training is writing" in told for told in Inside.told)
    assert not hasattr(second, "module_")
    assert_same_run(whole, first, X)


def test_of_four_threads_in_one_folder_one_trains(tmp_path):
    """Whatever order they come in, one writes, and the others are told or find the run finished."""
    models = [classifier(Checkpoint(tmp_path / "run")) for _ in range(4)]
    told: list[str] = []
    barrier = threading.Barrier(4)

    def resume(model: TorchClassifier) -> None:
        barrier.wait()
        try:
            model.resume_fit(X, Y)
        except CheckpointError as error:
            told.append(str(error))

    threads = [threading.Thread(target=resume, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fitted = [model for model in models if hasattr(model, "module_")]
    assert len(fitted) + len(told) == 4
    assert len({model._run.id for model in fitted}) == 1
    whole = classifier(Checkpoint(tmp_path / "whole")).fit(X, Y)
    for model in fitted:
        assert_same_run(whole, model, X)


def test_a_new_run_is_refused_in_a_folder_that_holds_another(tmp_path):
    """Before the first step: the estimator is as it was, fitted or not, and so is the folder."""
    classifier(Checkpoint(tmp_path / "run")).fit(X, Y)
    before = contents(tmp_path / "run")
    new = classifier(Checkpoint(tmp_path / "run"), random_state=1)
    with pytest.raises(CheckpointError, match="holds another run"):
        new.fit(X, Y)
    assert not hasattr(new, "module_")
    fitted = classifier(Checkpoint(tmp_path / "other"), random_state=1).fit(X, Y)
    fitted.set_params(callbacks=[Checkpoint(tmp_path / "run")])
    known = snapshot(fitted)
    for verb in (fitted.fit, fitted.continue_fit, fitted.partial_fit):
        with pytest.raises(CheckpointError, match="holds another run"):
            verb(X, Y)
        assert_untouched(fitted, known)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("elsewhere", [0, 2, 4], ids=lambda epochs: f"{epochs} epochs elsewhere")
def test_a_second_branch_of_the_run_is_refused(tmp_path, elsewhere):
    """A pickled copy that was left behind, or that went on in another folder, is not mixed with the first."""
    model = classifier(Checkpoint(tmp_path / "run")).fit(X, Y)
    branch = pickle.loads(pickle.dumps(model))
    model.continue_fit(X, Y)
    if elsewhere:
        branch.set_params(callbacks=[Checkpoint(tmp_path / "branch")]).continue_fit(X, Y, max_epochs=elsewhere)
        branch.set_params(callbacks=[Checkpoint(tmp_path / "run")])
    known, before = snapshot(branch), contents(tmp_path / "run")
    with pytest.raises(CheckpointError, match="has not been"):
        branch.continue_fit(X, Y)
    assert_untouched(branch, known)
    assert contents(tmp_path / "run") == before


def test_a_branch_that_is_behind_inside_an_epoch_is_refused(tmp_path):
    """Steps of an epoch that is not complete yet count as well: the copy has not taken them."""
    checkpoint = Checkpoint(tmp_path / "run", every_n_steps=1)
    model = classifier(checkpoint, Interrupt(None)).fit(X, Y)
    branch = pickle.loads(pickle.dumps(model))
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[checkpoint, Interrupt(5)]).continue_fit(X, Y)
    with pytest.raises(CheckpointError, match="has not been"):
        branch.continue_fit(X, Y)


def test_the_same_run_goes_on_in_its_folder(tmp_path):
    """In memory, and as a copy while nothing else went on; every piece is exact."""
    model = classifier(Checkpoint(tmp_path / "run")).fit(X, Y)
    copied = pickle.loads(pickle.dumps(model.continue_fit(X, Y)))
    copied.continue_fit(X, Y)
    whole = classifier(Checkpoint(tmp_path / "whole"), max_epochs=6).fit(X, Y)
    assert_same_run(whole, copied, X)
