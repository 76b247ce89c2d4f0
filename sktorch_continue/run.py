"""A run: everything one training holds, and its state dictionary."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sktorch_continue import modules, optimizers, schedules, streams
from sktorch_continue.callbacks import Callback
from sktorch_continue.criteria import Objective, build_criterion
from sktorch_continue.data import Dataset, HeldOut
from sktorch_continue.data.dataset import Precision
from sktorch_continue.data.inputs import Batch
from sktorch_continue.history import History
from sktorch_continue.progress import Progress
from sktorch_continue.specification import Specification


@dataclass(frozen=True)
class Facts:
    """What the first data told; a module is built from it again after a pickle.

    Attributes
    ----------
    n_features_in : int
        Columns of X (values per row over all inputs when X is a mapping).
    row_shapes : dict of str to list of int
        Shape of a row of every input.
    kind, n_outputs : str, int
        Of the objective.
    dtype : str
        Precision of X, taken by the built-in module: ``"float32"`` or ``"float64"``.
    flat : bool
        Whether the module returns (n,) instead of (n, 1).
    """

    n_features_in: int
    row_shapes: dict[str, list[int]]
    kind: str
    n_outputs: int
    dtype: str
    flat: bool = False

    @property
    def objective(self) -> Objective:
        """What the criterion is told."""
        return Objective(self.kind, self.n_outputs)

    @property
    def sizes(self) -> dict[str, Any]:
        """Arguments offered to a module's constructor."""
        sizes: dict[str, Any] = {"n_features_in": self.n_features_in, "n_outputs": self.n_outputs}
        return sizes


