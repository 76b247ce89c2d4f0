"""Building a new run, and trying module and criterion on a few rows before anything is trained."""

from __future__ import annotations

import contextlib
import copy
import warnings
from dataclasses import replace
from typing import Any

import torch

from sktorch_continue import mixed_precision, modules, streams
from sktorch_continue.criteria import BatchLoss
from sktorch_continue.estimators.call import Intent
from sktorch_continue.estimators.rows import Rows
from sktorch_continue.layers import Layers, call
from sktorch_continue.run import Run
from sktorch_continue.session import Facts, Session
from sktorch_continue.specification import Specification, signature_of


def new_run(draft: Any, specification: Specification, rows: Rows, intent: Intent) -> Run:
    """Build a run for these rows, and try its module and criterion on two of them."""
    objective = draft._objective(specification)
    facts = Facts(
        n_features_in=draft.n_features_in_,
        row_shapes={name: list(shape) for name, shape in rows.inputs.row_shapes.items()},
        kind=objective.kind,
        n_outputs=objective.n_outputs,
        dtype=rows.inputs.precision,
    )
    plain = [len(shape) for name, shape in facts.row_shapes.items() if name == ""] == [1]
    if specification.module.factory is modules.MLP and not plain:
        raise ValueError(
            f"the built-in MLP takes one X of shape (n_samples, n_features), but rows have shapes {facts.row_shapes}; "
            "give a module for this data"
        )
    run = Run(specification, facts, streams.draw_seed(intent.params["random_state"]), intent.device)
    with streams.borrowed(intent.device):
        run.build_network()
        mixed_precision.check_autocast(specification.autocast, run.module)
        run.facts = replace(facts, flat=try_forward(run, rows, weighted=intent.weighted))
        run.build_optimizer()
        mixed_precision.check_scaler(specification.grad_scaler, run.module, run.optimizer)
        run.build_scaler()
    return run


def try_forward(run: Run, rows: Rows, *, weighted: bool) -> bool:
    """Send two rows through module and criterion; return whether the output is flat.

    They go through copies where it is not known that nothing changes.

    With `weighted` the criterion has to give a loss per sample.

    Raises
    ------
    ValueError
        If the module or the criterion fails on them, or the output does not fit the target.
    """
    head = rows.inputs.head()
    n, inputs = len(next(iter(head.values()))), run.precision(head)
    if modules.is_uninitialized(run.module):
        _forward(run.module, inputs)
    module = run.module if Layers(run.module).stay_as_they_are else copy.deepcopy(run.module)
    with run.autocast():
        output = _forward(module, inputs)
    flat = run.facts.objective.check_output(module, output, n)
    run.facts.objective.check_meaning(output, run.criterion)
    try_loss(run, rows, output, flat=flat, weighted=weighted)
    return flat


def _forward(module: torch.nn.Module, inputs: Any) -> torch.Tensor:
    module.eval()
    try:
        with torch.no_grad():
            return call(module, inputs)
    except (RuntimeError, TypeError, IndexError) as error:
        shapes = {k: tuple(v.shape) for k, v in inputs.items()} if isinstance(inputs, dict) else tuple(inputs.shape)
        failed = f"{type(module).__name__} failed on a batch of shape {shapes}: {error}"
        raise ValueError(f"{failed}. {_hint(module, inputs)}") from error


def _hint(module: torch.nn.Module, inputs: Any) -> str:
    if isinstance(inputs, dict):
        return f"The keys of X are passed as arguments of forward, which takes {list(signature_of(module.forward))}"
    if inputs.ndim == 2:
        return "Take n_features_in in its constructor to be told the number of columns"
    return "It gets rows of X as they are; layers of torch expect channels before height and width"


def try_loss(run: Run, rows: Rows, output: torch.Tensor, *, flat: bool, weighted: bool) -> None:
    """Try the criterion on an output.

    Raises
    ------
    ValueError
        If it fails, or gives no loss per sample where weights need one.
    """
    n = len(output)
    dtype = output.dtype if run.specification.autocast is None else run.precision.dtype
    target = run.facts.objective.target(rows.encoded[:n], dtype, flat=flat).to(output.device)
    criterion = run.criterion
    if dtype != run.precision.dtype or not Layers(criterion).stay_as_they_are:
        criterion = copy.deepcopy(criterion).to(output.device, dtype)
    loss_of = BatchLoss(criterion, weighted=weighted)
    with torch.no_grad(), run.autocast(), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Using a target size")  # torch would broadcast
        try:
            loss = loss_of.criterion(output, target)
        except (RuntimeError, TypeError, ValueError, UserWarning) as error:
            raise ValueError(
                f"criterion {type(criterion).__name__} failed on an output of shape {tuple(output.shape)} and a target "
                f"of shape {tuple(target.shape)}, {target.dtype}: {error}"
            ) from error
    if not isinstance(loss, torch.Tensor):
        raise ValueError(f"criterion {type(criterion).__name__} returned {type(loss).__name__}; a tensor was expected")
    if weighted and (loss.ndim == 0 or len(loss) != n):
        raise ValueError(
            f"weights need a loss per sample, but criterion {type(criterion).__name__} with reduction='none' gave "
            f"shape {tuple(loss.shape)} for {n} rows; train without sample_weight and class_weight, or honour reduction"
        )


def check_batches(run: Run, session: Session) -> None:
    """Refuse batches no step can be made of.

    Raises
    ------
    ValueError
        If ``drop_last`` drops every row, or a last batch of one row meets batch normalization.
    """
    n, size = len(session.train), session.batch_size
    if session.n_rows == 0:
        raise ValueError(
            f"drop_last=True with batch_size={size} leaves none of the {n} training rows; use a batch_size of at "
            f"most {n}"
        )
    last = n % size or size if session.batch_rows is None else min(session.batch_rows)
    if min(last, n) > 1 or (session.drop_last and size > 1) or not modules.has_batch_norm(run.module):
        return
    with contextlib.closing(session.train.batches(run.precision, 1)) as batches:
        inputs, _, _ = next(batches)
    module = copy.deepcopy(run.module).train()
    try:
        with torch.no_grad(), streams.borrowed(run.device):
            call(module, inputs)
    except ValueError as error:
        raise ValueError(
            f"{n} training rows in batches of {size} leave a last batch of one row, which batch normalization cannot "
            f"train on ({error}); set drop_last=True or another batch_size"
        ) from error
