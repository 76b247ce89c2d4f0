"""Trainings killed at random moments and started again until finished; a process of its own, which forks each start.

``python killing.py FOLDER RUNS SEED`` prints one JSON document: what each run met, and what went wrong.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import torch
from modules import Noisy, class_data

from sktorch_continue import Checkpoint, EarlyStopping, TorchClassifier
from sktorch_continue.checkpoint import RunFolder, read_checkpoint
from sktorch_continue.testing import first_difference, run_state

X, Y = class_data(120)
EPOCHS = 6
WRITING = re.compile(r"\.epoch-.*\.tmp-.*")
REMOVING = re.compile(r"\.epoch-.*\.old-.*")
LEFT = re.compile(r"\.epoch-.*")
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "steps": {"every_n_steps": 2, "keep_best": 1},
    "one": {"every_n_steps": 3, "keep_last": 1},
    "epochs": {"keep_last": 2, "keep_best": 2},
    "always": {"every_n_epochs": None, "every_n_seconds": 0, "keep_last": 2, "keep_best": 1},
}
KILLS = ("clock", "clock", "begin", "write", "removal")


def estimator(folder: Path, variant: str) -> TorchClassifier:
    """Return the estimator of the script: every part has a state, and most of it is random."""
    return TorchClassifier(
        Noisy,
        optimizer="Adam",
        lr=0.01,
        lr_scheduler="OneCycleLR",
        lr_scheduler__max_lr=0.05,
        lr_scheduler_interval="step",
        batch_size=20,
        max_epochs=EPOCHS,
        validation_fraction=0.25,
        random_state=3,
        callbacks=[EarlyStopping(patience=4), Checkpoint(folder, **CHECKPOINTS[variant])],
    )


def script(folder: Path, variant: str) -> None:
    """The one script of the first start and of every restart; a warning ends it."""
    warnings.simplefilter("error")
    estimator(folder, variant).resume_fit(X, Y)


def start(folder: Path, variant: str) -> int:
    """Fork a process that runs the script, and return its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setpgid(0, 0)
        script(folder, variant)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)
    raise AssertionError("not reached")


def ended(child: int) -> int | None:
    """Return the exit status of a child (minus the signal that ended it), or None while it runs."""
    pid, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if pid else None


def entries(folder: Path, pattern: re.Pattern[str]) -> set[str]:
    """Return what is in the folder under such a name."""
    try:
        return {name for name in os.listdir(folder) if pattern.fullmatch(name)}
    except FileNotFoundError:
        return set()


def kill(child: int, folder: Path, how: str, rng: random.Random, whole: float) -> int:
    """Kill a child at a moment of that kind, unless it ends before; return its exit status."""
    begun, seen, awaited = time.monotonic(), set(), rng.randint(1, 8)
    delay = whole * (rng.uniform(0, 1) if how == "clock" else rng.uniform(0, 0.15) if how == "begin" else 2.0)
    pattern = REMOVING if how == "removal" else WRITING
    while (status := ended(child)) is None:
        if how in ("write", "removal"):
            seen |= entries(folder, pattern)
            due = len(seen) >= awaited
        else:
            due = time.monotonic() - begun >= delay
            time.sleep(0.0005)
        if due:
            if how == "write":
                time.sleep(rng.uniform(0, 0.004))
            os.kill(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status


def unreadable(folder: Path) -> list[str]:
    """Return what is wrong with the checkpoints of the folder; nothing may be."""
    problems = [str(entry) for entry in folder.glob("damaged-*")]
    for checkpoint in RunFolder(folder).checkpoints():
        try:
            read_checkpoint(checkpoint)
        except Exception as error:
            problems.append(f"{checkpoint.name}: {error!r}")
    return problems


def killed_run(folder: Path, variant: str, rng: random.Random, whole: float) -> dict[str, Any]:
    """Kill a run once to three times, let it finish, and return what it met."""
    met: dict[str, Any] = {"variant": variant, "kills": [], "problems": []}
    left = rng.randint(1, 3)
    while True:
        before = entries(folder, LEFT)
        child = start(folder, variant)
        how = rng.choice(KILLS) if left else ""
        status = kill(child, folder, how, rng, whole) if left else os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        left -= bool(left)
        met["problems"] += unreadable(folder)
        if status == -signal.SIGKILL:
            met["kills"].append(
                {
                    "how": how,
                    "writing": bool(entries(folder, WRITING) - before),
                    "removing": bool(entries(folder, REMOVING) - before),
                    "before_any": not RunFolder(folder).checkpoints(),
                }
            )
        elif status == 0:
            break
        else:
            met["problems"].append(f"a start ended with status {status}")
            break
    return met


def main(folder: Path, runs: int, seed: int) -> dict[str, Any]:
    """Kill as many runs, and compare each with the one of its kind that was never killed."""
    torch.set_num_threads(1)
    script(folder / "imports", "epochs")  # what the first fit imports, no child has to
    whole, never, found = {}, {}, []
    for variant in CHECKPOINTS:
        times = []
        for attempt in range(3):
            place, begun = folder / f"never-{variant}-{attempt}", time.monotonic()
            if os.waitstatus_to_exitcode(os.waitpid(start(place, variant), 0)[1]):
                raise RuntimeError("a run that nobody kills does not finish")
            times.append(time.monotonic() - begun)
        whole[variant] = min(times)
        never[variant] = run_state(estimator(place, variant).load_checkpoint(place))
    number = 0
    while len(found) < runs:
        rng = random.Random(f"{seed}-{number}")
        variant = list(CHECKPOINTS)[number % len(CHECKPOINTS)]
        place, number = folder / f"run-{number}", number + 1
        met = killed_run(place, variant, rng, whole[variant])
        if not met["kills"] and not met["problems"]:
            continue  # it finished before its moment came
        if not met["problems"]:
            loaded = estimator(place, variant).load_checkpoint(place)
            met["difference"] = first_difference(never[variant], run_state(loaded))
            shutil.rmtree(place)
        found.append(met)
    return {"runs": found}


if __name__ == "__main__":
    warnings.simplefilter("error")
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
