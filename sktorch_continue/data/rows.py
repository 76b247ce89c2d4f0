"""Who a row is: a 64-bit number from its content, the same in any order, process and container."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from sktorch_continue.data.inputs import Inputs

CHUNK_BYTES = 1 << 20


def row_identities(inputs: Inputs, encoded: np.ndarray) -> np.ndarray:
    """Return one uint64 per row from the row as float32 and its encoded target.

    Rows that differ get different numbers but for a chance of about 2**-32 per pair; equal rows get the same.
    """
    result = np.empty(inputs.n_rows, dtype=np.uint64)
    step = max(1, CHUNK_BYTES // inputs.row_bytes)
    for start in range(0, inputs.n_rows, step):
        rows = slice(start, min(start + step, inputs.n_rows))
        parts = [_words(values) for values in inputs.take(rows).values()]
        parts.append(_words(torch.from_numpy(np.ascontiguousarray(encoded[rows]))))
        result[rows] = _mix(np.concatenate(parts, axis=1))
    return result


def _words(values: torch.Tensor) -> np.ndarray:
    flat = values.reshape(len(values), -1).to(torch.float32) + 0.0  # -0.0 is 0.0
    return flat.numpy().view(np.uint32)


def _mix(words: np.ndarray) -> np.ndarray:
    """Hash each row of uint32 words: a random linear form modulo 2**64, then a scrambling of its bits."""
    multipliers = np.random.default_rng(words.shape[1]).integers(
        0, 2**64, size=words.shape[1], dtype=np.uint64
    ) | np.uint64(1)
    mixed = words.astype(np.uint64) @ multipliers
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(mixed ^ (mixed >> np.uint64(29)))


def fingerprint(*arrays: np.ndarray | None) -> str:
    """Return 16 hexadecimal digits that change with any value, and with the order, of the arrays."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
