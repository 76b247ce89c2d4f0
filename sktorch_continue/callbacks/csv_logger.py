"""A log in CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sktorch_continue.callbacks.append_file import AppendFile, replaced
from sktorch_continue.callbacks.folder_logger import FolderLogger
from sktorch_continue.callbacks.logger import numbers_of

EPOCHS, STEPS, CALLS = "epochs.csv", "steps.csv", "calls.jsonl"
STEP_COLUMNS = ("step", "epoch", "lr", "loss")


class CSVLogger(FolderLogger):
    """Log into a folder of text files: ``epochs.csv``, ``calls.jsonl`` and, where asked for, ``steps.csv``.

    Parameters
    ----------
    path : str, path-like, or callable
        The folder; made where it does not exist. Where another run logs there already, the next free of ``path-2``,
        ``path-3``, ... is taken, so that the folds of a search log side by side. A callable is called without arguments
        once per new run and returns the folder.
    every_n_steps : int or None, default=None
        Log a step when the number of completed steps, over all calls, is a multiple of this: its learning rate, and the
        mean loss over the rows since the last step that was logged in this epoch. None logs no steps and costs none.

    Raises
    ------
    TypeError, ValueError
        For arguments that cannot be meant.
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
    TensorBoardLogger, MLflowLogger : The same for programs that draw it.

    Notes
    -----
    ``epochs.csv`` has the numeric columns of the history, and a row per epoch; a cell is empty where the epoch lacks
    the column. ``steps.csv`` has ``step``, ``epoch`` (from 1), ``lr`` and ``loss``. Numbers are written so that reading
    them gives the same float64. ``calls.jsonl`` has a line of JSON per call: its record in the history, and all
    parameters of the estimator as text and numbers.

    Every line is with the operating system before the training goes on, and the state of the callback says how long
    each file is: a run that is resumed after a kill cuts them back to where it stands, so that no epoch and no step is
    there twice and none is missing. Epochs and calls from before the logger was there are added from the history. A run
    that was killed before its first checkpoint is another run when ``resume_fit`` starts it again; it takes the place
    of what the first one has left.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from sktorch_continue import CSVLogger, TorchClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = TorchClassifier(max_epochs=3, callbacks=[CSVLogger(folder)], random_state=0).fit(X, y)
    ...     print(Path(folder, "epochs.csv").read_text().splitlines()[0])
    epoch,call,n_steps,lr,train_loss,duration
    """

    kind = "csv"

    def is_log(self, name: str) -> bool:
        """Tell whether it is one of the three files."""
        return name in (EPOCHS, STEPS, CALLS)

    def forget(self, lost: list[str]) -> bool:
        """Have the history logged again into files that are lost."""
        self.n_epochs = 0 if EPOCHS in lost else self.n_epochs
        self.n_calls = 0 if CALLS in lost else self.n_calls
        self.marks = [mark for mark in self.marks if mark["name"] not in lost]
        return STEPS in lost

    def open_files(self, run: Any, folder: Path, *, cut: bool) -> dict[str, AppendFile]:
        """Return the files, those that are new with their header."""
        marks = {mark["name"]: mark for mark in self.marks}
        names = [EPOCHS, CALLS, *([] if self.every_n_steps is None else [STEPS])]
        files = {
            n: AppendFile(folder / n, marks.get(n, {}).get("size", 0), marks.get(n, {}).get("crc", 0)) for n in names
        }
        if STEPS in files and not files[STEPS].size:
            files[STEPS].write(_lines([STEP_COLUMNS]))
        self._header = list(dict.fromkeys(name for row in run.history[: self.n_epochs] for name in numbers_of(row)))
        return files

    def log_call(self, run: Any, call: dict[str, Any]) -> None:
        """Append a line of JSON."""
        self._files[CALLS].write(json.dumps(call).encode() + b"\n")

    def log_epoch(self, run: Any, row: dict[str, Any]) -> None:
        """Append a row; one with a new column has the file written anew, under a longer header."""
        cells = numbers_of(row)
        new = [name for name in cells if name not in self._header]
        if not new:
            self._files[EPOCHS].write(_lines([[cells.get(name) for name in self._header]]))
            return
        self._header += new
        rows = [numbers_of(before) for before in run.history[: self.n_epochs]] + [cells]
        table: list[Iterable[Any]] = [self._header, *([r.get(name) for name in self._header] for r in rows)]
        self._files[EPOCHS].close()
        self._files[EPOCHS] = replaced(self._files[EPOCHS].path, _lines(table))

    def log_step(self, run: Any, lr: float, loss: float) -> None:
        """Append a row."""
        self._files[STEPS].write(_lines([[run.n_steps, run.n_epochs + 1, lr, loss]]))


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