@dataclass
class Session:
    """What one call brings to a run and takes away again.

    Attributes
    ----------
    train, valid : Dataset
        Rows to train on, and to validate on (or None).
    batch_size : int
        Rows per step.
    shuffle, drop_last, check_finite, compile : bool
        As the parameters of the estimator.
    fingerprint : str
        Of the training rows in the order they were given, and of their weights.
    estimator : object
        A scikit-learn view of the run with its current weights, for scorers.
    scoring_rows : callable
        ``scoring_rows("train" | "valid") -> (X, y)`` in the caller's own form.
    displays : list of Callback
        Watch the call without being part of the run.
    """

    train: Dataset
    valid: Dataset | None
    batch_size: int
    shuffle: bool
    drop_last: bool
    check_finite: bool
    compile: bool
    fingerprint: str
    estimator: Any
    scoring_rows: Callable[[str], tuple[Any, Any]]
    displays: list[Callback]

    @property
    def n_rows(self) -> int:
        """Rows an epoch trains on."""
        n = len(self.train)
        return n - n % self.batch_size if self.drop_last else n

    @property
    def n_batches(self) -> int:
        """Steps in an epoch."""
        return -(-self.n_rows // self.batch_size)

    def epoch_key(self, seed: int) -> str:
        """Return what a position in an epoch refers to; an epoch that was cut goes on only under the same key."""
        return f"{self.fingerprint}/{seed}/{self.shuffle}/{self.n_rows}"


class Run:
    """One training: module, criterion, optimizer, schedule, callbacks, history, progress, streams, held-out rows.

    Parameters
    ----------
    specification : Specification
        What to build.
    facts : Facts
        Sizes to build it with.
    seed : int
        Of all random streams.
    device : torch.device
        Where to train.
    """

    module: nn.Module
    criterion: nn.Module
    optimizer: Optimizer
    lr_scheduler: Any

    def __init__(self, specification: Specification, facts: Facts, seed: int, device: torch.device) -> None:
        self.specification = specification
        self.facts = facts
        self.seed = seed
        self.device = device
        self.callbacks: dict[str, Callback] = {
            name: copy.deepcopy(prototype) for name, prototype in specification.callbacks.items()
        }
        self.history = History()
        self.progress = Progress()
        self.held_out = HeldOut()
        self.best: dict[str, torch.Tensor] | None = None
        self.lr_scheduler = None
        self.schedule_plan: dict[str, int] = {}
        self.session: Session | None = None
        self._row: dict[str, Any] | None = None

    # ---- building -------------------------------------------------------------------------------------------------

    def build_network(self) -> None:
        """Build module and criterion, random weights drawn from the run's seed; call it under a loan of streams."""
        streams.seed_construction(self.seed, 0)
        sizes = {**self.facts.sizes, "dtype": getattr(torch, self.facts.dtype)}
        offered = sizes if self.specification.module.factory is modules.MLP else self.facts.sizes
        self.module = modules.build_module(self.specification.module, offered).to(self.device)
        self.criterion = build_criterion(self.specification.criterion)
        if not modules.is_uninitialized(self.module):
            self.criterion.to(self.device, modules.float_dtype(self.module))

    def build_optimizer(self) -> None:
        """Build the optimizer over the parameters that are there now."""
        self.criterion.to(self.device, modules.float_dtype(self.module))
        self.optimizer = optimizers.build_optimizer(self.specification.optimizer, self.module, self.criterion)
        self.__dict__.pop("parameters", None)

    def build_schedule(self) -> None:
        """Build the schedule over the optimizer, with the planned horizon."""
        part = self.specification.lr_scheduler
        self.lr_scheduler = part and schedules.build_schedule(part, self.optimizer, self.schedule_plan)

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer updates."""
        return optimizers.trainable(self.module, self.criterion)

    @property
    def precision(self) -> Precision:
        """What batches are cast to."""
        named = "" not in self.facts.row_shapes
        keeps = named or modules.keeps_integers(self.module)
        return Precision(modules.float_dtype(self.module), keeps, self.device)

    def to(self, device: torch.device) -> None:
        """Move module, criterion, optimizer state and best weights."""
        if device == self.device:
            return
        self.device = device
        self.module.to(device)
        self.criterion.to(device)
        optimizers.load_exact(self.optimizer, self.optimizer.state_dict())
        if self.best is not None:
            self.best = {name: tensor.to(device) for name, tensor in self.best.items()}
        self.__dict__.pop("_best_module", None)

    # ---- what callbacks use ---------------------------------------------------------------------------------------

    @property
    def n_epochs(self) -> int:
        """Completed epochs over all calls."""
        return self.progress.n_epochs

    @property
    def n_steps(self) -> int:
        """Completed optimizer steps over all calls."""
        return self.progress.n_steps

    @property
    def max_epochs(self) -> int:
        """The absolute number of epochs this call trains to."""
        return self.progress.max_epochs

    @property
    def lr(self) -> float:
        """Learning rate of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def stop(self, reason: str) -> None:
        """End training at the next boundary between steps; `reason` goes into the record of the call."""
        self.progress.stopped = str(reason)

    def record(self, name: str, value: Any) -> None:
        """Put a value into the history's row of this epoch, at ``on_validation_end`` or ``on_epoch_end``.

        Raises
        ------
        RuntimeError
            At any other time: there is no row yet.
        ValueError
            If the row has this column already.
        """
        if self._row is None:
            raise RuntimeError(f"record({name!r}): a row exists only at on_validation_end and on_epoch_end")
        if name in self._row:
            raise ValueError(f"record({name!r}): epoch {self._row['epoch']} has this column already; take another name")
        self._row[name] = value

    def check_monitor(self, column: str) -> None:
        """Refuse to monitor a column that no epoch of this call will have, as far as that is known.

        Losses and the ``columns`` of callbacks are known; a callback that does not name its own may record any.

        Raises
        ------
        ValueError
            Naming the columns there will be.
        """
        valid = self.session is not None and self.session.valid is not None
        recorded = [callback.columns for callback in self.callbacks.values()]
        known = ["train_loss", *(["valid_loss"] if valid else []), *(c for columns in recorded for c in columns or ())]
        if column not in known and (None not in recorded or column == "valid_loss"):
            raise ValueError(self._unknown_column(column, known))

    @staticmethod
    def _unknown_column(column: str, known: list[str]) -> str:
        near = difflib.get_close_matches(column, known, n=1)
        return (
            f"monitor={column!r} is no column of the history, which has {known}"
            + (f"; did you mean {near[0]!r}?" if near else ".")
            + " For valid_loss set validation_fraction or give X_val and y_val, for a score add an EpochScoring"
        )

    def newest(self, column: str) -> Any:
        """Return the newest value of a column.

        Raises
        ------
        ValueError
            If the newest epoch has no such column.
        """
        row = self.history[-1]
        if column not in row:
            raise ValueError(self._unknown_column(column, list(row)))
        return row[column]

    def keep_best(self) -> None:
        """Keep a copy of the module's weights and buffers as they are now; ``predict`` uses them from now on."""
        self.best = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        self.__dict__.pop("_best_module", None)

    def drop_best(self) -> None:
        """Let ``predict`` use the newest weights again."""
        self.best = None
        self.__dict__.pop("_best_module", None)

    # ---- the forward pass -----------------------------------------------------------------------------------------

    @cached_property
    def compiled(self) -> Any:
        """The module through ``torch.compile``; one kernel per shape, so that bits depend on the shape alone."""
        return torch.compile(self.module, dynamic=False)

    @cached_property
    def _best_module(self) -> nn.Module:
        module = copy.deepcopy(self.module)
        module.load_state_dict(self.best or {})
        return module

    def predictor(self, *, newest: bool = False) -> nn.Module:
        """Return the module to predict with: best weights where they are kept, unless the newest are asked for."""
        return self.module if newest or self.best is None else self._best_module

    def output(self, module: nn.Module, inputs: Batch) -> torch.Tensor:
        """Return the module's output for a batch in evaluation mode, without gradients; every layer keeps its mode."""
        modes = [(layer, layer.training) for layer in module.modules()]
        module.eval()
        try:
            with torch.no_grad():  # not inference_mode: a tensor the module keeps must be usable in training
                return modules.call(module, inputs)
        finally:
            for layer, mode in modes:
                layer.training = mode

    # ---- undoing --------------------------------------------------------------------------------------------------

    def bookmark(self) -> Callable[[], None]:
        """Return a function that undoes everything but completed steps.

        No tensor is copied: until a step is taken, weights and moments are as they were, and only what surrounds
        them (parts, rates, callbacks, counters, records) can have changed.
        """
        device = self.device
        attributes = {
            name: vars(self)[name]
            for name in ("specification", "optimizer", "criterion", "lr_scheduler", "schedule_plan", "seed", "best")
        }
        callbacks = [(name, callback, callback.state_dict()) for name, callback in self.callbacks.items()]
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        moments = {parameter: set(state) for parameter, state in self.optimizer.state.items()}
        schedule = None if self.lr_scheduler is None else copy.deepcopy(self.lr_scheduler.state_dict())
        progress, held_out = self.progress.state_dict(), self.held_out.state_dict()
        n_calls = len(self.history.calls)
        gradients = [p.requires_grad for p in self.module.parameters()]

        def undo() -> None:
            vars(self).update(attributes)
            vars(self).pop("parameters", None)
            self.callbacks = {name: callback for name, callback, _ in callbacks}
            for _, callback, state in callbacks:
                callback.load_state_dict(state)
            for group, kept in zip(self.optimizer.param_groups, groups, strict=True):
                parameters = group["params"]
                group.clear()
                group.update(kept, params=parameters)
            for parameter in list(self.optimizer.state):
                for name in set(self.optimizer.state[parameter]) - moments.get(parameter, set()):
                    del self.optimizer.state[parameter][name]
                if parameter not in moments:
                    del self.optimizer.state[parameter]
            if schedule is not None:
                self.lr_scheduler.load_state_dict(schedule)
            self.progress.load_state_dict(progress)
            self.held_out.load_state_dict(held_out)
            del self.history.calls[n_calls:]
            for parameter, wanted in zip(self.module.parameters(), gradients, strict=True):
                parameter.requires_grad_(wanted)
            self.to(device)

        return undo

    # ---- state ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the run as one dictionary of tensors and plain values.

        Tensors of module and optimizer are the living ones, as in torch: copy what is to outlast the next step.
        """
        return {
            "module": self.module.state_dict(),
            "criterion": self.criterion.state_dict(),
            "transient": modules.transient_buffers(self.module),
            "frozen": [name for name, p in self.module.named_parameters() if not p.requires_grad],
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler
            and {"plan": dict(self.schedule_plan), "state": self.lr_scheduler.state_dict()},
            "callbacks": {
                name: {"class": type(callback).__qualname__, "state": callback.state_dict()}
                for name, callback in self.callbacks.items()
            },
            "history": self.history.state_dict(),
            "progress": self.progress.state_dict(),
            "seed": self.seed,
            "held_out": self.held_out.state_dict(),
            "facts": asdict(self.facts),
            "specification": self.specification.describe(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Build every part from the specification and give it its state; the order matters (see ``schedules``)."""
        with streams.borrowed(self.device):
            self.build_network()
            self.module.load_state_dict(state["module"])
            self.criterion.load_state_dict(state["criterion"])
            self.schedule_plan = dict(state["lr_scheduler"]["plan"]) if state["lr_scheduler"] else {}
            self.build_optimizer()
            self.build_schedule()
        buffers = modules.transient_buffers(self.module)
        for name, tensor in state["transient"].items():
            buffers[name].copy_(tensor)
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(name not in state["frozen"])
        optimizers.load_exact(self.optimizer, state["optimizer"])
        if self.lr_scheduler is not None:
            schedules.load_schedule(self.lr_scheduler, state["lr_scheduler"]["state"])
        for name, callback in self.callbacks.items():
            callback.load_state_dict(state["callbacks"][name]["state"])
        self.best = state["best"] and {name: t.to(self.device, copy=True) for name, t in state["best"].items()}
        self.history.load_state_dict(state["history"])
        self.progress.load_state_dict(state["progress"])
        self.seed = state["seed"]
        self.held_out.load_state_dict(state["held_out"])
