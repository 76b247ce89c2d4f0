"""A skorch net as one of our estimators: its run, as far as skorch has one. skorch itself is never imported."""

from __future__ import annotations

import copy
import datetime
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from sktorch_continue import modules, optimizers, schedules, streams
from sktorch_continue.data import ClassTarget, RealTarget, check_inputs
from sktorch_continue.data.inputs import Inputs
from sktorch_continue.estimators.parameters import check_device, check_parameters
from sktorch_continue.estimators.skorch_parameters import parameters_of, schedule_of
from sktorch_continue.exceptions import warn
from sktorch_continue.layers import call
from sktorch_continue.optimizers import IMPLEMENTATIONS
from sktorch_continue.run import Run
from sktorch_continue.session import Facts
from sktorch_continue.versions import versions

KINDS = {
    "NeuralNetClassifier": "TorchClassifier",
    "NeuralNetBinaryClassifier": "TorchClassifier",
    "NeuralNetRegressor": "TorchRegressor",
}
# What a subclass of a net may override, and no parameter or state can tell.
METHODS = (
    "get_loss",
    "infer",
    "train_step",
    "train_step_single",
    "validation_step",
    "evaluation_step",
    "run_single_epoch",
    "fit_loop",
    "predict",
    "predict_proba",
    "initialize_module",
    "initialize_criterion",
    "initialize_optimizer",
    "get_dataset",
    "get_iterator",
    "get_split_datasets",
)


class FromSkorch:
    """Gives an estimator the way in from skorch."""

    @classmethod
    def from_skorch(cls, net: Any, X: Any = None, **params: Any) -> Self:
        """Return a fitted estimator with the run of a skorch net: it predicts the same, and training goes on.

        Parameters
        ----------
        net : skorch net
            Fitted, or at least initialized; a ``NeuralNetClassifier`` or ``NeuralNetBinaryClassifier`` for
            ``TorchClassifier``, a ``NeuralNetRegressor`` for ``TorchRegressor``. It is left as it is, and skorch is not
            imported.
        X : as in :meth:`fit`, optional
            Some rows, as the net was fitted on; needed where the first layer of the module is not a ``Linear``, which
            tells the number of columns.
        **params
            Parameters to use instead of those of the net.

        Returns
        -------
        estimator

        Raises
        ------
        TypeError
            If it is no net of these classes, one for another kind of target, or one whose methods are overridden.
        ValueError
            If the net is not initialized, what a row looks like cannot be told, or a part of it has no counterpart and
            decides what it predicts or how it trains.

        Warns
        -----
        ContinuationWarning
            Naming what has no counterpart and is left out; and where the net has held rows out for validation, which
            cannot be known here.

        Notes
        -----
        What becomes of a net:

        ================================================ =============================================================
        skorch                                           here
        ================================================ =============================================================
        ``module``, ``module__x``                        the same; an instance is copied with its weights
        ``module_``: weights, buffers, what is frozen    the same
        ``criterion``, ``criterion__x``                  the same; ``NLLLoss`` of a classifier, which takes
                                                         probabilities in skorch, becomes ``NLLLossOfProbabilities``
        ``optimizer``, ``optimizer__x``, ``lr``          the same, with the state of ``optimizer_``; torch's fused
                                                         implementation where there is one
        ``max_epochs``, ``warm_start``, ``compile``      the same
        ``batch_size``, ``iterator_train__batch_size``   ``batch_size``; -1 is one of all rows
        ``iterator_train__shuffle``, ``__drop_last``     ``shuffle`` (False where it was not set, as in skorch),
                                                         ``drop_last``
        ``train_split=ValidSplit(k)``                    ``validation_fraction=1/k``, with new rows; None for another
                                                         split, with a warning
        ``device``, ``verbose``                          the same; ``device=None`` is the CPU, ``verbose`` 0 or 1
        ``LRScheduler``                                  ``lr_scheduler`` and its arguments, with its state
        ``EarlyStopping``                                ``EarlyStopping``, which counts anew, as skorch's does; a
                                                         relative threshold becomes 0, with a warning
        ``EpochScoring``, ``GradientNormClipping``       ``EpochScoring``, ``GradientClipping``
        ``EpochTimer``, ``PrintLog``, ``ProgressBar``    built in
        other callbacks                                  left out, with a warning
        ``history``: completed epochs                    ``history_``, as one call; batches are left out
        ``classes_``                                     0 to n_outputs - 1: what skorch's ``predict`` returns, whatever
                                                         its ``classes_`` say
        output of ``predict`` of a regressor             the same values, of shape (n_samples,) for one output
        ``predict_nonlinearity``, ``threshold`` set      refused
        own ``dataset``, iterators, samplers             refused
        ``optimizer__param_groups``                      refused
        overridden methods, several modules              refused
        ================================================ =============================================================

        Examples
        --------
        >>> from sktorch_continue import TorchClassifier
        >>> def take_over(net, X, y):
        ...     return TorchClassifier.from_skorch(net).continue_fit(X, y, max_epochs=20)
        """
        estimator: Self = taken_over(cls, net, X, params)
        return estimator


