"""What does ``predict`` cost over calling the module under ``inference_mode``?

Two peers: the module's call alone, and what gives the same answer, its call with ``argmax`` and the labels. The bars
are for the first.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from harness import OURS, Found, Settings, compare, main, take_turns
from peers import LEFT_OUT, SKORCH, estimator, skorch_net, tabular

MODULE, LABELS = "module under inference_mode", "module, argmax, labels"
BARS = {1: 2.0, 20_000: 1.2}
CALLS = {1: 200, 1000: 50, 20_000: 10, 1_000_000: 1}


def rows(n: int, settings: Settings) -> Found:
    """Predict `n` rows of 50 columns, 50-128-64-10."""
    problem = tabular(1000, 128, 2)
    X = np.random.default_rng(1).standard_normal((n, 50), dtype=np.float32)
    fitted = estimator(problem).fit(problem.X, problem.y)
    module, classes = problem.make(), fitted.classes_
    module.load_state_dict(fitted.module_.state_dict())
    module.eval()

    @torch.inference_mode()
    def call():
        return module(torch.from_numpy(X))

    @torch.inference_mode()
    def label():
        return classes[module(torch.from_numpy(X)).argmax(1).numpy()]

    sides = {OURS: partial(fitted.predict, X), MODULE: call, LABELS: label}
    if SKORCH:
        sides["skorch"] = partial(skorch_net(problem).fit(problem.X, problem.y).predict, X)
    calls = settings.pick(CALLS[n], max(1, CALLS[n] // 10))
    times, answers = take_turns(sides, settings.pick(15 if n < 1_000_000 else 3, 2), calls)
    agree = float(np.mean(answers[OURS] == answers[LABELS]))
    if agree < 0.9999:  # batches of another size may round a tie another way
        raise RuntimeError(f"predict agrees with the module on {agree:.4%} of the rows only")
    bars = {MODULE: BARS[n]} if n in BARS else {}
    return Found(compare(f"predict {n} rows", times, settings, bars), list(LEFT_OUT))


CASES = {f"predict-{n}": partial(rows, n) for n in CALLS}
THREADS = {1: tuple(CASES), 2: ("predict-1", "predict-20000")}
QUICK = ("predict-1", "predict-20000")

if __name__ == "__main__":
    main(__doc__, CASES)
