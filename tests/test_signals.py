"""P4, signals: Ctrl-C and SIGTERM between steps store the run, end the fit, and leave the process as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from killing import WRITING, entries, estimator, unreadable
from modules import Noisy, class_data

from sktorch_continue import Callback, Checkpoint, TorchClassifier
from sktorch_continue.checkpoint import read_newest
from sktorch_continue.testing import assert_same_run

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

X, Y = class_data(40)
START = Path(__file__).with_name("start_script.py")
SEEN: list[Any] = []
OWN = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Begin with Python's own handlers, whatever runs the tests, and put back what was there."""
    before = {number: signal.signal(number, own) for number, own in OWN.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Does(Callback):
    """Does something at a step, before or after the optimizer has moved the weights."""

    columns = ()

    def __init__(self, what: Any = None, at: int = 0, hook: str = "on_step_end") -> None:
        self.what = what
        self.at = at
        self.hook = hook

    def on_gradients(self, run: Any) -> None:
        if self.what is not None and self.hook == "on_gradients" and run.n_steps == self.at - 1:
            self.what()

    def on_step_end(self, run: Any) -> None:
        if self.what is not None and self.hook == "on_step_end" and run.n_steps == self.at:
            self.what()


def classifier(*callbacks: Callback, **params: Any) -> TorchClassifier:
    """Return a classifier of 3 epochs of 2 steps."""
    defaults = {"module": Noisy, "batch_size": 16, "max_epochs": 3, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, **params, "callbacks": list(callbacks)})


def ctrl_c() -> None:
    """Press Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def terminate() -> None:
    """Do what a cluster does that wants its machine back."""
    signal.raise_signal(signal.SIGTERM)


def remember_handlers() -> None:
    """Keep the handlers that are in place."""
    SEEN.append([signal.getsignal(number) for number in OWN])


def fail() -> None:
    """Fail as a callback of the user may."""
    raise ArithmeticError("a callback failed")


SIGNALS = {signal.SIGINT: (ctrl_c, KeyboardInterrupt), signal.SIGTERM: (terminate, SystemExit)}
ENDS = {
    "finished": (None, None),
    "failed": (fail, ArithmeticError),
    "SIGINT": SIGNALS[signal.SIGINT],
    "SIGTERM": SIGNALS[signal.SIGTERM],
}


def test_sigterm_while_a_checkpoint_is_written_ends_with_143_and_loses_nothing(tmp_path):
    """The process stores the run and ends as one that SIGTERM ended; the same script finishes it exactly."""
    folder = tmp_path / "run"
    command = [sys.executable, str(START), str(folder), "always", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdin.write("\n")
        process.stdin.flush()
        while process.poll() is None and not (list(folder.glob("epoch-*")) and entries(folder, WRITING)):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate()
    assert (process.returncode, complaints) == (143, "")
    assert unreadable(folder) == []
    assert entries(folder, WRITING) == set()
    data = class_data(120)
    stored = estimator(folder, "always").load_checkpoint(folder)
    assert 0 < stored.n_steps_ < 30
    whole = estimator(tmp_path / "whole", "always").fit(*data)
    assert_same_run(whole, estimator(folder, "always").resume_fit(*data), data[0])


@pytest.mark.parametrize("hook", ["on_gradients", "on_step_end"])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_signal_stores_the_step_and_leaves_the_estimator_sound(tmp_path, number, hook, at):
    """The last completed step is stored; what is in memory and what is on disk both resume exactly."""
    kept = at - (hook == "on_gradients")  # before the weights are moved a step is given up, after that it is finished
    send, error = SIGNALS[number]
    model = classifier(Does(send, at, hook), Checkpoint(tmp_path / "run"))
    with pytest.raises(error) as raised:
        model.fit(X, Y)
    assert number == signal.SIGINT or raised.value.code == 143
    quiet = [Does(), Checkpoint(tmp_path / "run")]
    whole = classifier(Does(), Checkpoint(tmp_path / "whole")).fit(X, Y)
    if kept:
        _, contents = read_newest(tmp_path / "run", pytest.fail)
        assert contents["summary"]["n_steps"] == model.n_steps_ == kept
        model.predict(X)
        memory = classifier(Does(), Checkpoint(tmp_path / "memory")).load_checkpoint(tmp_path / "run")
        assert_same_run(whole, memory.resume_fit(X, Y), X)
    else:
        assert not hasattr(model, "module_")
        assert read_newest(tmp_path / "run", pytest.fail) is None
    assert_same_run(whole, model.set_params(callbacks=quiet).resume_fit(X, Y), X)


@pytest.mark.parametrize("end", ENDS)
def test_previous_handlers_are_back_however_a_fit_ends(end):
    """Also after an error and after a signal; while it ran there were others."""
    what, error = ENDS[end]
    SEEN.clear()
    model = classifier().set_params(callbacks=[("watch", Does(remember_handlers, at=1)), ("does", Does(what, at=2))])
    if error is None:
        model.fit(X, Y)
    else:
        with pytest.raises(error):
            model.fit(X, Y)
    assert {number: signal.getsignal(number) for number in OWN} == OWN
    assert all(handler not in OWN.values() for handler in SEEN[0])


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_handler_of_the_users_own_is_never_replaced(tmp_path, number):
    """It is called at once, the fit goes on, and it is still there afterwards."""
    called: list[int] = []

    def mine(received: int, frame: Any) -> None:
        called.append(received)

    signal.signal(number, mine)
    model = classifier(Does(SIGNALS[number][0], at=2), Checkpoint(tmp_path / "run")).fit(X, Y)
    assert called == [number]
    assert model.n_epochs_ == 3
    assert signal.getsignal(number) is mine


def test_signals_are_watched_only_while_a_fit_runs():
    """Building, predicting, scoring and storing leave Python's own handlers where they are."""
    model = classifier().fit(X, Y)
    for verb in (model.predict, model.predict_proba, lambda X: model.score(X, Y), lambda X: model.resume_fit(X, Y)):
        verb(X)
        assert {number: signal.getsignal(number) for number in OWN} == OWN
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def terminate_twice() -> None:
    """Do what a cluster does whose supervisor sends the signal as well."""
    terminate()
    terminate()


