"""P4, disks: full, read-only or gone, a failed write raises, older checkpoints stay sound, the run goes on exactly."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modules import Noisy, assert_untouched, class_data, snapshot

from sktorch_continue import Callback, Checkpoint, CheckpointError, ContinuationWarning, TorchClassifier
from sktorch_continue.checkpoint import RunFolder, read_checkpoint, writing
from sktorch_continue.testing import assert_same_run, first_difference

X, Y = class_data(40)
MOUNTS = os.name != "nt" and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount") is not None


class Breaks(Callback):
    """Breaks the disk when the third epoch begins, as long as ``Breaks.disk`` says which."""

    columns = ()
    disk: list[Any] = []  # noqa: RUF012

    def on_epoch_begin(self, run: Any) -> None:
        for disk in self.disk:
            if run.n_epochs == 2:
                while len(RunFolder(disk.folder).checkpoints()) < 2:  # those of the first epochs are written aside
                    time.sleep(0.001)
                disk.break_()


class Full:
    """A small file system of its own, filled to the last byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mount = folder.parent

    def break_(self) -> None:
        with (self.mount / "ballast").open("wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    pass

    def mend(self) -> None:
        (self.mount / "ballast").unlink(missing_ok=True)


class Limited:
    """No file may grow beyond some bytes: a quota, wherever the tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.resource = pytest.importorskip("resource")
        self.before = self.resource.getrlimit(self.resource.RLIMIT_FSIZE)

    def break_(self) -> None:
        self.resource.setrlimit(self.resource.RLIMIT_FSIZE, (600, self.before[1]))

    def mend(self) -> None:
        self.resource.setrlimit(self.resource.RLIMIT_FSIZE, self.before)


class Vanished:
    """The folder is moved away, as an unmounted disk is, and comes back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def break_(self) -> None:
        self.folder.rename(self.folder.with_name("away"))
        self.folder.write_text("no folder")

    def mend(self) -> None:
        if self.folder.is_file():
            self.folder.unlink()
            self.folder.with_name("away").rename(self.folder)


@pytest.fixture
def mounted(tmp_path) -> Iterator[Path]:
    """Mount a file system of 400 KB."""
    mount = tmp_path / "mount"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(mount)]
    if not MOUNTS or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.fixture(params=["full", "limited", "vanished"])
def broken(request, tmp_path, monkeypatch) -> Iterator[tuple[Any, Path]]:
    """Return a disk that breaks when the third epoch begins, and a run folder on it."""
    if request.param == "full":
        folder = request.getfixturevalue("mounted") / "run"
        disk: Any = Full(folder)
    else:
        folder = tmp_path / "run"
        disk = Limited(folder) if request.param == "limited" else Vanished(folder)
    monkeypatch.setattr(Breaks, "disk", [disk])
    yield disk, folder
    disk.mend()


def classifier(*callbacks: Callback, **params: Any) -> TorchClassifier:
    """Return a classifier of 4 epochs of 2 steps."""
    defaults = {"module": Noisy, "batch_size": 16, "max_epochs": 4, "random_state": 0, "validation_fraction": 0.25}
    return TorchClassifier(**{**defaults, **params, "callbacks": list(callbacks)})


def whole(folder: Path, max_epochs: int = 4) -> TorchClassifier:
    """Return the run on a sound disk."""
    Breaks.disk.clear()
    return classifier(Breaks(), Checkpoint(folder, keep_last=None), max_epochs=max_epochs).fit(X, Y)


def epochs_stored(folder: Path) -> list[int]:
    """Return the epochs of a run folder's checkpoints, each of which has to be sound, and find nothing half-written."""
    assert list(folder.glob(".epoch-*")) == []
    return [read_checkpoint(path)["summary"]["n_epochs"] for path in reversed(RunFolder(folder).checkpoints())]


