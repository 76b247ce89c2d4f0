"""Whether what a checkpoint holds can be an estimator and its run; a file may say anything."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from sktorch_continue import modules
from sktorch_continue.exceptions import CorruptCheckpointError
from sktorch_continue.mixed_precision import is_sound

NOTHING = type(None)
KINDS: dict[str, tuple[type, ...]] = {
    "summary.estimator": (str,),
    "summary.run": (str,),
    "summary.n_epochs": (int,),
    "summary.n_steps": (int,),
    "estimator.parameters": (dict,),
    "estimator.built_from": (dict,),
    "estimator.fitted": (dict,),
    "estimator.fitted.n_features_in_": (int,),
    "estimator.target": (dict,),
    "run.id": (str,),
    "run.seed": (int,),
    "run.module": (dict,),
    "run.best": (dict, NOTHING),
    "run.optimizer": (dict, NOTHING),
    "run.lr_scheduler": (dict, NOTHING),
    "run.num_threads": (int,),
    "run.callbacks": (dict,),
    "run.history": (dict,),
    "run.history.rows": (list,),
    "run.history.calls": (list,),
    "run.progress": (dict,),
    "run.held_out.fraction": (float, NOTHING),
    "run.seen": (dict,),
    "run.facts": (dict,),
    "run.facts.row_shapes": (dict,),
    "run.specification.parameters": (dict,),
}
OF_TARGET = {"classes": np.ndarray, "multilabel": bool, "n_outputs": int}


def check_stored(stored: dict[str, Any]) -> None:
    """Refuse contents that are no estimator's.

    Raises
    ------
    CorruptCheckpointError
        Naming what is missing, of another kind, or contradicts the rest.
    """
    wrong = [path for path, kinds in KINDS.items() if not _is_one_of(_at(stored, path), kinds)]
    if wrong:
        raise CorruptCheckpointError(f"the checkpoint lacks {wrong}, or has something else there")
    run, summary = stored["run"], stored["summary"]
    estimator = stored["estimator"]
    wrong += [f"estimator.fitted.{name}" for name in estimator["fitted"] if not name.endswith("_") or name[0] == "_"]
    wrong += [f"estimator.target.{n}" for n, v in estimator["target"].items() if type(v) is not OF_TARGET.get(n)]
    wrong += [f"run.history.{name}" for name in ("rows", "calls") if not _are_dictionaries(run["history"][name])]
    shapes = run["facts"]["row_shapes"]
    wrong += ["run.facts.row_shapes"] if not shapes or not all(map(_is_shape, shapes.values())) else []
    wrong += ["run.num_threads"] if run["num_threads"] < 1 else []
    wrong += [] if is_sound(run.get("grad_scaler", ...)) else ["run.grad_scaler"]
    of_run = {"run": run["id"], **{name: run["progress"].get(name) for name in ("n_epochs", "n_steps")}}
    wrong += [f"summary.{name}" for name, value in of_run.items() if summary[name] != value]
    if wrong:
        raise CorruptCheckpointError(f"the parts of the checkpoint contradict each other: {wrong}")


def check_restored(draft: Any) -> None:
    """Refuse a run that does not fit the estimator around it: best weights, classes, sizes.

    Raises
    ------
    ValueError
        If it does not.
    """
    run, facts = draft._run, draft._run.facts
    if run.best is not None:
        modules.load_state(copy.deepcopy(run.module), run.best)
    if draft._objective(run.specification) != facts.objective or draft.n_features_in_ != facts.n_features_in:
        raise ValueError("what is fitted does not fit the sizes of the run")
    classes = getattr(draft._target, "classes", None)
    if classes is not None and not np.array_equal(classes, draft.classes_):
        raise ValueError("the classes of the estimator are not those of the run")


def _at(stored: Any, path: str) -> Any:
    for name in path.split("."):
        stored = stored.get(name, ...) if isinstance(stored, dict) else ...
    return stored


def _is_one_of(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _are_dictionaries(rows: list[Any]) -> bool:
    return all(isinstance(row, dict) for row in rows)


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(type(size) is int and (size > 0 or size == -1) for size in shape)
