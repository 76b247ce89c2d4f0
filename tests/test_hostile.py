"""A hostile checkpoint: refused by name; nothing executed, nothing imported, nothing written, no raw decoder error."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import pickle
import shutil
import struct
import sys
import warnings
from pathlib import Path

import pytest
from data_helpers import refused
from modules import class_data
from sklearn.base import clone

from sktorch_continue import (
    Checkpoint,
    CheckpointError,
    ContinuationError,
    CorruptCheckpointError,
    EarlyStopping,
    TorchClassifier,
)
from sktorch_continue.checkpoint import read_checkpoint
from sktorch_continue.testing import Interrupt, first_difference, run_state

X, Y = class_data(40)
REFUSALS = (CheckpointError, ContinuationError)
MANIFEST, STATE, WEIGHTS = "manifest.json", "state.json", "module.safetensors"
CANARY = "canary_that_nobody_imports"


REMOVED = object()


def label(value):
    """Return the id of a value, the same in every process."""
    return "removed" if value is REMOVED else ascii(value)


def new():
    """Return an unfitted classifier whose run has every part."""
    return TorchClassifier(
        module__hidden_layer_sizes=(3,),
        module__batch_norm=True,
        lr_scheduler="StepLR",
        lr_scheduler__step_size=2,
        grad_scaler="GradScaler",
        validation_fraction=0.25,
        callbacks=[EarlyStopping(restore_best=True)],
        max_epochs=2,
        batch_size=16,
        random_state=0,
    )


@pytest.fixture(scope="module")
def model():
    """Return a fitted classifier."""
    return new().fit(X, Y)


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """Return its checkpoint, made once."""
    path = tmp_path_factory.mktemp("made") / "c"
    model.save_checkpoint(path)
    return path


@pytest.fixture
def hostile(made, tmp_path):
    """Return a copy of the checkpoint to be made hostile, alone in its folder."""
    (tmp_path / "inside").mkdir()
    return Path(shutil.copytree(made, tmp_path / "inside" / "c"))


@pytest.fixture(autouse=True)
def canary(tmp_path, monkeypatch):
    """Put a module on sys.path that leaves a file when it is imported."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / f"{CANARY}.py").write_text(
        "import pathlib\npathlib.Path(__file__ + '.ran').touch()\nrun = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "path")


# ---- making a checkpoint hostile ----------------------------------------------------------------------------------


