"""python -m sktorch_continue: what is there, and whether it is sound."""

import json
import subprocess
import sys

import pytest
from modules import class_data

from sktorch_continue import Checkpoint, EpochScoring, TorchClassifier
from sktorch_continue.__main__ import main
from sktorch_continue.checkpoint import RunFolder

X, Y = class_data(40)


@pytest.fixture
def folder(tmp_path):
    """A run folder with three checkpoints."""
    callbacks = [Checkpoint(tmp_path / "run"), EpochScoring("accuracy", on="train")]
    TorchClassifier(max_epochs=4, callbacks=callbacks, random_state=0).fit(X, Y)
    return tmp_path / "run"


def damage(folder):
    """Flip a byte of the newest checkpoint's weights."""
    file = RunFolder(folder).checkpoints()[0] / "module.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_a_run_folder_is_shown_as_a_table(folder, capsys):
    """One line per checkpoint, the newest first, with epochs, steps, size, soundness and metrics."""
    assert main(["inspect", str(folder)]) == 0
    title, header, *rows = capsys.readouterr().out.splitlines()
    assert "3 checkpoints of run" in title
    assert "(TorchClassifier)" in title
    assert " ".join(header.split()) == "checkpoint epochs steps calls size sound lr train_loss train_accuracy"
    assert [row.split()[1] for row in rows] == ["4/4", "3/4", "2/4"]
    assert [row.split()[6] for row in rows] == ["yes"] * 3


def test_a_checkpoint_is_shown_in_detail(folder, capsys):
    """Estimator, position, metrics, versions and files of a single checkpoint."""
    assert main(["inspect", str(RunFolder(folder).checkpoints()[0])]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    assert shown["epochs"] == "4 of 4"
    assert shown["steps"] == "4"
    assert shown["sound"] == "yes"
    assert "train_accuracy" in shown["last"]
    assert "module.safetensors" in shown["files"]
    assert "torch" in shown["versions"]


def test_damage_is_shown_and_verify_exits_with_one(folder, capsys):
    """inspect says NO, verify names the file, and the others are sound."""
    assert main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out.count(": sound") == 3
    damage(folder)
    assert main(["verify", str(folder)]) == 1
    newest, *others = capsys.readouterr().out.splitlines()
    assert newest.endswith("DAMAGED: module.safetensors does not fit its checksum")
    assert all(line.endswith(": sound") for line in others)
    assert main(["inspect", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[6] == "NO"


@pytest.mark.parametrize("broken", ["manifest.json", "state.json"])
def test_a_checkpoint_that_lacks_a_file_is_still_shown(folder, capsys, broken):
    """A missing file is named, not a traceback, in every form of the output."""
    newest = RunFolder(folder).checkpoints()[0]
    (newest / broken).unlink()
    for path in (folder, newest):
        for flags in ([], ["--json"]):
            assert main(["inspect", str(path), *flags]) == 0
    assert main(["verify", str(newest)]) == 1
    assert broken in capsys.readouterr().out


def test_json_is_for_programs(folder, capsys):
    """The same facts as JSON: a list for a run folder, an object for a checkpoint."""
    assert main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["summary"]["n_epochs"] for entry in found] == [4, 3, 2]
    assert all(entry["sound"] and entry["bytes"] > 0 and entry["problems"] == [] for entry in found)
    assert main(["verify", str(RunFolder(folder).checkpoints()[0]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sound"] is True


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_where_there_is_nothing_it_exits_with_two(tmp_path, capsys, command):
    """No checkpoint at a path is told on stderr."""
    assert main([command, str(tmp_path / "nowhere")]) == 2
    assert "there is no checkpoint at" in capsys.readouterr().err


def test_it_runs_as_a_module(folder):
    """``python -m sktorch_continue`` is the command."""
    command = [sys.executable, "-m", "sktorch_continue", "verify", str(folder)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.count(": sound") == 3