def test_a_failed_write_raises_and_loses_nothing(tmp_path, broken):
    """The older checkpoints are sound, the estimator predicts, and once the disk is mended the run ends exactly."""
    disk, folder = broken
    model = classifier(Breaks(), Checkpoint(folder, keep_last=None), max_epochs=5)
    with pytest.raises(CheckpointError, match="could not be written"):
        model.fit(X, Y)
    assert model.predict(X).shape == (40,)
    assert model.n_epochs_ >= 2
    disk.mend()
    assert epochs_stored(folder) == [1, 2]
    from_disk = classifier(Breaks(), Checkpoint(tmp_path / "copy", keep_last=None), max_epochs=5).load_checkpoint(
        folder
    )
    assert from_disk.n_epochs_ == 2
    never = whole(tmp_path / "whole", 5)
    assert_same_run(never, model.resume_fit(X, Y), X)
    assert epochs_stored(folder)[-1] == 5
    assert_same_run(never, from_disk.resume_fit(X, Y), X)


def test_who_asked_for_a_warning_trains_on(tmp_path, broken):
    """``on_error="warn"``: every failed write is told, the training ends where it would have, and is stored again."""
    disk, folder = broken
    model = classifier(Breaks(), Checkpoint(folder, keep_last=None, on_error="warn"))
    with pytest.warns(ContinuationWarning, match="could not be written.* goes on without"):
        model.fit(X, Y)
    disk.mend()
    assert epochs_stored(folder) == [1, 2]
    assert_same_run(whole(tmp_path / "whole"), model, X)
    model.continue_fit(X, Y, max_epochs=1)
    assert epochs_stored(folder) == [1, 2, 5]


def test_a_failed_save_leaves_the_older_checkpoint(tmp_path, broken):
    """Saving over a checkpoint on a disk that refuses raises; the older one is as it was, alone."""
    disk, folder = broken
    folder.mkdir()
    model = classifier().fit(X, Y)
    model.save_checkpoint(folder / "saved")
    before = read_checkpoint(folder / "saved")
    model.continue_fit(X, Y)
    known = snapshot(model)
    disk.break_()
    with pytest.raises(CheckpointError):
        model.save_checkpoint(folder / "saved")
    disk.mend()
    assert_untouched(model, known)
    assert [path.name for path in folder.iterdir()] == ["saved"]
    assert first_difference(before, read_checkpoint(folder / "saved")) is None
    model.save_checkpoint(folder / "saved")
    assert_same_run(model, classifier().load_checkpoint(folder / "saved"), X)


def test_the_half_written_is_removed_after_the_last_write(tmp_path, monkeypatch):
    """One file is refused at once while another one is slow: nothing is removed before both have ended."""
    model, disk, seen = classifier().fit(X, Y), Limited(tmp_path / "run"), []
    write_tensors, rmtree = writing._write_tensors, shutil.rmtree

    def slow(*arguments: Any) -> None:
        time.sleep(0.1)
        try:
            write_tensors(*arguments)
        finally:
            seen.append("written")

    def watched(*arguments: Any, **keywords: Any) -> None:
        seen.append("removed")
        rmtree(*arguments, **keywords)

    monkeypatch.setattr(writing, "_write_tensors", slow)
    monkeypatch.setattr(shutil, "rmtree", watched)
    disk.break_()
    try:
        with pytest.raises(CheckpointError, match="could not be written"):
            model.save_checkpoint(tmp_path / "saved")
    finally:
        disk.mend()
    assert seen == ["written", "written", "removed"]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_is_refused_before_the_first_step(tmp_path):
    """A path that can never be a folder: the estimator is as it was, and fits elsewhere."""
    (tmp_path / "file").write_text("no folder")
    new = classifier(Checkpoint(tmp_path / "file" / "run"))
    with pytest.raises(CheckpointError, match="cannot be written to"):
        new.fit(X, Y)
    assert not hasattr(new, "module_")
    fitted = classifier().fit(X, Y)
    with pytest.raises(CheckpointError, match="cannot be made"):
        fitted.save_checkpoint(tmp_path / "file" / "saved")
    fitted.set_params(callbacks=[Checkpoint(tmp_path / "file" / "run")])
    known = snapshot(fitted)
    with pytest.raises(CheckpointError, match="cannot be written to"):
        fitted.continue_fit(X, Y)
    assert_untouched(fitted, known)
    fitted.set_params(callbacks=[Checkpoint(tmp_path / "run")]).continue_fit(X, Y)


