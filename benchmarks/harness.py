"""What all benchmarks share: rounds that take turns, rows with their bar, one process per setting, the report."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

FOLDER = Path(__file__).resolve().parent
OURS = "sktorch_continue"
LIBRARIES = ("torch", "numpy", "scikit-learn", "skorch", "joblib", "safetensors")
REST = 0.1  # seconds
NAMES = ("case", "threads", "over", "ratio", "quartiles", "best over best", "CPU", "bar", "", "ours", "peer", "rounds")
COLUMNS = f"| {' | '.join(NAMES)} |\n{'|---' * len(NAMES)}|"


@dataclass(frozen=True)
class Settings:
    """How a benchmark is run: the threads of the process, and whether a sample is enough."""

    threads: int = 1
    quick: bool = False

    def pick(self, full: Any, quick: Any) -> Any:
        """Return the size of a run in full, or of a sample."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Work:
    """What a side did: optimizer steps, and the mean loss of its last epoch."""

    n_steps: int
    loss: float


@dataclass
class Row:
    """One line of the report: pairs of one measurement each, ours over a peer's.

    Attributes
    ----------
    case, over : str
        What was measured, and the peer.
    ours, peer : list of float
        Pairwise, in `unit`.
    cpu : list of float, optional
        Ratios of processor time, where it was taken.
    bar : float, optional
        The largest ratio that is good enough; `strict` means that it has to be below.
    unit : {"s", "B"}
        Seconds or bytes.
    """

    case: str
    over: str
    ours: list[float]
    peer: list[float]
    bar: float | None = None
    strict: bool = False
    unit: str = "s"
    threads: int = 1
    cpu: list[float] = field(default_factory=list)
    ratios: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.ratios = [a / b for a, b in zip(self.ours, self.peer, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the paired ratios."""
        return median(self.ratios)

    @property
    def verdict(self) -> str:
        """Whether the ratio meets its bar, in words."""
        if self.bar is None:
            return ""
        return "met" if self.ratio < self.bar or (self.ratio == self.bar and not self.strict) else "NOT met"

    def __str__(self) -> str:
        low, _, high = quantiles(self.ratios, n=4, method="inclusive") if len(self.ratios) > 1 else self.ratios * 3
        bar = "" if self.bar is None else f"{'<' if self.strict else '≤'} {self.bar:g}"
        cells = [self.case, self.threads, self.over, f"**{self.ratio:.3g}**", f"{low:.3g} to {high:.3g}"]
        cells += [f"{min(self.ours) / min(self.peer):.3g}", f"{median(self.cpu):.3g}" if self.cpu else ""]
        cells += [bar, self.verdict]
        cells += [readable(median(values), self.unit) for values in (self.ours, self.peer)]
        return f"| {' | '.join(map(str, cells))} | {len(self.ratios)} |"


@dataclass
class Found:
    """What one script found: rows, and lines on what was left out or is to be known."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Case = Callable[[Settings], Found]


def readable(value: float, unit: str) -> str:
    """Return seconds or bytes as a person writes them."""
    names = {"s": ((1, "s"), (1e-3, "ms"), (1e-6, "µs")), "B": ((1e6, "MB"), (1e3, "kB"), (1, "B"))}[unit]
    size, name = next((pair for pair in names if value >= pair[0]), names[-1])
    return f"{value / size:.3g} {name}"


# ---- measuring ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Seconds of one call, per side and round.

    Attributes
    ----------
    wall, cpu : dict of str to list of float
        By the clock; of the processor, by all threads of the process.
    """

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]


def take_turns(sides: Mapping[str, Callable[[], Any]], rounds: int, calls: int = 1) -> tuple[Times, dict[str, Any]]:
    """Run every side once per round, another one first each time.

    Parameters
    ----------
    sides : mapping of str to callable
        What to time.
    rounds : int
        After a first one that warms up.
    calls : int, default=1
        Of a side in its turn; short ones need many to be longer than the clock's grain.

    Returns
    -------
    times : Times
        Of one call.
    first : dict of str to object
        What each side returned in the first round.
    """
    first = {name: side() for name, side in sides.items()}
    times = Times({name: [] for name in sides}, {name: [] for name in sides})
    gc.collect()
    gc.freeze()  # what is there now is looked at no more, so that looking for garbage is quick
    names = list(sides)
    for i in range(rounds):
        turn = i % len(names)
        for name in names[turn:] + names[:turn]:
            side = sides[name]
            gc.collect()  # the garbage of one side is not to be paid by another,
            time.sleep(REST)  # nor are its threads, which spin for a while before they sleep
            begun, used = time.perf_counter(), time.process_time()
            for _ in range(calls):
                side()
            times.wall[name].append((time.perf_counter() - begun) / calls)
            times.cpu[name].append((time.process_time() - used) / calls)
    gc.unfreeze()
    return times, first


def assert_same_work(works: Mapping[str, Work], factor: float = 1.5) -> None:
    """Fail unless all sides took the same number of steps to a comparable loss.

    Raises
    ------
    RuntimeError
        Naming what each side did.
    """
    losses = [work.loss for work in works.values()]
    same = len({work.n_steps for work in works.values()}) == 1
    if not same or not max(losses) <= factor * min(losses):
        raise RuntimeError(f"the sides did different work: {dict(works)}")


def compare(
    case: str,
    times: Times,
    settings: Settings,
    bars: Mapping[str, float] | None = None,
    side: str = OURS,
) -> list[Row]:
    """Return a row for `side` over each peer. A bar is a ratio, negative where the ratio has to be below it."""
    rows = []
    for peer, seconds in times.wall.items():
        if peer not in (OURS, side):
            bar = (bars or {}).get(peer)
            limit = None if bar is None else abs(bar)
            strict = bar is not None and bar < 0
            cpu = [a / b for a, b in zip(times.cpu.get(side, []), times.cpu.get(peer, []), strict=True)]
            rows.append(Row(case, peer, times.wall[side], seconds, limit, strict, "s", settings.threads, cpu))
    return rows


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function at the top of one of these files returns in a process of its own, by way of JSON."""
    module = Path(function.__code__.co_filename).stem
    code = f"import json, sys, {module}; print(json.dumps({module}.{function.__name__}(*json.loads(sys.argv[1]))))"
    paths = [str(FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def memory() -> dict[str, int]:
    """Return the bytes this process holds, by the names of /proc/self/status."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return {name: int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM", "RssAnon", "VmData")}


def set_threads(n: int) -> None:
    """Give torch and the BLAS of NumPy the same number of threads."""
    import threadpoolctl
    import torch

    torch.set_num_threads(n)
    threadpoolctl.threadpool_limits(n)


# ---- one script -----------------------------------------------------------------------------------------------------


def main(question: str, cases: Mapping[str, Case]) -> None:
    """Run the cases that were asked for, print their table, and write it as JSON where that was asked."""
    parser = argparse.ArgumentParser(description=question.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(cases)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="few rounds on little data; shows only that it works")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the rows")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(cases)
    if unknown:
        parser.error(f"{sorted(unknown)} is none of {list(cases)}")
    set_threads(arguments.threads)
    settings = Settings(arguments.threads, arguments.quick)
    found = Found()
    print(f"{versions()}; {arguments.threads} thread(s)\n{COLUMNS}", flush=True)
    for name in arguments.cases or cases:
        part = cases[name](settings)
        found.rows += part.rows
        found.notes += [note for note in part.notes if note not in found.notes]
        print(*part.rows, *part.notes, sep="\n", flush=True)
        if arguments.json:  # after every case: one that fails takes no other with it
            arguments.json.write_text(json.dumps(asdict(found)))


# ---- the report -----------------------------------------------------------------------------------------------------


def versions() -> str:
    """Return the versions of Python and of what is measured."""
    return ", ".join(f"{name} {number}" for name, number in version_numbers().items())


def version_numbers() -> dict[str, str]:
    """Return library -> version, of those that are installed, and the commit of this package."""
    import sktorch_continue

    found = {"Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    place = Path(sktorch_continue.__file__).parent
    git = ["git", "-C", str(place), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    found[OURS] = done.stdout.strip() or "installed"
    return found


def machine() -> dict[str, Any]:
    """Return what a reader has to know of the machine: cores, processor, how busy it was."""
    model = platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"cores": os.cpu_count(), "processor": model, "load average": round(os.getloadavg()[0], 2)}


def write_report(folder: Path, found: Found, *, quick: bool) -> Path:
    """Write Markdown and JSON, named for the moment, and return the path of the Markdown."""
    now = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{now:%Y-%m-%d-%H%M%S}{'-quick' if quick else ''}.md"
    facts = {"date": f"{now:%Y-%m-%d %H:%M} UTC", "machine": machine(), "versions": version_numbers(), "quick": quick}
    path.write_text(markdown(facts, found))
    rows = [{**asdict(row), "ratio": row.ratio, "verdict": row.verdict} for row in found.rows]
    path.with_suffix(".json").write_text(json.dumps({**facts, "rows": rows, "notes": found.notes}, indent=1) + "\n")
    return path


def markdown(facts: Mapping[str, Any], found: Found) -> str:
    """Return the report as a person reads it."""
    judged = [row for row in found.rows if row.bar is not None]
    short = [row for row in judged if row.verdict != "met"]
    lines = [f"# Benchmarks, {facts['date']}", ""]
    if facts["quick"]:
        lines += ["**A sample on little data (QUICK=1): it shows that everything runs, the ratios mean little.**", ""]
    lines += [f"- {', '.join(f'{name}: {value}' for name, value in facts['machine'].items())}"]
    lines += [f"- {', '.join(f'{name} {number}' for name, number in facts['versions'].items())}"]
    lines += [f"- {len(judged)} of {len(found.rows)} rows have a bar: {len(judged) - len(short)} met, {len(short)} not"]
    lines += ["", *READING, "", COLUMNS, *map(str, found.rows)]
    lines += ["", *(f"- {note}" for note in found.notes)] if found.notes else []
    return "\n".join(lines) + "\n"


READING: Sequence[str] = (
    "A ratio is ours over the peer's, smaller is better: the median over rounds in which all sides took turns in one",
    "process, with the quartiles of those ratios. `best over best` is the shortest time over the shortest, which a",
    "busy machine disturbs less; `CPU` is the median ratio of processor time, which other processes hardly disturb (at",
    "two threads it counts waiting as work). The bar is judged by the ratio of clock times.",
)
