"""Clip gradients before the optimizer sees them."""

from __future__ import annotations

from typing import Any

from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from sktorch_continue.callbacks.base import Callback


class GradientClipping(Callback):
    """Bound the norm or the values of the gradients.

    Parameters
    ----------
    max_norm : float, optional
        Largest total norm over all parameters (``torch.nn.utils.clip_grad_norm_``).
    norm_type : float, default=2.0
        Which p-norm.
    max_value : float, optional
        Largest absolute value of any gradient (``torch.nn.utils.clip_grad_value_``).

    Raises
    ------
    ValueError
        Unless exactly one of `max_norm` and `max_value` is given and positive.
    """

    columns = ()

    def __init__(
        self, max_norm: float | None = None, *, norm_type: float = 2.0, max_value: float | None = None
    ) -> None:
        bounds = [bound for bound in (max_norm, max_value) if bound is not None]
        if len(bounds) != 1 or bounds[0] <= 0:
            raise ValueError(
                f"give one positive bound: max_norm or max_value; got max_norm={max_norm}, max_value={max_value}"
            )
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.max_value = max_value

    def on_gradients(self, run: Any) -> None:
        """Clip in place."""
        parameters = run.parameters
        if self.max_norm is not None:
            clip_grad_norm_(parameters, self.max_norm, norm_type=self.norm_type)
        elif self.max_value is not None:
            clip_grad_value_(parameters, self.max_value)
