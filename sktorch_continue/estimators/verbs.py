"""From a call to ``loop.train``: where the run comes from, its target, and what is kept when it fails."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from sktorch_continue import changes, loop, mixed_precision, schedules, streams
from sktorch_continue.data.inputs import fits
from sktorch_continue.estimators.call import Call, Intent, check_rows, check_validation
from sktorch_continue.estimators.parameters import check_device, check_epochs, check_parameters
from sktorch_continue.estimators.rows import Rows
from sktorch_continue.estimators.session import open_session
from sktorch_continue.estimators.start import check_batches, new_run, try_forward
from sktorch_continue.estimators.storage import become, sharing_copy
from sktorch_continue.estimators.tasks import has_callbacks, report
from sktorch_continue.estimators.torch_data import is_iterable
from sktorch_continue.exceptions import ContinuationError, OtherDataError, warn
from sktorch_continue.guards import bookmark
from sktorch_continue.run import Run
from sktorch_continue.schedules import Horizon
from sktorch_continue.session import Session
from sktorch_continue.specification import Specification
from sktorch_continue.versions import versions


def carry_out(estimator: Any, call: Call) -> None:
    """Train `estimator` as `call` asks; callbacks of scikit-learn are told of it where there are any."""
    if has_callbacks(estimator):
        report(estimator, call, train_draft)
    else:
        train_draft(estimator, call)


def train_draft(estimator: Any, call: Call) -> None:
    """Train a draft of `estimator`.

    It becomes the estimator once a step is completed; when none could be, a new run
    is forgotten and a run that goes on is put back to where it was.
    """
    draft = call.source or sharing_copy(estimator)
    intent = form_intent(draft, call)
    rows = check_rows(draft, call, fresh=intent.fresh)
    validation = check_validation(draft, call, rows)
    try:
        _train_rows(estimator, draft, call, intent, rows, validation)
    finally:
        for opened in (rows, validation):
            if opened is not None:
                opened.inputs.close()


def _train_rows(estimator: Any, draft: Any, call: Call, intent: Intent, rows: Rows, validation: Rows | None) -> None:
    intent.weighted = rows.weighted or (validation is not None and validation.weighted)
    specification = draft._specification(intent.params)
    if intent.fresh:
        draft._run = new_run(draft, specification, rows, intent)
    else:
        refuse(draft, specification, rows, resumes=intent.resumes)
    run: Run = draft._run
    undo, n_steps = bookmark(run), run.n_steps
    try:
        session = open_session(draft, call, intent, rows, validation)
        if intent.resumes:
            refuse_other_data(run, session)
        if intent.epochs == 0:
            if intent.extends:
                run.specification = specification
                keep_target(run, call)
            become(estimator, draft)
            return
        start = None if intent.fresh else run.specification
        prepare(run, session, rows, specification, intent)
        for name, folder in call.pinned.items():
            run.callbacks[name].folder = folder  # type: ignore[attr-defined]
        if intent.extends:
            keep_target(run, call)
        else:
            open_record(run, session, call.verb, start)
        loop.train(run, session)
    except BaseException:
        if run.n_steps > n_steps:
            become(estimator, draft)
        else:
            undo()
        raise
    become(estimator, draft)


def form_intent(draft: Any, call: Call) -> Intent:
    """Check the parameters, and that there is a run that can be trained or that a new one is to be built."""
    fresh = not hasattr(draft, "_run") or (call.verb == "fit" and call.source is None)
    if not fresh and not draft._run.can_train:
        raise ContinuationError(
            f"this {type(draft).__name__} was exported for serving and has no optimizer; continue the estimator it was "
            "exported from, or call fit on clone(estimator) for a new run"
        )
    if not fresh and draft._run.torn:
        warn("the last step was cut in two by an error: the run goes on from weights between two steps, not exactly")
    params = draft.get_params(deep=False)
    check_parameters(params)
    device = check_device(params["device"])
    epochs = check_epochs(call.max_epochs, 0 if fresh else draft._run.n_epochs)
    if call.verb == "resume_fit" and not fresh:
        epochs = epochs_left(draft._run, epochs)
    if call.verb == "fit" and not fresh:
        epochs = 0 if draft._run.progress.stopped is not None else epochs - draft._run.n_epochs
    return Intent(call.verb, fresh, epochs, params, device)


def epochs_left(run: Run, total: int) -> int:
    """Return how many epochs an interrupted run has before it.

    One that a callback ended is finished, and a pass of ``partial_fit`` is never more than that.
    """
    begun = next((call["verb"] for call in reversed(run.history.calls) if call["verb"] != "resume_fit"), "fit")
    target = run.max_epochs if begun == "partial_fit" else max(run.max_epochs, total)
    return 0 if run.progress.stopped is not None else target - run.n_epochs


def refuse(draft: Any, specification: Specification, rows: Rows, *, resumes: bool) -> None:
    """Refuse data and parameters this run cannot go on with, before anything is changed.

    Raises
    ------
    ContinuationError
        Naming the difference.
    """
    run: Run = draft._run
    shapes = {name: list(shape) for name, shape in rows.inputs.row_shapes.items()}
    if not fits(shapes, run.facts.row_shapes):
        raise ContinuationError(f"rows of X have shapes {shapes}, but this run was fitted on {run.facts.row_shapes}")
    changes.refuse(run, specification)
    if resumes:
        changes.refuse_to_resume(run, specification, workers_decide=is_iterable(rows.X))
    objective = draft._objective(specification)
    if objective != run.facts.objective:
        raise ContinuationError(
            f"criterion={specification.criterion.label} reads {objective.n_outputs} outputs as {objective.kind!r}, but "
            f"this run's module gives {run.facts.n_outputs} as {run.facts.kind!r}; fit a new run for this criterion"
        )


def refuse_other_data(run: Run, session: Session) -> None:
    """Refuse to resume a run on other rows than those it was interrupted on.

    Raises
    ------
    OtherDataError
        Naming the differences.
    """
    before, now = run.history.calls[-1], data_record(session)
    different = [f"{name} was {before[name]} and is now {now[name]}" for name in now if before[name] != now[name]]
    if different:
        raise OtherDataError(
            f"a run is resumed on the data it was interrupted on: {'; '.join(different)}. Give the same rows in the "
            "same order, or use continue_fit to train on other ones (load_checkpoint brings a stored run)"
        )


def prepare(run: Run, session: Session, rows: Rows, specification: Specification, intent: Intent) -> None:
    """Bring the run to the start of the call: changes applied, schedule in place, target set."""
    check_batches(run, session)
    if intent.verb == "partial_fit":
        run.progress.begun = None
    horizon = horizon_of(run, session, specification, intent.epochs)
    if intent.fresh:
        whole = check_epochs(intent.params["max_epochs"], 0) if intent.verb == "partial_fit" else intent.epochs
        if specification.lr_scheduler is not None:
            run.schedule_plan = schedules.plan_horizon(specification.lr_scheduler, replace(horizon, epochs=whole))
        run.build_schedule()
    else:
        run.own_weights()
        _apply_changes(run, rows, specification, horizon, intent)
    if run.lr_scheduler is not None:
        way_out = schedules.WAYS_OUT["fit" if intent.fresh else intent.verb]
        schedules.check_room(run.lr_scheduler, horizon.steps, way_out)
    run.progress.max_epochs = run.n_epochs + intent.epochs
    run.progress.n_calls += 0 if intent.extends else 1
    run.progress.stopped = None


def _apply_changes(run: Run, rows: Rows, specification: Specification, horizon: Horizon, intent: Intent) -> None:
    with streams.borrowed(run.device):
        run.to(intent.device)
        criterion, before = run.criterion, run.specification
        if "random_state" in changes.changed_parameters(run.specification, specification):
            run.seed = streams.draw_seed(intent.params["random_state"])
        as_planned = intent.resumes and run.n_epochs + intent.epochs == run.max_epochs
        goes_on = intent.verb == "partial_fit" or intent.extends or as_planned
        on_continue = "continue" if goes_on else intent.params["lr_scheduler_on_continue"]
        changes.apply(run, specification, horizon, on_continue)
        mixed_precision.check_autocast(specification.autocast, run.module)
        mixed_precision.check_scaler(specification.grad_scaler, run.module, run.optimizer)
        if intent.weighted or run.criterion is not criterion or before.autocast != specification.autocast:
            try_forward(run, rows, weighted=intent.weighted)


def horizon_of(run: Run, session: Session, specification: Specification, epochs: int) -> Horizon:
    """Return how long a schedule is to last that starts with this call, and what is done of its first epoch."""
    if specification.lr_scheduler_interval == "epoch":
        return Horizon(epochs, 1)
    begun = run.progress.begun
    goes_on = begun is not None and begun.key == session.epoch_key(run.seed)
    done = session.n_steps(begun.rows_done) if begun is not None and goes_on else 0
    return Horizon(epochs, session.n_batches, done)


def open_record(run: Run, session: Session, verb: str, before: Specification | None) -> None:
    """Add the record of this call to the history."""
    run.history.calls.append(
        {
            "call": run.progress.n_calls,
            "verb": verb,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "max_epochs": run.max_epochs,
            "changed": {} if before is None else changes.changed_parameters(before, run.specification),
            **data_record(session),
            "versions": dict(versions()),
            "num_threads": session.num_threads,
            "n_epochs": run.n_epochs,
            "stopped": None,
        }
    )


def keep_target(run: Run, call: Call) -> None:
    """Let the record of a ``fit`` that went on from a shorter one say what it was asked for."""
    run.progress.max_epochs = run.history.calls[-1]["max_epochs"] = int(call.max_epochs)


def data_record(session: Session) -> dict[str, Any]:
    """Return what the record of a call says about its data."""
    return {
        "n_rows": len(session.train),
        "n_validation_rows": 0 if session.valid is None else len(session.valid),
        "fingerprint": session.fingerprint,
        "validation_fingerprint": session.validation_fingerprint,
    }
