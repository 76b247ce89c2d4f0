"""What torch does around the arithmetic of a small step, left out where it changes no bit.

At batch 32 the Python code around ``backward`` and ``Optimizer.step`` costs a fifth of a step. Both are taken over here
on the CPU, by way of functions torch does not document: each is tried once per process against the documented way, and
left alone where it is missing or gives other numbers.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.optim import Adam, AdamW, Optimizer
from torch.optim import optimizer as of_torch

Backward = Callable[[torch.Tensor], None]
MOMENTS = ("step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq")


def backward_for(device: torch.device, *, torch_alone: bool = False) -> Backward:
    """Return what computes the gradients of a loss on this device.

    With `torch_alone` no code but torch's own sees a gradient, so that the 1 it begins with is made once.
    """
    if device.type != "cpu" or not _engine_works():
        return torch.Tensor.backward
    return functools.partial(_engine_backward, {} if torch_alone else None)


def _engine_backward(ones: dict[torch.dtype, torch.Tensor] | None, loss: torch.Tensor) -> None:
    if ones is not None:
        one = ones.get(loss.dtype)
        if one is None:
            one = ones[loss.dtype] = torch.ones_like(loss)
    elif type(loss) is not torch.Tensor or not loss.requires_grad or loss.ndim:
        loss.backward()  # type: ignore[no-untyped-call]
        return
    else:
        one = torch.ones_like(loss)
    torch.autograd.Variable._execution_engine.run_backward(
        (loss,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True
    )


@functools.cache
def _engine_works() -> bool:
    weights = torch.arange(3.0).requires_grad_()
    try:
        with torch.enable_grad():
            _engine_backward(None, (weights * weights).sum())
    except (AttributeError, TypeError, RuntimeError):
        return False
    return weights.grad is not None and weights.grad.tolist() == [0.0, 2.0, 4.0]


def update_of(optimizer: Optimizer) -> Update:
    """Return what updates the weights of a run."""
    known = type(optimizer) in (Adam, AdamW) and not _hooks_of_all()  # the trial's steps are not for their ears
    return Update(optimizer, shorten=known and _fused_works())


class Update:
    """``optimizer.step()``, by a shorter way where there is one.

    The shorter way is for the fused Adam and AdamW on the CPU, without hooks, once they have their moments. It reads
    the groups at every step, as the optimizer does, so that a schedule or a callback may change them. The counters of
    all parameters of a group share one tensor, so that one operation counts them.

    Parameters
    ----------
    optimizer : Optimizer
        Of the run.
    shorten : bool
        Whether to look for the shorter way.
    """

    def __init__(self, optimizer: Optimizer, *, shorten: bool) -> None:
        self._optimizer = optimizer
        self._shorten = shorten
        self._groups: list[_Group] | None = None

    def refresh(self) -> None:
        """Look again at the optimizer, which others may have changed since."""
        if self._shorten and (self._groups is None or not self._is_current(self._groups)):
            self._groups = _groups_of(self._optimizer)

    def _is_current(self, groups: list[_Group]) -> bool:
        known = [tensor for group in groups for tensor in group.tensors]
        now = _tensors_of(self._optimizer)
        return _can_be_short(self._optimizer) and len(known) == len(now) and all(map(operator.is_, known, now))

    def __call__(self) -> None:
        """Update the weights."""
        if self._groups is None:
            self._optimizer.step()  # the first makes the moments
            self.refresh()
            return
        gradients: list[list[torch.Tensor]] = []
        for group in self._groups:
            found = [gradient for parameter in group.trained if (gradient := parameter.grad) is not None]
            if len(found) < len(group.trained) or (group.frozen and any(p.grad is not None for p in group.frozen)):
                self._optimizer.step()
                return
            gradients.append(found)
        enabled = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)  # torch.no_grad takes twenty times as long
        try:
            for group, found in zip(self._groups, gradients, strict=True):
                values = group.values
                beta1, beta2 = values["betas"]
                group.counter.add_(group.one)
                group.operation(
                    group.trained,
                    found,
                    *group.moments,
                    group.steps,
                    amsgrad=values["amsgrad"],
                    lr=values["lr"],
                    beta1=beta1,
                    beta2=beta2,
                    weight_decay=values["weight_decay"],
                    eps=values["eps"],
                    maximize=values["maximize"],
                )
        finally:
            torch._C._set_grad_enabled(enabled)


class _Group:
    """A parameter group of a fused Adam, with its tensors as lists."""

    def __init__(self, optimizer: Optimizer, group: dict[str, Any]) -> None:
        self.values = group
        self.trained = [parameter for parameter in group["params"] if parameter.requires_grad]
        self.frozen = [parameter for parameter in group["params"] if not parameter.requires_grad]
        states = [optimizer.state[parameter] for parameter in self.trained]
        self.counter = torch.stack([state["step"] for state in states])
        self.one = torch.ones_like(self.counter[0])  # a number would become a tensor at every step
        for state, count in zip(states, self.counter.unbind(), strict=True):
            state["step"] = count
        self.steps = [state["step"] for state in states]
        self.moments = [[state[name] for state in states if name in state] for name in MOMENTS[1:]]
        self.operation: Callable[..., None] = (
            torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        )

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Everything a step reads or writes, but the gradients."""
        return [*self.trained, *self.frozen, *self.steps, *(tensor for kind in self.moments for tensor in kind)]


