"""Learning-rate schedules: building them, their horizon, and changing a living one.

Facts this file stands on (torch 2.13): building a schedule overwrites the optimizer's rates, so it is built before
the optimizer's state is loaded; a state carries its horizon, but not the functions of ``LambdaLR``.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CyclicLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from sktorch_continue.exceptions import ContinuationError
from sktorch_continue.specification import Part

HORIZONS = ("T_max", "total_iters", "total_steps")
SETS_OWN_RATES = (OneCycleLR, CyclicLR)


@dataclass(frozen=True)
class Horizon:
    """How long a schedule is to last.

    Attributes
    ----------
    epochs : int
        Epochs it plans for.
    steps_per_epoch : int
        Schedule steps in an epoch; 1 for a schedule by epoch.
    done : int
        Steps of the first epoch that were taken before it was cut.
    """

    epochs: int
    steps_per_epoch: int
    done: int = 0

    @property
    def steps(self) -> int:
        """Schedule steps it plans for."""
        return self.epochs * self.steps_per_epoch - self.done


def build_schedule(part: Part, optimizer: Optimizer, plan: dict[str, int]) -> Any:
    """Build a schedule from its arguments and the horizon in `plan`.

    Raises
    ------
    TypeError
        If the factory returns something without the interface of a schedule.
    """
    schedule = replace(part, arguments={**part.arguments, **plan}).build("lr_scheduler", optimizer)
    if not all(hasattr(schedule, name) for name in ("step", "state_dict", "load_state_dict")):
        raise TypeError(
            f"lr_scheduler={part.label} returned {type(schedule).__name__}, which lacks the interface of a "
            "torch.optim.lr_scheduler (step, state_dict, load_state_dict)"
        )
    return schedule


def plan_horizon(part: Part, horizon: Horizon) -> dict[str, int]:
    """Return the horizon arguments that the constructor takes and the caller left out."""
    given = part.arguments
    if part.accepts("epochs") and part.accepts("steps_per_epoch") and ("epochs" in given or "steps_per_epoch" in given):
        wanted = {"epochs": horizon.epochs, "steps_per_epoch": horizon.steps_per_epoch}
    else:
        wanted = dict.fromkeys(HORIZONS, horizon.steps)
    return {name: value for name, value in wanted.items() if part.accepts(name) and name not in given}


def has_horizon(part: Part) -> bool:
    """Tell whether the schedule's constructor takes a horizon."""
    return any(part.accepts(name) for name in HORIZONS)


def reads_metric(schedule: Any) -> bool:
    """Tell whether ``step`` wants a metric (ReduceLROnPlateau and those like it)."""
    if isinstance(schedule, LRScheduler) and not isinstance(schedule, ReduceLROnPlateau):
        return False
    return "metrics" in inspect.signature(schedule.step).parameters


def walk(schedule: Any) -> Iterator[Any]:
    """Yield a schedule and, depth first, those it is made of."""
    yield schedule
    for inner in getattr(schedule, "_schedulers", ()):
        yield from walk(inner)


def steps_left(schedule: Any) -> float:
    """Return how many more steps the schedule can be asked for; infinite for all but ``OneCycleLR``."""
    if isinstance(schedule, OneCycleLR):
        return schedule.total_steps - schedule.last_epoch
    if isinstance(schedule, ChainedScheduler):
        return min(steps_left(inner) for inner in schedule._schedulers)
    if isinstance(schedule, SequentialLR):
        last = schedule._schedulers[-1]
        begun = schedule.last_epoch >= schedule._milestones[-1] if schedule._milestones else True
        ahead = 0 if begun else schedule._milestones[-1] - schedule.last_epoch
        return ahead + steps_left(last)
    return float("inf")


WAYS_OUT = {
    "fit": "leave its horizon out and it is filled in, or make it longer",
    "continue_fit": "set lr_scheduler_on_continue='extend' (its horizon becomes epochs so far + epochs of this call) "
    "or 'restart' (a new schedule for this call), or train fewer epochs",
    "resume_fit": "leave max_epochs as it was, or set lr_scheduler_on_continue='extend' or 'restart' for the epochs "
    "that are added",
    "partial_fit": "give it a longer horizon at the first pass, or call continue_fit with "
    "lr_scheduler_on_continue='extend' or 'restart'",
}


def check_room(schedule: Any, n_steps: int, way_out: str) -> None:
    """Refuse steps that the horizon cannot hold, before the first of them.

    Raises
    ------
    ContinuationError
        Naming both numbers and the other ways of going on.
    """
    left = steps_left(schedule)
    if n_steps > left:
        raise ContinuationError(
            f"{type(schedule).__name__} has {left:g} of its steps left, but this call needs {n_steps}; {way_out}"
        )


