"""Which of two values of a monitored column is better."""

from __future__ import annotations

MODES = ("auto", "min", "max")


def check_mode(mode: str) -> None:
    """Refuse a mode that is none.

    Raises
    ------
    ValueError
        Naming the modes.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is none of {MODES}")


def gain(value: float, over: float, monitor: str, mode: str) -> float:
    """Return by how much `value` is better than `over`; ``"auto"`` takes losses and errors for better when smaller."""
    smaller = mode == "min" or (mode == "auto" and monitor.endswith(("loss", "error")))
    return over - value if smaller else value - over
