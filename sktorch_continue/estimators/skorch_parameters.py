"""The parameters and callbacks of a skorch net in our words; what has none is refused or named in a warning."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from sktorch_continue.callbacks import Callback, EarlyStopping, EpochScoring, GradientClipping
from sktorch_continue.criteria import NLLLossOfProbabilities
from sktorch_continue.exceptions import warn

SAME = ("optimizer", "lr", "max_epochs", "warm_start", "compile")
BUILT_IN = ("EpochTimer", "PassthroughScoring", "PrintLog", "ProgressBar", "BatchScoring")
ONLY_SPEED = ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor", "pin_memory_device", "batch_size")
CRITERIA: dict[str, tuple[type, ...]] = {
    "NeuralNetClassifier": (nn.NLLLoss, nn.CrossEntropyLoss),
    "NeuralNetBinaryClassifier": (nn.BCEWithLogitsLoss, nn.BCELoss),
    "NeuralNetRegressor": (nn.Module,),
}


def parameters_of(net: Any, kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters for an estimator.

    Parameters
    ----------
    net : NeuralNet
        Initialized.
    kind : str
        Which of skorch's classes it is.
    given : dict
        What the caller sets instead; it is not asked for in the net.

    Raises
    ------
    ValueError
        Naming what has no counterpart and decides what the net predicts or how it trains.

    Warns
    -----
    ContinuationWarning
        Naming what has no counterpart and is left out.
    """
    theirs = net.get_params(deep=False)
    params = {name: theirs[name] for name in SAME}
    params["verbose"] = int(bool(theirs["verbose"]))
    params["device"] = "cpu" if theirs["device"] is None else theirs["device"]
    params |= _extra(theirs, "optimizer")
    params |= _module(net, theirs)
    params |= _criterion(net, kind, theirs)
    params |= _batches(theirs)
    if "validation_fraction" not in given:
        params["validation_fraction"] = _validation_fraction(theirs["train_split"])
    params |= _schedule(net)
    if "callbacks" not in given:
        params["callbacks"] = _callbacks(net)
    left = {name: value for name, value in params.items() if name not in given}
    _refuse_the_rest(theirs, left)
    return left


def schedule_of(net: Any) -> Any | None:
    """Return the LRScheduler among the callbacks of a net.

    Raises
    ------
    ValueError
        If there are several.
    """
    found = [callback for _, callback in net.callbacks_ if _name(callback) == "LRScheduler"]
    if len(found) > 1:
        raise ValueError("the net has several LRScheduler callbacks; one schedule can be taken over (ChainedScheduler)")
    return found[0] if found else None


def _name(callback: Any) -> str | None:
    kind = type(callback)
    return kind.__name__ if kind.__module__.partition(".")[0] == "skorch" else None


def _extra(theirs: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name: value for name, value in theirs.items() if name.startswith(f"{prefix}__")}


def _module(net: Any, theirs: dict[str, Any]) -> dict[str, Any]:
    if isinstance(theirs["module"], nn.Module):
        return {"module": copy.deepcopy(getattr(net.module_, "_orig_mod", net.module_))}
    return {"module": theirs["module"], **_extra(theirs, "module")}


def _criterion(net: Any, kind: str, theirs: dict[str, Any]) -> dict[str, Any]:
    criterion = getattr(net.criterion_, "_orig_mod", net.criterion_)
    known = nn.Module in CRITERIA[kind] or type(criterion) in CRITERIA[kind]  # a subclass may read other outputs
    if not known:
        raise ValueError(
            f"criterion {type(criterion).__name__} of a {kind} cannot be taken over; what its outputs mean is known "
            f"for {[known.__name__ for known in CRITERIA[kind]]}"
        )
    if theirs["predict_nonlinearity"] != "auto":
        raise ValueError(
            f"predict_nonlinearity={theirs['predict_nonlinearity']!r} cannot be taken over; put it into the module, "
            "and set it to 'auto'"
        )
    if theirs.get("threshold", 0.5) != 0.5:
        raise ValueError(
            f"threshold={theirs['threshold']} has no counterpart; set it to 0.5, and put "
            "sklearn.model_selection.FixedThresholdClassifier around what from_skorch returns"
        )
    arguments = _extra(theirs, "criterion")
    if type(criterion) is not nn.NLLLoss:
        return {"criterion": theirs["criterion"], **arguments}
    if isinstance(theirs["criterion"], nn.Module):  # an instance, and its arguments are in its attributes
        arguments = {f"criterion__{n}": getattr(criterion, n) for n in ("weight", "ignore_index", "reduction")}
    return {"criterion": NLLLossOfProbabilities, **arguments}


