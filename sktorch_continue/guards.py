"""What a step may have changed before it failed, and how it is put back."""

from __future__ import annotations

import copy

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
