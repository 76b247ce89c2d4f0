"""What does importing the package cost over importing torch and scikit-learn?

Each import in a process of its own, in turns. ``import sklearn`` alone loads little of scikit-learn; the second peer
loads the part of it that any estimator derives from. The package's byte code is written before, as pip does. Garbage is
not collected meanwhile: one look at all that torch has made takes 100 ms, and it is chance into whose import it falls.
"""

from __future__ import annotations

import compileall
import gc
import importlib.util
import time

from harness import OURS, Found, Settings, Times, compare, in_fresh_process, main

PLAIN, BASE = "import torch, sklearn", "import torch, sklearn.base, sklearn.utils.validation"
CODE = {OURS: "import sktorch_continue", PLAIN: PLAIN, BASE: BASE}


def seconds_of(code: str) -> float:
    """Return how long an import takes here, which has to be a process that imported nothing yet."""
    gc.disable()
    begun = time.perf_counter()
    exec(code)
    return time.perf_counter() - begun


def importing(settings: Settings) -> Found:
    """Import in fresh processes."""
    seconds: dict[str, list[float]] = {name: [] for name in CODE}
    names = list(CODE)
    rounds = settings.pick(15, 1)
    package = importlib.util.find_spec("sktorch_continue")
    compileall.compile_dir(package.submodule_search_locations[0], quiet=1)
    in_fresh_process(seconds_of, CODE[OURS])  # fills the caches
    for i in range(rounds):
        for name in names[i % 3 :] + names[: i % 3]:
            seconds[name].append(in_fresh_process(seconds_of, CODE[name]))
    return Found(compare("import sktorch_continue", Times(seconds, {}), settings, {PLAIN: 1.05}))


CASES = {"import": importing}
THREADS = {1: tuple(CASES)}
QUICK = ("import",)

if __name__ == "__main__":
    main(__doc__, CASES)
