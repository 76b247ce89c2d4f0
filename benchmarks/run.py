"""Run the benchmarks, each question and number of threads in a process of its own, and write a dated report."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import FOLDER, Found, Row, write_report

QUESTIONS = ("training", "features", "predicting", "importing", "memory", "growth", "variants")


def chosen(question: str, names: list[str], *, quick: bool) -> dict[int, list[str]]:
    """Return number of threads -> cases to run of one question."""
    module = importlib.import_module(question)
    wanted = set(names) or {question}
    known = set(module.QUICK if quick and not names else module.CASES)
    picked = known if question in wanted else known & wanted
    threads = {1: module.THREADS[1]} if quick else module.THREADS
    found = {n: [case for case in cases if case in picked] for n, cases in threads.items()}
    return {n: cases for n, cases in found.items() if cases}


def run(question: str, threads: int, cases: list[str], *, quick: bool) -> Found:
    """Run cases in a fresh process with so many threads; one that fails leaves a note."""
    settings = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, str(FOLDER / f"{question}.py"), *cases, "--threads", str(threads)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        command += ["--json", str(path), *(["--quick"] if quick else [])]
        done = subprocess.run(command, env={**os.environ, **settings}, check=False)
        found = json.loads(path.read_text()) if path.is_file() else {"rows": [], "notes": []}
    for row in found["rows"]:
        del row["ratios"]
    notes = list(found["notes"])
    if done.returncode:
        notes.append(f"{question} with {threads} thread(s) **did not finish**: exit status {done.returncode}.")
    return Found([Row(**row) for row in found["rows"]], notes)


def main() -> int:
    """Run what was asked for; 1 where something did not finish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"cases, or of {', '.join(QUESTIONS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="a sample, in about a minute")
    parser.add_argument("--reports", type=Path, default=FOLDER / "reports", help="folder for the report")
    arguments = parser.parse_args()
    plan = {question: chosen(question, arguments.names, quick=arguments.quick) for question in QUESTIONS}
    if not any(plan.values()):
        parser.error(f"{arguments.names} names no case and no question")
    found = Found()
    for question, by_threads in plan.items():
        for threads, cases in by_threads.items():
            part = run(question, threads, cases, quick=arguments.quick)
            found.rows += part.rows
            found.notes += [note for note in part.notes if note not in found.notes]
    print(f"\n{write_report(arguments.reports, found, quick=arguments.quick)}")
    return int(any("did not finish" in note for note in found.notes))


if __name__ == "__main__":
    sys.exit(main())
