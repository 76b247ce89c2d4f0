"""What continuing does with a changed parameter: compare two specifications, refuse first, then apply.

=============================================== ==============================================================
changed                                         what happens
=============================================== ==============================================================
``module``, ``module__*``                       refused
``optimizer__*``, ``lr``                        put into the living parameter groups; moments kept
``optimizer``, ``criterion``, ``lr_scheduler``  the new one starts now, with a warning that names what is dropped
``grad_scaler``                                 the new one starts now, with a warning that names what is dropped
``callbacks``                                   matched by name and class
``random_state``                                new streams from the next epoch on
everything else                                 is read at every call anyway
=============================================== ==============================================================
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from typing import Any

from torch import nn
from torch.optim import Optimizer

from sktorch_continue import modules, optimizers, schedules, streams
from sktorch_continue.criteria import build_criterion
from sktorch_continue.exceptions import ContinuationError, warn
from sktorch_continue.run import Run
from sktorch_continue.schedules import Horizon
from sktorch_continue.specification import Part, Specification, in_words, same_architecture


def changed_parameters(old: Specification, new: Specification) -> dict[str, list[Any]]:
    """Return ``{parameter: [before, now]}`` for the record of a call."""
    names = sorted({*old.parameters, *new.parameters})
    pairs = {name: [old.parameters.get(name), new.parameters.get(name)] for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def refuse(run: Run, new: Specification) -> None:
    """Refuse what a run cannot take, before anything is changed.

    Raises
    ------
    ContinuationError
        For another module, or a callback of a known name and another class.
    """
    old = run.specification
    if old.parts["module"] != new.parts["module"]:
        names = [n for n in changed_parameters(old, new) if n == "module" or n.startswith("module__")]
        differences = "; ".join(f"{name} was {_shown(name, old)} and is now {_shown(name, new)}" for name in names)
        raise ContinuationError(
            f"a run cannot go on with another module: {differences}. Set it back to continue, or call fit on "
            "clone(estimator) for a new run"
        )
    for name, callback in new.callbacks.items():
        known = run.callbacks.get(name)
        if known is not None and type(known) is not type(callback):
            raise ContinuationError(
                f"callback {name!r} was a {type(known).__name__} and is now a {type(callback).__name__}; give it "
                "another name"
            )


# What a resumed run reads anew: how long it lasts, who watches it, and where it runs.
READ_WHEN_RESUMED = {
    "max_epochs",
    "callbacks",
    "verbose",
    "device",
    "compile",
    "num_threads",
    "check_finite",
    "warm_start",
    "lr_scheduler_on_continue",
    "dataloader__num_workers",
    "dataloader__multiprocessing_context",
    "dataloader__pin_memory",
    "dataloader__prefetch_factor",
    "dataloader__persistent_workers",
    "dataloader__timeout",
}
OF_THE_ORDER = {"dataloader__num_workers"}  # of an iterable data set, whose workers take turns


def refuse_to_resume(run: Run, new: Specification, *, workers_decide: bool = False) -> None:
    """Refuse to finish a run under other parameters than it was started with, before anything is changed.

    Parameters
    ----------
    run : Run
        To finish.
    new : Specification
        Of now.
    workers_decide : bool, default=False
        Whether the number of workers decides the order of the rows.

    Raises
    ------
    ContinuationError
        Naming old and new values.
    """
    changed = changed_parameters(run.specification, new)
    free = READ_WHEN_RESUMED - (OF_THE_ORDER if workers_decide else set())
    different = {
        name: pair
        for name, pair in changed.items()
        if name not in free and not (name == "module" and same_architecture(*pair))
    }
    if different:
        pairs = [(name, in_words(was), in_words(now)) for name, (was, now) in different.items()]
        raise ContinuationError(
            "a run is resumed as it was started: "
            + "; ".join(f"{name} was {was} and is now {now}" for name, was, now in pairs)
            + ". Set it back, or use continue_fit to go on with other parameters (load_checkpoint brings a stored run)"
        )


def _shown(name: str, specification: Specification) -> str:
    if name == "module":
        kind = "an instance of " if isinstance(specification.module.factory, nn.Module) else ""
        return kind + specification.module.label
    argument = name.removeprefix("module__")
    return repr(specification.module.arguments[argument]) if name in specification.parameters else "not given"


def apply(run: Run, new: Specification, horizon: Horizon, on_continue: str) -> None:
    """Let a run go on under a new specification.

    Parameters
    ----------
    run : Run
        To change.
    new : Specification
        Already passed by :func:`refuse`.
    horizon : Horizon
        Of this call.
    on_continue : {"continue", "extend", "restart"}
        What the schedule does.
    """
    old, run.specification = run.specification, new
    new_schedule = old.parts["lr_scheduler"] != new.parts["lr_scheduler"]
    _replace_callbacks(run, new)
    if new_schedule:
        run.lr_scheduler = None
    if old.parts["criterion"] != new.parts["criterion"]:
        _replace_criterion(run, old, new)
    _change_optimizer(run, old, new)
    if old.parts["grad_scaler"] != new.parts["grad_scaler"]:
        _replace_scaler(run, old, new)
    if new_schedule:
        _replace_schedule(run, old, new, horizon)
        return
    if new.optimizer.arguments.get("lr") == old.lr and old.parameters.get("lr") != new.parameters.get("lr"):
        warn(f"lr={new.parameters['lr']} has no effect: optimizer__lr={old.lr:g} is given")
    if old.lr != new.lr:
        _change_rate(run, old, new)
    if new.lr_scheduler is None:
        return
    if on_continue == "restart":
        _start_schedule(run, new.lr_scheduler, horizon)
    elif on_continue == "extend":
        _extend_schedule(run, new.lr_scheduler, horizon)


def _replace_callbacks(run: Run, new: Specification) -> None:
    before = run.callbacks
    run.callbacks = {name: copy.deepcopy(prototype) for name, prototype in new.callbacks.items()}
    for name, callback in run.callbacks.items():
        if name in before:
            callback.load_state_dict(before[name].state_dict())
    dropped = [name for name in before if name not in run.callbacks]
    if dropped:
        warn(f"callbacks {dropped} are dropped with what they know; the others go on")
    if run.best is not None and not any(getattr(c, "restore_best", False) for c in run.callbacks.values()):
        run.drop_best()


def _replace_criterion(run: Run, old: Specification, new: Specification) -> None:
    with streams.borrowed(run.device):
        streams.seed_construction(run.seed, run.progress.n_calls)
        criterion = build_criterion(new.criterion).to(run.device, modules.float_dtype(run.module))
    learned = [*run.criterion.parameters(), *criterion.parameters()]
    run.criterion = criterion
    if learned:
        _replace_optimizer(run, keep_moments=True)
    warn(f"criterion {old.criterion.label} is replaced by {_labelled(new.criterion)}; the rest of the run goes on")


def _change_optimizer(run: Run, old: Specification, new: Specification) -> None:
    before, now = old.parts["optimizer"], new.parts["optimizer"]
    if before == now:
        return
    same_class = before["factory"] == now["factory"] and _is_optimizer_class(new.optimizer.factory)
    if not same_class:
        _replace_optimizer(run, keep_moments=False)
        warn(
            f"optimizer {old.optimizer.label} is replaced by {_labelled(new.optimizer)} and its moments are dropped; "
            "the rest of the run goes on"
        )
        return
    names = {*before["arguments"], *now["arguments"]}
    changed = {
        n: new.optimizer.arguments.get(n) for n in names if before["arguments"].get(n) != now["arguments"].get(n)
    }
    if changed:
        fresh = optimizers.shadow(new.optimizer, run.module, run.criterion)
        optimizers.update_groups(run.optimizer, changed, fresh)


def _replace_scaler(run: Run, old: Specification, new: Specification) -> None:
    run.build_scaler()
    if old.grad_scaler is not None:
        successor = "none" if new.grad_scaler is None else _labelled(new.grad_scaler)
        warn(
            f"grad_scaler {_labelled(old.grad_scaler)} is dropped with its scale, for {successor}; the rest of the run "
            "goes on"
        )


def _is_optimizer_class(factory: Any) -> bool:
    return inspect.isclass(factory) and issubclass(factory, Optimizer)


def _replace_optimizer(run: Run, *, keep_moments: bool) -> None:
    """Build the optimizer anew; its rates, and the schedule, go on where they were."""
    before, schedule = run.optimizer, run.lr_scheduler
    run.build_optimizer()
    was, now = len(before.param_groups), len(run.optimizer.param_groups)
    if was != now and (schedule is not None or keep_moments):
        keeper = "the optimizer keeps" if schedule is None else f"lr_scheduler {type(schedule).__name__} sets"
        raise ContinuationError(
            f"{keeper} the learning rates of {was} parameter groups, but the new optimizer has {now}; give one with "
            "as many groups, another lr_scheduler with it, or fit a new run"
        )
    if keep_moments:
        run.optimizer.state.update({p: s for p, s in before.state.items() if p in set(run.module.parameters())})
    if schedule is not None:
        run.build_schedule()
        schedules.load_schedule(run.lr_scheduler, schedule.state_dict())
    if schedule is not None or keep_moments:
        schedules.hand_over(before, run.optimizer, run.lr_scheduler)


def _change_rate(run: Run, old: Specification, new: Specification) -> None:
    as_before = {**new.optimizer.arguments, "lr": old.lr} if "lr" in new.optimizer.arguments else {}
    before, now = (
        [float(group["lr"]) for group in optimizers.fresh_groups(part, run.module, run.criterion)]
        for part in (replace(new.optimizer, arguments=as_before or new.optimizer.arguments), new.optimizer)
    )
    if not schedules.scale_base(run.optimizer, run.lr_scheduler, before, now):
        setter = type(run.lr_scheduler).__name__ if run.lr_scheduler is not None else "the optimizer"
        warn(f"lr={new.lr:g} has no effect: {setter} sets its learning rates itself")


def _replace_schedule(run: Run, old: Specification, new: Specification, horizon: Horizon) -> None:
    if old.lr_scheduler is not None:
        successor = "none" if new.lr_scheduler is None else _labelled(new.lr_scheduler)
        warn(
            f"lr_scheduler {_labelled(old.lr_scheduler)} is dropped and {successor} starts now, from "
            f"lr={new.lr:g}; the rest of the run goes on"
        )
    if new.lr_scheduler is not None:
        _start_schedule(run, new.lr_scheduler, horizon)
        return
    schedules.reset_groups(run.optimizer, _groups_now(run))
    run.schedule_plan = {}


def _start_schedule(run: Run, part: Part, horizon: Horizon) -> None:
    schedules.reset_groups(run.optimizer, _groups_now(run))
    run.schedule_plan = schedules.plan_horizon(part, horizon)
    run.build_schedule()


def _extend_schedule(run: Run, part: Part, horizon: Horizon) -> None:
    if not schedules.has_horizon(part):
        if not inspect.isclass(part.factory):
            warn(
                f"lr_scheduler_on_continue='extend' has no effect: {part.label} takes none of {schedules.HORIZONS}; "
                "give it such a parameter, and it is filled in"
            )
        return
    run.schedule_plan, state = schedules.extend(part, run.optimizer, run.lr_scheduler, horizon.steps)
    groups = [dict(group) for group in run.optimizer.param_groups]
    run.build_schedule()  # over the living optimizer, whose rates that overwrites
    schedules.load_schedule(run.lr_scheduler, state)
    for group, stretched in zip(run.optimizer.param_groups, groups, strict=True):
        group.update(stretched)


def _groups_now(run: Run) -> list[dict[str, Any]]:
    return optimizers.fresh_groups(run.specification.optimizer, run.module, run.criterion)


def _labelled(part: Part) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in part.arguments.items())
    return f"{part.label}({arguments})"
