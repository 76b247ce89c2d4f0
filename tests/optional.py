"""Libraries that the suite can do without: a test that asks for one is skipped where it is not installed."""

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest


class Library:
    """Stands for a library; the first attribute that is asked for imports it, or skips the test."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        if attribute.startswith("_"):  # pytest looks for some while it collects
            raise AttributeError(attribute)
        return getattr(pytest.importorskip(self._name), attribute)


pd = Library("pandas")
pl = Library("polars")
plt = Library("matplotlib.pyplot")

# What examples for readers ask for, each in an extra or, the last three, named where it is used.
OF_EXAMPLES = ("matplotlib", "pandas", "tensorboard", "distributed", "rich", "skorch")


def made(value: Any) -> Any:
    """Return what a case holds, or what it makes: a case that needs a library is made inside the test."""
    return value() if callable(value) else value


@contextlib.contextmanager
def skipped_where_missing() -> Iterator[None]:
    """Skip a test whose example asks for a library that is not installed, itself or through the package."""
    try:
        yield
    except ImportError as error:
        missing = str(getattr(error.__cause__, "name", None) or error.name).partition(".")[0]
        if missing not in OF_EXAMPLES or importlib.util.find_spec(missing) is not None:
            raise
        pytest.skip(f"{missing} is not installed")