def seal(folder, change=lambda manifest: None):
    """Give every listed file its size and checksum, let `change` edit the manifest, and seal that."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    del manifest["sha256"]
    for name in manifest["files"]:
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    change(manifest)
    seal_of = hashlib.sha256(json.dumps(manifest, separators=(",", ":")).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps({**manifest, "sha256": seal_of}))


def with_state(folder, path, value):
    """Put a value into state.json (or remove what is there) and seal."""
    state = json.loads((folder / STATE).read_bytes())
    inner = state
    for key in path[:-1]:
        inner = inner[key]
    if value is REMOVED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    (folder / STATE).write_text(json.dumps(state))
    seal(folder)


def with_text(folder, text):
    """Add an entry to state.json as JSON text and seal."""
    state = (folder / STATE).read_text()
    (folder / STATE).write_text(f'{state[:-1]},"more":{text}}}')
    seal(folder)


def tree(folder):
    """Return everything below a folder: kinds, and the contents of files; bytecode caches aside."""
    return {
        path: path.read_bytes() if path.is_file() and not path.is_symlink() else path.lstat().st_mode
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def assert_refused(folder, *words, error=REFUSALS):
    """Expect both ways of loading to refuse, without any effect."""
    before, loaded, cwd = tree(folder.parents[1]), set(sys.modules), set(os.listdir())
    for load in (new().load_checkpoint, TorchClassifier.from_checkpoint):
        with pytest.raises(error) as caught:
            load(folder)
        assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)
    assert sorted(set(sys.modules) - loaded) == []
    assert tree(folder.parents[1]) == before
    assert set(os.listdir()) == cwd


# ---- the manifest -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "module.safetensors/../../secret",
        "~/x",
        "",
        ".",
        "..",
        "a\0b",
        "\ud800",
        "x.pt",
        MANIFEST,
    ],
)
def test_only_the_five_names_are_opened(hostile, name):
    """A name beside those of the format is refused by name, and what it points to is not read."""
    (hostile.parent / "secret").write_text("secret")
    entry = {"bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}
    seal(hostile, lambda manifest: manifest["files"].update({name: entry}))
    assert_refused(hostile, "names", error=CorruptCheckpointError)


@pytest.mark.parametrize(
    "entry",
    [
        {"bytes": 10**18, "sha256": "0" * 64},
        {"bytes": 10**400, "sha256": "0" * 64},
        {"bytes": -1, "sha256": "0" * 64},
        {"bytes": 1.5, "sha256": "0" * 64},
        {"bytes": True, "sha256": "0" * 64},
        {"bytes": "1", "sha256": "0" * 64},
        {"bytes": 1},
        {"sha256": "0" * 64},
        {},
        [],
        None,
        "x",
        5,
    ],
    ids=label,
)
def test_sizes_and_checksums_that_do_not_fit_are_refused(hostile, entry):
    """A declared size is compared, never allocated."""
    seal(hostile, lambda manifest: manifest["files"].update({WEIGHTS: entry}))
    assert_refused(hostile, error=CorruptCheckpointError)


@pytest.mark.parametrize("key", ["kind", "files", "summary", "format"])
@pytest.mark.parametrize("value", [None, [], "x", {}, 5, 10**30, True, REMOVED], ids=label)
def test_a_manifest_of_another_form_is_refused(hostile, key, value):
    """Each entry that is read has the kind it must have."""

    def change(manifest):
        manifest.pop(key) if value is REMOVED else manifest.update({key: value})

    seal(hostile, change)
    assert_refused(hostile)


@pytest.mark.parametrize("number", [2, 99, 0, -1, "1", 1.0, True, None, [1]], ids=label)
def test_an_unknown_format_is_said_to_be_of_a_newer_version(hostile, number):
    """Neither corrupt nor guessed at: the number is named, and that a newer version may read it."""
    seal(hostile, lambda manifest: manifest.update(format=number))
    assert_refused(hostile, "format", "newer version", error=CheckpointError)


@pytest.mark.parametrize("wrong", ["0" * 64, None, 5, [], REMOVED], ids=label)
def test_a_manifest_without_its_own_checksum_is_refused(hostile, wrong):
    """The manifest is sealed as well."""
    manifest = json.loads((hostile / MANIFEST).read_bytes())
    manifest.pop("sha256") if wrong is REMOVED else manifest.update(sha256=wrong)
    (hostile / MANIFEST).write_text(json.dumps(manifest))
    assert_refused(hostile, "checksum", error=CorruptCheckpointError)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "5",
        '"x"',
        "null",
        "{}",
        "",
        "nan",
        '{"kind": NaN}',
        '{"kind": -Infinity}',
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"kind": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.parametrize("name", [MANIFEST, STATE])
def test_json_of_another_kind_is_refused(hostile, name, text):
    """No object, NaN, endless nesting, endless digits: refused as damaged, in both documents."""
    (hostile / name).write_text(text)
    if name == STATE:
        seal(hostile)
    assert_refused(hostile, error=CorruptCheckpointError)


@pytest.mark.parametrize("value", ["1e999", "-1e999", "NaN", "9" * 5000, "[" * 900 + "]" * 900, "[" * 100_000], ids=len)
def test_a_value_in_the_manifest_that_cannot_be_sealed_is_refused(hostile, value):
    """Numbers beyond a float, endless digits and deep nesting beside sound entries are no raw errors either."""
    text = (hostile / MANIFEST).read_text()
    (hostile / MANIFEST).write_text(f'{text[:-1]},"more":{value}}}')
    assert_refused(hostile, error=CorruptCheckpointError)


def test_a_manifest_too_large_is_not_read(hostile):
    """A manifest of megabytes is refused before it is parsed."""
    with (hostile / MANIFEST).open("ab") as file:
        file.write(b" " * (1 << 20))
    assert_refused(hostile, "larger than", error=CorruptCheckpointError)


# ---- state.json ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [101, 300, 900, 5000, 100_000])
@pytest.mark.parametrize(
    ("opening", "end"),
    [("[", "]"), ('{"a":', "}"), ('{"$tuple":[', "]}"), ('{"$dict":[[1,', "]]}"), ('{"$ordered":[[[1,', "]],null]}")],
    ids=lambda text: text[:10],
)
def test_deep_nesting_is_refused(hostile, depth, opening, end):
    """However it is nested, no recursion error comes out."""
    with_text(hostile, opening * depth + "1" + end * depth)
    assert_refused(hostile, error=CorruptCheckpointError)


@pytest.mark.parametrize(
    "document",
    [
        {"$nothing": 1},
        {"$tuple": 5},
        {"$tuple": [], "a": 1},
        {"$float": "1"},
        {"$float": []},
        {"$bytes": "zz"},
        {"$bytes": 5},
        {"$complex": [1, 2, 3]},
        {"$complex": ["a", 1]},
        {"$set": [[1]]},
        {"$dict": [[{"$dict": []}, 1]]},
        {"$dict": [[1]]},
        {"$ordered": []},
        {"$counter": 5},
        {"$size": [10**30]},
        {"$size": [[]]},
        {"$device": "os"},
        {"$device": []},
        {"$device": 10**30},
        {"$dtype": "Tensor"},
        {"$dtype": "os"},
        {"$dtype": "__class__"},
        {"$dtype": "onnx"},
        {"$dtype": "_dynamo"},
        {"$dtype": 5},
        {"$scalar": ["O", "00" * 8]},
        {"$scalar": ["<f8", ""]},
        {"$scalar": ["(1,2i4,f4", "00" * 16]},
        {"$scalar": [",", "00"]},
        {"$scalar": [{"names": ["a"], "formats": ["O"]}, "00" * 8]},
        {"$scalar": ["i4,O", "00" * 16]},
        {"$scalar": ["(" * 5000, "00" * 16]},
        {"$array": ["O", [1], "00" * 8]},
        {"$array": ["<f8", [10**12], "00" * 8]},
        {"$array": ["<f8", [-1, -1], "00" * 8]},
        {"$array": ["(1,2i4,f4", [1], "00" * 8]},
        {"$array": ["V2147483647", [10**9], ""]},
        {"$array": ["O", [10**12], []]},
        {"$array": ["<f8", ["module.safetensors", "0.weight"]]},
        {"$tensor": ["module.safetensors", "../0.weight"]},
        {"$tensor": ["/etc/passwd", "x"]},
        {"$tensor": ["../c/module.safetensors", "0.weight"]},
        {"$tensor": [[], "x"]},
        {"$tensor": None},
    ],
    ids=lambda document: json.dumps(document)[:40],
)
def test_a_document_that_nobody_wrote_is_refused(hostile, document):
    """Unknown tags and contents that do not fit theirs are named; no dtype is evaluated, no torch name imported."""
    with_state(hostile, ("more",), document)
    assert_refused(hostile, error=CorruptCheckpointError)


# ---- tensor files -------------------------------------------------------------------------------------------------


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", [WEIGHTS, "training.safetensors", "best.safetensors", STATE])
@pytest.mark.parametrize("protocol", [0, 2, pickle.HIGHEST_PROTOCOL])
def test_a_pickle_is_not_run(hostile, tmp_path, name, protocol):
    """A pickle under the name of a file, every checksum right, is no safetensors file and no JSON."""
    content = pickle.dumps(Touch(tmp_path / "executed"), protocol)
    pickle.loads(content)
    (tmp_path / "executed").unlink()
    (hostile / name).write_bytes(content)
    seal(hostile)
    assert_refused(hostile, error=CorruptCheckpointError)
    assert not (tmp_path / "executed").exists()


def tensors(header, body=b""):
    """Return a safetensors file of a header."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + body


