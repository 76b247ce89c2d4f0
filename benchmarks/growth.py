"""Does training get slower the longer it has gone on: over epochs, over calls, with a long history, over rows?"""

from __future__ import annotations

import copy
import itertools
import time
from statistics import median

from harness import OURS, Found, Row, Settings, Times, compare, main, take_turns
from peers import estimator, fit_ours, tabular

from sktorch_continue import Callback, TorchClassifier


class Clock(Callback):
    """Notes when epochs begin."""

    columns = ()

    def __init__(self):
        self.ticks = []

    def on_epoch_begin(self, run):
        self.ticks.append(time.perf_counter())

    def state_dict(self):
        return {}


def trained(n_epochs: int, **params) -> TorchClassifier:
    """Return an estimator with so many epochs behind it, of two steps each."""
    problem = tabular(256, 128, n_epochs)
    return estimator(problem, **params).fit(problem.X, problem.y)


def epochs(settings: Settings) -> Found:
    """Epoch 10,000 over epoch 100, in one call."""
    many, near = settings.pick((10_000, 500), (1000, 100))
    late, early = [], []
    for _ in range(settings.pick(5, 1)):
        ticks = trained(many, callbacks=[Clock()]).callbacks_["Clock"].ticks
        lengths = [b - a for a, b in itertools.pairwise(ticks)]
        early.append(median(lengths[100 : 100 + near]))
        late.append(median(lengths[-near:]))
    return Found([Row(f"epoch {many}, in one call", "epoch 100", late, early, 1.05, threads=settings.threads)])


def continued(
    case: str, over: str, old: TorchClassifier, new: TorchClassifier, settings: Settings, bar: float | None
) -> list[Row]:
    """Compare one more epoch of two estimators; copies of them, so that neither grows."""
    problem = tabular(256, 128, 1)
    rounds = settings.pick(41, 3)
    seconds: dict[str, list[float]] = {OURS: [], over: []}
    for i in range(rounds + 1):
        pair = {OURS: copy.deepcopy(old), over: copy.deepcopy(new)}
        for name in list(pair) if i % 2 else list(pair)[::-1]:
            begun = time.perf_counter()
            pair[name].continue_fit(problem.X, problem.y, max_epochs=1)
            if i:
                seconds[name].append(time.perf_counter() - begun)
    return compare(case, Times(seconds, {}), settings, {} if bar is None else {over: bar})


def calls(settings: Settings) -> Found:
    """The 100th ``continue_fit`` over the first."""
    problem = tabular(256, 128, 1)
    new = trained(1)
    old = copy.deepcopy(new)
    many = settings.pick(100, 20)
    for _ in range(many - 1):
        old.continue_fit(problem.X, problem.y, max_epochs=1)
    return Found(continued(f"continue_fit number {many}", "number 1", old, new, settings, 1.05))


def history(settings: Settings) -> Found:
    """One more epoch with 10,000 behind it over one more with 100."""
    many = settings.pick(10_000, 500)
    old, new = trained(many), trained(100)
    return Found(
        continued(f"continue_fit with {many} epochs behind it", "with 100 behind it", old, new, settings, None)
    )


def rows(settings: Settings) -> Found:
    """Eight times the rows for an eighth of the epochs: the same number of steps."""
    n = settings.pick(20_000, 1000)
    many, few = tabular(8 * n, 1000, 1), tabular(n, 1000, 8)
    sides = {OURS: lambda: fit_ours(many), f"{n} rows, 8 epochs": lambda: fit_ours(few)}
    times, _ = take_turns(sides, settings.pick(9, 2))
    return Found(compare(f"{8 * n} rows, 1 epoch", times, settings))


CASES = {"epochs": epochs, "calls": calls, "history": history, "rows": rows}
THREADS = {1: tuple(CASES)}
QUICK = ("calls",)

if __name__ == "__main__":
    main(__doc__, CASES)
