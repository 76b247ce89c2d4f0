"""A run: everything one training holds, and its state dictionary."""

from __future__ import annotations

import copy
import difflib
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sktorch_continue import mixed_precision, modules, optimizers, schedules, shortcuts, streams, threads
from sktorch_continue.callbacks import Callback
from sktorch_continue.criteria import build_criterion
from sktorch_continue.data import HeldOut
from sktorch_continue.data.dataset import Precision
from sktorch_continue.data.memory import Seen
from sktorch_continue.history import History
from sktorch_continue.layers import Layers
from sktorch_continue.progress import Progress
from sktorch_continue.session import Facts, Session
from sktorch_continue.specification import Specification

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


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

    Attributes
    ----------
    id : str
        Tells runs apart, copies of one run excepted; drawn at random, it decides nothing that is trained.
    num_threads : int
        Threads of the process when the run began.
    torn : bool
        Whether a step or the end of an epoch has begun and is not counted yet: no place a run can be resumed from.
    aliased : bool
        Whether the weights lie in memory of somebody else, such as a mapped file.
    """

    module: nn.Module
    criterion: nn.Module
    optimizer: Optimizer
    lr_scheduler: Any

    def __init__(self, specification: Specification, facts: Facts, seed: int, device: torch.device) -> None:
        self.id = secrets.token_hex(8)
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
        self.seen = Seen.nothing()
        self.best: dict[str, torch.Tensor] | None = None
        self.lr_scheduler = None
        self.schedule_plan: dict[str, int] = {}
        self.grad_scaler: Any = None
        self.num_threads = threads.of_process()
        self.session: Session | None = None
        self.torn = False
        self.aliased = False
        self._row: dict[str, Any] | None = None

    # ---- building -------------------------------------------------------------------------------------------------

    def build_network(self) -> None:
        """Build module and criterion, random weights drawn from the run's seed; call it under a loan of streams."""
        streams.seed_construction(self.seed, 0)
        sizes = {**self.facts.sizes, "dtype": PRECISIONS[self.facts.dtype]}
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

    def build_scaler(self) -> None:
        """Build the gradient scaler, or none."""
        self.grad_scaler = mixed_precision.build_scaler(self.specification.grad_scaler, self.device)

    def renew_scaler(self) -> None:
        """Build the gradient scaler anew, with the scale it has: after a failed step it waits for the rest of it."""
        state = self.grad_scaler.state_dict()
        self.build_scaler()
        self.grad_scaler.load_state_dict(state)

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimizer updates."""
        return optimizers.trainable(self.module, self.criterion)

    @property
    def _layers(self) -> tuple[Layers, Layers]:
        return Layers(self.module), Layers(self.criterion)

    @property
    def is_of_torch(self) -> bool:
        """Whether module and criterion run no code but torch's own."""
        return all(layers.of_torch for layers in self._layers)

    @property
    def is_torch_alone(self) -> bool:
        """Whether a step runs no code but torch's own, and nobody is told of it either."""
        told = any(layers.listened_to for layers in self._layers)
        return self.is_of_torch and not told and shortcuts.runs_alone(self.optimizer)

    @property
    def never_draws(self) -> bool:
        """Whether it is known that no layer draws random numbers."""
        return all(layers.never_draw for layers in self._layers)

    @property
    def precision(self) -> Precision:
        """What batches are cast to."""
        return self.precision_of(Layers(self.module))

    def precision_of(self, layers: Layers) -> Precision:
        """Return what batches are cast to, for a module whose layers were looked at already."""
        return Precision(layers.float_dtype, self._keeps_integers, self.device)

    def _keeps_integers(self) -> bool:
        return "" not in self.facts.row_shapes or modules.keeps_integers(self.module)

    def to(self, device: torch.device) -> None:
        """Move module, criterion, optimizer state and best weights."""
        if device == self.device:
            return
        self.device = device
        self.module.to(device)
        self.criterion.to(device)
        optimizers.load_exact(self.optimizer, self.optimizer.state_dict())
        if self.grad_scaler is not None:
            self.renew_scaler()
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
        """End training at the next boundary between steps; `reason` goes into the record of the call.

        The run is then finished: ``resume_fit`` trains it no further, ``continue_fit`` does.
        """
        self.progress.stopped = str(reason)
        if self.session is not None:
            self.history.calls[-1]["stopped"] = self.progress.stopped

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
        self.best = {name: tensor.detach().clone() for name, tensor in modules.state_of(self.module).items()}
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
        modules.load_state(module, self.best or {})
        modules.alias(module, self.best or {})  # one copy of the best weights is enough
        return module

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass; it may be entered again and again."""
        return mixed_precision.autocast(self.specification.autocast, self.device)

    def predictor(self, *, newest: bool = False) -> nn.Module:
        """Return the module to predict with: best weights where they are kept, unless the newest are asked for."""
        return self.module if newest or self.best is None else self._best_module

    @contextmanager
    def evaluating(self, layers: Layers, *, torch_alone: bool) -> Iterator[None]:
        """Have a module in evaluation mode and without gradients for a while; every layer keeps its mode.

        Parameters
        ----------
        layers : Layers
            Of the module that is to be called.
        torch_alone : bool
            Whether only torch's own code runs. Other code may keep a tensor, which must be usable in training.
        """
        training = layers.training
        if training:
            layers.module.eval()
        try:
            with torch.inference_mode() if torch_alone else torch.no_grad(), self.autocast():
                yield
        finally:
            for layer in training:
                layer.training = True

    # ---- state ----------------------------------------------------------------------------------------------------

    @property
    def can_train(self) -> bool:
        """Whether there is an optimizer; a run that was exported for serving has none."""
        return hasattr(self, "optimizer")

    def state_dict(self, *, history: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the run as one dictionary of tensors and plain values.

        Parameters
        ----------
        history : dict, optional
            To use as the state of the history, instead of a copy of it all.

        Notes
        -----
        Tensors of module and optimizer are the living ones, as in torch: copy what is to outlast the next step.
        """
        return {
            "id": self.id,
            "module": modules.state_of(self.module),
            "criterion": self.criterion.state_dict(),
            "transient": modules.transient_buffers(self.module),
            "frozen": [modules.plain_name(n) for n, p in self.module.named_parameters() if not p.requires_grad],
            "best": self.best,
            "optimizer": self.optimizer.state_dict() if self.can_train else None,
            "lr_scheduler": self.lr_scheduler
            and {"plan": dict(self.schedule_plan), "state": self.lr_scheduler.state_dict()},
            "grad_scaler": self.grad_scaler and self.grad_scaler.state_dict(),
            "callbacks": {
                name: {"class": type(callback).__qualname__, "state": callback.state_dict()}
                for name, callback in self.callbacks.items()
            },
            "history": self.history.state_dict() if history is None else history,
            "progress": self.progress.state_dict(),
            "torn": self.torn,
            "seed": self.seed,
            "num_threads": self.num_threads,
            "held_out": self.held_out.state_dict(),
            "seen": self.seen.state_dict(),
            "facts": asdict(self.facts),
            "specification": self.specification.describe(),
        }

    def load_state_dict(self, state: dict[str, Any], *, alias: bool = False) -> None:
        """Build every part from the specification and give it its state; the order matters (see ``schedules``).

        Parameters
        ----------
        state : dict
            From :meth:`state_dict`. Callbacks are matched by name; one that has no state there starts anew.
        alias : bool, default=False
            Let the module use the memory of the tensors in `state` until it is trained, instead of a copy.
        """
        with streams.borrowed(self.device):
            self.build_network()
            modules.load_state(self.module, state["module"])
            self.criterion.load_state_dict(state["criterion"])
            self.schedule_plan = dict(state["lr_scheduler"]["plan"]) if state["lr_scheduler"] else {}
            if state["optimizer"] is not None:
                self.build_optimizer()
                self.build_schedule()
                self.build_scaler()
        buffers = modules.transient_buffers(self.module)
        for name, tensor in state["transient"].items():
            buffers[name].copy_(tensor)
        for name, parameter in self.module.named_parameters():
            parameter.requires_grad_(modules.plain_name(name) not in state["frozen"])
        if self.can_train:
            optimizers.load_exact(self.optimizer, state["optimizer"])
        if self.lr_scheduler is not None:
            schedules.load_schedule(self.lr_scheduler, state["lr_scheduler"]["state"])
        if self.grad_scaler is not None:
            self.grad_scaler.load_state_dict(state["grad_scaler"])
        for name, callback in self.callbacks.items():
            if name in state["callbacks"]:
                callback.load_state_dict(state["callbacks"][name]["state"])
        best = state["best"]
        self.best = None if best is None else {n: t.to(self.device, copy=not alias) for n, t in best.items()}
        self.history.load_state_dict(state["history"])
        self.progress.load_state_dict(state["progress"])
        self.id, self.seed, self.torn = state["id"], state["seed"], bool(state["torn"])
        self.num_threads = state["num_threads"]
        self.held_out.load_state_dict(state["held_out"])
        self.seen = Seen.from_state_dict(state["seen"])
        self.aliased = alias and self.device.type == "cpu"
        if self.aliased:
            modules.alias(self.module, state["module"])

    def own_weights(self) -> None:
        """Copy weights that lie in memory of somebody else, before they are trained: bits depend on alignment."""
        if self.aliased:
            modules.alias(self.module, {name: t.clone() for name, t in modules.state_of(self.module).items()})
            self.best = self.best and {name: tensor.clone() for name, tensor in self.best.items()}
            self.__dict__.pop("_best_module", None)
            self.aliased = False