def one(dtype, shape, end):
    """Return the header of one tensor."""
    return {"0.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"\xff" * 16,
        struct.pack("<Q", 1 << 40) + b"{}",
        tensors(one("F32", [10**12], 4 * 10**12)),
        tensors(one("F32", [2**63, 2**63], 0)),
        tensors(one("F32", [0, 2**62], 0)),
        tensors(one("F32", [0, 2**63], 0)),
        tensors(one("F32", [-1], 4), b"\0" * 4),
        tensors(one("F64", [1], 4), b"\0" * 4),
        tensors(one("OBJECT", [1], 8), b"\0" * 8),
        tensors(one("F6_E2M3", [4], 3), b"\0" * 3),
        tensors(one("F8_E8M0", [4], 4), b"\0" * 4),
        tensors(one("F4", [4], 2), b"\0" * 2),
        tensors({"a": one("F32", [1], 4)["0.weight"], "b": one("F32", [1], 4)["0.weight"]}, b"\0" * 4),
        tensors({}),
        tensors({"__metadata__": {"a": 5}}),
        tensors(b"[" * 100_000),
        tensors(b"\xff\xfe"),
        tensors(b"null"),
    ],
    ids=lambda content: repr(content[8:48]),
)
def test_a_tensor_file_that_claims_what_is_not_there_is_refused(hostile, content):
    """Huge, negative, overlapping, unknown and missing tensors are refused before they are allocated."""
    (hostile / WEIGHTS).write_bytes(content)
    seal(hostile)
    assert_refused(hostile)


