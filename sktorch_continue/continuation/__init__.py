"""Continuing whatever a network sits in; open for kinds of estimators of your own."""

from sktorch_continue.continuation import (  # noqa: F401 (each registers the kinds it knows)
    calibration,
    ensembles,
    multiple,
    pipelines,
    wrappers,
)
from sktorch_continue.continuation.job import Job
from sktorch_continue.continuation.together import advance_together
from sktorch_continue.continuation.verbs import advance, continue_fit, is_continuable, members

__all__ = ["Job", "advance", "advance_together", "continue_fit", "is_continuable", "members"]
