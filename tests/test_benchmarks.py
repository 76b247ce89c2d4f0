"""Benchmarks compare sides that do the same work, and say plainly where a bar is not met."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def load(name):
    """Return one of the scripts as a module."""
    return importlib.import_module(name)


@pytest.mark.parametrize("kind", ["tabular", "images"])
def test_every_side_takes_the_same_steps_to_a_comparable_loss(kind):
    """Also where the last batch of an epoch is smaller."""
    pytest.importorskip("skorch")
    peers = load("peers")
    problem = peers.tabular(230, 32, 12) if kind == "tabular" else peers.images(100, 2)
    works = {name: side() for name, side in peers.sides(problem).items()}
    load("harness").assert_same_work(works)
    assert {work.n_steps for work in works.values()} == {problem.n_steps}


def test_the_fastest_loop_trains_as_the_plain_one_does():
    """Same batches, same weights: what makes it fast changes rounding at most."""
    loops, peers = load("loops"), load("peers")
    problem = peers.tabular(230, 32, 3)
    weights = []
    for name in ("tensor", "fastest"):
        torch.manual_seed(0)
        module = problem.make()
        rate = lambda step: 1e-3 / (1 + step)  # noqa: E731
        loop = loops.LOOPS[name](module, nn.CrossEntropyLoss(), 32, rate)
        loop.fit(torch.from_numpy(problem.X), torch.from_numpy(problem.y), 3)
        weights.append((loop.loss, *(p.detach().numpy() for p in module.parameters())))
    for plain, fastest in zip(*weights, strict=True):
        np.testing.assert_allclose(fastest, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("other", [(11, 0.5), (10, 0.9)], ids=["steps", "loss"])
def test_a_side_that_trains_less_is_no_peer(other):
    """Fewer steps or a loss far off end the comparison."""
    harness = load("harness")
    with pytest.raises(RuntimeError, match="different work"):
        harness.assert_same_work({"a": harness.Work(10, 0.5), "b": harness.Work(*other)})


@pytest.mark.parametrize(
    ("question", "case"), [("training", "tiny"), ("features", "schedule"), ("features", "validation")]
)
def test_a_sample_becomes_a_report(question, case, tmp_path):
    """Every row of a case is in the table and in the JSON."""
    harness = load("harness")
    found = load(question).CASES[case](harness.Settings(quick=True))
    path = harness.write_report(tmp_path, found, quick=True)
    rows = json.loads(path.with_suffix(".json").read_text())["rows"]
    assert len(rows) == len(found.rows) > 2
    assert all(str(row) in path.read_text() for row in found.rows)


def test_a_bar_is_judged_by_the_median():
    """Met up to the bar, not met above it; where a draw is not enough, not met at it."""
    row = load("harness").Row
    assert row("case", "peer", [1.0, 2.0, 9.0], [1.0, 2.0, 1.0], bar=1.0).verdict == "met"
    assert row("case", "peer", [1.0], [1.0], bar=1.0, strict=True).verdict == "NOT met"
    assert "NOT met" in str(row("case", "peer", [1.0, 3.0, 3.0], [1.0, 2.0, 2.0], bar=1.05))
    assert row("case", "peer", [1.0], [2.0]).verdict == ""


def test_sides_take_turns():
    """Each goes first in some round."""
    called = []
    sides = {name: lambda name=name: called.append(name) for name in "abc"}
    times, _ = load("harness").take_turns(sides, rounds=3)
    assert "".join(called) == "abc" + "abc" + "bca" + "cab"
    assert {len(seconds) for seconds in (*times.wall.values(), *times.cpu.values())} == {3}


def test_what_is_run_can_be_chosen():
    """By case or by question; a sample takes one thread and the cases that are short."""
    run = load("run")
    assert run.chosen("training", ["tiny", "predict-1"], quick=False) == {1: ["tiny"], 2: ["tiny"]}
    assert run.chosen("growth", ["tiny"], quick=False) == {}
    assert list(run.chosen("training", ["training"], quick=True)) == [1]
    for question in run.QUESTIONS:
        module = load(question)
        assert {*module.QUICK, *(case for cases in module.THREADS.values() for case in cases)} <= set(module.CASES)
