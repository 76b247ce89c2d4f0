"""Several members go on together: copies first, in parallel, and all take their places at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.utils.parallel import Parallel, delayed

from sktorch_continue.continuation.job import Job
from sktorch_continue.continuation.parameters import follow
from sktorch_continue.continuation.verbs import advance, is_continuable
from sktorch_continue.estimators.storage import become, copied
from sktorch_continue.exceptions import warn


def advance_together(
    owner: Any, members: Mapping[str, Any], jobs: Mapping[str, Job], prototypes: Mapping[str, Any]
) -> None:
    """Continue all members that can go on, or none of them.

    Parameters
    ----------
    owner : estimator
        The meta-estimator; its ``n_jobs``, where it has one, is used.
    members : mapping of str to estimator
        Fitted, by name.
    jobs : mapping of str to Job
        What each is to go on with.
    prototypes : mapping of str to estimator
        What each was cloned from: its parameters of today are those of the member.

    Raises
    ------
    Exception
        What a member raises, with a note that names it and those that were done; no member is changed.
    """
    for name, continued in continued_copies(owner, members, jobs, prototypes).items():
        become(members[name], continued)


def continued_copies(
    owner: Any, members: Mapping[str, Any], jobs: Mapping[str, Job], prototypes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return copies of the members that can go on, continued; see :func:`advance_together`."""
    going = [name for name, member in members.items() if is_continuable(member)]
    _tell_staying(owner, {name: member for name, member in members.items() if name not in going})
    owner_name = type(owner).__name__
    tasks = (delayed(_continued_copy)(owner_name, name, members[name], prototypes[name], jobs[name]) for name in going)
    done: dict[str, Any] = {}
    try:
        results = Parallel(n_jobs=getattr(owner, "n_jobs", None), return_as="generator")(tasks)
        for name in going:
            done[name] = next(results)  # in order: what is not there yet was not done
    except BaseException as error:
        error.add_note(
            f"Nothing in {owner_name} was changed. Members that were continued before, as copies that are "
            f"dropped: {list(done) or 'none'}"
        )
        if done:
            error.add_note(
                "Where they have a Checkpoint, its run folder is ahead of them: take that up with load_checkpoint of "
                "the member, or give its Checkpoint another path before going on"
            )
        raise
    return done


def _continued_copy(owner: str, name: str, member: Any, prototype: Any, job: Job) -> Any:
    continued = copied(member)
    try:
        follow(continued, prototype)
        advance(continued, job)
    except BaseException as error:
        error.add_note(f"This is from member {name!r} ({type(member).__name__}) of {owner}")
        raise
    return continued


def _tell_staying(owner: Any, staying: Mapping[str, Any]) -> None:
    """Name the members that cannot go on; one that is frozen stays because it was asked to."""
    named = [f"{name} ({type(m).__name__})" for name, m in staying.items() if not isinstance(m, FrozenEstimator)]
    if named:
        warn(f"in {type(owner).__name__} {', '.join(named)} cannot go on and stays as it is; the others go on")
