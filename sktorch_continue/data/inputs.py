"""X in any of its forms, checked once and then used where it lies.

A batch is always a fresh allocation in the module's precision: alignment can decide the last bit of a
matrix product, and casting batch by batch never doubles the data.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import scipy.sparse
import torch
from sklearn.utils.validation import check_array, validate_data

from sktorch_continue.layers import Batch

ALL = slice(None)
EVALUATION_BYTES = 1 << 20  # what a few layers make of it stays in the processor's cache
HEAD = 2  # rows to try a module on
SINGLE = (torch.float32, torch.float16, torch.bfloat16)
ENCODE_FIRST = "numbers were expected: encode text and categories first (OneHotEncoder, OrdinalEncoder)"


class Source(Protocol):
    """Rows of one array: how many, of which shape, and a fresh copy of some of them."""

    n_rows: int
    row_shape: tuple[int, ...]
    row_bytes: int
    is_single: bool
    is_floating: bool

    def take(self, rows: torch.Tensor | slice) -> torch.Tensor:
        """Return a fresh dense tensor with the given rows."""

    def peek(self, rows: slice) -> torch.Tensor:
        """Return a dense tensor with the given rows to look at; it may be the caller's memory."""


def gather(tensor: torch.Tensor, rows: torch.Tensor | slice) -> torch.Tensor:
    """Return a fresh tensor with the given rows."""
    if isinstance(rows, slice):
        some = tensor if rows == ALL else tensor[rows]
        return some.clone(memory_format=torch.contiguous_format)
    return tensor.index_select(0, rows)


