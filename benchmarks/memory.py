"""How much memory does training take over its data, and does a file larger than memory do?

Every side in a process of its own. The peak is over what the process held when the call began, X included, after a
small training has loaded what is loaded once.
"""

from __future__ import annotations

import resource
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import OURS, Found, Row, Settings, in_fresh_process, main, memory, set_threads
from peers import FASTEST, TENSOR, Problem, fit_by_hand, fit_ours, tabular

SIDES = {
    OURS: fit_ours,
    FASTEST: lambda problem: fit_by_hand("fastest", problem),
    TENSOR: lambda problem: fit_by_hand("tensor", problem),
}
BATCH = 1024


def peak(side: str, n_rows: int, threads: int) -> int:
    """Return the bytes that one epoch takes at most, over what the process held before."""
    set_threads(threads)
    problem = tabular(n_rows, BATCH, 1)
    warm_up(side, problem)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew
    before = memory()["VmRSS"]
    SIDES[side](problem)
    return memory()["VmHWM"] - before


def warm_up(side: str, problem: Problem) -> None:
    SIDES[side](replace(problem, X=problem.X[: 2 * BATCH].copy(), y=problem.y[: 2 * BATCH].copy()))


def peaks(settings: Settings) -> Found:
    """One epoch of float32 rows."""
    n_rows = settings.pick(1_000_000, 50_000)
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(settings.pick(5, 1)):
        for side in SIDES:
            found[side].append(in_fresh_process(peak, side, n_rows, settings.threads))
    case = f"peak memory over X ({n_rows * 200 / 1e6:.0f} MB float32, batch {BATCH})"
    bars = {FASTEST: 1.05, TENSOR: 1.05}
    return Found(
        [
            Row(case, peer, found[OURS], found[peer], bars[peer], unit="B", threads=settings.threads)
            for peer in (FASTEST, TENSOR)
        ]
    )


def write_rows(path: str, n_rows: int) -> None:
    """Write rows and targets piece by piece."""
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(f"{path}/X.npy", "w+", np.float32, (n_rows, 50))
    y = np.lib.format.open_memmap(f"{path}/y.npy", "w+", np.int64, (n_rows,))
    for first in range(0, n_rows, 50_000):
        rows = X[first : first + 50_000]
        rows[:] = rng.standard_normal(rows.shape, dtype=np.float32)
        y[first : first + 50_000] = np.argmax(rows[:, :10], axis=1)


def limited(side: str, path: str, allowed: int, threads: int) -> list[float]:
    """Return seconds and steps of one epoch over mapped rows, with so many bytes allowed beyond what is held.

    The limit is RLIMIT_DATA: memory of the process's own. Pages of a file that is mapped to be read are not counted.
    """
    set_threads(threads)
    X, y = np.load(f"{path}/X.npy", mmap_mode="r"), np.load(f"{path}/y.npy")
    problem = replace(tabular(1000, BATCH, 1), X=X, y=y)
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to it
    warm_up(side, problem)
    limit = memory()["VmData"] + allowed
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    begun = time.perf_counter()
    work = SIDES[side](problem)
    return [time.perf_counter() - begun, work.n_steps]


def mapped(settings: Settings) -> Found:
    """One epoch of rows in a file, with a third of its size allowed; an error where that is not enough."""
    n_rows = settings.pick(2_500_000, 100_000)
    size = n_rows * 200
    allowed = settings.pick(size // 3, 64 << 20)
    seconds: dict[str, list[float]] = {OURS: [], TENSOR: []}
    with tempfile.TemporaryDirectory() as folder:
        write_rows(folder, n_rows)
        for _ in range(settings.pick(3, 1)):
            steps = set()
            for side, found in seconds.items():
                took, n_steps = in_fresh_process(limited, side, folder, allowed, settings.threads)
                found.append(took)
                steps.add(n_steps)
            if len(steps) != 1:
                raise RuntimeError(f"the sides took {steps} steps")
    case = f"file of {size / 1e6:.0f} MB mapped, {allowed / 1e6:.0f} MB allowed"
    return Found([Row(case, TENSOR, seconds[OURS], seconds[TENSOR], threads=settings.threads)])


CASES = {"peak": peaks, "memmap": mapped}
THREADS = {1: tuple(CASES)}
QUICK = ("peak",)

if __name__ == "__main__":
    main(__doc__, CASES)
