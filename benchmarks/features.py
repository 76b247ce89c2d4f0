"""What do validation, a schedule per step, callbacks and printing cost?

Validation and the schedule over loops written by hand that do the same, callbacks and printing over the same training
without them.
"""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import replace
from functools import partial

from harness import OURS, Found, Settings, assert_same_work, compare, main, take_turns
from peers import DATALOADER, FASTEST, LR, TENSOR, Problem, fit_by_hand, fit_ours, tabular

from sktorch_continue import Callback, EarlyStopping, EpochScoring

ROUNDS = 9


class EveryHook(Callback):
    """A callback that is told of every step and does nothing."""

    columns = ()

    def on_step_begin(self, run):
        pass

    def on_gradients(self, run):
        pass

    def on_step_end(self, run):
        pass

    def state_dict(self):
        return {}


def problem_for(settings: Settings) -> Problem:
    return tabular(settings.pick(20_000, 1000), 128, settings.pick(4, 2))


def against_loops(case: str, problem: Problem, settings: Settings, **params) -> Found:
    """Compare with hand loops that do the same."""
    names = {FASTEST: "fastest", TENSOR: "tensor", DATALOADER: "DataLoader"}
    sides = {OURS: partial(fit_ours, problem, **params)}
    sides |= {peer: partial(fit_by_hand, name, problem) for peer, name in names.items()}
    times, works = take_turns(sides, settings.pick(ROUNDS, 2))
    assert_same_work(works)
    return Found(compare(case, times, settings))


def against_plain(case: str, settings: Settings, **params) -> Found:
    """Compare with the same training without."""
    problem = problem_for(settings)
    sides = {OURS: partial(fit_ours, problem, **params), "without": partial(fit_ours, problem)}
    times, works = take_turns(sides, settings.pick(ROUNDS, 2))
    assert_same_work(works, factor=1)
    return Found(compare(case, times, settings))


def validation(settings: Settings) -> Found:
    """A tenth as many rows to validate on after each epoch."""
    problem = problem_for(settings)
    n = len(problem.y) // 10
    valid = problem.X[:n].copy(), problem.y[:n].copy()
    return against_loops("validation rows, batch 128", replace(problem, valid=valid), settings)


def schedule(settings: Settings) -> Found:
    """A cosine per step."""
    problem = problem_for(settings)
    n = problem.n_steps
    problem.rate = lambda step: LR * (1 + math.cos(math.pi * step / n)) / 2
    given = {"lr_scheduler": "CosineAnnealingLR", "lr_scheduler__T_max": n, "lr_scheduler_interval": "step"}
    return against_loops("schedule per step, batch 128", problem, settings, **given)


def callbacks(settings: Settings) -> Found:
    """Hooks at every step; scoring and early stopping at every epoch."""
    hooks = against_plain("a callback on every step, batch 128", settings, callbacks=[EveryHook()])
    stopping = EarlyStopping(monitor="train_loss", patience=1000)
    epochs = against_plain("early stopping, batch 128", settings, callbacks=[stopping])
    scoring = EpochScoring("accuracy", on="train")
    scored = against_plain("accuracy on the training rows, batch 128", settings, callbacks=[scoring])
    return Found(hooks.rows + epochs.rows + scored.rows)


def verbose(settings: Settings) -> Found:
    """A line per epoch."""
    with contextlib.redirect_stdout(io.StringIO()):
        return against_plain("verbose=1, batch 128", settings, verbose=1)


CASES = {"validation": validation, "schedule": schedule, "callbacks": callbacks, "verbose": verbose}
THREADS = {1: tuple(CASES)}
QUICK = ("validation", "schedule", "verbose")

if __name__ == "__main__":
    main(__doc__, CASES)
