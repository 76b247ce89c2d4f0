"""The base class of callbacks: its hooks and its state."""

from __future__ import annotations

import copy
import difflib
import inspect
from typing import Any

HOOKS = (
    "on_train_begin",
    "on_epoch_begin",
    "on_step_begin",
    "on_gradients",
    "on_step_end",
    "on_validation_end",
    "on_epoch_end",
    "on_train_end",
    "on_exception",
)


class Callback:
    """A part of a run that is told what happens; override the hooks you need.

    Instances given to an estimator are prototypes: each ``fit`` copies them, continuing copies them again and hands
    the copy the state of the one it replaces. A callback is known by its name (the class name, or the one in a
    ``(name, callback)`` pair) and its class.

    Notes
    -----
    Hooks take ``run``, which offers ``module``, ``criterion``, ``optimizer``, ``lr_scheduler``, ``callbacks``,
    ``history``, ``n_epochs``, ``n_steps``, ``max_epochs`` (the absolute target), ``record(name, value)``,
    ``stop(reason)`` and ``keep_best()``. A callback that keeps best weights says so with a true attribute
    ``restore_best``; they are given up when it is dropped. A method whose name starts with ``on_`` and is no hook is
    an error when the class is defined.

    Attributes
    ----------
    columns : tuple of str or None
        Columns of the history it records, where that is known beforehand; a misspelled ``monitor`` is then refused
        before the first step. None, the default, means any.
    runs_last : bool
        Whether its hooks are called after those of the others, wherever it stands in the list: it sees what they did.
    reads_max_epochs : bool
        Whether what it does to the run depends on ``run.max_epochs``, or on where a call ends. A longer training then
        does not begin as a shorter one does, and searches train each from the start.
    """

    columns: tuple[str, ...] | None = None
    runs_last: bool = False
    reads_max_epochs: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            if name.startswith("on_") and name not in HOOKS:
                near = difflib.get_close_matches(name, HOOKS, n=1)
                raise TypeError(
                    f"{cls.__name__}.{name} is no hook"
                    + (f"; did you mean {near[0]}?" if near else "")
                    + f" The hooks are {', '.join(HOOKS)}"
                )

    def on_train_begin(self, run: Any) -> None:
        """Before the first epoch of a call."""

    def on_epoch_begin(self, run: Any) -> None:
        """Before the first step of an epoch; not again where an epoch that was cut goes on."""

    def on_step_begin(self, run: Any) -> None:
        """Before a batch goes through the module."""

    def on_gradients(self, run: Any) -> None:
        """After backward, before the optimizer; once per evaluation of the closure for LBFGS."""

    def on_step_end(self, run: Any) -> None:
        """After the optimizer and a schedule per step."""

    def on_validation_end(self, run: Any) -> None:
        """After validation, also where there are no validation rows: the place to record scores."""

    def on_epoch_end(self, run: Any) -> None:
        """After the row of the epoch is complete and the schedule has stepped: the place to decide."""

    def on_train_end(self, run: Any) -> None:
        """After the last epoch of a call that no exception ended."""

    def on_exception(self, run: Any, error: BaseException) -> None:
        """When an exception leaves the loop, Ctrl-C included; it is raised again afterwards."""

    def __repr__(self) -> str:
        arguments = {n: vars(self)[n] for n in inspect.signature(type(self)).parameters if n in vars(self)}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"

    def state_dict(self) -> dict[str, Any]:
        """Return what continuing needs: by default a copy of every attribute that is no constructor argument.

        What an override returns is copied as far as it is made of tensors, arrays, dictionaries, lists, tuples and
        sets; a :class:`~sktorch_continue.Checkpoint` writes it while training goes on.
        """
        arguments = inspect.signature(type(self)).parameters
        return {name: copy.deepcopy(value) for name, value in vars(self).items() if name not in arguments}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the state of a callback of the same class.

        Raises
        ------
        ValueError
            If it would replace an argument or a method.
        """
        arguments = inspect.signature(type(self)).parameters
        refused = [name for name in state if name in arguments or callable(getattr(type(self), name, None))]
        if refused:
            raise ValueError(f"{refused} of {type(self).__name__} are arguments or methods, and no state")
        vars(self).update(copy.deepcopy(state))


def overrides(callback: Callback, hook: str) -> bool:
    """Tell whether `callback` does anything at `hook`."""
    return getattr(type(callback), hook) is not getattr(Callback, hook) or hook in vars(callback)