class DenseSource:
    """A tensor that shares memory with the caller's array."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor
        self.n_rows = tensor.shape[0]
        self.row_shape = tuple(tensor.shape[1:])
        self.row_bytes = math.prod(self.row_shape) * tensor.itemsize
        self.is_single = tensor.dtype in SINGLE
        self.is_floating = tensor.is_floating_point()

    def take(self, rows: torch.Tensor | slice) -> torch.Tensor:
        """Gather in one call."""
        return gather(self._tensor, rows)

    def peek(self, rows: slice) -> torch.Tensor:
        """Return the rows where they lie."""
        return self._tensor[rows]


class SparseSource:
    """A CSR matrix of which only the rows of a batch are ever dense."""

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix
        self.n_rows = matrix.shape[0]
        self.row_shape: tuple[int, ...] = (matrix.shape[1],)
        self.row_bytes = matrix.shape[1] * matrix.dtype.itemsize
        self.is_single = matrix.dtype == np.float32
        self.is_floating = matrix.dtype.kind == "f"

    def take(self, rows: torch.Tensor | slice) -> torch.Tensor:
        """Densify the given rows."""
        index = rows if isinstance(rows, slice) else rows.numpy()
        return torch.from_numpy(self._matrix[index].toarray())

    def peek(self, rows: slice) -> torch.Tensor:
        """Densify the given rows."""
        return self.take(rows)


class Inputs:
    """Checked X: one source, or several by name for a module with several inputs.

    Parameters
    ----------
    sources : dict of str to Source
        The key is the name of the module's argument; a single unnamed input has the key ``""``.

    Attributes
    ----------
    readable : bool
        Whether rows can be read again by their number, and are as wide as each other.
    sums, widths : ndarray or None
        Of every row the part of its identity that is known already, and how many values that covers.
    """

    readable = True
    sums: np.ndarray | None = None
    widths: Any = None

    def __init__(self, sources: dict[str, Source]) -> None:
        self.sources = sources
        self.n_rows = next(iter(sources.values())).n_rows
        self.named = "" not in sources

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one row of every input."""
        return {name: source.row_shape for name, source in self.sources.items()}

    @property
    def row_bytes(self) -> int:
        """Bytes of one dense row over all inputs."""
        return max(1, sum(source.row_bytes for source in self.sources.values()))

    @property
    def floating(self) -> bool:
        """Whether all inputs are, so that a batch of them is in the precision of the module."""
        return all(source.is_floating for source in self.sources.values())

    @property
    def precision(self) -> str:
        """What scikit-learn would compute in: ``"float32"`` for single precision and below, else ``"float64"``."""
        return "float32" if all(source.is_single for source in self.sources.values()) else "float64"

    def take(self, rows: torch.Tensor | slice) -> dict[str, torch.Tensor]:
        """Return fresh tensors with the given rows, by name."""
        return {name: source.take(rows) for name, source in self.sources.items()}

    def peek(self, rows: slice) -> dict[str, torch.Tensor]:
        """Return tensors with the given rows to look at, by name."""
        return {name: source.peek(rows) for name, source in self.sources.items()}

    def evaluation_rows(self, batch_size: int) -> int:
        """Return how many rows to score at once: about 1 MiB of input, at least a training batch."""
        return rows_at_once(batch_size, self.row_bytes)

    def head(self) -> dict[str, torch.Tensor]:
        """Return fresh tensors with the first rows, two where there are so many."""
        return self.take(slice(0, HEAD))

    def batches(
        self, cast: Callable[[dict[str, torch.Tensor]], Batch], batch_size: int
    ) -> Generator[Batch, None, None]:
        """Yield all rows in order and cast, as many at once as are scored."""
        step = batch_size if self.n_rows <= batch_size else self.evaluation_rows(batch_size)  # never fewer
        if self.n_rows <= step:
            yield cast(self.take(ALL))
            return
        for first in range(0, self.n_rows, step):
            yield cast(self.take(slice(first, min(first + step, self.n_rows))))

    def chunks(self, rows: torch.Tensor, size: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield fresh tensors with the given rows, at most `size` at a time."""
        return (self.take(rows[start : start + size]) for start in range(0, len(rows), size))

    def close(self) -> None:
        """Let go of what was opened to read the rows."""


def rows_at_once(batch_size: int, row_bytes: int) -> int:
    """Return how many rows of so many bytes to score at once."""
    return max(batch_size, EVALUATION_BYTES // row_bytes)


def fits(shapes: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]]) -> bool:
    """Tell whether rows have the shapes that are expected, of which a size of -1 stands for any."""
    if list(shapes) != list(expected) or any(len(shapes[name]) != len(expected[name]) for name in shapes):
        return False
    return all(b in (a, -1) for name in shapes for a, b in zip(shapes[name], expected[name], strict=True))


def check_inputs(estimator: Any, X: Any, *, reset: bool, min_rows: int = 1) -> Inputs:
    """Check X the way scikit-learn does and wrap it without a copy.

    Parameters
    ----------
    estimator : BaseEstimator
        Receives ``n_features_in_`` and ``feature_names_in_`` when `reset`, is compared with otherwise.
    X : array-like, frame, sparse matrix, torch.Tensor, or mapping of str to those
        Rows along the first axis.
    reset : bool
        Whether a new run begins.
    min_rows : int, default=1
        Fewest rows accepted.

    Returns
    -------
    Inputs

    Raises
    ------
    ValueError
        For anything scikit-learn refuses, NaN, infinity and complex values included.
    """
    plain = None if reset else _plainly_fine(estimator, X, min_rows)
    if plain is not None:
        return Inputs({"": DenseSource(plain)})
    if isinstance(X, Mapping) and not scipy.sparse.issparse(X):  # a dok_matrix is a dict
        return _check_mapping(estimator, X, reset=reset, min_rows=min_rows)
    if isinstance(X, torch.Tensor):
        source = _check_tensor(X, "X", min_rows, min_dims=2)
        if reset:
            vars(estimator).pop("feature_names_in_", None)
            estimator.n_features_in_ = X.shape[1]
        elif X.shape[1] != estimator.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(estimator).__name__} is expecting {estimator.n_features_in_} "
                "features as input."
            )
        return Inputs({"": source})
    try:
        checked = validate_data(
            estimator,
            X=X,
            reset=reset,
            accept_sparse="csr",
            dtype="numeric",
            allow_nd=True,
            ensure_min_samples=min_rows,
        )
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise ValueError(f"{error} in X; {ENCODE_FIRST}") from error
    return Inputs({"": _as_source(checked)})


def _plainly_fine(estimator: Any, X: Any, min_rows: int) -> torch.Tensor | None:
    """Return X as a tensor where scikit-learn's checks, which take longer than a small prediction, would only look."""
    if type(X) is not np.ndarray or X.ndim < 2 or X.dtype.char not in "fd":
        return None
    named = "feature_names_in_" in vars(estimator)
    if named or X.shape[1] != estimator.n_features_in_ or len(X) < min_rows or 0 in X.shape:
        return None
    tensor = as_tensor(X)
    return tensor if math.isfinite(tensor.sum().item()) else None


def _check_mapping(estimator: Any, X: Mapping[str, Any], *, reset: bool, min_rows: int) -> Inputs:
    if not X or not all(isinstance(name, str) and name for name in X):
        raise ValueError(
            f"a mapping as X needs one non-empty str per input, the names of the module's arguments; got keys {list(X)}"
        )
    inputs = Inputs({name: _check_entry(name, X[name], min_rows) for name in sorted(X)})
    lengths = {name: source.n_rows for name, source in inputs.sources.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the entries of X need equally many rows; got {lengths}")
    if reset:
        vars(estimator).pop("feature_names_in_", None)
        estimator.n_features_in_ = sum(int(np.prod(shape)) for shape in inputs.row_shapes.values())
    return inputs


def _check_entry(name: str, values: Any, min_rows: int) -> Source:
    if isinstance(values, torch.Tensor):
        return _check_tensor(values, f"X[{name!r}]", min_rows, min_dims=1)
    if not scipy.sparse.issparse(values) and np.ndim(values) == 0:
        raise ValueError(
            f"X[{name!r}] is a single value of type {type(values).__name__}; one row per sample was expected"
        )
    return _as_source(
        check_array(
            values,
            accept_sparse="csr",
            dtype="numeric",
            ensure_2d=False,
            allow_nd=True,
            ensure_min_samples=min_rows,
            ensure_min_features=0,
            input_name=f"X[{name!r}]",
        )
    )


def _check_tensor(X: torch.Tensor, name: str, min_rows: int, *, min_dims: int) -> DenseSource:
    if X.layout != torch.strided:
        raise ValueError(f"{name} is a sparse tensor; give a scipy.sparse.csr_matrix or a dense tensor")
    if X.is_complex():
        raise ValueError(f"Complex data not supported: {name} has dtype {X.dtype}")
    if X.ndim < min_dims:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D tensor instead: {name} has shape {tuple(X.shape)}; "
            "use X.reshape(-1, 1) for one feature"
        )
    if X.shape[0] < min_rows:
        raise ValueError(
            f"Found tensor with {X.shape[0]} sample(s) (shape={tuple(X.shape)}) while a minimum of "
            f"{min_rows} is required."
        )
    if 0 in X.shape[1:]:
        raise ValueError(f"Found tensor with 0 feature(s) (shape={tuple(X.shape)}) while a minimum of 1 is required.")
    if X.is_floating_point() and not _is_finite(X):
        raise ValueError(f"Input {name} contains NaN or infinity.")
    return DenseSource(X.detach().cpu())


def _is_finite(X: torch.Tensor) -> bool:
    """Look at the sum first, as scikit-learn does: it needs no memory, and is finite where every value is."""
    with torch.no_grad():
        if bool(torch.isfinite(X.sum(dtype=torch.float64))):
            return True
        return all(bool(torch.isfinite(chunk).all()) for chunk in torch.split(X, 1024))


def _as_source(checked: Any) -> Source:
    if scipy.sparse.issparse(checked):
        return SparseSource(checked)
    return DenseSource(as_tensor(checked))


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """Return a tensor that shares memory with `array` wherever torch can address it."""
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"X has values of dtype {array.dtype}, which cannot be trained on; {ENCODE_FIRST}")
    if array.dtype.kind in "iu":
        array = array.view(f"{array.dtype.byteorder}{array.dtype.kind}{array.dtype.itemsize}")  # torch knows no aliases
    if array.dtype.char == "g":
        array = array.astype(np.float64)  # torch knows no longer one
    if not array.dtype.isnative or min(array.strides, default=0) < 0:
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        # a read-only array is never written to here
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