@pytest.mark.parametrize("name", [MANIFEST, STATE, WEIGHTS, "best.safetensors"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "link to a device", "pipe", "folder"])
def test_only_regular_files_are_opened(hostile, made, name, kind):
    """A link, a pipe, a device or a folder in the place of a file is refused and does not block."""
    path = hostile / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"link": made / name, "dangling link": "nowhere", "link to a device": "/dev/zero"}[kind])
    assert_refused(hostile, name, error=CorruptCheckpointError)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_path_that_is_no_folder_does_not_block(tmp_path, kind):
    """A pipe or a device as the checkpoint itself is refused."""
    path = tmp_path / "c"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    for load in (new().load_checkpoint, TorchClassifier.from_checkpoint):
        with pytest.raises(CheckpointError, match="is no folder"):
            load(path)


# ---- names --------------------------------------------------------------------------------------------------------

STRANGERS = [
    ["os", "system"],
    ["builtins", "eval"],
    ["builtins", "__import__"],
    ["torch.hub", "load"],
    ["torch", "load"],
    ["torch.serialization", "load"],
    ["torch.utils.cpp_extension", "load"],
    ["subprocess", "Popen"],
    ["pickle", "loads"],
    [CANARY, "run"],
    [f"torch.nn.{CANARY}", "run"],
    ["", CANARY],
    ["sktorch_continue.estimators.trust", "importlib"],
    ["sktorch_continue.estimators.trust", "importlib.import_module"],
    ["sktorch_continue.checkpoint", "write_checkpoint"],
    ["sktorch_continue.checkpoint.files", "shutil"],
    ["sktorch_continue.estimators.classifier", "TorchClassifier"],
    ["torch.nn.modules.linear", "Linear.__init__"],
    ["torch.nn.modules.linear", "Linear.forward.__globals__"],
    ["torch.nn.modules.linear", "__loader__"],
    ["torch.nn.modules.linear", "__builtins__"],
    ["torch.nn.modules.linear", "__class__"],
    ["torch.nn.modules.linear", "Tensor"],
    ["torch.nn.functional", "importlib"],
    ["torch.nn.functional", "Callable"],
    ["torch.nn.parameter", "Parameter"],
    ["torch.nn", "Linear"],
    ["torch.optim.optimizer", "functools"],
    ["torch.optim.lr_scheduler", "Counter"],
    ["torch.nn.modules.linear", "Linear\0"],
    ["torch.nn.modules.linear", ""],
    ["scipy", "odr"],
    ["sklearn", "manifold"],
    ["torch", "_export"],
]
NO_NAMES = [
    None,
    5,
    "os.system",
    [],
    ["os"],
    ["os", "system", "x"],
    [None, None],
    [[], "x"],
    ["os", ["system"]],
    {"a": 1},
]


