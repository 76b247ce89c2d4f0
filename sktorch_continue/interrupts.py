"""Ctrl-C between steps: held back while a step or the end of an epoch must not be cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """What to do about Ctrl-C: raise at once, or when the critical section ends.

    A second Ctrl-C inside a critical section is raised at once.
    """

    def __init__(self) -> None:
        self._critical = False
        self._pending = False

    def enter(self) -> None:
        """Begin a section that is done as a whole."""
        self._critical = True

    def leave(self) -> None:
        """End it; a Ctrl-C that came meanwhile is raised now."""
        self._critical = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Serve as the handler of SIGINT."""
        if not self._critical or self._pending:
            raise KeyboardInterrupt
        self._pending = True


@contextmanager
def watched() -> Iterator[Interrupts]:
    """Watch SIGINT for the duration of a training and put the handler back.

    Only Python's own handler is replaced, and only in the main thread: elsewhere Ctrl-C does what it did.
    """
    interrupts = Interrupts()
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupts
        return
    signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