def _groups_of(optimizer: Optimizer) -> list[_Group] | None:
    """Return the groups that can be updated the shorter way, or None where one of them cannot."""
    if not _can_be_short(optimizer):
        return None
    trained = [group for group in optimizer.param_groups if any(p.requires_grad for p in group["params"])]
    if not all(_has_plain_moments(optimizer, group) for group in trained):
        return None
    optimizer._opt_called = True  # type: ignore[attr-defined]  # a schedule asks whether a step was taken
    return [_Group(optimizer, group) for group in trained]


def _tensors_of(optimizer: Optimizer) -> list[torch.Tensor]:
    """Return the tensors of an optimizer in the order of :attr:`_Group.tensors`."""
    found: list[torch.Tensor] = []
    for group in optimizer.param_groups:
        trained = [parameter for parameter in group["params"] if parameter.requires_grad]
        if not trained:
            continue
        states = [optimizer.state.get(parameter, {}) for parameter in trained]
        found += [*trained, *(parameter for parameter in group["params"] if not parameter.requires_grad)]
        found += [state[name] for name in MOMENTS for state in states if name in state]
    return found


def _hooks_of_all() -> bool:
    """Tell whether somebody listens to the steps of every optimizer."""
    return bool(of_torch._global_optimizer_pre_hooks or of_torch._global_optimizer_post_hooks)


def runs_alone(optimizer: Optimizer) -> bool:
    """Tell whether ``step`` is torch's own, and nobody is called by it."""
    hooks = (_hooks_of_all(), optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    own = "step" not in vars(optimizer) or hasattr(optimizer.step, "_wrapped_by_lr_sched")
    return own and not any(hooks) and type(optimizer).__module__.startswith("torch.optim.")


def _can_be_short(optimizer: Optimizer) -> bool:
    """Tell whether ``step`` means the fused operation alone."""
    return runs_alone(optimizer) and all(_is_plainly_fused(group) for group in optimizer.param_groups)


def _is_plainly_fused(group: Mapping[str, Any]) -> bool:
    numbers = (group["lr"], *group["betas"])
    plain = not any(isinstance(number, torch.Tensor) for number in numbers)
    return plain and bool(group["fused"]) and not group["capturable"] and not group["differentiable"]


def _has_plain_moments(optimizer: Optimizer, group: Mapping[str, Any]) -> bool:
    parameters = [parameter for parameter in group["params"] if parameter.requires_grad]
    names = set(MOMENTS if group["amsgrad"] else MOMENTS[:-1])
    one_kind = len({parameter.dtype for parameter in parameters}) == 1
    on_cpu = all(type(p) is torch.nn.Parameter and p.device.type == "cpu" for p in parameters)
    return one_kind and on_cpu and all(set(optimizer.state.get(p, ())) == names for p in parameters)


@functools.cache
def _fused_works() -> bool:
    """Take three steps of AdamW both ways, and tell whether they end at the same bits."""
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2)]
    long, short = (AdamW([tensor], lr=0.1, fused=True) for tensor in weights)
    try:
        update = Update(short, shorten=True)
        for _ in range(3):
            for tensor in weights:
                tensor.grad = torch.linspace(0, 1, 5)
            long.step()
            update()
    except (AttributeError, KeyError, TypeError, RuntimeError):
        return False
    return update._groups is not None and torch.equal(*weights)
