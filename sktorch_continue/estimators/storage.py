"""What pickle, joblib and copy see: parameters, fitted names and the run's state dictionary."""

from __future__ import annotations

import copy
from typing import Any

import torch

from sktorch_continue.estimators.parameters import DoubleUnderscoreParameters
from sktorch_continue.exceptions import warn
from sktorch_continue.run import Facts, Run


class StoredRun(DoubleUnderscoreParameters):
    """Carries the run through pickle as its state dictionary, and builds it again from there."""

    def __getstate__(self) -> dict[str, Any]:
        attributes: dict[str, Any] = dict(super().__getstate__())
        run: Run | None = attributes.get("_run")
        if run is not None:
            attributes["_run"] = {
                "specification": run.specification,
                "device": str(run.device),
                "state": to_cpu(run.state_dict()),
            }
        return attributes

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        stored = attributes.get("_run")
        if stored is not None:
            state = stored["state"]
            run = Run(stored["specification"], Facts(**state["facts"]), state["seed"], _available(stored["device"]))
            run.load_state_dict(state)
            attributes = {**attributes, "_run": run}
        super().__setstate__(attributes)


def sharing_copy(estimator: Any) -> Any:
    """Return another estimator with the same parameters and the same run; ``copy.copy`` would build the run anew."""
    shared = object.__new__(type(estimator))
    vars(shared).update(vars(estimator))
    return shared


def to_cpu(value: Any) -> Any:
    """Return nested dictionaries and lists with every tensor detached and on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        moved = copy.copy(value)  # a schedule keeps its milestones in a Counter
        for key, item in value.items():
            moved[key] = to_cpu(item)
        return moved
    if isinstance(value, list | tuple):
        return type(value)(to_cpu(item) for item in value)
    return value


def _available(name: str) -> torch.device:
    device = torch.device(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        warn(f"the estimator was trained on {name}, which this machine lacks; it is loaded to the CPU")
        return torch.device("cpu")
    return device
