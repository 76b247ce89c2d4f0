"""Stop and start the training of some parameters at an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from sktorch_continue.callbacks.base import Callback


class Freeze(Callback):
    """Take parameters out of training from an epoch on.

    Parameters
    ----------
    patterns : str or sequence of str
        Shell patterns over the names of ``module.named_parameters()``, e.g. ``"encoder.*"``.
    at : int, default=1
        The epoch, over all calls and counted from 1, before which it happens.

    Raises
    ------
    ValueError
        When training begins, if a pattern matches no parameter.

    Notes
    -----
    Only gradients are switched off: batch norm layers in a frozen part go on to average what they see.
    """

    columns = ()
    reads_max_epochs = False
    requires_grad = False

    def __init__(self, patterns: str | Sequence[str], *, at: int = 1) -> None:
        if at < 1:
            raise ValueError(f"at={at}; epochs are counted from 1")
        self.patterns = patterns
        self.at = at
        self.done = False

    def on_train_begin(self, run: Any) -> None:
        """Refuse patterns that match nothing."""
        self._matching(run.module)

    def on_epoch_begin(self, run: Any) -> None:
        """Switch once, when its epoch has come."""
        if not self.done and run.n_epochs + 1 >= self.at:
            for parameter in self._matching(run.module):
                parameter.requires_grad_(self.requires_grad)
            self.done = True
            if not any(parameter.requires_grad for parameter in run.parameters):
                raise ValueError(f"{self!r} leaves no parameter to train")

    def _matching(self, module: Any) -> list[Any]:
        patterns = [self.patterns] if isinstance(self.patterns, str) else list(self.patterns)
        named = dict(module.named_parameters())
        found: dict[str, Any] = {}
        for pattern in patterns:
            matching = {name: p for name, p in named.items() if fnmatchcase(name, pattern)}
            if not matching:
                inside = any(fnmatchcase(name, f"{pattern}.*") for name in named)
                hint = f"; did you mean {pattern + '.*'!r}?" if inside else ""
                raise ValueError(f"{type(self).__name__}: {pattern!r} matches none of {list(named)}{hint}")
            found.update(matching)
        return list(found.values())


class Unfreeze(Freeze):
    """Take frozen parameters back into training from an epoch on; parameters as for :class:`Freeze`."""

    requires_grad = True
