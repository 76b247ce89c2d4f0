"""Values and tensors through the files of a checkpoint: bit for bit and of the same type, or refused by their path."""

from __future__ import annotations

import collections
import math
import tempfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sktorch_continue import CheckpointError
from sktorch_continue.checkpoint import read_checkpoint, write_checkpoint
from sktorch_continue.testing import first_difference

FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
DTYPES = [
    *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32),
    *(torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
]


def through_files(value):
    """Return a value after a round through a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder, "c"), {"summary": {}, "part": {"value": value}})
        return read_checkpoint(Path(folder, "c"))["part"]["value"]


def refusal(value):
    """Return what writing a value says, None where it is written; what is written must be readable."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            write_checkpoint(Path(folder, "c"), {"summary": {}, "part": {"value": value}})
        except CheckpointError as error:
            return str(error)
        return None


def difference(left, right):
    """Return where two values differ, types of elements and of NumPy's and torch's dtypes included."""
    if type(left) is not type(right):
        return f"{type(left).__name__} {left!r} != {type(right).__name__} {right!r}"
    if isinstance(left, np.ndarray | np.generic):
        if (left.dtype, left.shape) != (right.dtype, right.shape):
            return f"{left.dtype} {left.shape} != {right.dtype} {right.shape}"
        if left.dtype.kind != "O":
            return None if left.tobytes() == right.tobytes() else f"{left!r} != {right!r}"
        pairs = zip(left.ravel().tolist(), right.ravel().tolist(), strict=True)
    elif isinstance(left, dict):
        if not same_keys(left, right):
            return f"keys {list(left)!r} != {list(right)!r}"
        if getattr(left, "_metadata", None) != getattr(right, "_metadata", None):
            return "metadata"
        pairs = zip(left.values(), right.values(), strict=True)
    elif isinstance(left, list | tuple):
        if len(left) != len(right):
            return f"{left!r} != {right!r}"
        pairs = zip(left, right, strict=True)
    elif isinstance(left, complex):
        pairs = [(left.real, right.real), (left.imag, right.imag)]
    else:
        return first_difference(left, right)
    return next((found for pair in pairs if (found := difference(*pair)) is not None), None)


def same_keys(left, right):
    """Tell whether two dictionaries have the same keys in the same order, NaN and the types of keys included."""
    return len(left) == len(right) and all(difference(a, b) is None for a, b in zip(left, right, strict=True))


def assert_comes_back(value):
    """Raise unless a value comes back from the files as it was."""
    found = difference(value, through_files(value))
    assert found is None, found


# ---- any plain value ----------------------------------------------------------------------------------------------

floats = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
texts = st.text(st.characters(), max_size=6) | st.sampled_from(["$tuple", "$", "$tensor", "\ud800", "", "a.b", "a\0"])
integers = st.integers() | st.integers(-(2**3000), 2**3000)
numbers = st.none() | st.booleans() | integers | floats | st.complex_numbers(allow_nan=True)
others = st.sampled_from([torch.Size([]), torch.Size([2, 3]), *DTYPES, torch.device("cpu"), torch.device("cuda", 1)])
leaves = numbers | texts | st.binary(max_size=5) | others
keys = st.none() | st.booleans() | st.integers() | texts | st.tuples(st.integers(), texts) | st.binary(max_size=3)
members = st.none() | st.integers() | st.text("abc$", max_size=3)


def containers(children):
    """Return what can be made of values."""
    return (
        st.lists(children, max_size=3)
        | st.lists(children, max_size=3).map(tuple)
        | st.dictionaries(texts, children, max_size=3)
        | st.dictionaries(keys, children, max_size=3)
        | st.dictionaries(keys, children, max_size=3).map(OrderedDict)
        | st.dictionaries(keys, st.integers(), max_size=3).map(Counter)
        | st.sets(members, max_size=3)
        | st.frozensets(members, max_size=3)
    )


@FEW
@given(st.recursive(leaves, containers, max_leaves=12))
def test_plain_values_come_back(value):
    """Whatever is nested in whatever, in the same order and of the same type."""
    assert_comes_back(value)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        -0.0,
        0.0,
        5e-324,
        -2.2e-308,
        1.7976931348623157e308,
        1e22,
        0.1,
        10**4000,
        -1,
        2**64,
    ],
    ids=str,
)
def test_numbers_of_every_size_come_back(value):
    """The sign of zero, subnormals and integers of thousands of digits."""
    assert_comes_back(value)
    assert_comes_back({"a": [value, (value,)]})