def places(name):
    """Return every place of a parameter where a name can stand."""
    named, nested = {"name": name}, {"list": [{"tuple": [{"dict": [[{"value": "a"}, {"name": name}]]}]}]}
    stopping = ["sktorch_continue.callbacks.early_stopping", "EarlyStopping"]
    within = {"callback": stopping, "arguments": {"dict": [[{"value": "monitor"}, named]]}}
    return {
        **dict.fromkeys(("module", "criterion", "optimizer", "lr_scheduler", "callbacks", "class_weight"), named),
        "module__activation": named,
        "criterion__weight": nested,
        "optimizer__betas": nested,
        "callbacks in a list": {"list": [named]},
        "callbacks by class": {"list": [{"callback": name, "arguments": {"dict": []}}]},
        "callbacks in a pair": {"list": [{"tuple": [{"value": "a"}, {"callback": name, "arguments": {"dict": []}}]}]},
        "callbacks in an argument": {"list": [within]},
    }


@pytest.mark.parametrize("name", [*STRANGERS, *NO_NAMES], ids=label)
def test_a_name_that_is_not_trusted_is_refused_wherever_it_stands(hostile, name):
    """Neither called nor imported nor walked to, in any parameter and at any depth."""
    state = json.loads((hostile / STATE).read_bytes())
    loaded, before = set(sys.modules), None
    for place, plain in places(name).items():
        parameter = place.split()[0]
        changed = copy.deepcopy(state)
        changed["estimator"]["parameters"][parameter] = plain
        (hostile / STATE).write_text(json.dumps(changed))
        seal(hostile)
        before = tree(hostile.parents[1])
        with pytest.raises(CheckpointError) as caught:
            TorchClassifier.from_checkpoint(hostile)
        assert repr(parameter) in str(caught.value), place
        assert tree(hostile.parents[1]) == before
    assert sorted(set(sys.modules) - loaded) == []


@pytest.mark.parametrize("part", ["criterion", "optimizer", "lr_scheduler"])
@pytest.mark.parametrize("name", [["os", "system"], [CANARY, "run"], ["scipy", "odr"], ["torch", "load"]], ids=label)
def test_loading_into_an_estimator_trusts_no_more(hostile, part, name):
    """A part that is another one than the estimator's is built from a trusted name or not at all."""
    state = json.loads((hostile / STATE).read_bytes())
    state["estimator"]["built_from"][part] = {"name": name}
    state["run"]["specification"]["parameters"][part] = ".".join(name)
    (hostile / STATE).write_text(json.dumps(state))
    seal(hostile)
    loaded = set(sys.modules)
    with refused(new(), CheckpointError, part):
        new().load_checkpoint(hostile)
    assert sorted(set(sys.modules) - loaded) == []


@pytest.mark.parametrize(
    ("parameter", "plain"),
    [
        ("max_epochs", {}),
        ("max_epochs", None),
        ("max_epochs", 5),
        ("max_epochs", {"missing": 5}),
        ("max_epochs", {"unknown": 5}),
        ("module", {"list": 5}),
        ("module", {"tuple": None}),
        ("module", {"dict": [[1]]}),
        ("class_weight", {"dict": [[{"list": []}, {"value": 1}]]}),
        ("class_weight", {"path": 5}),
        ("random_state", {"random_state": 5}),
        ("random_state", {"random_state": ["MT19937", [1], 1, 0, 0.0]}),
        ("batch_size", {"value": "x"}),
        ("batch_size", {"value": -3}),
        ("device", {"value": "x"}),
        ("lr", {"value": "x"}),
        ("nothing", {"value": 1}),
        ("get_params", {"value": 1}),
        ("_run", {"value": 1}),
        ("callbacks", {"list": [{"callback": ["sktorch_continue.callbacks.early_stopping", "EarlyStopping"]}]}),
        *(
            (
                "callbacks",
                {
                    "list": [
                        {
                            "callback": ["sktorch_continue.callbacks.early_stopping", "EarlyStopping"],
                            "arguments": arguments,
                        }
                    ]
                },
            )
            for arguments in (
                None,
                {},
                {"value": 5},
                {"dict": [[{"value": "patience"}, {"value": -1}]]},
                {"dict": [[{"value": "unknown"}, {"value": 1}]]},
                {"dict": [[{"value": 5}, {"value": 1}]]},
            )
        ),
    ],
    ids=label,
)
def test_a_parameter_that_cannot_be_is_refused(hostile, parameter, plain):
    """A stored parameter of no known form, or that its part refuses, is the checkpoint's error."""
    with_state(hostile, ("estimator", "parameters", parameter), plain)
    loaded = set(sys.modules)
    with pytest.raises(REFUSALS):
        TorchClassifier.from_checkpoint(hostile)
    assert set(sys.modules) == loaded