def assert_read_only_is_refused(folder: Path, model: TorchClassifier) -> None:
    """Raise unless a read-only folder is refused by every writer, and read by every reader."""
    known = snapshot(model)
    with pytest.raises(CheckpointError, match=r"cannot be written to|could not be written"):
        model.continue_fit(X, Y)
    assert_untouched(model, known)
    with pytest.raises(CheckpointError, match="could not be written"):
        model.save_checkpoint(folder / "saved")
    assert epochs_stored(folder)[-1] == 4
    assert_same_run(model, classifier(Checkpoint(folder)).load_checkpoint(folder), X)


def test_a_read_only_file_system_is_refused_before_the_first_step(mounted):
    """It is still read, and the run goes on once it can be written."""
    model = classifier(Checkpoint(mounted / "run")).fit(X, Y)
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    assert_read_only_is_refused(mounted / "run", model)
    subprocess.run(["mount", "-o", "remount,rw", str(mounted)], check=True)
    assert model.continue_fit(X, Y).n_epochs_ == 8


@pytest.mark.skipif(os.name == "nt" or MOUNTS, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused_before_the_first_step(tmp_path):
    """It is still read, and the run goes on once it can be written."""
    model = classifier(Checkpoint(tmp_path / "run")).fit(X, Y)
    (tmp_path / "run" / ".lock").chmod(0o400)
    (tmp_path / "run").chmod(0o500)
    assert_read_only_is_refused(tmp_path / "run", model)
    (tmp_path / "run").chmod(0o700)
    (tmp_path / "run" / ".lock").chmod(0o600)
    assert model.continue_fit(X, Y).n_epochs_ == 8


@pytest.mark.parametrize("half", [False, True], ids=["written", "half written"])
def test_a_kill_between_the_two_renames_of_a_save_loses_nothing(tmp_path, half):
    """The older checkpoint was moved aside, the newer one is not in its place yet: the path still loads."""
    model = classifier().fit(X, Y)
    model.save_checkpoint(tmp_path / "saved")
    (tmp_path / "saved").rename(tmp_path / ".saved.old-0123abcd")
    classifier(random_state=1).fit(X, Y).save_checkpoint(tmp_path / ".saved.tmp-0123abcd")
    if half:
        (tmp_path / ".saved.tmp-0123abcd" / "manifest.json").unlink()
    assert_same_run(model, classifier().load_checkpoint(tmp_path / "saved"), X)
    assert_same_run(model, classifier().resume_fit(X, Y, path=tmp_path / "saved"), X)
    newer = classifier().fit(X, Y).continue_fit(X, Y)
    newer.save_checkpoint(tmp_path / "saved")
    assert_same_run(newer, classifier().load_checkpoint(tmp_path / "saved"), X)


@pytest.mark.parametrize("order", [("0000aaaa", "ffff0000"), ("ffff0000", "0000aaaa")])
def test_of_two_kills_during_saves_the_later_checkpoint_counts(tmp_path, order):
    """A kill that left the oldest aside, and another between two renames: what loads is the newest that was stored."""
    first, second = (f".saved.old-{name}" for name in order)
    model = classifier().fit(X, Y)
    model.save_checkpoint(tmp_path / "saved")
    (tmp_path / "saved").rename(tmp_path / first)  # killed before the one that was replaced was removed
    newer = classifier().fit(X, Y).continue_fit(X, Y)
    newer.save_checkpoint(tmp_path / "saved")
    if (tmp_path / "saved").exists():
        (tmp_path / "saved").rename(tmp_path / second)  # killed between two renames
    assert_same_run(newer, classifier().load_checkpoint(tmp_path / "saved"), X)
