"""Pipelines: the last step goes on behind transformers that transform only, or that learn first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import _num_samples, check_is_fitted

from sktorch_continue.continuation.handing_on import handing_on
from sktorch_continue.continuation.job import Job, routing_enabled
from sktorch_continue.continuation.outputs import ROUNDING, relative_change
from sktorch_continue.continuation.verbs import advance, check_modes, members
from sktorch_continue.estimators.storage import become, copied
from sktorch_continue.exceptions import DataDriftWarning, warn

COMPARED_ROWS = 256


@members.register(Pipeline)
def members_of_pipeline(pipeline: Pipeline) -> dict[str, Any]:
    """Return the last step; the steps before it are transformers and go on only when asked to."""
    name, last = pipeline.steps[-1]
    return {} if last is None or isinstance(last, str) else {name: last}


@advance.register(Pipeline)
def advance_pipeline(pipeline: Pipeline, job: Job) -> None:
    """Continue the last step, in place; where transformers learn, all steps as copies that are swapped in at the end.

    Raises
    ------
    TypeError
        If a transformer that is to learn has no ``partial_fit``.
    ValueError
        For steps or fit parameters that are unknown or would have no effect.
    """
    modes = step_modes(pipeline, job.transformers)
    last = pipeline.steps[-1][1]
    params = step_params(pipeline, job, modes)
    if set(modes.values()) <= {"frozen"}:
        moved = last_job(pipeline, job, params)
        handing_on(pipeline, last, lambda: advance(last, moved))
        return
    learned = learn(pipeline, job, modes, params)
    changed = _what_changed(pipeline, learned, job, modes, params)
    continued = copied(last)
    with warnings.catch_warnings():
        if changed is not None:
            warn(changed, DataDriftWarning)
            warnings.simplefilter("ignore", DataDriftWarning)  # the network would say it again
        moved = last_job(learned, job, params)
        handing_on(pipeline, continued, lambda: advance(continued, moved))
    for (_, step), (_, after) in zip(transformers_of(pipeline), transformers_of(learned), strict=True):
        become(step, after)
    become(last, continued)


def transformers_of(pipeline: Pipeline) -> Iterator[tuple[str, Any]]:
    """Yield name and step of all but the last that do something."""
    yield from ((name, step) for name, step in pipeline.steps[:-1] if step is not None and step != "passthrough")


def step_modes(pipeline: Pipeline, modes: str | Mapping[str, str]) -> dict[str, str]:
    """Return what every transformer does; keys ``last__step`` are for a pipeline that is the last step.

    Raises
    ------
    TypeError
        If one that is to learn from more rows has no ``partial_fit``.
    ValueError
        If a key names no transformer.
    """
    steps, last = dict(transformers_of(pipeline)), pipeline.steps[-1][0]
    if isinstance(modes, str):
        found = dict.fromkeys(steps, modes)
    else:
        own = {name: mode for name, mode in modes.items() if not name.startswith(f"{last}__")}
        unknown = [name for name in own if name not in steps]
        if unknown:
            raise ValueError(f"transformers names {unknown}; the transformers of this pipeline are {list(steps)}")
        found = {name: own.get(name, "frozen") for name in steps}
    unable = [name for name, mode in found.items() if mode == "partial_fit" and not hasattr(steps[name], mode)]
    if unable:
        raise TypeError(
            f"transformers='partial_fit', but {unable} have no partial_fit; name those that have one, as in "
            "transformers={'scale': 'partial_fit'}"
        )
    return found


def modes_of_last(pipeline: Pipeline, modes: str | Mapping[str, str]) -> str | Mapping[str, str]:
    """Return what is meant for pipelines inside the last step."""
    if isinstance(modes, str):
        return modes
    prefix = f"{pipeline.steps[-1][0]}__"
    return {name.removeprefix(prefix): mode for name, mode in modes.items() if name.startswith(prefix)}


def step_params(pipeline: Pipeline, job: Job, modes: Mapping[str, str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return per step and method what it is given: routed as in ``Pipeline.fit``, or told apart by ``step__``.

    Without routing, what has no prefix is for the last step.

    Raises
    ------
    ValueError
        For a step there is not, and for parameters of a transformer that is frozen.
    """
    names = [*(name for name, _ in transformers_of(pipeline)), pipeline.steps[-1][0]]
    if routing_enabled():
        return _routed(pipeline, job, names)
    fit: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in job.params.items():
        step, _, name = key.partition("__")
        if not name:
            fit[names[-1]][key] = value
        elif step not in fit:
            raise ValueError(f"fit parameter {key!r} names the step {step!r}; the steps are {names}")
        elif modes.get(step) == "frozen":
            raise ValueError(
                f"fit parameter {key!r} has no effect: step {step!r} is frozen and transforms only. Leave it out, or "
                f"let the step learn: transformers={{{step!r}: 'refit'}}"
            )
        else:
            fit[step][name] = value
    return {name: {"fit": params, "transform": {}, "partial_fit": params} for name, params in fit.items()}


