"""What a call or a step may have changed before it failed, and how it is put back."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from sktorch_continue import optimizers
from sktorch_continue.run import Run


class BufferGuard:
    """Copies of a module's buffers from before a step: a failed forward pass may have changed them.

    Buffers are looked up by their place, since a forward pass may also replace the tensor that is there.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._places = [
            (layer._buffers, name)
            for layer in module.modules()
            for name, buffer in layer._buffers.items()
            if buffer is not None
        ]
        self._current: list[torch.Tensor] = []
        self._kept: list[torch.Tensor] = []

    def keep(self) -> None:
        """Copy what is there now."""
        if not self._places:
            return
        self._current = [buffers[name] for buffers, name in self._places]  # type: ignore[misc]
        if [t.shape for t in self._kept] != [t.shape for t in self._current]:
            self._kept = [tensor.clone() for tensor in self._current]
        else:
            torch._foreach_copy_(self._kept, self._current)

    def put_back(self) -> None:
        """Undo everything since :meth:`keep`."""
        for (buffers, name), tensor, kept in zip(self._places, self._current, self._kept, strict=True):
            buffers[name] = tensor.copy_(kept)


class WeightGuard:
    """Copies of weights and optimizer state from before a step that moves the weights while it evaluates them."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def keep(self) -> None:
        """Copy what is there now."""
        self._weights = [parameter.detach().clone() for parameter in self._run.parameters]
        self._state = copy.deepcopy(self._run.optimizer.state_dict())

    def put_back(self) -> None:
        """Undo everything since :meth:`keep`."""
        for parameter, weights in zip(self._run.parameters, self._weights, strict=True):
            parameter.detach().copy_(weights)
        self._run.optimizer.state.clear()
        optimizers.load_exact(self._run.optimizer, self._state)


def bookmark(run: Run) -> Callable[[], None]:
    """Return a function that undoes everything a call did to `run` but completed steps.

    No tensor is copied: until a step is taken, weights and moments are as they were, and only what surrounds
    them (parts, rates, callbacks, counters, records) can have changed.
    """
    device = run.device
    attributes = {
        name: vars(run)[name]
        for name in (
            "specification",
            "optimizer",
            "criterion",
            "lr_scheduler",
            "schedule_plan",
            "grad_scaler",
            "seed",
            "best",
            "seen",
        )
    }
    callbacks = [(name, callback, callback.state_dict()) for name, callback in run.callbacks.items()]
    groups = [{k: v for k, v in group.items() if k != "params"} for group in run.optimizer.param_groups]
    moments = {parameter: set(state) for parameter, state in run.optimizer.state.items()}
    schedule = None if run.lr_scheduler is None else copy.deepcopy(run.lr_scheduler.state_dict())
    progress, held_out = run.progress.state_dict(), run.held_out.state_dict()
    n_calls = len(run.history.calls)
    gradients = [p.requires_grad for p in run.module.parameters()]

    def undo() -> None:
        vars(run).update(attributes)
        vars(run).pop("parameters", None)
        run.callbacks = {name: callback for name, callback, _ in callbacks}
        for _, callback, state in callbacks:
            callback.load_state_dict(state)
        for group, kept in zip(run.optimizer.param_groups, groups, strict=True):
            parameters = group["params"]
            group.clear()
            group.update(kept, params=parameters)
        for parameter in list(run.optimizer.state):
            for name in set(run.optimizer.state[parameter]) - moments.get(parameter, set()):
                del run.optimizer.state[parameter][name]
            if parameter not in moments:
                del run.optimizer.state[parameter]
        if schedule is not None:
            run.lr_scheduler.load_state_dict(schedule)
        run.progress.load_state_dict(progress)
        run.held_out.load_state_dict(held_out)
        del run.history.calls[n_calls:]
        for parameter, wanted in zip(run.module.parameters(), gradients, strict=True):
            parameter.requires_grad_(wanted)
        run.to(device)

    return undo
