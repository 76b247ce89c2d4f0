"""What scikit-learn's diagram of estimators, as a notebook shows it, says of a network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sktorch_continue.run import Run


def block(network: Any) -> SimpleNamespace:
    """Return the box of a network, with a caption once it is fitted; scikit-learn draws and escapes it.

    scikit-learn asks ``_sk_visual_block_`` for a private class that has moved between its versions. It reads these
    attributes and nothing else.
    """
    return SimpleNamespace(
        kind="single",
        estimators=network,
        names=type(network).__name__,
        name_details=str(network),
        name_caption=caption(network._run) if network.__sklearn_is_fitted__() else None,
        doc_link_label=None,
        dash_wrapped=True,
    )


def caption(run: Run) -> str:
    """Return epochs, calls, last losses and device of a run, in one line."""
    epochs = f"{run.n_epochs} epoch{'' if run.n_epochs == 1 else 's'}"
    if run.progress.stopped is not None:
        epochs += " (stopped early)"
    elif run.n_epochs < run.max_epochs:
        epochs = f"{run.n_epochs} of {run.max_epochs} epochs"
    n_calls = run.progress.n_calls
    told = [f"{epochs} in {n_calls} call{'' if n_calls == 1 else 's'}"]
    row = run.history[-1] if run.history else {}
    told += [f"{name} {row[name]:.4g}" for name in ("train_loss", "valid_loss") if row.get(name) is not None]
    told += [str(run.device)] if run.can_train else [f"{run.device}, exported for serving"]
    return " · ".join(told)
