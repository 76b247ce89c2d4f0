"""Who a row is: numbers from its content, the same in any order, process and container."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial import cKDTree

from sktorch_continue.data.inputs import Inputs

CHUNK_BYTES = 1 << 20
N_PROJECTIONS = 6
TOLERANCE = 1e-5


class RowIdentities:
    """Identities of checked rows with their encoded targets.

    Parameters
    ----------
    inputs : Inputs
        The rows.
    encoded : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        Their targets.

    Attributes
    ----------
    hashes : ndarray of uint64, shape (n_rows,)
        Equal for rows that are equal as float32, different otherwise but for a chance of about 2**-32 per pair.
    """

    def __init__(self, inputs: Inputs, encoded: np.ndarray) -> None:
        self._inputs = inputs
        self.encoded = encoded
        self.hashes = np.empty(inputs.n_rows, dtype=np.uint64)
        for rows, values in self._chunks(np.arange(inputs.n_rows)):
            self.hashes[rows] = _mix(values.view(np.uint32))

    def __len__(self) -> int:
        return len(self.hashes)

    def sketches(self, chosen: np.ndarray) -> np.ndarray:
        """Return random projections of the chosen rows, float64 of shape (n_chosen, 6).

        Rows that differ in last bits only (a PCA in float32 rounds differently in another batch) have sketches that
        differ as little; see :func:`near`.
        """
        result = np.empty((len(chosen), N_PROJECTIONS))
        done = 0
        for rows, values in self._chunks(chosen):
            directions = np.random.default_rng(values.shape[1]).standard_normal((values.shape[1], N_PROJECTIONS))
            result[done : done + len(rows)] = values.astype(np.float64) @ directions
            done += len(rows)
        return result

    def _chunks(self, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        step = max(1, CHUNK_BYTES // self._inputs.row_bytes)
        for start in range(0, len(chosen), step):
            rows = chosen[start : start + step]
            parts = [*self._inputs.take(torch.from_numpy(rows)).values(), torch.from_numpy(self.encoded[rows])]
            flat = [part.reshape(len(rows), -1).to(torch.float32) + 0.0 for part in parts]  # -0.0 is 0.0
            yield rows, torch.cat(flat, dim=1).numpy()


def _mix(words: np.ndarray) -> np.ndarray:
    """Hash each row of uint32 words: a random linear form modulo 2**64, then a scrambling of its bits."""
    drawn = np.random.default_rng(words.shape[1]).integers(0, 2**64, size=words.shape[1], dtype=np.uint64)
    mixed = words.astype(np.uint64) @ (drawn | np.uint64(1))
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(mixed ^ (mixed >> np.uint64(29)))


def near(sketches: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return positions in `sketches` that are one of the `wanted` up to rounding.

    Two sketches are the same row when every projection agrees within 1e-5 of its spread over `sketches` and `wanted`
    together; rounding in float32 stays a tenth below that, distinct rows thousands of times above.
    """
    spread = np.concatenate([sketches, wanted]).std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    tree = cKDTree(sketches / scale)
    found = tree.query_ball_point(wanted / scale, r=TOLERANCE, p=np.inf)
    return np.unique(np.concatenate([np.asarray(places, dtype=np.int64) for places in found]))


def fingerprint(*arrays: np.ndarray | None) -> str:
    """Return 16 hexadecimal digits that change with any value, and with the order, of the arrays."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
