"""The learning rates a call would train with, found out without training.

Everything is decided by the functions that decide it in a call; they get an optimizer of their own, whose schedule is
then stepped alone. Neither weights nor the run are touched.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from sktorch_continue import changes, optimizers, schedules, streams
from sktorch_continue.estimators.call import Call, Intent
from sktorch_continue.estimators.parameters import make_specification
from sktorch_continue.estimators.storage import sharing_copy
from sktorch_continue.estimators.verbs import form_intent, horizon_of
from sktorch_continue.exceptions import ContinuationWarning
from sktorch_continue.run import Run
from sktorch_continue.schedules import Horizon
from sktorch_continue.session import Session
from sktorch_continue.specification import Specification


@dataclass(frozen=True)
class Rates:
    """Learning rates of epochs, or of steps, in their order.

    Attributes
    ----------
    epochs : ndarray of shape (n_points,)
        Epoch (from 1, over all calls) plus the part of it that is done before.
    values : ndarray of shape (n_points, n_groups)
        Rate of every parameter group.
    """

    epochs: np.ndarray
    values: np.ndarray


def rates_of_fit(network: Any, max_epochs: int | None, steps_per_epoch: int | None) -> Rates:
    """Return the rates of a ``fit``.

    Parameters
    ----------
    network : TorchEstimator
        Fitted or not.
    max_epochs : int or None
        Epochs; None for the parameter.
    steps_per_epoch : int or None
        Needed where the schedule steps per optimizer step.

    Raises
    ------
    TypeError, ValueError, ContinuationError
        As ``fit`` raises them for the parameters; and for a schedule that reads what training gives.
    """
    intent = form_intent(sharing_copy(network), _call(network, "fit", max_epochs))
    specification = make_specification(intent.params, nn.MSELoss)  # no criterion decides a rate
    part = specification.lr_scheduler
    horizon = Horizon(intent.epochs, 1)
    if part is not None and specification.lr_scheduler_interval == "step":
        if steps_per_epoch is None:
            raise ValueError(
                "lr_scheduler_interval='step' and no data seen yet: give steps_per_epoch, the number of batches"
            )
        horizon = Horizon(intent.epochs, steps_per_epoch)
    weights = nn.ParameterList([torch.zeros(1, 1)])  # no module is built before there are data
    with streams.borrowed(intent.device):
        optimizer = optimizers.build_optimizer(specification.optimizer, weights, nn.Identity())
        schedule = part and schedules.build_schedule(part, optimizer, schedules.plan_horizon(part, horizon))
        return _walk(optimizer, schedule, horizon, n_epochs=0, way_out=schedules.WAYS_OUT["fit"])


def rates_of_continuation(network: Any, on_continue: str, max_epochs: int | None, steps_per_epoch: int | None) -> Rates:
    """Return the rates of a ``continue_fit`` with the parameters as they are now.

    Parameters
    ----------
    network : TorchEstimator
        Fitted.
    on_continue : {"continue", "extend", "restart"}
        Instead of the parameter ``lr_scheduler_on_continue``.
    max_epochs : int or None
        Epochs to add; None for the parameter.
    steps_per_epoch : int or None
        Batches; None for the rows of the newest call.

    Raises
    ------
    TypeError, ValueError, ContinuationError
        As ``continue_fit`` raises them for the parameters; and for a schedule that reads what training gives.
    """
    intent = form_intent(sharing_copy(network), _call(network, "continue_fit", max_epochs))
    specification: Specification = network._specification(intent.params)
    changes.refuse(network._run, specification)
    with streams.borrowed(network._run.device):
        run = _stand_in(network._run)
        horizon = horizon_of(run, _session(run, intent, steps_per_epoch), specification, intent.epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ContinuationWarning)  # the call itself will say it
            changes.apply(run, specification, horizon, on_continue)
        way_out = schedules.WAYS_OUT["continue_fit"]
        return _walk(run.optimizer, run.lr_scheduler, horizon, n_epochs=run.n_epochs, way_out=way_out)


def _call(network: Any, verb: str, max_epochs: int | None) -> Call:
    return Call(verb, None, None, network.max_epochs if max_epochs is None else max_epochs)


def _stand_in(run: Run) -> Run:
    """Return the same run, but for an optimizer and a schedule of its own, in the state of those of the run."""
    other = copy.copy(run)
    other.build_optimizer()
    other.build_schedule()  # overwrites the rates
    for group, living in zip(other.optimizer.param_groups, run.optimizer.param_groups, strict=True):
        group.update({name: copy.deepcopy(value) for name, value in living.items() if name != "params"})
    if other.lr_scheduler is not None:
        schedules.load_schedule(other.lr_scheduler, run.lr_scheduler.state_dict())
    return other


def _session(run: Run, intent: Intent, steps_per_epoch: int | None) -> Session:
    """Return a session with as many rows as the newest call had; those of an epoch that was cut are the same."""
    record = run.history.calls[-1]
    size = int(intent.params["batch_size"])
    rows: Any = range(record["n_rows"] if steps_per_epoch is None else steps_per_epoch * size)  # only counted
    unused: Any = None
    return Session(
        train=rows,
        valid=None,
        batch_size=size,
        shuffle=bool(intent.params["shuffle"]),
        drop_last=bool(intent.params["drop_last"]),
        check_finite=True,
        compile=False,
        num_threads=1,
        fingerprint=record["fingerprint"] if steps_per_epoch is None else "",
        validation_fingerprint=None,
        estimator=None,
        scoring_rows=unused,
        contents=unused,
        watchers=[],
    )


def _walk(optimizer: Optimizer, schedule: Any, horizon: Horizon, *, n_epochs: int, way_out: str) -> Rates:
    if schedule is not None and schedules.reads_metric(schedule):
        raise ValueError(
            f"{type(schedule).__name__} follows a column of the history, so that its rates are not known before the "
            "epochs are trained; HistoryDisplay shows those it has taken"
        )
    if schedule is not None:
        schedules.check_room(schedule, horizon.steps, way_out)
    optimizer._opt_called = True  # type: ignore[attr-defined]  # or torch warns that it never stepped
    values = []
    for _ in range(horizon.steps):
        values.append([float(group["lr"]) for group in optimizer.param_groups])
        if schedule is not None:
            schedule.step()
    steps = np.arange(horizon.done, horizon.done + horizon.steps)
    return Rates(n_epochs + 1 + steps / horizon.steps_per_epoch, np.array(values))