def test_parameters_that_are_no_dictionary_are_refused(hostile):
    """All of them at once."""
    for value in (None, [], "x", 5, {"module": None}):
        with_state(hostile, ("estimator", "parameters"), value)
        with pytest.raises(REFUSALS):
            TorchClassifier.from_checkpoint(hostile)


# ---- a state that does not fit ------------------------------------------------------------------------------------

KEYS = {
    "run": "id module criterion transient frozen best optimizer lr_scheduler grad_scaler callbacks history progress "
    "seed num_threads held_out facts specification",
    "estimator": "parameters fitted target",
    "run.best": "0.weight 1.running_mean",
    "run.optimizer": "state param_groups",
    "run.lr_scheduler": "plan state",
    "run.grad_scaler": "scale growth_factor backoff_factor growth_interval _growth_tracker",
    "run.callbacks": "EarlyStopping",
    "run.callbacks.EarlyStopping": "class state",
    "run.history": "rows calls",
    "run.progress": "n_epochs n_steps n_calls max_epochs n_splits stopped begun",
    "run.held_out": "hashes sketches scales fraction",
    "run.facts": "n_features_in row_shapes kind n_outputs dtype flat",
    "run.specification": "parts parameters",
    "estimator.fitted": "n_features_in_ classes_",
    "estimator.target": "classes multilabel",
}
PLACES = [(*parent.split("."), key) for parent, keys in KEYS.items() for key in keys.split()]
VALUES = [None, [], "x", {}, 10**30, -5, REMOVED]


def fails(load, folder, model):
    """Return what goes wrong with a checkpoint that is neither refused nor sound, None where nothing does."""
    try:
        loaded = load(folder)
    except REFUSALS:
        return None
    except Exception as error:
        return f"loading it raises {error!r}"
    if first_difference(model.module_.state_dict(), loaded.module_.state_dict()) is not None:
        return "the model is another one"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded.predict(X), run_state(loaded)
            if loaded._run.can_train:  # None stands for an exported run
                loaded.continue_fit(X, Y, max_epochs=1)
    except Exception as error:
        return f"it is loaded, and using it raises {error!r}"
    return None


@pytest.mark.parametrize("path", PLACES, ids=".".join)
def test_a_state_that_does_not_fit_is_refused_or_harmless(hostile, model, path):
    """A wrong kind is refused; what loads all the same has the weights of then, predicts, and trains on."""
    state, found = (hostile / STATE).read_bytes(), {}
    for value in VALUES:
        (hostile / STATE).write_bytes(state)
        with_state(hostile, path, value)
        for load in (new().load_checkpoint, TorchClassifier.from_checkpoint):
            found[f"{label(value)} {load.__name__}"] = fails(load, hostile, model)
    assert {value: what for value, what in found.items() if what is not None} == {}


@pytest.mark.parametrize("key", ["n_epochs", "n_steps", "n_calls", "max_epochs", "n_splits"])
@pytest.mark.parametrize("value", ["x", [], -5, 1.5, True, REMOVED], ids=label)
def test_counters_are_counters(hostile, key, value):
    """A count that is missing or no count is refused, not taken for zero: the run would be trained from the start."""
    with_state(hostile, ("run", "progress", key), value)
    assert_refused(hostile)


@pytest.mark.parametrize("value", ["x", 0, -5, 1.5, True, REMOVED], ids=label)
def test_a_number_of_threads_is_one_or_more(hostile, value):
    """It is checked where it is read, also where the run would use another one."""
    with_state(hostile, ("run", "num_threads"), value)
    assert_refused(hostile)


@pytest.mark.parametrize("name", ["state_dict", "load_state_dict", "__class__", "__dict__", "surprise"])
def test_progress_takes_no_other_names(hostile, name):
    """The state of the counters does not replace their methods."""
    with_state(hostile, ("run", "progress", name), 5)
    assert_refused(hostile)


