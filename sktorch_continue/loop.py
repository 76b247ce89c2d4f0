"""The one core: train a run to its target.

Every verb ends here. In the order of the code::

    on_train_begin
    until the target, or until a callback stops:
        on_epoch_begin
        for each batch of the epoch's order:
            on_step_begin
            forward, loss, finite?, backward
            on_gradients
            optimizer, schedule if per step
            on_step_end
        validation
        on_validation_end
        schedule if per epoch, row into the history
        on_epoch_end
    on_train_end
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch

from sktorch_continue import interrupts, optimizers, schedules, shortcuts, streams, threads
from sktorch_continue.callbacks.base import HOOKS
from sktorch_continue.callbacks.runner import Hooks, call_each
from sktorch_continue.criteria import BatchLoss
from sktorch_continue.data import Batches, Dataset, Epoch
from sktorch_continue.exceptions import NonFiniteLossError
from sktorch_continue.guards import BufferGuard, WeightGuard
from sktorch_continue.interrupts import Interrupts
from sktorch_continue.layers import Batch, Forward, Layers, call
from sktorch_continue.mixed_precision import ScaledUpdate
from sktorch_continue.progress import BegunEpoch
from sktorch_continue.run import Run
from sktorch_continue.session import Session

STEP_HOOKS = ("on_step_begin", "on_gradients", "on_step_end")


def train(run: Run, session: Session) -> None:
    """Train `run` to ``run.max_epochs`` on the rows of `session`.

    Raises
    ------
    NonFiniteLossError
        If a step's loss is NaN or infinite and the session checks for it.

    Notes
    -----
    Whatever ends it, the run stands at its last completed step, and every callback knows of that step. The one
    exception is an error raised inside ``optimizer.step`` itself, which may have moved some of the weights.
    """
    hooks = Hooks([*run.callbacks.values(), *session.watchers])
    run.session = session
    run.torn = False
    with streams.borrowed(run.device), threads.limited(session.num_threads), interrupts.watched() as watch:
        try:
            check_schedule_monitor(run)
            run.module.train()
            hooks.call("on_train_begin", run)
            stepper = Stepper(run, session, hooks, watch)
            while run.n_epochs < run.max_epochs and run.progress.stopped is None:
                train_epoch(run, session, stepper, hooks, watch)
            hooks.call("on_train_end", run)
        except BaseException as error:
            watch.enter()  # another signal waits until everybody has been told of this one
            for method in hooks.of("on_exception"):
                try:
                    method(run, error)
                except BaseException as second:  # the others still have to let go of what they hold
                    error.add_note(f"{method.__qualname__} failed as well: {second!r}")
            raise
        finally:
            _clear_gradients(run)
            run.module.eval()  # as ``predict`` needs it, and as whoever calls it by hand expects
            run.session = run._row = None


def train_epoch(run: Run, session: Session, stepper: Stepper, hooks: Hooks, watch: Interrupts) -> None:
    """Train one epoch, or the rest of one that was cut, validate, and close its row."""
    started = time.perf_counter()
    begun = begin_epoch(run, session, hooks)
    already = begun.duration
    run.criterion.train()
    if run.progress.stopped is not None:
        return
    stepper.begin_epoch()
    n = session.n_rows
    epoch = Epoch(run.seed, run.n_epochs, session.shuffle, begun.rows_done, n)
    batches = session.train.batches(stepper.precision, session.batch_size, epoch)
    with contextlib.closing(batches):  # workers that read them end with the epoch, whatever ends it
        stepper.train(begun, batches, n)
    if run.progress.stopped is not None and begun.rows_done < n:
        begun.duration = already + time.perf_counter() - started
        return
    close_epoch(run, session, hooks, watch, begun, lambda: already + time.perf_counter() - started)


def begin_epoch(run: Run, session: Session, hooks: Hooks) -> BegunEpoch:
    """Return the epoch to go on with: the one that was cut, on the same rows, or a new one."""
    begun, key = run.progress.begun, session.epoch_key(run.seed)
    if begun is not None and begun.key == key:
        return begun
    run.progress.begun = BegunEpoch(lr=run.lr, key=key)
    seek_boundary(run, session, hooks)
    hooks.call("on_epoch_begin", run)
    return run.progress.begun


def seek_boundary(run: Run, session: Session, hooks: Hooks) -> None:
    """Have the streams stand where the run does, for whoever may draw between two epochs."""
    if hooks.anybody or session.valid is not None or run.lr_scheduler is not None:
        streams.NoiseStream(run.seed, run.device).seek(run.n_steps)


def close_epoch(
    run: Run, session: Session, hooks: Hooks, watch: Interrupts, begun: BegunEpoch, duration: Callable[[], float]
) -> None:
    """Validate, let scores be recorded, step the schedule, append the row, let decisions be taken."""
    begun.settle()
    seek_boundary(run, session, hooks)
    row: dict[str, Any] = {
        "epoch": run.n_epochs + 1,
        "call": run.progress.n_calls,
        "n_steps": run.n_steps,
        "lr": begun.lr,
        "train_loss": begun.loss_sum / begun.weight_sum,
    }
    if session.valid is not None:
        row["valid_loss"] = evaluate(run, session.valid, session.batch_size)
    run._row = row
    hooks.call("on_validation_end", run)
    watch.enter()
    run.torn = True
    row["duration"] = duration()
    run.history.append(row)
    run.progress.n_epochs += 1
    run.history.calls[-1]["n_epochs"] = run.n_epochs
    run.progress.begun = None
    if run.lr_scheduler is not None and run.specification.lr_scheduler_interval == "epoch":
        step_schedule(run)
    run.torn = False
    hooks.call("on_epoch_end", run)
    run._row = None
    watch.leave()


def check_schedule_monitor(run: Run) -> None:
    """Refuse a column for the schedule to read that no epoch will have."""
    monitor = run.specification.lr_scheduler_monitor
    if monitor is not None and run.lr_scheduler is not None and schedules.reads_metric(run.lr_scheduler):
        run.check_monitor(monitor)


def step_schedule(run: Run) -> None:
    """Step a schedule per epoch; one that reads a metric gets the monitored column."""
    if not schedules.reads_metric(run.lr_scheduler):
        run.lr_scheduler.step()
        return
    default = "valid_loss" if "valid_loss" in run.history[-1] else "train_loss"
    run.lr_scheduler.step(run.newest(run.specification.lr_scheduler_monitor or default))


def evaluate(run: Run, dataset: Dataset, batch_size: int) -> float:
    """Return the weighted mean loss of the current weights over the rows of `dataset`."""
    loss_of = BatchLoss(run.criterion, weighted=dataset.weight is not None)
    run.criterion.eval()
    total = count = 0.0
    layers = Layers(run.module)
    forward = layers.forward
    batches = dataset.batches(run.precision, dataset.inputs.evaluation_rows(batch_size))
    with run.evaluating(layers, torch_alone=run.is_of_torch), contextlib.closing(batches):
        for inputs, target, weight in batches:
            loss = loss_of(forward(inputs), target, weight)
            factor, weight_sum = loss_of.share(len(target), weight)
            total += float(loss) * float(factor)
            count += float(weight_sum)
    return total / count


def _clear_gradients(run: Run) -> None:
    for parameter in run.parameters:
        parameter.grad = None


class Stepper:
    """The steps of a call, with everything they need looked up as seldom as it may change.

    Parameters
    ----------
    run : Run
        To train.
    session : Session
        What the call brought.
    hooks : Hooks
        Of the callbacks.
    watch : Interrupts
        Held while the step is counted.
    """

    def __init__(self, run: Run, session: Session, hooks: Hooks, watch: Interrupts) -> None:
        self._run = run
        self._watch = watch
        self._compiled = functools.partial(call, run.compiled) if session.compile else None
        self._loss = BatchLoss(run.criterion, weighted=session.train.weight is not None)
        self._autocast = run.autocast()
        self._schedule = run.lr_scheduler if run.specification.lr_scheduler_interval == "step" else None
        self._on_begin, self._on_gradients, self._on_end = map(hooks.of, STEP_HOOKS)
        self._others_act = hooks.act(STEP_HOOKS)
        alone = not self._others_act and self._schedule is None and run.is_torch_alone
        if run.grad_scaler is None:
            self._gradients = shortcuts.backward_for(run.device, torch_alone=alone)
            self._update: shortcuts.Update | ScaledUpdate = shortcuts.update_of(run.optimizer)
        else:
            self._update = ScaledUpdate(run.grad_scaler, run.optimizer)
            self._gradients = self._update.gradients
        self._check_finite = session.check_finite
        self._reads_late = run.device.type != "cpu" and not session.check_finite
        self._closure_wanted = optimizers.needs_closure(run.optimizer)
        self._noise = streams.NoiseStream(run.seed, run.device, torch_alone=alone)
        self._draws = not (alone and run.never_draws)
        self._stays = alone and run.lr_scheduler is None and not hooks.act(HOOKS)
        self._buffers = BufferGuard(run.module)
        self._moved = WeightGuard(run)
        self._looked = False

    def begin_epoch(self) -> None:
        """Look again at what others may have changed between epochs."""
        if self._stays and self._looked:
            return
        self.precision = self._run.precision
        self._update.refresh()
        self._look_at_modules()
        self._looked = True

    def _look_at_modules(self) -> None:
        self._forward: Forward = self._compiled or Layers(self._run.module).forward
        self._loss.refresh()

    def train(self, begun: BegunEpoch, batches: Batches, n_rows: int) -> None:
        """Take a step with every batch and count it, until all rows are done or a callback stops the run.

        On failure the buffers are as they were before the step. What is read at every step is a local variable:
        looking it up takes longer than it seems, after torch has had the processor's caches for itself.
        """
        run, progress, watch, update = self._run, self._run.progress, self._watch, self._update
        on_begin, on_end, others_act, schedule = self._on_begin, self._on_end, self._others_act, self._schedule
        keep_buffers, share, backward = self._buffers.keep, self._loss.share, self._backward()
        add = begun.add_later if self._reads_late else begun.add
        for inputs, target, weight in batches:
            for hook in on_begin:
                hook(run)
            keep_buffers()
            try:
                if self._closure_wanted:
                    watch.enter()
                    value = self._step_with_closure(backward, inputs, target, weight)
                else:
                    value = backward(inputs, target, weight)
                    if others_act:
                        update.refresh()
                    watch.enter()
                    run.torn = True
                    update()
            except BaseException:
                self._put_back()
                raise
            progress.n_steps += 1
            n = target.shape[0]
            begun.rows_done += n
            add(value, *share(n, weight))
            if schedule is not None:
                schedule.step()
            run.torn = False
            if on_end:
                call_each(on_end, run)
            watch.leave()
            if progress.stopped is not None and begun.rows_done < n_rows:
                return

    def _put_back(self) -> None:
        self._buffers.put_back()
        if self._closure_wanted:
            self._moved.put_back()
        if self._run.grad_scaler is not None:
            self._run.renew_scaler()

    def _backward(self) -> Callable[..., Any]:
        """Return what computes the gradients and the loss of a batch: a number, or a tensor that is read late."""
        run, progress, parameters, noise = self._run, self._run.progress, self._run.parameters, self._noise
        draws, others_act, reads_late, check = self._draws, self._others_act, self._reads_late, self._check_finite
        loss_of, gradients, on_gradients, autocast = self._loss, self._gradients, self._on_gradients, self._autocast

        def backward(inputs: Batch, target: torch.Tensor, weight: torch.Tensor | None, again: bool = False) -> Any:
            if draws:
                noise.seek(progress.n_steps)
            for parameter in parameters:
                parameter.grad = None
            if others_act:
                self._look_at_modules()
            with autocast:
                loss = loss_of(self._forward(inputs), target, weight)
            value: Any = loss.detach() if reads_late else loss.item()
            if check and not again and not math.isfinite(value):
                raise NonFiniteLossError(self._not_finite(value))
            gradients(loss)
            for hook in on_gradients:
                hook(run)
            return value

        return backward

    def _step_with_closure(
        self, backward: Callable[..., Any], inputs: Batch, target: torch.Tensor, weight: torch.Tensor | None
    ) -> Any:
        """Step an optimizer that evaluates the loss several times; every time with the same noise."""
        values: list[Any] = []
        self._moved.keep()

        def closure() -> float:
            values.append(backward(inputs, target, weight, bool(values)))
            return float(values[-1])

        self._run.optimizer.step(closure)
        if self._check_finite and not all(bool(torch.isfinite(p).all()) for p in self._run.parameters):
            raise NonFiniteLossError(self._not_finite(values[-1]))
        return values[0]

    def _not_finite(self, value: float) -> str:
        run = self._run
        return (
            f"the loss is {value} at epoch {run.n_epochs + 1}, step {run.n_steps + 1}, learning rate {run.lr:g}; "
            f"the run stands at step {run.n_steps}, before it. Try a smaller lr, GradientClipping, or scaled "
            "inputs; check_finite=False trains on regardless"
        )
