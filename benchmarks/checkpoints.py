"""What do checkpoints cost: time of an epoch, time to save and load, bytes on disk, memory of a mapped file?

Peers: the same training without ``Checkpoint``; ``torch.save`` and ``torch.load`` of the state dictionaries of module
and optimizer, as they are and flushed to disk as a checkpoint is; the bytes of the weights; a plain ``joblib.load``.
"""

from __future__ import annotations

import argparse
import copy
import os
import pickle
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import numpy as np
import torch
from harness import in_fresh_process, memory, readable, versions

from sktorch_continue import Callback, Checkpoint, TorchClassifier
from sktorch_continue.checkpoint import read_checkpoint
from sktorch_continue.testing import assert_same_run

THREADS, SEED = 1, 0
N_ROWS, N_FEATURES, N_CLASSES = 20_000, 50, 10
SMALL = (128, 64)
HIDDEN = {"1 MB": (480, 480), "10 MB": (1580, 1580), "100 MB": (5000, 4950)}
EPOCHS = {32: 3, 128: 6, 1024: 12}  # per call, about half a second on a machine of its own
LONG = 10_000  # epochs behind a long run
BARS = {"epoch": 1.05, "save and load": 1.3, "size": 3.05}


class Clock(Callback):
    """Notes when epochs begin: from one to the next is an epoch with all that is done between epochs."""

    columns = ()

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def on_epoch_begin(self, run: Any) -> None:
        self.ticks.append(time.perf_counter())

    def state_dict(self) -> dict[str, Any]:
        return {}


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--quick", action="store_true", help="few rounds on little data; shows only that it works")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    torch.set_num_threads(THREADS)
    print(f"{versions()}; {torch.get_num_threads()} thread, {os.cpu_count()} cores, seed {SEED}")
    print(f"Bars: {', '.join(f'{name} {bar}' for name, bar in BARS.items())}. Medians of paired rounds.")
    for part in arguments.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            PARTS[part](Path(folder), quick=arguments.quick)


# ---- an epoch -------------------------------------------------------------------------------------------------------