@pytest.mark.parametrize(
    "name",
    [
        "predict",
        "fit",
        "get_params",
        "batch_size",
        "random_state",
        "callbacks",
        "_newest",
        "_run",
        "__class__",
        "__dict__",
        "_x_",
    ],
)
def test_fitted_names_replace_nothing_else(hostile, name):
    """Fitted attributes end in an underscore; methods, parameters and private names are not among them."""
    with_state(hostile, ("estimator", "fitted", name), 5)
    assert_refused(hostile)


@pytest.mark.parametrize("name", ["on_epoch_end", "on_step_end", "load_state_dict", "improves", "patience", "mode"])
def test_the_state_of_a_callback_replaces_no_hook_and_no_argument(hostile, name):
    """What a callback learned does not override its hooks, nor what ``get_params`` says it was given."""
    with_state(hostile, ("run", "callbacks", "EarlyStopping", "state", name), 5)
    assert_refused(hostile)


@pytest.mark.parametrize("key", ["run", "n_steps", "n_epochs", "estimator"])
@pytest.mark.parametrize("value", [None, [], "x", {}, REMOVED], ids=label)
def test_a_summary_that_does_not_fit_stops_no_resume_with_a_raw_error(hostile, model, key, value):
    """The manifest's summary is part of what must fit."""

    def change(manifest):
        manifest["summary"].pop(key) if value is REMOVED else manifest["summary"].update({key: value})

    seal(hostile, change)
    with pytest.raises(REFUSALS):
        clone(model).load_checkpoint(hostile)
    with pytest.raises(REFUSALS):
        new().fit(X, Y).resume_fit(X, Y, path=hostile)


# ---- folders ------------------------------------------------------------------------------------------------------


def checkpointed(folder, at=None, keep_last=None):
    """Return a classifier that writes checkpoints, to be interrupted after a step."""
    return new().set_params(callbacks=[*new().callbacks, Interrupt(at), Checkpoint(folder, keep_last=keep_last)])


def test_a_link_in_a_run_folder_writes_nothing_outside(tmp_path):
    """Links as lock, as leftovers and as older checkpoints lead no write and no removal out of the folder."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    with pytest.raises(KeyboardInterrupt):
        checkpointed(run, at=3).fit(X, Y)
    outside.mkdir()
    (outside / "precious.txt").write_text("precious")
    shutil.copytree(next(run.glob("epoch-*")), outside / "c")
    (run / ".lock").unlink(missing_ok=True)
    (run / ".lock").symlink_to(outside / "precious.txt")
    (run / ".epoch-000000-step-000000000000.tmp-00000000").symlink_to(outside, target_is_directory=True)
    (run / "epoch-000000-step-000000000000").symlink_to(outside / "c", target_is_directory=True)
    before = tree(outside)
    with contextlib.suppress(CheckpointError):
        checkpointed(run, keep_last=1).resume_fit(X, Y)
    assert tree(outside) == before


@pytest.mark.parametrize("best", [[[0.0, "../../outside"]], [[0.0, "/"]], "x", 5, [5]], ids=label)
def test_the_state_of_a_checkpoint_callback_leads_nowhere(tmp_path, best):
    """The folder and names in its state do not decide where it writes and removes, and ``best_path`` stays inside."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    given = new().set_params(callbacks=[*new().callbacks, Checkpoint(run, keep_last=1, keep_best=1)])
    clone(given).fit(X, Y)
    newest = next(run.glob("epoch-*"))
    state = json.loads((newest / STATE).read_bytes())
    state["run"]["callbacks"]["Checkpoint"]["state"] = {"folder": str(outside), "best": best}
    (newest / STATE).write_text(json.dumps(state))
    seal(newest)
    with contextlib.suppress(*REFUSALS):
        resumed = clone(given).set_params(max_epochs=3).resume_fit(X, Y)
        path = resumed.callbacks_["Checkpoint"].best_path
        assert path is None or path.parent == run
    assert list(outside.iterdir()) == []


def test_a_sealed_checkpoint_loads(hostile, model):
    """The helper of this file seals as the package does; without that, every refusal here would prove nothing."""
    seal(hostile)
    read_checkpoint(hostile)
    for load in (new().load_checkpoint, TorchClassifier.from_checkpoint):
        assert first_difference(run_state(model), run_state(load(hostile))) is None
