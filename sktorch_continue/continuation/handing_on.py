"""scikit-learn's callbacks of a composed estimator, handed on to the member that goes on, as its ``fit`` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sktorch_continue.estimators.tasks import has_callbacks


def handing_on(owner: Any, member: Any, go_on: Callable[[], Any], task: str = "continue_fit") -> None:
    """Let a member go on, as one task of its owner, where callbacks of scikit-learn are set on the owner.

    Parameters
    ----------
    owner, member : estimator
        A composed estimator, and what inside it is trained by `go_on`.
    go_on : callable
        Trains it.
    task : str
        What the callbacks are told that the owner does.
    """
    if not has_callbacks(owner):
        go_on()
        return
    from sklearn.callback import with_callbacks

    def reported(owner: Any) -> None:
        whole = owner._init_callback_context(task_name=task, max_subtasks=1)
        whole.call_on_fit_task_begin(estimator=owner)
        part = whole.subcontext(task_name=f"{task}-{type(member).__name__}")
        with part.propagate_callback_context(member):
            part.call_on_fit_task_begin(estimator=owner)
            go_on()
            part.call_on_fit_task_end(estimator=owner)
        whole.call_on_fit_task_end(estimator=owner)

    with_callbacks(reported)(owner)
