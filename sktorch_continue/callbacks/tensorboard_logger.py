"""A log for TensorBoard."""

from __future__ import annotations

import importlib
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sktorch_continue.callbacks.append_file import AppendFile
from sktorch_continue.callbacks.folder_logger import FolderLogger
from sktorch_continue.callbacks.logger import numbers_of

EVENTS = "events.out.tfevents."
OURS = ".sktorch_continue"


class TensorBoardLogger(FolderLogger):
    """Log into a folder of event files that TensorBoard shows; needs the extra ``tensorboard``.

    Parameters
    ----------
    path : str, path-like, or callable
        The folder; made where it does not exist. Where another run logs there already, the next free of ``path-2``,
        ``path-3``, ... is taken, so that the folds of a search log side by side and TensorBoard, started on the folder
        above, shows each. A callable is called without arguments once per new run and returns the folder.
    every_n_steps : int or None, default=None
        Log a step when the number of completed steps, over all calls, is a multiple of this: its learning rate, and the
        mean loss over the rows since the last step that was logged in this epoch. None logs no steps and costs none.

    Raises
    ------
    TypeError, ValueError
        For arguments that cannot be meant.
    ImportError
        When training begins, if tensorboard is not installed.
    OSError
        While training: where the log cannot be written; the run stands at its last completed step.

    Warns
    -----
    ContinuationWarning
        If steps were logged and the files are gone or changed, so that those from before cannot be in the log.

    Attributes
    ----------
    folder : str or None
        Where the run is logged, absolute.

    See Also
    --------
    CSVLogger : The same as text.

    Notes
    -----
    Each numeric column of the history is a scalar over epochs, under its own name; ``step/loss`` and ``step/lr`` are
    scalars over steps. ``parameters`` is a text per call: its record in the history, and all parameters of the
    estimator.
    Scalars are single precision, as in TensorBoard's own writers.

    Every event is with the operating system before the training goes on, and the state of the callback says how long
    each file is: a run that is resumed after a kill cuts them back to where it stands, so that no epoch and no step is
    there twice and none is missing. It then goes on in a new file, since a TensorBoard that is running has read past
    the cut. Epochs and calls from before the logger was there are added from the history. A run that was killed before
    its first checkpoint is another run when ``resume_fit`` starts it again; it takes the place of what the first one
    has left.
    """

    kind = "tensorboard"

    def __init__(
        self, path: str | os.PathLike[str] | Callable[[], str | os.PathLike[str]], every_n_steps: int | None = None
    ) -> None:
        super().__init__(path, every_n_steps)
        self._writer: Any = None

    def is_log(self, name: str) -> bool:
        """Tell whether it is an event file that this package wrote; those of others in the folder stay."""
        return name.startswith(EVENTS) and name.endswith(OURS)

    def open_log(self, run: Any) -> None:
        """See that tensorboard is there before anything is touched."""
        self._writer = EventWriter()
        super().open_log(run)

    def forget(self, lost: list[str]) -> bool:
        """Have the whole history logged again: each file has events of all kinds."""
        self.n_epochs, self.n_calls, self.marks = 0, 0, []
        return self.every_n_steps is not None

    def open_files(self, run: Any, folder: Path, *, cut: bool) -> dict[str, AppendFile]:
        """Return the newest event file, or a new one after a cut."""
        if self.marks and not cut:
            mark = self.marks[-1]
            return {EVENTS: AppendFile(folder / mark["name"], mark["size"], mark["crc"])}
        name = (
            f"{EVENTS}{time.time_ns() // 1000:016d}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}{OURS}"
        )
        file = AppendFile(folder / name)
        self._writer.begin(file, first_step=run.n_steps + 1 if cut else None)
        return {EVENTS: file}

    def log_call(self, run: Any, call: dict[str, Any]) -> None:
        """Append an event with the call as a table."""
        parameters = call.pop("parameters", {})
        rows = [*call.items(), *((f"parameter {name}", value) for name, value in parameters.items())]
        table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows)
        self._writer.text(self._files[EVENTS], call["call"], "parameters", f"| | |\n|---|---|\n{table}")

    def log_epoch(self, run: Any, row: dict[str, Any]) -> None:
        """Append one event with all columns."""
        values = numbers_of(row)
        self._writer.scalars(self._files[EVENTS], values.pop("epoch"), values)

    def log_step(self, run: Any, lr: float, loss: float) -> None:
        """Append one event."""
        self._writer.scalars(self._files[EVENTS], run.n_steps, {"step/loss": loss, "step/lr": lr})


class EventWriter:
    """Events of TensorBoard, encoded by its own library and written to a file of ours.

    TensorBoard's own writer has a thread and a queue: what is in the queue is lost with the process.

    Raises
    ------
    ImportError
        If tensorboard is not installed.
    """

    def __init__(self) -> None:
        try:
            self._event: Any = importlib.import_module("tensorboard.compat.proto.event_pb2")
            self._summary: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2")
            self._record: Any = importlib.import_module("tensorboard.summary.writer.record_writer").RecordWriter
        except ImportError as error:
            raise ImportError(
                f"TensorBoardLogger needs tensorboard ({error}): pip install 'sktorch-continue[tensorboard]'"
            ) from error

    def begin(self, file: AppendFile, *, first_step: int | None) -> None:
        """Write how a file begins; `first_step` has a TensorBoard that is running forget what it has read past it."""
        self._write(file, 0, file_version="brain.Event:2")
        if first_step is not None:
            log = self._event.SessionLog
            self._write(file, first_step, session_log=log(status=log.START))

    def scalars(self, file: AppendFile, step: int, values: dict[str, int | float]) -> None:
        """Write one event with a scalar per name."""
        entries = [self._summary.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(file, step, summary=self._summary.Summary(value=entries))

    def text(self, file: AppendFile, step: int, tag: str, text: str) -> None:
        """Write one event with a text, in Markdown."""
        value = self._summary.Summary.Value(tag=tag)
        value.metadata.plugin_data.plugin_name = "text"
        value.tensor.dtype = 7  # a string
        value.tensor.tensor_shape.dim.add(size=1)
        value.tensor.string_val.append(text.encode())
        self._write(file, step, summary=self._summary.Summary(value=[value]))

    def _write(self, file: AppendFile, step: int, **content: Any) -> None:
        event = self._event.Event(wall_time=time.time(), step=step, **content)
        self._record(file).write(event.SerializeToString())


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("|", "\\|").replace("\n", " ")