def _routed(pipeline: Pipeline, job: Job, names: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Route as scikit-learn does; what ``transform_input`` names is still as the caller gave it."""
    if not job.params:
        return {name: {"fit": {}, "transform": {}, "partial_fit": {}} for name in names}
    routed = process_routing(pipeline, "fit", **job.params)
    methods = ("fit", "transform", "partial_fit")
    found = {name: {method: dict(routed[name].get(method, {})) for method in methods} for name in names}
    for name in names[:-1]:  # a transformer that learns is fitted by fit_transform in Pipeline.fit
        found[name]["fit"] = dict(routed[name].get("fit_transform", found[name]["fit"])) or found[name]["fit"]
        found[name]["partial_fit"] = found[name]["partial_fit"] or found[name]["fit"]
    return found


def last_job(pipeline: Pipeline, job: Job, params: Mapping[str, Any]) -> Job:
    """Return the job of the last step: training rows, and other data where it has to be, through the transformers."""
    own = job.with_params(params[pipeline.steps[-1][0]]["fit"])
    moved = {
        name: transform(pipeline, value, params) for name, value in own.params.items() if _moves(pipeline, job, name)
    }
    return replace(
        own,
        X=transform(pipeline, job.X, params),
        params={**own.params, **moved},
        transformers=modes_of_last(pipeline, job.transformers),
    )


def _moves(pipeline: Pipeline, job: Job, name: str) -> bool:
    """Tell whether a parameter of the last step is data from before the transformers."""
    if routing_enabled():
        return name in (pipeline.transform_input or ())
    return name == "X_val" and name in job.params  # last__X_val goes to the step as it is, as in Pipeline.fit


def transform(pipeline: Pipeline, X: Any, params: Mapping[str, Any]) -> Any:
    """Send rows through the fitted transformers."""
    for name, step in transformers_of(pipeline):
        X = step.transform(X, **params[name]["transform"])
    return X


def learn(pipeline: Pipeline, job: Job, modes: Mapping[str, str], params: Mapping[str, Any]) -> Pipeline:
    """Return a pipeline with copies of the transformers that learn from the rows, and all other steps themselves."""
    X, steps = job.X, []
    for name, step in pipeline.steps[:-1]:
        if name not in modes:
            steps.append((name, step))
            continue
        learned = step  # one that is frozen is not copied: it may hold much, a vocabulary say
        if modes[name] == "refit":
            learned = clone(step).fit(X, job.y, **params[name]["fit"])
        elif modes[name] == "partial_fit":
            learned = copied(step).partial_fit(X, job.y, **params[name]["partial_fit"])
        X = learned.transform(X, **params[name]["transform"])
        steps.append((name, learned))
    return Pipeline([*steps, pipeline.steps[-1]], transform_input=pipeline.transform_input)


def _what_changed(
    pipeline: Pipeline, learned: Pipeline, job: Job, modes: Mapping[str, str], params: Mapping[str, Any]
) -> str | None:
    """Return what to say where refitting changed what comes out for the same rows."""
    refitted = [name for name, mode in modes.items() if mode == "refit"]
    if not refitted or any(params[name]["transform"] for name in modes):
        return None  # parameters of transform belong to all rows; the network looks at its inputs itself
    some = _safe_indexing(job.X, np.arange(min(_num_samples(job.X), COMPARED_ROWS)))
    change = relative_change(transform(pipeline, some, params), transform(learned, some, params))
    if change <= ROUNDING:
        return None
    return (
        f"the transformers {refitted} were fitted again and give other values for the same rows (by up to {change:.2g} "
        f"times the spread of a column); {type(pipeline.steps[-1][1]).__name__} has learned to read the old ones. "
        "transformers='frozen' keeps them"
    )


def partial_fit(
    pipeline: Pipeline, X: Any, y: Any, transformers: str | Mapping[str, str], fit_params: Mapping[str, Any]
) -> None:
    """Train one pass of the last step; at its first, transformers that are not fitted yet learn from the rows."""
    check_modes(transformers)
    modes = step_modes(pipeline, transformers)
    if not is_fitted(pipeline.steps[-1][1]):  # a transformer without attributes in _ never seems to be fitted
        unfitted = [name for name, step in transformers_of(pipeline) if not is_fitted(step)]
        modes.update({name: "refit" for name in unfitted if modes[name] == "frozen"})
    params = step_params(pipeline, Job(X, y, fit_params), modes)
    learned = learn(pipeline, Job(X, y, fit_params), modes, params)
    job = last_job(learned, Job(X, y, fit_params), params)
    last = pipeline.steps[-1][1]
    handing_on(pipeline, last, lambda: last.partial_fit(job.X, job.y, **job.params), "partial_fit")
    for (_, step), (_, after) in zip(transformers_of(pipeline), transformers_of(learned), strict=True):
        become(step, after)


def is_fitted(step: Any) -> bool:
    """Tell whether a transformer is fitted."""
    try:
        check_is_fitted(step)
    except NotFittedError:
        return False
    return True