@pytest.mark.parametrize("value", [10**5000, -(10**6000), {10**5000: 1}], ids=["large", "negative", "key"])
def test_an_integer_of_any_size_comes_back_or_is_refused(value):
    """Python does not turn more than 4300 digits into text by itself; that is no raw error of this package."""
    said = refusal(value)
    if said is None:
        assert_comes_back(value)
    else:
        assert "part.value" in said


WRAPS = {"list": lambda v: [v], "tuple": lambda v: (v,), "dict": lambda v: {"a": v}, "keyed": lambda v: {1: v}}


@pytest.mark.parametrize("depth", [50, 97, 98, 99, 100, 150])
@pytest.mark.parametrize(
    "leaf", [1, math.nan, 1j, torch.ones(1), torch.Size([1]), b"x"], ids=lambda v: type(v).__name__
)
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_what_can_be_written_can_be_read(depth, leaf, wrap):
    """At the limit of nesting a value is refused when it is written, never when it is read."""
    value = leaf
    for _ in range(depth):
        value = wrap(value)
    said = refusal(value)
    if said is None:
        assert difference(value, through_files(value)) is None
    else:
        assert "part.value" in said
        assert "nested" in said


def test_a_state_dictionary_of_torch_keeps_its_metadata():
    """The versions of layers, which torch keeps in an attribute, are there again."""
    assert_comes_back(torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1)).state_dict())
    assert_comes_back(OrderedDict(a=OrderedDict(), b=1))


# ---- tensors ------------------------------------------------------------------------------------------------------


def filled(dtype, shape):
    """Return a tensor of random bits (valid ones for bool)."""
    size = torch.empty(0, dtype=dtype).element_size()
    n = math.prod(shape)
    bits = torch.from_numpy(np.random.default_rng(n).integers(0, 2 if dtype == torch.bool else 256, n * size, np.uint8))
    return bits.view(dtype).reshape(shape) if n else torch.empty(shape, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (0,), (3, 0, 2), (2, 3, 4)], ids=str)
def test_tensors_of_every_dtype_and_shape_come_back(dtype, shape):
    """Every bit of every dtype that can be stored, NaN with its payload included."""
    assert_comes_back({"a": filled(dtype, shape)})


def test_views_come_back_as_what_they_show():
    """Transposed, strided, expanded, overlapping and tied tensors hold what they held; none hides another's rest."""
    base = torch.arange(24.0).reshape(4, 6)
    value = [
        base.t(),
        base[1:3],
        base[:, ::2],
        base[0].expand(3, 6),
        base,
        base,
        base.view(2, 12),
        base[2, 3],
        base[:0],
    ]
    assert_comes_back([*value, torch.nn.Parameter(base).detach(), torch.nn.Linear(2, 2).weight.detach()])


def test_lazily_conjugated_and_negated_tensors_come_back_as_what_they_show():
    """torch only notes that a tensor is conjugated or negated; the bits on disk are those it shows."""
    value = torch.tensor([1 + 2j, 3 - 4j])
    for lazy in (value.conj(), value.conj().imag):
        read = through_files(lazy)
        assert read.tolist() == lazy.tolist()


def test_names_that_look_alike_keep_their_tensors():
    """Dots, quotes and numbers in names make paths alike, never the tensors."""
    one, two, three, four = (torch.tensor(float(i)) for i in range(4))
    assert_comes_back({"a": {"b": one}, "a.b": two, "a.b'": three, "": {"a": {"b": four}}})
    assert_comes_back({1: one, "1": two, None: three, "key 1": [four]})
    assert_comes_back([{"x": one, "": two}, {".x": three, "..": four}])


def test_the_files_of_the_weights_do_not_mix():
    """Module, best and all other tensors under the same names stay apart, and go to the file that is theirs."""
    contents = {
        "summary": {},
        "run": {
            "module": {"a": torch.zeros(1)},
            "best": {"a": torch.ones(1)},
            "optimizer": {"a": torch.full((1,), 2.0)},
        },
        "module": {"a": torch.full((1,), 3.0)},
    }
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder, "c"), contents)
        read = read_checkpoint(Path(folder, "c"))
    assert [read["run"][part]["a"].item() for part in ("module", "best", "optimizer")] == [0.0, 1.0, 2.0]
    assert read["module"]["a"].item() == 3.0


