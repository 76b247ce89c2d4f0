"""Calling hooks: only those that somebody overrides, looked up once per call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sktorch_continue.callbacks.base import HOOKS, Callback, overrides


class Hooks:
    """The overridden hooks of some callbacks; an unused hook is an empty list.

    Parameters
    ----------
    callbacks : iterable of Callback
        In the order they are to be called; those that only watch come after the others, then those that run last.
    """

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        callbacks = sorted(callbacks, key=lambda callback: (callback.runs_last, callback.only_watches))
        self._methods: dict[str, list[Callable[..., None]]] = {
            hook: [getattr(callback, hook) for callback in callbacks if overrides(callback, hook)] for hook in HOOKS
        }

    def of(self, hook: str) -> list[Callable[..., None]]:
        """Return the methods to call at `hook`."""
        return self._methods[hook]

    @property
    def anybody(self) -> bool:
        """Whether anybody is called at any hook."""
        return any(self._methods.values())

    def act(self, hooks: Iterable[str]) -> bool:
        """Tell whether anybody is called at these hooks who does more than watch."""
        return any(not method.__self__.only_watches for hook in hooks for method in self.of(hook))  # type: ignore[attr-defined]

    def call(self, hook: str, run: Any) -> None:
        """Call everybody who overrides `hook`."""
        call_each(self._methods[hook], run)


def call_each(methods: list[Callable[..., None]], run: Any) -> None:
    """Call all methods, also when one fails: what happened, happened to all of them; raise the first error then.

    Those that run last see what the others did: they are not called when one of them did not do it.
    """
    failed: BaseException | None = None
    for method in methods:
        if failed is not None and method.__self__.runs_last:  # type: ignore[attr-defined]
            continue
        try:
            method(run)
        except BaseException as error:
            failed = failed or error
    if failed is not None:
        raise failed
