"""From a call to ``loop.train``: where the run comes from, its target, and what is kept when it fails."""

from __future__ import annotations

import datetime
import functools
import platform
from dataclasses import replace
from typing import Any

import joblib
import numpy as np
import scipy
import sklearn
import torch

from sktorch_continue import changes, loop, schedules, streams
from sktorch_continue.estimators.call import Call, Rows, check_rows, check_validation
from sktorch_continue.estimators.parameters import check_device, check_epochs, check_parameters
from sktorch_continue.estimators.session import open_session
from sktorch_continue.estimators.start import check_batches, new_run, try_forward
from sktorch_continue.estimators.storage import sharing_copy
from sktorch_continue.exceptions import ContinuationError
from sktorch_continue.run import Run, Session
from sktorch_continue.schedules import Horizon
from sktorch_continue.specification import Specification


def carry_out(estimator: Any, call: Call) -> None:
    """Train `estimator` as `call` asks.

    The work is done on a draft. It becomes the estimator once a step is completed; when none could be, a new run
    is forgotten and a run that goes on is put back to where it was.
    """
    fresh = call.verb == "fit" or not hasattr(estimator, "_run")
    params = estimator.get_params(deep=False)
    check_parameters(params)
    device = check_device(params["device"])
    epochs = check_epochs(call.max_epochs, 0 if fresh else estimator._run.n_epochs)
    draft = sharing_copy(estimator)
    rows = check_rows(draft, call, fresh=fresh)
    validation = check_validation(draft, call, rows)
    specification = draft._specification(params)
    weighted = rows.weighted or (validation is not None and validation.weighted)
    if fresh:
        draft._run = new_run(draft, specification, rows, device, params["random_state"], weighted=weighted)
    else:
        refuse(draft, specification, rows)
    run: Run = draft._run
    undo, n_steps = run.bookmark(), run.n_steps
    try:
        session = open_session(draft, call, params, rows, validation)
        start = run.specification if not fresh else None
        prepare(run, session, rows, specification, params, device, epochs, call.verb, fresh=fresh, weighted=weighted)
        record = open_record(run, session, call.verb, start)
        try:
            loop.train(run, session)
        finally:
            record.update(n_epochs=run.n_epochs, stopped=run.progress.stopped)
    except BaseException:
        if run.n_steps > n_steps:
            _become(estimator, draft)
        else:
            undo()
        raise
    _become(estimator, draft)


def _become(estimator: Any, draft: Any) -> None:
    for name in set(vars(estimator)) - set(vars(draft)):
        delattr(estimator, name)
    vars(estimator).update(vars(draft))


def refuse(draft: Any, specification: Specification, rows: Rows) -> None:
    """Refuse data and parameters this run cannot go on with, before anything is changed.

    Raises
    ------
    ContinuationError
        Naming the difference.
    """
    run: Run = draft._run
    shapes = {name: list(shape) for name, shape in rows.inputs.row_shapes.items()}
    if shapes != run.facts.row_shapes:
        raise ContinuationError(f"rows of X have shapes {shapes}, but this run was fitted on {run.facts.row_shapes}")
    changes.refuse(run, specification)
    objective = draft._objective(specification)
    if objective != run.facts.objective:
        raise ContinuationError(
            f"criterion={specification.criterion.label} reads {objective.n_outputs} outputs as {objective.kind!r}, but "
            f"this run's module gives {run.facts.n_outputs} as {run.facts.kind!r}; fit a new run for this criterion"
        )


def prepare(
    run: Run,
    session: Session,
    rows: Rows,
    specification: Specification,
    params: dict[str, Any],
    device: torch.device,
    epochs: int,
    verb: str,
    *,
    fresh: bool,
    weighted: bool,
) -> None:
    """Bring the run to the start of the call: changes applied, schedule in place, target set."""
    check_batches(run, session)
    if verb == "partial_fit":
        run.progress.begun = None
    horizon = _horizon(run, session, specification, epochs)
    if fresh:
        whole = check_epochs(params["max_epochs"], 0) if verb == "partial_fit" else epochs
        if specification.lr_scheduler is not None:
            run.schedule_plan = schedules.plan_horizon(specification.lr_scheduler, replace(horizon, epochs=whole))
        run.build_schedule()
    else:
        with streams.borrowed(run.device):
            run.to(device)
            criterion = run.criterion
            if "random_state" in changes.changed_parameters(run.specification, specification):
                run.seed = streams.draw_seed(params["random_state"])
            on_continue = "continue" if verb == "partial_fit" else params["lr_scheduler_on_continue"]
            changes.apply(run, specification, horizon, on_continue)
            if weighted or run.criterion is not criterion:
                try_forward(run, rows, weighted=weighted)
    if run.lr_scheduler is not None:
        way_out = schedules.WAYS_OUT["fit" if fresh else verb]
        schedules.check_room(run.lr_scheduler, horizon.steps, way_out)
    run.progress.max_epochs = run.n_epochs + epochs
    run.progress.n_calls += 1
    run.progress.stopped = None


def _horizon(run: Run, session: Session, specification: Specification, epochs: int) -> Horizon:
    if specification.lr_scheduler_interval == "epoch":
        return Horizon(epochs, 1)
    begun = run.progress.begun
    goes_on = begun is not None and begun.key == session.epoch_key(run.seed)
    done = begun.rows_done // session.batch_size if begun is not None and goes_on else 0
    return Horizon(epochs, session.n_batches, done)


def open_record(run: Run, session: Session, verb: str, before: Specification | None) -> dict[str, Any]:
    """Add the record of this call to the history and return it."""
    record = {
        "call": run.progress.n_calls,
        "verb": verb,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "max_epochs": run.max_epochs,
        "changed": {} if before is None else changes.changed_parameters(before, run.specification),
        "n_rows": len(session.train),
        "n_validation_rows": 0 if session.valid is None else len(session.valid),
        "fingerprint": session.fingerprint,
        "versions": dict(versions()),
        "n_epochs": run.n_epochs,
        "stopped": None,
    }
    run.history.calls.append(record)
    return record


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions that can decide bits."""
    found = {"python": platform.python_version()}
    for library in (torch, sklearn, np, scipy, joblib):
        found[library.__name__] = str(library.__version__)
    return found