def taken_over(cls: Any, net: Any, X: Any, given: dict[str, Any]) -> Any:
    """Return an estimator of class `cls` with the run of `net`; see there for the parameters."""
    kind = refuse_what_is_no_net(cls, net)
    estimator = cls(**{**parameters_of(net, kind, given), **given})
    params = estimator.get_params(deep=False)
    check_parameters(params)
    device = check_device(params["device"])
    module = getattr(net.module_, "_orig_mod", net.module_)
    inputs = _inputs(estimator, module, X)
    output = _output(module, inputs)
    _learn_target(estimator, kind, output)
    specification = estimator._specification(params)
    objective = estimator._objective(specification)
    facts = Facts(
        n_features_in=estimator.n_features_in_,
        row_shapes={name: list(shape) for name, shape in inputs.row_shapes.items()},
        kind=objective.kind,
        n_outputs=objective.n_outputs,
        dtype="float32",
        flat=objective.check_output(module, output, len(output)),
    )
    run = Run(specification, facts, streams.draw_seed(params["random_state"]), device)
    _load(run, net, module)
    _take_history(run, net)
    estimator._run = run
    if net.history and params["validation_fraction"] is not None:
        warn(
            "skorch draws its validation rows at every fit and does not say which: new ones are drawn now, among them "
            "rows the net was trained on. Give X_val and y_val to continue_fit for rows that were held out"
        )
    return estimator


def refuse_what_is_no_net(cls: Any, net: Any) -> str:
    """Return which of skorch's classes a net is.

    Raises
    ------
    TypeError
        If it is none, one for another kind of target, or one whose methods are overridden.
    ValueError
        If it is not initialized.
    """
    of_skorch = [base.__name__ for base in type(net).__mro__ if base.__module__.partition(".")[0] == "skorch"]
    kind = next((name for name in of_skorch if name in KINDS), None)
    if kind is None:
        raise TypeError(
            f"from_skorch takes over one of skorch's {', '.join(KINDS)}; got {type(net).__name__}"
            + (", which does not say what its outputs mean" if "NeuralNet" in of_skorch else "")
        )
    if not any(base.__name__ == KINDS[kind] for base in cls.__mro__):
        raise TypeError(f"a {kind} is taken over by {KINDS[kind]}.from_skorch, not by {cls.__name__}")
    if not getattr(net, "initialized_", False):
        raise ValueError("the net is not initialized: call its fit or initialize first; there is nothing to take over")
    overridden = [name for name in METHODS if not _is_skorchs(net, name)]
    several = [n for n in ("_modules", "_criteria", "_optimizers") if len(getattr(net, n)) != 1]
    if overridden or several:
        what = f"overrides {overridden}" if overridden else f"has several of {[n[1:] for n in several]}"
        raise TypeError(
            f"{type(net).__name__} {what}, which cannot be taken over; put it into a module, a criterion or a Callback "
            "of this package"
        )
    return kind


def _is_skorchs(net: Any, name: str) -> bool:
    method = getattr(type(net), name, None)
    return method is None or method.__module__.partition(".")[0] == "skorch"


def _inputs(estimator: Any, module: nn.Module, X: Any) -> Inputs:
    """Return rows for a forward pass; `estimator` learns from them how many columns there are."""
    if X is not None:
        return check_inputs(estimator, X, reset=True)
    first = next((layer for layer in module.modules() if not list(layer.children())), module)
    if not isinstance(first, nn.Linear):
        raise ValueError(
            f"what a row of X looks like cannot be told from {type(module).__name__}; give some rows: "
            "from_skorch(net, X)"
        )
    return check_inputs(estimator, np.zeros((2, first.in_features), dtype=np.float32), reset=True)