def test_two_terminations_inside_a_step_are_one(tmp_path):
    """A second SIGTERM does not cut the step that is finished for the first; the step is stored."""
    with pytest.raises(SystemExit):
        classifier(Does(terminate_twice, 3), Checkpoint(tmp_path / "run", every_n_epochs=None)).fit(X, Y)
    _, contents = read_newest(tmp_path / "run", pytest.fail)
    assert contents["summary"]["n_steps"] == 3


class Impatient(Callback):
    """Is interrupted again while it is told of the first interrupt."""

    columns = ()

    def on_exception(self, run: Any, error: BaseException) -> None:
        raise KeyboardInterrupt("again")


def test_everybody_is_told_of_an_interrupt_that_is_followed_by_another(tmp_path):
    """A callback that Ctrl-C cuts while it is told of the first one keeps no other from storing and letting go."""
    model = classifier(Impatient(), Does(ctrl_c, 3), Checkpoint(tmp_path / "run", every_n_epochs=None))
    with pytest.raises(KeyboardInterrupt) as raised:
        model.fit(X, Y)
    assert any("again" in note for note in raised.value.__notes__)
    again = classifier(Does(), Impatient(), Checkpoint(tmp_path / "run")).resume_fit(X, Y)
    assert again.n_epochs_ == 3


def ctrl_c_and_fail() -> None:
    """Press Ctrl-C where it is held back, and fail before it is raised."""
    ctrl_c()
    fail()


def test_a_signal_that_an_error_overtakes_is_not_lost():
    """Ctrl-C that was held back when a callback failed is raised after the error has been told."""
    with pytest.raises(KeyboardInterrupt) as raised:
        classifier(Does(ctrl_c_and_fail, 3)).fit(X, Y)
    assert isinstance(raised.value.__context__, ArithmeticError)
