"""A damaged checkpoint: the older one with a warning that names it, or CorruptCheckpointError; never a wrong model."""

from __future__ import annotations

import random
import re
import shutil
import warnings
from pathlib import Path

import pytest
from data_helpers import refused
from modules import class_data

from sktorch_continue import (
    Checkpoint,
    CheckpointError,
    ContinuationWarning,
    CorruptCheckpointError,
    EarlyStopping,
    TorchClassifier,
)
from sktorch_continue.checkpoint import RunFolder
from sktorch_continue.testing import Interrupt, assert_same_run

X, Y = class_data(40)
FILES = [
    *("best.safetensors", "history.jsonl", "manifest.json"),
    *("module.safetensors", "state.json", "training.safetensors"),
]
N = 50


def classifier(at=None, folder=None):
    """Return a classifier of 4 epochs of 2 steps, whose every part has a state, to be interrupted at a step."""
    return TorchClassifier(
        module__hidden_layer_sizes=(3,),
        module__batch_norm=True,
        module__dropout=0.2,
        lr_scheduler="StepLR",
        lr_scheduler__step_size=2,
        validation_fraction=0.25,
        callbacks=[
            EarlyStopping(patience=9, restore_best=True),
            Interrupt(at),
            *([] if folder is None else [Checkpoint(folder, keep_last=None)]),
        ],
        max_epochs=4,
        batch_size=16,
        random_state=0,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a run folder, made once, with checkpoints after the epochs 1 and 2 and step 5, where Ctrl-C came."""
    folder = tmp_path_factory.mktemp("made") / "run"
    with pytest.raises(KeyboardInterrupt):
        classifier(5, folder).fit(X, Y)
    return folder


@pytest.fixture(scope="module")
def whole():
    """Return the run that was never cut."""
    return classifier().fit(X, Y)


@pytest.fixture(scope="module")
def older(made):
    """Return the estimator as it was at the checkpoint before the newest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ContinuationWarning)  # it has no Checkpoint
        return classifier().load_checkpoint(RunFolder(made).checkpoints()[1])


@pytest.fixture
def run(made, tmp_path):
    """Return a copy of the run folder."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def checkpoints(folder):
    """Return the newest and the older checkpoint of a run folder."""
    newest, before, _ = RunFolder(folder).checkpoints()
    return newest, before


def places(n):
    """Return n (file, position) spread evenly over the bytes of all files, the first and the last byte among them."""
    sizes = dict.fromkeys(FILES, 0)
    return [(list(sizes)[i % len(FILES)], i // len(FILES) / ((n - 1) // len(FILES))) for i in range(n)]


def cut(folder, number):
    """Cut a file at one of the places: from nothing left of it to all but its last byte."""
    name, share = places(N)[number]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(share * (len(content) - 1))])


def flip(folder, number):
    """Change one byte, wherever in the files the seed says."""
    draw = random.Random(number)
    files = [path for path in sorted(folder.iterdir()) for _ in range(path.stat().st_size)]
    path = draw.choice(files)
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
    path.write_bytes(content)


def miss(folder, number):
    """Remove a file."""
    (folder / FILES[number]).unlink()


def swap(folder, number):
    """Put the file of an older checkpoint in the place of the newest's."""
    older = RunFolder(folder.parent).checkpoints()[1]
    shutil.copy(older / FILES[number], folder / FILES[number])


def grow(folder, number):
    """Append a byte to a file."""
    with (folder / FILES[number]).open("ab") as file:
        file.write(b"x")


def empty(folder, number):
    """Leave nothing but the folder, or replace it by a file."""
    shutil.rmtree(folder)
    folder.mkdir() if number == 0 else folder.write_bytes(b"")


def overflow(folder, number):
    """Change a byte of the manifest so that a number becomes too large for a float."""
    path = folder / "manifest.json"
    content = re.sub(rb'"lr":[0-9.e-]+', b'"lr":1e999', path.read_bytes())
    assert b"1e999" in content
    path.write_bytes(content)


def twisted(folder, number):
    """Put text in the manifest that is no UTF-8, no object, or no JSON at all."""
    content = [b"\xff\xfe\x00", b"[]", b"null", b'"x"', b"{}", b"[" * 100_000, b'{"kind": NaN}', b"1" * 5000, b"\0" * 9]
    (folder / "manifest.json").write_bytes(content[number])


DAMAGES = [
    *((cut, number) for number in range(N)),
    *((flip, number) for number in range(N)),
    *((miss, number) for number in range(len(FILES))),
    *((grow, number) for number in range(len(FILES))),
    *((swap, FILES.index(name)) for name in ("manifest.json", "module.safetensors", "state.json")),
    (swap, FILES.index("training.safetensors")),
    *((empty, number) for number in range(2)),
    (overflow, 0),
    *((twisted, number) for number in range(9)),
]
SOME = [DAMAGES[i] for i in range(0, len(DAMAGES), 9)]


def label(value):
    """Return the id of a damage."""
    return value.__name__ if callable(value) else str(value)