def load_schedule(schedule: Any, state: dict[str, Any]) -> None:
    """Load a state without sharing it."""
    schedule.load_state_dict(copy.deepcopy(state))


def scale_base(optimizer: Optimizer, schedule: Any, old: list[float], new: list[float]) -> bool:
    """Change the base rates under a schedule; the schedule's factor stays.

    Parameters
    ----------
    optimizer : Optimizer
        Of the run.
    schedule : object or None
        Over it.
    old, new : list of float
        Base rate of every parameter group before and now.

    Returns
    -------
    bool
        False where the rate has no effect: the schedule sets its rates itself, or no group follows ``lr``.
    """
    inner = [] if schedule is None else list(walk(schedule))
    if old == new or sets_own_rates(schedule):
        return False
    for index, (group, before, now) in enumerate(zip(optimizer.param_groups, old, new, strict=True)):
        if before == now:
            continue
        for part in inner:
            if len(getattr(part, "base_lrs", ())) > index:
                part.base_lrs[index] = now
        factor = float(group["lr"]) / before if schedule is not None and before else 1.0
        _set(group, "lr", now * factor)
        if "initial_lr" in group:
            _set(group, "initial_lr", now)
    for part in inner:
        part._last_lr = [group["lr"] for group in optimizer.param_groups]
    return True


def sets_own_rates(schedule: Any) -> bool:
    """Tell whether a schedule, or one it is made of, ignores the optimizer's learning rate."""
    return schedule is not None and any(isinstance(part, SETS_OWN_RATES) for part in walk(schedule))


def _set(group: dict[str, Any], name: str, value: float) -> None:
    if isinstance(group[name], torch.Tensor):
        group[name].fill_(value)
    else:
        group[name] = value


def reset_groups(optimizer: Optimizer, fresh: list[dict[str, Any]]) -> None:
    """Put the groups back to what the optimizer's arguments say, as a schedule that starts now expects."""
    for group, values in zip(optimizer.param_groups, fresh, strict=True):
        group.pop("initial_lr", None)
        group.update(values)


def hand_over(before: Optimizer, after: Optimizer, schedule: Any) -> None:
    """Give the rates of one optimizer to another, and the momentum where the schedule cycles it.

    The schedule over `after` has the state of the one over `before`; which momentum it cycles depends on the
    optimizer.
    """
    names = ["lr", "initial_lr"]
    if sets_own_rates(schedule):
        names += ["min_lr", "max_lr", "base_momentum", "max_momentum", "momentum", "betas"]
    for part in walk(schedule) if schedule is not None else ():
        if hasattr(part, "use_beta1"):
            part.use_beta1 = "betas" in after.defaults
    for index, group in enumerate(after.param_groups):
        source = before.param_groups[min(index, len(before.param_groups) - 1)]
        group.update({name: source[name] for name in names if name in source and name in group})
        group.update({name: source[name] for name in ("lr", "initial_lr") if name in source})


def extend(part: Part, optimizer: Optimizer, schedule: Any, n_steps: int) -> tuple[dict[str, int], Any]:
    """Stretch a living schedule by `n_steps`: rates from now on are as if that had been the plan.

    The longer schedule is built over a stand-in of the optimizer and stepped to where the living one is; the
    optimizer gets its rates. The living schedule itself is left alone.

    Returns
    -------
    plan : dict
        To build the schedule with from now on.
    state : dict
        Of the longer schedule.
    """
    done = _steps_taken(schedule)
    plan = {name: done + n_steps for name in HORIZONS if part.accepts(name)}
    stand_in = _stand_in(optimizer)
    longer = build_schedule(part, stand_in, plan)
    for _ in range(done):
        longer.step()
    for group, stretched in zip(optimizer.param_groups, stand_in.param_groups, strict=True):
        group.update({name: value for name, value in stretched.items() if name != "params"})
    return plan, longer.state_dict()


def _steps_taken(schedule: Any) -> int:
    return next(int(part.last_epoch) for part in walk(schedule) if hasattr(part, "last_epoch"))


def _stand_in(optimizer: Optimizer) -> Optimizer:
    groups = []
    for group in optimizer.param_groups:
        plain = {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
        plain["lr"] = plain.pop("initial_lr", plain["lr"])
        groups.append({**plain, "params": [torch.zeros(1)]})
    stand_in = Optimizer(groups, dict(optimizer.defaults))
    stand_in._opt_called = True  # type: ignore[attr-defined]
    return stand_in
