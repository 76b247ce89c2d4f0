"""verbose=1: one line that moves in a terminal and a notebook, plain lines elsewhere; nothing of the run changes."""

import importlib.util
import io
import re
import sys
import threading
import time
import types

import pytest
from modules import Linear, Noisy, Raise, class_data

from sktorch_continue import Callback, EpochScoring, TorchClassifier
from sktorch_continue.callbacks import ProgressLine, progress_line
from sktorch_continue.testing import assert_same_run

X, Y = class_data()
HAS_TQDM = importlib.util.find_spec("tqdm") is not None
needs_tqdm = pytest.mark.skipif(not HAS_TQDM, reason="tqdm is not installed")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


class Slow(Callback):
    """Makes every step longer than the line takes to be drawn again."""

    def on_step_begin(self, run):
        time.sleep(0.11)


class StopAfter(Callback):
    """Stops the run after an epoch."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_end(self, run):
        if run.n_epochs == self.n_epochs:
            run.stop("enough")


def net(**params):
    """Return an unfitted classifier of 3 steps per epoch that shows its progress."""
    defaults = {"module": Linear, "max_epochs": 2, "batch_size": 8, "random_state": 0, "verbose": 1}
    return TorchClassifier(**{**defaults, **params})


def shown(model, stream):
    """Return the text in a stream, times as T, values by their names in the history, training losses numbered."""
    text = re.sub(r"\d+:\d\d(:\d\d)?|\?", "T", stream.getvalue())
    for number, row in enumerate(model.history_, start=1):
        for name in ("train_loss", "valid_loss", "valid_accuracy"):
            if name in row:
                text = text.replace(f"{name}={row[name]:.4g}", f"{name}{number}" if name == "train_loss" else name)
    return text


@pytest.fixture
def printed_to(monkeypatch):
    """Return a function that makes a stream standard output; in the test itself, since pytest captures anew there."""

    def replace(stream):
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return replace


@needs_tqdm
def test_a_terminal_shows_one_line_that_moves_within_epochs(printed_to):
    """Every step draws the same line again; it ends with the newest losses, and with one line break."""
    terminal = printed_to(Terminal())
    model = net(callbacks=[Slow()]).fit(X, Y)
    assert [frame.rstrip() for frame in shown(model, terminal).split("\r")] == [
        "",
        "epoch 1/2 |          | T<T",
        "epoch 1/2 |#6        | T<T",
        "epoch 1/2 |###3      | T<T",
        "epoch 1/2 |#####     | T<T",
        "epoch 2/2 |######6   | T<T, train_loss1",
        "epoch 2/2 |########3 | T<T, train_loss1",
        "epoch 2/2 |##########| T<T, train_loss1",
        "epoch 2/2 |##########| T<T, train_loss2",
    ]
    assert terminal.getvalue().count("\n") == 1


@needs_tqdm
def test_a_continued_run_shows_what_the_call_adds(printed_to):
    """Epoch n of the new total, and in brackets how many of them are of this call; the bar starts where it stands."""
    terminal = printed_to(Terminal())
    model = net(verbose=0).fit(X, Y)
    model.set_params(verbose=1, callbacks=[Slow()]).continue_fit(X, Y, max_epochs=2)
    frames = [frame.rstrip() for frame in shown(model, terminal).split("\r")]
    assert frames[1] == "epoch 3/4 (+1) |#####     | T<T"
    assert frames[-1] == "epoch 4/4 (+2) |##########| T<T, train_loss4"


@needs_tqdm
def test_a_notebook_shows_the_same_line(monkeypatch):
    """Its stream is no terminal, and draws a line again all the same."""
    notebook = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stdout", notebook)
    model = net().fit(X, Y)
    assert not notebook.isatty()
    assert shown(model, notebook).split("\r")[-1].rstrip() == "epoch 2/2 |##########| T<T, train_loss2"


def test_a_log_has_plain_lines(printed_to):
    """No line is drawn again; a short call has a line per epoch, with losses and scores."""
    log = printed_to(io.StringIO())
    model = net(validation_fraction=0.25, callbacks=[EpochScoring("accuracy")]).fit(X, Y)
    assert shown(model, log) == (
        "epoch 1/2: train_loss1, valid_loss, valid_accuracy [T<T]\n"
        "epoch 2/2: train_loss2, valid_loss, valid_accuracy [T<T]\n"
    )
    log.truncate(log.seek(0))
    model.continue_fit(X, Y, max_epochs=1)
    assert shown(model, log) == "epoch 3/3 (+1): train_loss3, valid_loss, valid_accuracy [T<T]\n"


def test_a_long_call_has_a_line_per_tenth(printed_to):
    """Of 40 epochs the first is said, then every fourth; none that is 60 seconds late is left out."""
    log = printed_to(io.StringIO())
    net(max_epochs=40).fit(X, Y)
    numbers = [int(number) for number in re.findall(r"epoch (\d+)/40", log.getvalue())]
    assert numbers == [1, *range(4, 41, 4)]


def test_a_slow_call_says_so_every_minute(monkeypatch):
    """Where epochs take 40 seconds, every second of 100 has a line."""
    log = io.StringIO()
    clock = iter(range(0, 10_000, 40))
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: float(next(clock)))
    display = progress_line.PlainLines(log, 0, 1000, "")
    for n in range(1, 8):
        display.complete(f"epoch {n}/1000", "train_loss=1", n)
    assert re.findall(r"epoch (\d+)/.*\[(.*)\]", log.getvalue()) == [
        ("1", "00:40<11:06:00"),
        ("3", "02:00<11:04:40"),
        ("5", "03:20<11:03:20"),
        ("7", "04:40<11:02:00"),
    ]


def test_without_tqdm_a_terminal_has_plain_lines(printed_to, monkeypatch):
    """The extra is optional, and nothing is lost but the movement."""
    terminal = printed_to(Terminal())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(progress_line.importlib.util, "find_spec", lambda name: None)
    model = net().fit(X, Y)
    assert shown(model, terminal) == "epoch 1/2: train_loss1 [T<T]\nepoch 2/2: train_loss2 [T<T]\n"


@pytest.mark.parametrize("stream", [io.StringIO, pytest.param(Terminal, marks=needs_tqdm)])
def test_a_run_that_is_stopped_says_why(stream, monkeypatch):
    """The last line is there, whether it was due or not, and the reason after it."""
    file = stream()
    monkeypatch.setattr(sys, "stdout", file)
    model = net(max_epochs=100, callbacks=[StopAfter(3)]).fit(X, Y)
    *_, last, reason = shown(model, file).replace("\r", "\n").splitlines()
    assert re.fullmatch(r"epoch 3/100(: train_loss3 \[T<T\]| \|3\s+\| T<T, train_loss3) *", last.replace("#", ""))
    assert reason == "stopped after epoch 3: enough"


@pytest.mark.parametrize("stream", [io.StringIO, pytest.param(Terminal, marks=needs_tqdm)])
@pytest.mark.parametrize("hook", ["on_step_end", "on_epoch_end"])
def test_an_error_leaves_the_last_state(stream, hook, monkeypatch):
    """What is printed next begins in a line of its own."""
    file = stream()
    monkeypatch.setattr(sys, "stdout", file)
    with pytest.raises(RuntimeError, match=hook):
        net(callbacks=[Raise(hook, 2)]).fit(X, Y)
    assert file.getvalue() == "" or file.getvalue().endswith("\n")


@pytest.mark.parametrize("stream", [None, types.SimpleNamespace(write=len, flush=int)], ids=["none", "no isatty"])
def test_a_process_without_a_console_trains(stream, monkeypatch):
    """Standard output may be None, or an object that knows nothing but write and flush."""
    monkeypatch.setattr(sys, "stdout", stream)
    assert net().fit(X, Y).n_epochs_ == 2


@pytest.mark.parametrize("verbose", [1, 2])
@pytest.mark.parametrize("stream", [io.StringIO, pytest.param(Terminal, marks=needs_tqdm)])
def test_showing_is_no_part_of_the_run(verbose, stream, monkeypatch):
    """No bit, no callback and no thread more than without."""
    monkeypatch.setattr(sys, "stdout", stream())
    threads = threading.active_count()
    loud = net(module=Noisy, verbose=verbose).fit(X, Y).continue_fit(X, Y)
    assert threading.active_count() == threads
    assert loud.callbacks_ == {}
    assert_same_run(loud, net(module=Noisy, verbose=0, max_epochs=4).fit(X, Y), X)


def test_a_line_goes_where_it_is_told():
    """A ProgressLine with a file of its own writes there."""
    file = io.StringIO()
    line = ProgressLine(file)
    model = net(verbose=0).fit(X, Y)
    run = types.SimpleNamespace(n_epochs=1, max_epochs=2, history=model.history_, progress=model._run.progress)
    line.on_train_begin(run)
    line.on_epoch_begin(run)
    run.n_epochs = 2
    line.on_epoch_end(run)
    line.on_train_end(run)
    assert shown(model, file) == "epoch 2/2 (+1): train_loss2 [T<T]\n"
