"""One line that says how far a call has come, for ``verbose=1``."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import Any

from sktorch_continue.callbacks.base import Callback
from sktorch_continue.history import short

COUNTERS = ("epoch", "call", "n_steps", "lr", "duration")  # of a row of the history; the rest are losses and scores
SECONDS_BETWEEN_LINES = 60.0


class ProgressLine(Callback):
    """Show the epoch, of how many, what the call has added so far, and the newest losses and scores.

    In a terminal and in a notebook it is one line, drawn by tqdm, that moves on while an epoch trains. Elsewhere, as in
    a log file, and where tqdm is not installed, it is a plain line after the first epoch of the call, whenever another
    tenth of it is done, and when a minute has passed since the last. It watches a call and is no part of the run.

    Parameters
    ----------
    file : text stream, optional
        Where to write; by default ``sys.stdout`` as it is when the call begins.
    """

    columns = ()
    only_watches = True
    reads_max_epochs = False

    def __init__(self, file: Any = None) -> None:
        self.file = file
        self._display: MovingLine | PlainLines | None = None

    @property
    def unused_hooks(self) -> tuple[str, ...]:  # type: ignore[override]
        """That of a step, where plain lines are printed: they say what is complete."""
        return () if can_move(self._stream()) else ("on_step_end",)

    def on_train_begin(self, run: Any) -> None:
        """Find out where the call stands, and what the stream can show."""
        self._file = self._stream()
        self._first = run.n_epochs
        kind: Any = MovingLine if can_move(self._file) else PlainLines
        self._display = kind(self._file, self._first, run.max_epochs, self._text(run, self._first + 1))

    def on_epoch_begin(self, run: Any) -> None:
        """Name the epoch that begins."""
        self._shown.name(self._text(run, run.n_epochs + 1))

    def on_step_end(self, run: Any) -> None:
        """Move on within the epoch."""
        if isinstance(self._display, MovingLine):
            self._display.move(run.n_epochs + run.progress.begun.rows_done / run.session.n_rows)

    def on_epoch_end(self, run: Any) -> None:
        """Show the losses and scores of the epoch."""
        values = {name: value for name, value in run.history[-1].items() if name not in COUNTERS}
        shown = ", ".join(f"{name}={short(value)}" for name, value in values.items())
        self._shown.complete(self._text(run, run.n_epochs), shown, run.n_epochs)

    def on_train_end(self, run: Any) -> None:
        """Leave the last state, and say why training ended before its target."""
        self._shown.end()
        if run.progress.stopped is not None:
            print(f"stopped after epoch {run.n_epochs}: {run.progress.stopped}", file=self._file, flush=True)

    def on_exception(self, run: Any, error: BaseException) -> None:
        """Leave the last state."""
        if self._display is not None:
            self._display.end()

    def _stream(self) -> Any:
        return sys.stdout if self.file is None else self.file

    @property
    def _shown(self) -> MovingLine | PlainLines:
        if self._display is None:
            raise RuntimeError("a ProgressLine shows something only while a call trains")
        return self._display

    def _text(self, run: Any, epoch: int) -> str:
        added = f" (+{epoch - self._first})" if self._first else ""
        return f"epoch {epoch}/{run.max_epochs}{added}"


def can_move(file: Any) -> bool:
    """Tell whether a line on this stream can be drawn again: in a terminal or a notebook, by tqdm."""
    in_notebook = type(file).__module__.split(".")[0] == "ipykernel"  # no terminal, and draws a line again all the same
    in_terminal = hasattr(file, "isatty") and file.isatty()
    return (in_notebook or in_terminal) and importlib.util.find_spec("tqdm") is not None


class MovingLine:
    """One line that is drawn again, at most ten times a second."""

    def __init__(self, file: Any, first: int, last: int, text: str) -> None:
        from tqdm import tqdm

        class Line(tqdm):
            monitor_interval = 0  # no thread beside the training; every step looks at the time instead

        self._line = Line(
            desc=text,
            file=file,
            initial=first,
            total=last,
            miniters=0,
            leave=None,  # the line stays, unless it is inside a bar of the user's
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {elapsed}<{remaining}{postfix}",
        )

    def name(self, text: str) -> None:
        """Say which epoch trains."""
        self._line.set_description_str(text, refresh=False)

    def move(self, position: float) -> None:
        """Stand within an epoch; positions are epochs over all calls."""
        self._line.update(position - self._line.n)

    def complete(self, text: str, scores: str, n_epochs: int) -> None:
        """Say which epoch is complete, and what it gave."""
        self._line.set_description_str(text, refresh=False)
        self._line.set_postfix_str(scores, refresh=False)
        self.move(n_epochs)

    def end(self) -> None:
        """Leave the last state for good."""
        self._line.close()


class PlainLines:
    """Lines that say how far it is, few of them."""

    def __init__(self, file: Any, first: int, last: int, text: str) -> None:
        self._file = file
        self._first = first
        self._n = last - first
        self._started = self._last = time.monotonic()
        self._tenth = -1
        self._unsaid = ""

    def name(self, text: str) -> None:
        """Nothing: a line is only for what is complete."""

    def complete(self, text: str, scores: str, n_epochs: int) -> None:
        """Say what an epoch gave, where a line is due."""
        now, done = time.monotonic(), n_epochs - self._first
        seconds = now - self._started
        clock = f"{_clock(seconds)}<{_clock(seconds / done * (self._n - done))}"
        self._unsaid = f"{text}: {scores} [{clock}]"
        tenth = 10 * done // self._n
        if tenth > self._tenth or now - self._last >= SECONDS_BETWEEN_LINES:
            self._tenth, self._last = tenth, now
            self._say()

    def end(self) -> None:
        """Say what the last epoch gave, where that was not due."""
        self._say()

    def _say(self) -> None:
        if self._unsaid:
            print(self._unsaid, file=self._file, flush=True)
        self._unsaid = ""


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"