def _output(module: nn.Module, inputs: Inputs) -> torch.Tensor:
    """Return the output of a copy of the module for two rows."""
    module = copy.deepcopy(module).eval().cpu()
    rows = inputs.head()
    dtype = modules.float_dtype(module)
    named = {n: t.to(dtype) if t.is_floating_point() else t for n, t in rows.items()}
    if not modules.keeps_integers(module) and "" in named:
        named[""] = named[""].to(dtype)
    try:
        with torch.no_grad():
            output = call(module, named.get("", named))
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"{type(module).__name__} failed on rows of shapes {inputs.row_shapes}: {error}. Give some rows as the net "
            "was fitted on: from_skorch(net, X)"
        ) from error
    if not isinstance(output, torch.Tensor):
        raise TypeError(
            f"{type(module).__name__} returns {type(output).__name__}, of which skorch takes the first; wrap it in a "
            "module that returns a tensor"
        )
    return output


def _learn_target(estimator: Any, kind: str, output: torch.Tensor) -> None:
    n_outputs = 1 if output.ndim == 1 else output.shape[1]
    if kind == "NeuralNetRegressor":
        estimator._target = RealTarget(n_outputs)
        return
    n_classes = 2 if kind == "NeuralNetBinaryClassifier" else n_outputs
    estimator._target = ClassTarget(np.arange(n_classes), multilabel=False)
    estimator.classes_ = estimator._target.classes


def _load(run: Run, net: Any, module: nn.Module) -> None:
    """Build every part of the run and give it the state it has in the net; the order matters (see ``schedules``)."""
    with streams.borrowed(run.device):
        run.build_network()
        modules.load_state(run.module, modules.state_of(module))
        run.criterion.load_state_dict(getattr(net.criterion_, "_orig_mod", net.criterion_).state_dict())
        run.build_optimizer()
        fresh = run.optimizer.state_dict()
        run.build_schedule()
    own = modules.transient_buffers(run.module)
    for name, buffer in modules.transient_buffers(module).items():
        own[name].copy_(buffer)
    for here, there in zip(run.module.parameters(), module.parameters(), strict=True):
        here.requires_grad_(there.requires_grad)
    state = net.optimizer_.state_dict()
    for group, built in zip(state["param_groups"], fresh["param_groups"], strict=True):
        group.update({name: built[name] for name in IMPLEMENTATIONS if name in built})  # ours is the fused one
    optimizers.load_exact(run.optimizer, state)
    schedule = schedule_of(net)
    living = None if schedule is None else getattr(schedule, "lr_scheduler_", None)
    if living is not None and run.lr_scheduler is not None:
        schedules.load_schedule(run.lr_scheduler, living.state_dict())


def _take_history(run: Run, net: Any) -> None:
    """Put the completed epochs of the net into the history, as one call, and the counters where they are."""
    schedule = schedule_of(net)
    event = None if schedule is None else schedule.event_name
    for epoch in net.history:
        run.progress.n_steps += epoch.get("train_batch_count", len(epoch["batches"]))
        if "train_loss" not in epoch or "dur" not in epoch:
            continue  # it was interrupted
        run.progress.n_epochs += 1
        run.history.append(
            {
                "epoch": run.n_epochs,
                "call": 1,
                "n_steps": run.n_steps,
                "lr": epoch.get(event) if schedule is not None else run.lr,
                **{name: value for name, value in epoch.items() if _is_column(name, event)},
                "duration": epoch["dur"],
            }
        )
    if not run.history:
        return
    run.progress.n_calls, run.progress.max_epochs = 1, run.n_epochs
    record = {
        "call": 1,
        "verb": "from_skorch",
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "max_epochs": run.n_epochs,
        "changed": {},
        **dict.fromkeys(("n_rows", "n_validation_rows", "fingerprint", "validation_fingerprint")),
        "versions": dict(versions()),
        "n_epochs": run.n_epochs,
        "stopped": None,
    }
    run.history.calls.append(record)


def _is_column(name: str, event: str | None) -> bool:
    return name not in ("batches", "epoch", "dur", event) and not name.endswith(("_best", "_batch_count"))