@pytest.mark.parametrize("name", ["__metadata__", "\ud800", "a\0b", "é", "$tensor", "x" * 5000, " "], ids=ascii)
@pytest.mark.parametrize("part", ["module", "best", "optimizer"])
def test_a_tensor_of_any_name_comes_back_or_is_refused(tmp_path, name, part):
    """A name that the format of the tensors reserves or cannot write is told when it is written, by its path."""
    contents = {"summary": {}, "run": {"module": {}, "best": {}, "optimizer": {}} | {part: {name: torch.ones(2)}}}
    try:
        write_checkpoint(tmp_path / "c", contents)
    except CheckpointError:
        assert list(tmp_path.iterdir()) == []
    else:
        assert difference(contents["run"], read_checkpoint(tmp_path / "c")["run"]) is None


# ---- NumPy --------------------------------------------------------------------------------------------------------

kinds = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64))
    | hnp.complex_number_dtypes(endianness="?", sizes=(64, 128))
    | hnp.datetime64_dtypes()
    | hnp.timedelta64_dtypes()
    | hnp.unicode_string_dtypes(max_len=5)
    | hnp.byte_string_dtypes(max_len=5)
)


@FEW
@given(kinds.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))))
def test_arrays_come_back(array):
    """Numbers of both byte orders, dates, text and bytes, of any shape, in C or Fortran order."""
    assert_comes_back(array)
    assert_comes_back(np.asfortranarray(array)[::-1] if array.ndim else array)


@FEW
@given(st.lists(leaves, max_size=4))
def test_arrays_of_objects_come_back(values):
    """Labels of any plain kind."""
    array = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        array[i] = value
    assert_comes_back(array)


@pytest.mark.parametrize(
    "scalar",
    [
        *(np.bool_(True), np.int8(-1), np.uint64(2**64 - 1), np.float16(0.1), np.float32("nan"), np.float64(-0.0)),
        *(np.longdouble(1) / 3, np.complex64(1j), np.complex128(1 - 2j), np.str_("é"), np.str_(""), np.bytes_(b"x")),
        *(np.bytes_(b""), np.datetime64("2024-02-29"), np.datetime64("NaT"), np.timedelta64(3, "s"), np.void(b"abc")),
    ],
    ids=lambda scalar: f"{type(scalar).__name__}-{scalar}",
)
def test_scalars_of_numpy_come_back(scalar):
    """With their dtype, the empty string included."""
    assert_comes_back(scalar)
    assert_comes_back({"a": np.array([scalar], dtype=object)})


@pytest.mark.parametrize("array", [np.zeros((2, 0), "U3"), np.zeros(2, "V0"), np.array(None), np.array("x")], ids=repr)
def test_arrays_of_no_size_come_back_or_are_refused(array):
    """What was written can be read."""
    said = refusal(array)
    if said is None:
        assert_comes_back(array)
    else:
        assert "part.value" in said


# ---- what cannot be stored ----------------------------------------------------------------------------------------

Point = collections.namedtuple("Point", "x")
CYCLE: list = []
CYCLE.append({"again": CYCLE})


class Text(str):
    """A kind of str that would come back as another."""


@pytest.mark.parametrize(
    "value",
    [
        object(),
        lambda: 1,
        int,
        range(3),
        Point(1),
        Text("x"),
        bytearray(b"x"),
        collections.deque([1]),
        collections.defaultdict(int, a=1),
        CYCLE,
        {object(): 1},
        {1, Point(1)},
        np.dtype("f4"),
        np.zeros(2, [("a", "i4")]),
        np.zeros(2, [("a", "i4")])[0],
        np.zeros(1, [("a", object)])[0],
        np.array([1, object()], dtype=object),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        np.random.default_rng(0),
        torch.eye(2).to_sparse(),
        torch.ones(2, dtype=torch.complex128),
        torch.empty(2, device="meta"),
        torch.Generator(),
        torch.nn.Linear(1, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_come_back_is_refused_by_its_path(tmp_path, value):
    """Nothing is stored as something else: the error names the path, and nothing is left on disk."""
    with pytest.raises(CheckpointError, match=r"part\.here\.0"):
        write_checkpoint(tmp_path / "c", {"summary": {}, "part": {"here": [value]}})
    assert list(tmp_path.iterdir()) == []
