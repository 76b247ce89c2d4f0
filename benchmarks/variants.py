"""What do ``compile=True``, bfloat16 and a gradient scaler bring, or cost, over the same training without?

Both continue an estimator that has trained already, so that the compiler's work is not in the ratio; how long it took
is noted below the table.
"""

from __future__ import annotations

import shutil
import time
import warnings

from harness import OURS, Found, Settings, compare, main, take_turns
from peers import estimator, tabular

EPOCHS = {128: 4, 1024: 12}


def against_plain(name: str, settings: Settings, **params) -> Found:
    """Compare continuing with and without the parameters."""
    found = Found()
    for batch, n_epochs in EPOCHS.items():
        problem = tabular(settings.pick(20_000, 2048), batch, settings.pick(n_epochs, 2))

        def side(problem=problem, **given):
            fitted = estimator(problem, **given).fit(problem.X, problem.y)
            return fitted, lambda: fitted.continue_fit(problem.X, problem.y)

        begun = time.perf_counter()
        changed, more_changed = side(**params)
        first = time.perf_counter() - begun
        unchanged, more = side()
        times, _ = take_turns({OURS: more_changed, "without": more}, settings.pick(9, 2))
        found.rows += compare(f"{name}, batch {batch}", times, settings)
        loss, plain = (fitted.history_[-1]["train_loss"] for fitted in (changed, unchanged))
        took = f"the first fit took {first:.1f} s, the last loss is {loss:.4f}, without {plain:.4f}"
        found.notes.append(f"{name}, batch {batch}: {took}.")
    return found


def compiled(settings: Settings) -> Found:
    """Training steps through ``torch.compile``."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return Found(notes=["compile=True is left out: torch.compile needs a C++ compiler, and there is none."])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler
        return against_plain("compile=True", settings, compile=True)


def autocast(settings: Settings) -> Found:
    """Forward and loss in bfloat16."""
    return against_plain('autocast="bfloat16"', settings, autocast="bfloat16")


def scaled(settings: Settings) -> Found:
    """Gradients scaled, the rest in float32: what the scaler alone costs."""
    return against_plain('grad_scaler="GradScaler"', settings, grad_scaler="GradScaler")


CASES = {"compile": compiled, "autocast": autocast, "scaler": scaled}
THREADS = {1: tuple(CASES)}
QUICK = ("autocast",)

if __name__ == "__main__":
    main(__doc__, CASES)
