"""Ctrl-C and SIGTERM between steps: held back while a step or the end of an epoch must not be cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# What is watched: the handler that is replaced (one of the user's own stays), and what is raised instead.
WATCHED: dict[int, tuple[Any, Callable[[], BaseException]]] = {
    signal.SIGINT: (signal.default_int_handler, KeyboardInterrupt),
    signal.SIGTERM: (signal.SIG_DFL, lambda: SystemExit(128 + signal.SIGTERM)),
}


class Interrupts:
    """What to do about a signal: raise at once, or when the critical section ends.

    A second Ctrl-C inside a critical section is raised at once: somebody is waiting.

    Attributes
    ----------
    critical : bool
        Whether a section that is done as a whole has begun and not ended.
    pending : int or None
        The signal that is held back.
    """

    def __init__(self) -> None:
        self.critical = False
        self.pending: int | None = None

    def enter(self) -> None:
        """Begin a section that is done as a whole."""
        self.critical = True

    def leave(self) -> None:
        """End it; a signal that came meanwhile is raised now."""
        self.critical = False
        if self.pending is not None:
            number, self.pending = self.pending, None
            raise WATCHED[number][1]()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Serve as the handler of every watched signal."""
        if not self.critical or (self.pending is not None and number == signal.SIGINT):
            raise WATCHED[number][1]()
        self.pending = number


@contextmanager
def watched() -> Iterator[Interrupts]:
    """Watch signals for the duration of a training and put the handlers back.

    Only Python's own handlers are replaced, and only in the main thread: elsewhere a signal does what it did.
    """
    interrupts = Interrupts()
    main = threading.current_thread() is threading.main_thread()
    replaced = [n for n, (own, _) in WATCHED.items() if main and signal.getsignal(n) is own]
    for number in replaced:
        signal.signal(number, interrupts.handle)
    try:
        yield interrupts
    finally:
        for number in replaced:
            signal.signal(number, WATCHED[number][0])
        if interrupts.pending is not None:  # it came while an error was on its way out
            signal.raise_signal(interrupts.pending)