def epochs(folder: Path, *, quick: bool) -> None:
    """Compare the epochs of a call that checkpoints every one with those of a call that does not."""
    rng = np.random.default_rng(SEED)
    X = rng.standard_normal((N_ROWS // 20 if quick else N_ROWS, N_FEATURES)).astype(np.float32)
    y = np.argmax(X @ rng.standard_normal((N_FEATURES, N_CLASSES)), axis=1)
    long = 50 if quick else LONG
    print(f"\n## Epoch with `Checkpoint` over without\n\n{len(X)} rows, {N_FEATURES}-128-64-{N_CLASSES}, Adam\n")
    print(
        "`CPU` is the processor time of the whole process, the writing thread included: on a busy machine the steadier"
    )
    print("number, and what an epoch costs more where no second core is free.\n")
    print("| run | batch | epoch, ratio | whole call, ratio | CPU, ratio | epoch without | epoch with | rounds |")
    print("|---" * 8 + "|")
    for name, fraction, behind, batches in (
        ("new", None, 1, (32, 128, 1024)),
        ("new, validation rows", 0.1, 1, (128, 1024)),
        (f"{long} epochs behind it", None, long, (128, 1024)),
    ):
        base = estimator(SMALL, validation_fraction=fraction, max_epochs=behind)
        base.fit(X[:200], y[:200])
        for batch in batches:
            n = 3 if quick else EPOCHS[batch]
            base.set_params(batch_size=batch, max_epochs=n)
            measure_epochs(f"{name} | {batch}", base, X, y, folder, 2 if quick else 5)


def measure_epochs(label: str, base: TorchClassifier, X: np.ndarray, y: np.ndarray, folder: Path, rounds: int) -> None:
    """Print one row, after a check that both sides trained to the same bits."""

    def call(callbacks: list[Callback]) -> tuple[float, float, float, Any]:
        side = copy.deepcopy(base).set_params(callbacks=[Clock(), *callbacks])
        begun, used = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other rows than the first call had
            side.continue_fit(X, y)
        whole, used = time.perf_counter() - begun, time.process_time() - used
        return median(np.diff(side.callbacks_["Clock"].ticks)), whole, used, side

    rows: dict[str, list[tuple[float, float, float]]] = {"without": [], "with": []}
    for i in range(rounds + 1):
        place = folder / f"{label.replace(' ', '')}-{i}"
        sides = {}
        for name in ("without", "with") if i % 2 else ("with", "without"):
            sides[name] = call([Checkpoint(place)] if name == "with" else [])
        if i == 0:  # warm up, and see that both do the same
            assert_same_weights(sides["with"][-1], sides["without"][-1])
        else:
            for name, (*found, _) in sides.items():
                rows[name].append(tuple(found))
        shutil.rmtree(place)
    ratios = [[b[k] / a[k] for a, b in zip(rows["without"], rows["with"], strict=True)] for k in range(3)]
    seconds = " | ".join(readable(median(row[0] for row in rows[name]), "s") for name in rows)
    print(f"| {label} | {' | '.join(map(spread, ratios))} | {seconds} | {rounds} |", flush=True)


def assert_same_weights(left: TorchClassifier, right: TorchClassifier) -> None:
    """Fail unless both have the same weights, to the bit."""
    for a, b in zip(left.module_.parameters(), right.module_.parameters(), strict=True):
        assert torch.equal(a, b), "the sides trained differently"


# ---- saving and loading ---------------------------------------------------------------------------------------------


def files(folder: Path, *, quick: bool) -> None:
    """Compare saving and loading with ``torch.save`` and ``torch.load`` of module and optimizer."""
    print("\n## Save and load over `torch.save` and `torch.load`\n")
    print("`flushed` is torch.save and fsync of file and folder, what a checkpoint does before it counts as written.")
    print("`new` builds module and optimizer first, as a new process has to and as `from_checkpoint` does.\n")
    columns = "save / flushed | save / torch.save | load / torch.load | from_checkpoint / new | reading alone"
    print(f"| weights | {columns} | save | flushed | torch.save | load | torch.load | rounds |")
    print("|---" * 12 + "|")
    for name, hidden in HIDDEN.items():
        if quick and name != "1 MB":
            continue
        rounds = 2 if quick else {"1 MB": 25, "10 MB": 15, "100 MB": 7}[name]
        measure_files(name, trained(hidden), folder, rounds)


def measure_files(name: str, fitted: TorchClassifier, folder: Path, rounds: int) -> None:
    """Print one row, after a check that both ways bring the same tensors back."""
    ours, peer, flushed = folder / "checkpoint", folder / "peer.pt", folder / "flushed.pt"
    module, optimizer = copy.deepcopy(fitted).module_, copy.deepcopy(fitted).optimizer_
    built = type(module), (N_FEATURES, N_CLASSES), {"hidden_layer_sizes": fitted.module__hidden_layer_sizes}
    state = {"module": fitted.module_.state_dict(), "optimizer": fitted.optimizer_.state_dict()}

    def load_new() -> None:
        kind, sizes, arguments = built
        fresh = kind(*sizes, **arguments)
        load_peer(peer, fresh, torch.optim.Adam(fresh.parameters(), lr=1e-3))

    target = copy.deepcopy(fitted)
    steps: dict[str, Callable[[], Any]] = {
        "save": partial(fitted.save_checkpoint, ours),
        "torch.save": partial(torch.save, state, peer),
        "flushed": partial(save_flushed, state, flushed),
        "load": partial(target.load_checkpoint, ours),
        "torch.load": partial(load_peer, peer, module, optimizer),
        "from_checkpoint": partial(TorchClassifier.from_checkpoint, ours),
        "new": load_new,
        "read": partial(read_checkpoint, ours),
    }
    seconds: dict[str, list[float]] = {step: [] for step in steps}
    for i in range(rounds + 1):
        for step, do in steps.items():
            begun = time.perf_counter()
            do()
            if i:  # the first round warms up
                seconds[step].append(time.perf_counter() - begun)
        shutil.rmtree(ours)
        peer.unlink()
        flushed.unlink()
    assert_same_run(target, fitted)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), fitted.module_.parameters(), strict=True))

    def over(step: str, other: str) -> str:
        return spread([a / b for a, b in zip(seconds[step], seconds[other], strict=True)])

    pairs = (("save", "flushed"), ("save", "torch.save"), ("load", "torch.load"), ("from_checkpoint", "new"))
    ratios = " | ".join([*(over(*pair) for pair in pairs), over("read", "torch.load")])
    shown = " | ".join(
        readable(median(seconds[s]), "s") for s in ("save", "flushed", "torch.save", "load", "torch.load")
    )
    print(f"| {name} | {ratios} | {shown} | {rounds} |", flush=True)


