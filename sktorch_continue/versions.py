"""The versions that can decide bits, for the record of a call and the manifest of a checkpoint."""

from __future__ import annotations

import functools
import platform

import joblib
import numpy as np
import safetensors
import scipy
import sklearn
import torch

__version__ = "0.1.0.dev0"

LIBRARIES = (torch, sklearn, np, scipy, joblib, safetensors)


@functools.cache
def versions() -> dict[str, str]:
    """Return the version of Python and of every library that the state of a run passes through."""
    return {
        "python": platform.python_version(),
        **{library.__name__: str(library.__version__) for library in LIBRARIES},
    }
