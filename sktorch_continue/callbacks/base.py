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
    only_watches : bool
        Whether it does nothing to the run, such as a logger: its hooks are called after those that may do something.
    unused_hooks : tuple of str
        Hooks it overrides and does not need as it is set, so that they cost nothing.
    reads_max_epochs : bool or None
        Whether what it does to the run depends on ``run.max_epochs``, or on where a call begins or ends. A longer
        training then does not begin as a shorter one does, and searches train each from the start. None, the default,
        means that it does where it overrides ``on_train_begin`` or ``on_train_end`` or names ``max_epochs`` in a
        method.
    """

    columns: tuple[str, ...] | None = None
    runs_last: bool = False
    only_watches: bool = False
    unused_hooks: tuple[str, ...] = ()
    reads_max_epochs: bool | None = None

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
    overridden = getattr(type(callback), hook) is not getattr(Callback, hook) or hook in vars(callback)
    return overridden and hook not in callback.unused_hooks


def reads_max_epochs(callback: Callback) -> bool:
    """Tell whether what a callback does may depend on how long a call trains; see :class:`Callback`."""
    for kind in type(callback).__mro__[:-1]:
        said = vars(kind).get("reads_max_epochs")
        if said is not None or kind is Callback:
            return bool(said)
        if "on_train_begin" in vars(kind) or "on_train_end" in vars(kind):
            return True
        if any(_names_max_epochs(method.__code__) for method in vars(kind).values() if inspect.isfunction(method)):
            return True
    return False


def _names_max_epochs(code: Any) -> bool:
    inner = any(_names_max_epochs(constant) for constant in code.co_consts if inspect.iscode(constant))
    return inner or "max_epochs" in code.co_names