def save_flushed(state: dict[str, Any], path: Path) -> None:
    """Save as ``torch.save`` does, and have the disk keep it."""
    with path.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    descriptor = os.open(path.parent, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def load_peer(path: Path, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load what ``torch.save`` wrote into a module and an optimizer that are there."""
    state = torch.load(path)
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])


# ---- sizes ----------------------------------------------------------------------------------------------------------


def sizes(folder: Path, *, quick: bool) -> None:
    """Compare what is on disk with the bytes of the weights."""
    print("\n## Bytes over the bytes of the weights, Adam\n")
    print(
        "| weights | checkpoint | pickle | joblib | pickle of `export()` | weights, bytes |\n|---|---|---|---|---|---|"
    )
    for name, hidden in {"small": SMALL, **HIDDEN}.items():
        if quick and name not in ("small", "1 MB"):
            continue
        fitted = trained(hidden)
        weights = sum(p.numel() * p.element_size() for p in fitted.module_.parameters())
        fitted.save_checkpoint(folder / name)
        joblib.dump(fitted, folder / f"{name}.joblib")
        found = (
            sum(file.stat().st_size for file in (folder / name).iterdir()),
            len(pickle.dumps(fitted)),
            (folder / f"{name}.joblib").stat().st_size,
            len(pickle.dumps(fitted.export())),
        )
        print(f"| {name} | {' | '.join(f'{n / weights:.3f}' for n in found)} | {weights} |", flush=True)


# ---- a mapped file --------------------------------------------------------------------------------------------------


def loaded(path: str, mode: str) -> list[float]:
    """Return seconds, peak and memory of its own of one load in this process, which has to be a fresh one."""
    X = np.zeros((2, N_FEATURES), dtype=np.float32)
    torch.set_num_threads(THREADS)
    joblib.load(f"{path}.small", mmap_mode=mode or None).predict(X)
    before, begun = memory(), time.perf_counter()
    kept = joblib.load(path, mmap_mode=mode or None)
    seconds = time.perf_counter() - begun
    kept.predict(X)
    after = memory()
    return [seconds, after["VmHWM"] - before["VmRSS"], after["RssAnon"] - before["RssAnon"]]


def mapped(folder: Path, *, quick: bool) -> None:
    """Compare ``joblib.load(mmap_mode="r")`` with a plain load: time, peak and memory of its own."""
    print("\n## `joblib.load` and two predictions: mapped over plain, each in a new process\n")
    if not Path("/proc/self/status").is_file():
        print("Left out: memory is read from /proc, which this system lacks.")
        return
    print("| what | weights | time, ratio | peak, ratio | own memory, plain | own memory, mapped | rounds |")
    print("|---" * 7 + "|")
    name = "1 MB" if quick else "100 MB"
    fitted = trained(HIDDEN[name])
    for what, kept in (("whole run", fitted), ("export()", fitted.export())):
        path = folder / f"{what}.joblib"
        joblib.dump(kept, path)
        joblib.dump(trained(SMALL), f"{path}.small")
        plain, maps = [], []
        rounds = 1 if quick else 5
        for _ in range(rounds):
            plain.append(in_fresh_process(loaded, str(path), ""))
            maps.append(in_fresh_process(loaded, str(path), "r"))
        times, peaks, _ = ([m[i] / p[i] for p, m in zip(plain, maps, strict=True)] for i in range(3))
        own = " | ".join(f"{median(row[2] for row in rows) / 1e6:.0f} MB" for rows in (plain, maps))
        print(f"| {what} | {name} | {spread(times)} | {spread(peaks)} | {own} | {rounds} |", flush=True)


# ---- shared ---------------------------------------------------------------------------------------------------------


def estimator(hidden: tuple[int, ...], **params: Any) -> TorchClassifier:
    """Return an unfitted MLP."""
    return TorchClassifier(module__hidden_layer_sizes=hidden, optimizer="Adam", random_state=SEED, **params)


def trained(hidden: tuple[int, ...]) -> TorchClassifier:
    """Return an MLP after one epoch on little data, so that Adam has its state."""
    X = np.random.default_rng(SEED).standard_normal((64, N_FEATURES)).astype(np.float32)
    return estimator(hidden, max_epochs=1).fit(X, np.arange(64) % N_CLASSES)


def spread(values: list[float]) -> str:
    """Return the median, with the smallest and the largest."""
    return f"**{median(values):.2f}** ({min(values):.2f} to {max(values):.2f})"


PARTS: dict[str, Callable[..., None]] = {"epochs": epochs, "files": files, "sizes": sizes, "mapped": mapped}

if __name__ == "__main__":
    main()
