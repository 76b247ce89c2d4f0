"""Optimizers, schedules and a small network with everything that has a state, for the exactness matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler as lrs


class Stateful(nn.Module):
    """Dropout draws noise, batch norm keeps averages."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features_in, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, n_outputs)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Matrices(nn.Module):
    """Two-dimensional parameters only, as Muon asks."""

    def __init__(self, n_features_in: int, n_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features_in, 8, bias=False),
            nn.BatchNorm1d(8, affine=False),
            nn.Dropout(0.3),
            nn.Linear(8, n_outputs, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Tokens(nn.Module):
    """Embeddings with sparse gradients only, as SparseAdam asks."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, n_outputs, sparse=True)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.embedding((x * 10).long().clamp(-25, 24) + 25)).mean(dim=1)


def sequential(optimizer: torch.optim.Optimizer) -> lrs.LRScheduler:
    """Warm up, then decay."""
    parts = [lrs.LinearLR(optimizer, 0.1, total_iters=2), lrs.ExponentialLR(optimizer, 0.8)]
    return lrs.SequentialLR(optimizer, parts, milestones=[2])


def chained(optimizer: torch.optim.Optimizer) -> lrs.LRScheduler:
    """Two factors at once."""
    return lrs.ChainedScheduler([lrs.ConstantLR(optimizer, 0.5, total_iters=4), lrs.ExponentialLR(optimizer, 0.9)])


def halve_later(epoch: int) -> float:
    """A function a schedule does not save."""
    return 1.0 if epoch < 4 else 0.5


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "ASGD": {"optimizer__t0": 4},
    "Adadelta": {"lr": 1.0},
    "Adafactor": {},
    "Adagrad": {},
    "Adam": {"optimizer__amsgrad": True},
    "AdamW": {"optimizer__fused": False},
    "Adamax": {},
    "LBFGS": {"optimizer__max_iter": 3, "lr": 0.1},
    "Muon": {"module": Matrices},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"optimizer__momentum": 0.9, "optimizer__centered": True},
    "Rprop": {"lr": 0.001},
    "SGD": {"optimizer__momentum": 0.9, "optimizer__nesterov": True},
    "SparseAdam": {"module": Tokens},
}

SCHEDULES: dict[str, dict[str, Any]] = {
    "none": {},
    "ChainedScheduler": {"lr_scheduler": chained},
    "ConstantLR": {"lr_scheduler__total_iters": 4},
    "CosineAnnealingLR": {"lr_scheduler__T_max": 5, "lr_scheduler__eta_min": 1e-4},
    "CosineAnnealingWarmRestarts": {"lr_scheduler__T_0": 2, "lr_scheduler__T_mult": 2},
    "CyclicLR": {
        "lr_scheduler__base_lr": 1e-3,
        "lr_scheduler__max_lr": 1e-2,
        "lr_scheduler__step_size_up": 3,
        "lr_scheduler__cycle_momentum": False,
    },
    "ExponentialLR": {"lr_scheduler__gamma": 0.9},
    "LambdaLR": {"lr_scheduler__lr_lambda": halve_later},
    "LinearLR": {"lr_scheduler__total_iters": 5},
    "MultiStepLR": {"lr_scheduler__milestones": [1, 4]},
    "MultiplicativeLR": {"lr_scheduler__lr_lambda": halve_later},
    "OneCycleLR": {"lr_scheduler__max_lr": 0.02, "lr_scheduler__total_steps": 40},
    "PolynomialLR": {"lr_scheduler__total_iters": 5, "lr_scheduler__power": 2.0},
    "ReduceLROnPlateau": {"lr_scheduler__patience": 0, "lr_scheduler__threshold": 0.05},
    "SequentialLR": {"lr_scheduler": sequential},
    "StepLR": {"lr_scheduler__step_size": 2},
}

NO_MOMENTUM_TO_CYCLE = {"Adadelta", "Adafactor", "Adagrad", "ASGD", "LBFGS", "Rprop"}


def pairs() -> list[tuple[str, str, str]]:
    """Return every valid (optimizer, schedule, interval); a plateau needs the history's row, which is per epoch."""
    return [
        (optimizer, schedule, interval)
        for optimizer in OPTIMIZERS
        for schedule in SCHEDULES
        for interval in ("epoch", "step")
        if not (interval == "step" and schedule in ("none", "ReduceLROnPlateau"))
    ]


def parameters(optimizer: str, schedule: str, interval: str) -> dict[str, Any]:
    """Return the estimator's parameters for one cell of the matrix."""
    found = {"module": Stateful, "optimizer": optimizer, "lr": 0.01, **OPTIMIZERS[optimizer], **SCHEDULES[schedule]}
    if schedule != "none":
        found.setdefault("lr_scheduler", schedule)
        found["lr_scheduler_interval"] = interval
    if schedule == "OneCycleLR" and optimizer in NO_MOMENTUM_TO_CYCLE:
        found["lr_scheduler__cycle_momentum"] = False
    return found