def _batches(theirs: dict[str, Any]) -> dict[str, Any]:
    if theirs["iterator_train"] is not DataLoader or theirs["iterator_valid"] is not DataLoader:
        raise ValueError("iterator_train or iterator_valid is not torch's DataLoader, and cannot be taken over")
    dataset = theirs["dataset"]
    if getattr(dataset, "__module__", "").partition(".")[0] != "skorch" or _extra(theirs, "dataset"):
        raise ValueError("a dataset of your own cannot be taken over; give arrays to the estimator")
    batch_size = theirs.get("iterator_train__batch_size", theirs["batch_size"])
    if batch_size == -1:
        batch_size = 2**31 - 1  # all rows
    return {
        "batch_size": batch_size,
        "shuffle": bool(theirs.get("iterator_train__shuffle", False)),
        "drop_last": bool(theirs.get("iterator_train__drop_last", False)),
    }


def _validation_fraction(split: Any) -> float | None:
    if split is None:
        return None
    share = getattr(split, "cv", None)
    if isinstance(share, int | float) and 0 < share < 1:
        return float(share)
    if isinstance(share, int | float) and float(share).is_integer() and share > 1:
        return 1 / int(share)
    warn(
        f"train_split={split!r} has no counterpart: no validation rows are drawn. Set validation_fraction, or give "
        "X_val and y_val"
    )
    return None


def _schedule(net: Any) -> dict[str, Any]:
    theirs = schedule_of(net)
    if theirs is None:
        return {}
    params = {
        "lr_scheduler": theirs.policy_,
        "lr_scheduler_interval": "step" if theirs.step_every == "batch" else "epoch",
    }
    if "metrics" in inspect.signature(theirs.policy_.step).parameters:
        if not isinstance(theirs.monitor, str):
            raise ValueError("an LRScheduler whose monitor is a function cannot be taken over; name a column")
        params["lr_scheduler_monitor"] = theirs.monitor
    arguments = {n: v for n, v in theirs.kwargs.items() if n != "last_epoch"}
    return {**params, **{f"lr_scheduler__{name}": value for name, value in arguments.items()}}


def _callbacks(net: Any) -> list[tuple[str, Callback]] | None:
    taken, left = [], []
    for name, theirs in net.callbacks_:
        kind = _name(theirs)
        if kind in (*BUILT_IN, "LRScheduler"):
            continue
        if kind == "EpochScoring" and net.train_split is None and not theirs.on_train:
            continue  # skorch leaves it out in silence as well
        make = CALLBACKS.get(kind or "")
        ours = None if make is None else make(theirs)
        if ours is not None:
            taken.append((name, ours))
        else:
            left.append(name)
    if left:
        warn(
            f"callbacks {left} of the net have no counterpart and are left out (what Freezer has frozen stays frozen); "
            "see the callbacks of this package, and set callbacks=[...]"
        )
    return taken or None


def _early_stopping(theirs: Any) -> EarlyStopping | None:
    relative = theirs.threshold_mode == "rel" and theirs.threshold != 0
    if relative:
        warn(
            f"EarlyStopping(threshold={theirs.threshold}, threshold_mode='rel') has no counterpart: any improvement "
            "counts from now on; min_delta is absolute"
        )
    return EarlyStopping(
        theirs.monitor,
        theirs.patience,
        0.0 if relative else theirs.threshold,
        restore_best=bool(theirs.load_best),
        mode="min" if theirs.lower_is_better else "max",
    )


def _scoring(theirs: Any) -> EpochScoring | None:
    """Return the same score, where it has a name."""
    if theirs.name is None and not isinstance(theirs.scoring, str):
        return None
    return EpochScoring(theirs.scoring, on="train" if theirs.on_train else "valid", name=theirs.name or theirs.scoring)


def _clipping(theirs: Any) -> GradientClipping | None:
    value = theirs.gradient_clip_value
    return None if value is None else GradientClipping(value, norm_type=float(theirs.gradient_clip_norm_type))


CALLBACKS: dict[str, Callable[[Any], Callback | None]] = {
    "EarlyStopping": _early_stopping,
    "EpochScoring": _scoring,
    "GradientNormClipping": _clipping,
}


def _refuse_the_rest(theirs: dict[str, Any], params: dict[str, Any]) -> None:
    if "optimizer__param_groups" in params:
        raise ValueError(
            "optimizer__param_groups has no counterpart; the groups of its optimizer would not fit. Give a function "
            "that builds the optimizer with its groups, and fit anew"
        )
    known = {f"iterator_train__{name}" for name in (*ONLY_SPEED, "shuffle", "drop_last")}
    strange = [name for name in _extra(theirs, "iterator_train") if name not in known]
    if strange:
        raise ValueError(f"{strange} decide which rows a step sees and cannot be taken over; leave them out")
