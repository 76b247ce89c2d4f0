"""What does training cost over the loops written by hand, skorch and scikit-learn's MLP?

Each side trains from a fresh module to its last epoch; the times are of that whole call, with all that a call does
before its first step. The time of an epoch is that of several, less that of one, divided by how many more they are. In
brackets: how the fastest loop by hand stands against the others, the measure of what can be reached.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from harness import OURS, Found, Row, Settings, Times, assert_same_work, compare, main, take_turns
from peers import DATALOADER, FASTEST, LEFT_OUT, SKLEARN, Problem, images, sides, tabular

EPOCHS = {32: 2, 128: 4, 512: 8, 1024: 12, 4096: 16}  # about half a second each
MORE = 2  # times as many, for the time of an epoch
PAIR = (OURS, FASTEST)
BARS = {  # batch size -> over the DataLoader loop, over skorch
    32: (0.62, 0.52),
    128: (0.58, 0.42),
    512: (0.45, 0.33),
    1024: (0.30, 0.28),
    4096: (0.20, 0.26),
}


def measure(
    name: str, problem: Problem, settings: Settings, bars: dict[str, float], rounds: int = 9, factor: float = 1.5
) -> Found:
    """Time all sides of one problem, whose losses may differ by a factor at the end."""
    times, works = take_turns(sides(problem), settings.pick(rounds, 2))
    assert_same_work(works, factor)
    rows = compare(name, times, settings, bars)
    # Where this loop misses a bar too, the arithmetic alone takes longer than the bar allows.
    rows += compare(f"(the {FASTEST} itself, {name})", times, settings, side=FASTEST)
    return Found(rows, list(LEFT_OUT))


def batch(size: int, settings: Settings) -> Found:
    """20000 rows of 50 columns."""
    problem = tabular(settings.pick(20_000, max(1000, size)), size, settings.pick(EPOCHS[size], 2))
    loader, skorch = BARS[size]
    # A negative bar: scikit-learn is to be beaten, a draw is not enough.
    bars = {DATALOADER: loader, "skorch": skorch, SKLEARN: -1.0}
    name = f"MLP 50-128-64-10, batch {size}"
    found = measure(name, problem, settings, bars)
    return Found(epoch(f"{name}, an epoch", problem, settings) + found.rows, found.notes)


def epoch(name: str, problem: Problem, settings: Settings) -> list[Row]:
    """Return a row for an epoch without what a call does once."""
    n_more = MORE * problem.n_epochs
    one, many = (sides(replace(problem, n_epochs=n)) for n in (1, 1 + n_more))
    turns = {f"{who}, one": one[who] for who in PAIR} | {who: many[who] for who in PAIR}
    times, works = take_turns(turns, settings.pick(15, 2))
    assert_same_work({who: works[who] for who in PAIR})

    def of_an_epoch(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
        pairs = {who: zip(seconds[who], seconds[f"{who}, one"], strict=True) for who in PAIR}
        return {who: [(long - short) / n_more for long, short in pairs[who]] for who in PAIR}

    return compare(name, Times(of_an_epoch(times.wall), of_an_epoch(times.cpu)), settings, {FASTEST: 1.05})


def tiny(settings: Settings) -> Found:
    """100 rows, 10 epochs."""
    return measure("100 rows, 10 epochs", tabular(100, 32, 10), settings, {"skorch": 0.4}, rounds=31)


def wide(settings: Settings) -> Found:
    """1000 columns."""
    problem = tabular(settings.pick(5000, 500), 128, settings.pick(5, 2), n_columns=1000)
    # With so few rows the loss nears zero, where other first weights, and the penalty of scikit-learn's, show.
    return measure("1000 columns, batch 128", problem, settings, {}, factor=8)


def long(settings: Settings) -> Found:
    """500 epochs."""
    problem = tabular(500, 128, settings.pick(500, 20))
    return measure("500 epochs of 500 rows, batch 128", problem, settings, {}, rounds=5)


def conv(settings: Settings) -> Found:
    """Convolutions."""
    return measure("convolutions on digits, batch 64", images(64, settings.pick(4, 2)), settings, {})


CASES = {f"batch-{size}": partial(batch, size) for size in EPOCHS}
CASES |= {"tiny": tiny, "wide": wide, "long": long, "conv": conv}
THREADS = {1: tuple(CASES), 2: (*(f"batch-{size}" for size in EPOCHS), "tiny")}
QUICK = ("batch-32", "batch-1024", "tiny")

if __name__ == "__main__":
    main(__doc__, CASES)
