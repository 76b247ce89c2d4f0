"""Who a row is: numbers from its content, the same in any order, process and container."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from scipy.spatial import cKDTree

from sktorch_continue.data.inputs import Inputs, as_tensor

CHUNK_BYTES = 1 << 20
SCALE_BYTES = 1 << 21
N_PROJECTIONS = 6
SKETCH = 2 * N_PROJECTIONS + 1  # projections as they are, projections of scaled columns, the norm
ROUNDING = 1e-5
RESEMBLANCE = 1e-2
NEIGHBOURS = 4
HUGE = np.float32(1e30)


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
        self._places: np.ndarray | None = None  # as they came; a number for each would take as much as its hash
        self.hashes = self._summed() if inputs.sums is None else self._completed(inputs.sums, inputs.widths)

    def __len__(self) -> int:
        return len(self.hashes)

    def _summed(self) -> np.ndarray:
        sums, step, n_targets = np.empty(self._inputs.n_rows, dtype=np.uint64), self._at_once, self.encoded[:1].size
        for start in range(0, len(sums), step):
            rows = slice(start, min(start + step, len(sums)))
            sums[rows], width = input_sums(self._inputs.peek(rows), n_targets)
            sums[rows] += target_sums(self.encoded[rows], width)
            _scramble(sums[rows])  # piece by piece: what lies between takes no memory
        return sums

    def _completed(self, known: np.ndarray, widths: np.ndarray) -> np.ndarray:
        sums = known.copy()
        for width in np.unique(widths):
            rows = widths == width
            sums[rows] += target_sums(self.encoded[rows], int(width))
        _scramble(sums)
        return sums

    @property
    def _at_once(self) -> int:
        return max(1, CHUNK_BYTES // self._inputs.row_bytes)

    def _places_of(self, chosen: np.ndarray) -> np.ndarray:
        """Return where rows stand in the inputs."""
        return chosen if self._places is None else self._places[chosen]

    @property
    def readable(self) -> bool:
        """Whether the rows can be read again, and are as wide as each other."""
        return self._inputs.readable

    def among(self, kept: np.ndarray) -> RowIdentities:
        """Return the identities of some rows, in their order."""
        some = copy.copy(self)
        some.hashes, some.encoded, some._places = self.hashes[kept], self.encoded[kept], self._places_of(kept)
        return some

    @property
    def coded(self) -> bool:
        """Whether the target is the code of a class."""
        return self.encoded.dtype.kind in "iu"

    def values(self, chosen: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return some columns, and the targets, of the chosen rows, float32 of shape (n_chosen, ...)."""
        n_targets = self.encoded[:1].size
        chunks = [np.clip(chunk, -HUGE, HUGE) for _, chunk in self._chunks(chosen)]
        kept = [(chunk[:, columns], chunk[:, chunk.shape[1] - n_targets :]) for chunk in chunks]
        return np.concatenate([values for values, _ in kept]), np.concatenate([targets for _, targets in kept])

    def first_targets(self) -> np.ndarray:
        """Return the first target of every row, float32 as in :meth:`values`."""
        first: np.ndarray = self.encoded.reshape(len(self), -1)[:, 0].clip(-HUGE, HUGE).astype(np.float32)
        return first

    def varying_columns(self, chosen: np.ndarray, most: int) -> np.ndarray:
        """Return which columns vary most over the chosen rows, or over as many as fit into memory; ascending."""
        few = chosen[: max(2, SCALE_BYTES // (4 * self._inputs.row_bytes))]
        values = np.clip(np.concatenate([chunk for _, chunk in self._chunks(few)]), -HUGE, HUGE)
        spread = values[:, : values.shape[1] - self.encoded[:1].size].std(axis=0, dtype=np.float64)
        found: np.ndarray = np.sort(np.argsort(-spread, kind="stable")[:most])
        return found

    def column_scales(self) -> np.ndarray:
        """Return the median size of the values of every column that are not zero, over some rows; 1 where all are."""
        row_bytes = 4 * self._inputs.row_bytes
        n_rows = max(1, min(len(self), 1024, SCALE_BYTES // row_bytes))
        some = np.linspace(0, len(self) - 1, n_rows).astype(np.int64)
        values = np.concatenate([np.abs(chunk) for _, chunk in self._chunks(some)])
        ordered = np.sort(np.where(values > 0, values, np.inf), axis=0)
        filled = np.isfinite(ordered).sum(axis=0)
        middle = ordered[np.maximum(filled - 1, 0) // 2, np.arange(values.shape[1])]
        scales: np.ndarray = np.where(filled > 0, middle, 1.0).astype(np.float64)
        return scales

    def sketches(self, chosen: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """Return what is left of the chosen rows for :func:`near`, float64 of shape (n_chosen, 13).

        Rows that differ in last bits only (a PCA in float32 rounds differently in another batch) differ as little
        in random projections of their values, and in those of their columns brought to one scale.
        """
        directions = np.random.default_rng(len(scales)).standard_normal((len(scales), N_PROJECTIONS))
        result = np.empty((len(chosen), SKETCH))
        done = 0
        for rows, chunk in self._chunks(chosen):
            values = np.clip(chunk, -HUGE, HUGE).astype(np.float64)
            part = result[done : done + len(rows)]
            part[:, :N_PROJECTIONS] = values @ directions
            part[:, N_PROJECTIONS:-1] = np.arcsinh(values / scales) @ directions
            part[:, -1] = np.linalg.norm(values, axis=1)
            done += len(rows)
        return result

    def _chunks(self, chosen: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        step = self._at_once
        chunks = self._inputs.chunks(torch.from_numpy(self._places_of(chosen)), step)
        for start, tensors in zip(range(0, len(chosen), step), chunks, strict=True):
            rows = chosen[start : start + step]
            yield rows, flattened([*tensors.values(), torch.from_numpy(self.encoded[rows])])


def flattened(parts: list[torch.Tensor]) -> np.ndarray:
    """Return the values of rows next to each other, float32 of shape (n_rows, width)."""
    flat = [part.reshape(len(part), -1).to(torch.float32) + 0.0 for part in parts]  # -0.0 is 0.0
    return np.asarray((flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)).numpy())


# The identity of a row is a random linear form of its words modulo 2**64, inputs first, then a scrambling of its bits.
# So the sum over the inputs can be made before it is known how the target is encoded.


def input_sums(inputs: dict[str, torch.Tensor], n_targets: int) -> tuple[np.ndarray, int]:
    """Return the part of the inputs in the linear form of every row, uint64 of shape (n_rows,), and their width."""
    words = flattened(list(inputs.values())).view(np.uint32)
    width = words.shape[1]
    return linear_form(words, _multipliers(width + n_targets)[:width]), width


def target_sums(encoded: np.ndarray, width: int) -> np.ndarray:
    """Return the part of the targets in the linear form of every row, after inputs of a width."""
    words = flattened([as_tensor(encoded)]).view(np.uint32)
    return linear_form(words, _multipliers(width + words.shape[1])[width:])


@functools.lru_cache(maxsize=16)
def _multipliers(width: int) -> np.ndarray:
    drawn = np.random.default_rng(width).integers(0, 2**64, size=width, dtype=np.uint64)
    odd: np.ndarray = drawn | np.uint64(1)
    return odd


def linear_form(words: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
    """Return a sum of products per row modulo 2**64, without a copy of the words in 64 bits."""
    sums: np.ndarray = np.einsum("ij,j->i", words, multipliers)
    return sums


def _scramble(sums: np.ndarray) -> None:
    """Mix the bits of the linear forms, in place."""
    sums ^= sums >> np.uint64(32)
    sums *= np.uint64(0x9E3779B97F4A7C15)
    sums ^= sums >> np.uint64(29)


def near(sketches: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the positions in `sketches` of the `wanted`, up to rounding; at most one for each of them.

    Two conditions make a row the same. Its projections agree within 1e-5 of its norm: rounding of a product of
    matrices in float32 stays a tenth below that. And the projections of its scaled columns agree within 1e-2 of their
    spread, so that one large column does not make rows equal that differ in the others.
    """
    plain, scaled = slice(0, N_PROJECTIONS), slice(N_PROJECTIONS, -1)
    radius = ROUNDING * np.maximum(wanted[:, -1], np.median(wanted[:, -1]))
    k = [*range(1, min(NEIGHBOURS, len(sketches)) + 1)]
    distance, place = cKDTree(sketches[:, plain]).query(wanted[:, plain], k=k, p=np.inf)
    spread = np.concatenate([sketches, wanted])[:, scaled].std(axis=0)
    alike = (np.abs(sketches[place][:, :, scaled] - wanted[:, None, scaled]) <= RESEMBLANCE * spread).all(axis=2)
    same = alike & (distance <= radius[:, None])
    nearest = np.where(same, distance, np.inf).argmin(axis=1)
    found: np.ndarray = np.unique(place[np.arange(len(wanted)), nearest][same.any(axis=1)])
    return found


def fingerprint(*arrays: np.ndarray | None) -> str:
    """Return 16 hexadecimal digits that change with any value, and with the order, of the arrays."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
    return digest.hexdigest()
