"""``module__x`` and the like: which names an estimator has, and what is meant by one it has not."""

from __future__ import annotations

import difflib
import functools
from typing import Any, Self

from sklearn.base import BaseEstimator

from sktorch_continue.specification import signature_of

PREFIXES = ("module__", "criterion__", "optimizer__", "lr_scheduler__", "grad_scaler__", "dataloader__")
# What other libraries call a parameter, and it is here.
ELSEWHERE = {
    "activation": "module__activation",
    "dropout": "module__dropout",
    "early_stopping": "callbacks",
    "hidden_layer_sizes": "module__hidden_layer_sizes",
    "learning_rate": "lr",
    "learning_rate_init": "lr",
    "loss": "criterion",
    "max_iter": "max_epochs",
    "model": "module",
    "momentum": "optimizer__momentum",
    "net": "module",
    "solver": "optimizer",
    "train_split": "validation_fraction",
    "validation_split": "validation_fraction",
    "weight_decay": "optimizer__weight_decay",
}


class DoubleUnderscoreParameters(BaseEstimator):
    """``module__x`` and the like as parameters that ``get_params``, ``set_params`` and ``clone`` see."""

    @classmethod
    def _get_param_names(cls) -> list[str]:
        """Return the names of a constructor and, where it passes ``**kwargs`` on, of those it inherits."""
        return list(_names_of(cls))  # type: ignore[arg-type]  # a class is hashable

    def _store_extra(self, extra: dict[str, Any]) -> None:
        for name in extra:
            if not self._is_extra(name):
                close = difflib.get_close_matches(name, self._get_param_names(), n=1)
                meant = ELSEWHERE.get(name) or next(iter(close), None)
                raise TypeError(
                    f"{type(self).__name__} got an unexpected parameter {name!r}; "
                    + (f"did you mean {meant!r}? " if meant else "")
                    + f"its own are {self._get_param_names()}, and any that start with {', '.join(PREFIXES)}"
                )
        for name, value in extra.items():
            setattr(self, name, value)

    @classmethod
    def _has_parameter(cls, name: str) -> bool:
        """Tell whether the constructor takes a parameter of this name."""
        return name in cls._get_param_names() or cls._is_extra(name)

    @staticmethod
    def _is_extra(name: str) -> bool:
        return any(name.startswith(prefix) and name != prefix for prefix in PREFIXES)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, the double-underscore ones included.

        Parameters
        ----------
        deep : bool, default=True
            As in scikit-learn.

        Returns
        -------
        dict
        """
        params: dict[str, Any] = super().get_params(deep=False)
        extra = {name: value for name, value in vars(self).items() if self._is_extra(name)}
        return {**params, **extra}

    def set_params(self, **params: Any) -> Self:
        """Set parameters; the next call uses them.

        Returns
        -------
        self
        """
        extra = {name: value for name, value in params.items() if self._is_extra(name)}
        super().set_params(**{name: value for name, value in params.items() if name not in extra})
        self._store_extra(extra)
        return self


@functools.lru_cache(maxsize=128)
def _names_of(kind: type) -> tuple[str, ...]:
    names: set[str] = set()
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        own = list(signature_of(vars(base)["__init__"]).values())[1:]
        names.update(p.name for p in own if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
        if not any(p.kind == p.VAR_KEYWORD for p in own):
            break
    return tuple(sorted(names))