@pytest.mark.parametrize(("damage", "number"), DAMAGES, ids=label)
def test_a_damaged_checkpoint_is_never_a_wrong_model(run, older, damage, number):
    """The folder gives the older checkpoint exactly and says which is damaged; the damaged one itself is refused."""
    newest, before = checkpoints(run)
    damage(newest, number)
    model = classifier()
    with pytest.warns(ContinuationWarning) as caught:
        model.load_checkpoint(run)
    messages = [str(warning.message) for warning in caught]
    assert any(newest.name in message and before.name in message for message in messages)
    assert_same_run(older, model, X)
    error = CorruptCheckpointError if newest.is_dir() else CheckpointError
    with refused(model, error, newest.name):
        model.load_checkpoint(newest)
    with pytest.raises(error, match=newest.name):
        TorchClassifier.from_checkpoint(newest)


@pytest.mark.parametrize(("damage", "number"), SOME, ids=label)
@pytest.mark.parametrize("place", ["callback", "path"])
def test_resuming_passes_over_a_damaged_checkpoint_and_ends_exactly(run, whole, damage, number, place):
    """resume_fit warns, goes on from the older checkpoint, and ends where the uninterrupted run ends."""
    newest, _ = checkpoints(run)
    damage(newest, number)
    model = classifier(folder=run) if place == "callback" else classifier()
    with pytest.warns(ContinuationWarning) as caught:
        model.resume_fit(X, Y, **({} if place == "callback" else {"path": run}))
    assert any(newest.name in str(warning.message) for warning in caught)
    model.callbacks_.pop("Checkpoint", None)
    assert_same_run(whole, model, X)


def test_a_damaged_checkpoint_is_set_aside_and_never_passes_for_the_newest(run, whole):
    """After a resumed run was interrupted behind it, no warning comes and the run's own checkpoint is the newest."""
    for damaged in checkpoints(run):
        flip(damaged, 3)
    with pytest.warns(ContinuationWarning, match=r"epoch-000002-step-0+5"), pytest.raises(KeyboardInterrupt):
        classifier(3, run).resume_fit(X, Y)
    aside = [path.name for path in run.iterdir() if path.name.startswith("damaged-")]
    assert len(aside) == 2
    assert RunFolder(run).checkpoints()[0].name.endswith("step-000000000003")
    assert classifier(folder=run).load_checkpoint(run).n_steps_ == 3
    resumed = classifier(folder=run).resume_fit(X, Y)
    resumed.callbacks_.pop("Checkpoint")
    assert_same_run(whole, resumed, X)
    assert sorted(path.name for path in run.iterdir() if path.name.startswith("damaged-")) == sorted(aside)


@pytest.mark.parametrize(("damage", "number"), [(cut, 22), (flip, 7), (miss, 1), (twisted, 3)], ids=label)
def test_when_all_are_damaged_each_is_named(run, damage, number):
    """Nothing is guessed: an error names every checkpoint, for load, from_checkpoint and resume_fit alike."""
    names = [path.name for path in RunFolder(run).checkpoints()]
    for name in names:
        damage(run / name, number)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    model = classifier().fit(X, Y)
    with refused(model, CorruptCheckpointError, *names):
        model.load_checkpoint(run)
    with refused(model, CorruptCheckpointError, *names):
        model.resume_fit(X, Y, path=run)
    with pytest.raises(CorruptCheckpointError):
        TorchClassifier.from_checkpoint(run)
    fresh = classifier(folder=run)
    with pytest.raises(CorruptCheckpointError):
        fresh.resume_fit(X, Y)
    assert not hasattr(fresh, "_run")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_file_too_many_is_never_read(run, made):
    """What the manifest does not list is neither a damage nor a part of the model."""
    newest, older = checkpoints(run)
    (newest / "notes.txt").write_text("mine")
    (newest / "extra.safetensors").write_bytes((older / "module.safetensors").read_bytes())
    (run / "thesis.txt").write_text("precious")
    expected = classifier(folder=run).load_checkpoint(checkpoints(made)[0])
    assert_same_run(expected, classifier(folder=run).load_checkpoint(run), X)
    assert_same_run(expected, classifier(folder=run).load_checkpoint(newest), X)


def test_a_sound_checkpoint_is_not_refused(run, made):
    """Touching nothing changes nothing: the newest is loaded without a warning."""
    newest, _ = checkpoints(run)
    model = classifier(folder=run).load_checkpoint(run)
    assert model.n_steps_ == 5
    assert_same_run(classifier(folder=run).load_checkpoint(newest), model, X)


def test_weights_of_another_checkpoint_are_refused(run):
    """Files of two sound checkpoints together are no checkpoint, though each of them can be read."""
    newest, older = checkpoints(run)
    shutil.copy(older / "best.safetensors", newest / "module.safetensors")
    with pytest.raises(CorruptCheckpointError, match=r"module\.safetensors does not fit its checksum"):
        classifier().load_checkpoint(newest)
