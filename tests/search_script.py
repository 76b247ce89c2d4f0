"""Searches killed at random moments and started again until finished; a process of its own, which forks each start.

``python search_script.py FOLDER KIND N_JOBS KILLS SEED`` prints one JSON document: the kills, and what went wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from modules import class_data
from searching import assert_same_results, net
from sklearn.model_selection import PredefinedSplit

from sktorch_continue import Callback, WarmStartGridSearchCV, WarmStartHalvingSearchCV
from sktorch_continue.estimators import stores

X, Y = class_data(36)
SPLITS = PredefinedSplit(np.repeat([0, 1], [16, 20]))  # of unlike size, so that a run tells which it is trained on
RATES = [0.01, 0.05, 0.1]
BUDGETS = [6, 2, 4]
NOTHING = (0, 0)
LONGEST = 600.0  # seconds, for a start that is to finish

stores.SECONDS_BETWEEN_WRITES = 0.0  # in every worker too, which imports this for the callback


class Logs(Callback):
    """Appends a line per trained epoch to a file: start, process, rate, rows, epoch."""

    columns = ()

    def __init__(self, path: str) -> None:
        self.path = path

    def on_epoch_end(self, run: Any) -> None:
        time.sleep(0.01)
        entry = [os.environ["START"], os.getpid(), run.optimizer.param_groups[0]["lr"], len(run.session.train)]
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, (json.dumps([*entry, run.n_epochs]) + "\n").encode())
        os.close(file)


def search(folder: Path, kind: str, n_jobs: int) -> Any:
    """Return the unfitted search of the script."""
    estimator = net(batch_size=8, callbacks=[Logs(str(folder / "log"))])
    options: dict[str, Any] = {"cv": SPLITS, "scoring": "neg_log_loss", "n_jobs": n_jobs}
    options["checkpoint_dir"] = folder / "kept"
    if kind == "grid":
        return WarmStartGridSearchCV(estimator, {"max_epochs": BUDGETS, "lr": RATES}, **options)
    return WarmStartHalvingSearchCV(
        estimator, {"lr": [*RATES, 0.2]}, factor=2, min_resources=2, max_resources=8, **options
    )


def start(folder: Path, kind: str, n_jobs: int, number: int) -> int:
    """Fork a process, in a group of its own, that runs the script, and return its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setpgid(0, 0)
        os.environ["START"] = str(number)
        fitted = search(folder, kind, n_jobs).fit(X, Y)
        torch.save(fitted.cv_results_, folder / "results.pt")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
    raise AssertionError("not reached")


def kill_after(child: int, seconds: float) -> int:
    """Kill a child and its workers after some time, unless it ends before; return its exit status."""
    due = time.monotonic() + seconds
    while time.monotonic() < due:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # its workers wait for more
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def trained_twice(log: Path) -> Iterator[str]:
    """Yield what was trained again although it was kept.

    A line is written after the epoch before it was kept, so that a chain may repeat the last epoch of its log, and no
    other. Where the same process has gone to another chain since, its scores are kept as well, and it repeats none.
    """
    furthest: dict[tuple[float, int], tuple[int, int]] = {}  # of a chain: the last start with it, the last epoch
    finished: dict[tuple[float, int], int] = {}
    latest: dict[tuple[str, int], tuple[float, int]] = {}
    for line in log.read_text().splitlines():
        begun, process, rate, rows, epoch = json.loads(line)
        chain, worker = (rate, rows), (begun, process)
        if rows == len(X):
            continue  # the best one, fitted at the end
        before = latest.get(worker)
        if before is not None and before != chain:
            finished[before] = furthest[before][1]
        latest[worker] = chain
        number, last = furthest.get(chain, NOTHING)
        if number == int(begun) and epoch != last + 1:
            yield f"start {begun}: {chain} went from epoch {last} to {epoch}"
        elif epoch <= finished.get(chain, 0):
            yield f"start {begun}: {chain} trained epoch {epoch}, and was finished to {finished[chain]}"
        elif epoch < last:
            yield f"start {begun}: {chain} began at epoch {epoch}, and had trained {last}"
        furthest[chain] = (int(begun), max(epoch, last))


def killed_search(folder: Path, kind: str, n_jobs: int, kills: int, rng: random.Random, whole: float) -> dict[str, Any]:
    """Kill a search so many times, or until it is finished, and return what was found."""
    folder.mkdir()
    problems: list[str] = []
    number = done = 0
    while True:
        number += 1
        child = start(folder, kind, n_jobs, number)
        status = kill_after(child, rng.uniform(0.02, 0.4) * whole if done < kills else LONGEST)
        if status == 0:
            break
        if status != -signal.SIGKILL:
            problems.append(f"start {number} ended with status {status}")
            break
        done += 1
    if not problems:
        problems += trained_twice(folder / "log")
        if list((folder / "kept").glob("runs/*")):
            problems.append("runs are left in the folder of a finished search")
    return {"kills": done, "problems": problems}


def main(folder: Path, kind: str, n_jobs: int, kills: int, seed: int) -> dict[str, Any]:
    """Kill searches until there were so many kills, and compare each with the one that was never killed."""
    torch.set_num_threads(1)
    rng, never = random.Random(seed), folder / "never"
    never.mkdir()
    begun = time.monotonic()
    if kill_after(start(never, kind, n_jobs, 1), LONGEST):
        raise RuntimeError("a search that nobody kills does not finish")
    whole = time.monotonic() - begun
    expected = torch.load(never / "results.pt", weights_only=False)
    found: dict[str, Any] = {"kills": 0, "searches": 0, "problems": list(trained_twice(never / "log"))}
    while found["kills"] < kills and not found["problems"]:
        place = folder / f"search-{found['searches']}"
        met = killed_search(place, kind, n_jobs, kills - found["kills"], rng, whole)
        found["searches"] += 1
        found["kills"] += met["kills"]
        found["problems"] += met["problems"]
        if not met["problems"]:
            try:
                assert_same_results(expected, torch.load(place / "results.pt", weights_only=False))
            except AssertionError as error:
                found["problems"].append(f"other results: {error}")
    return found


if __name__ == "__main__":
    warnings.simplefilter("error")
    import search_script  # by the name that workers know it by

    arguments = sys.argv[1:]
    print(json.dumps(search_script.main(Path(arguments[0]), arguments[1], *map(int, arguments[2:]))))
