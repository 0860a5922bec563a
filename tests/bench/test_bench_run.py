"""The benchmark as a whole: who takes part, and what is left when it is ended early."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from contests import SMALL

import scratchnet
from scratchnet.bench import SECTIONS, Bench, Plan, Result, text, write_report
from scratchnet.bench.memory import Memory
from scratchnet.bench.operation import SHAPES
from scratchnet.bench.race import BLOCK
from scratchnet.errors import ArgumentError


def test_everyone_takes_part_in_every_round(result: Result) -> None:
    titles = [contest.case.title for contest in result.contests]
    assert titles == [
        "training step, batch 1, 1 thread, float32",
        "training step, batch 2, 1 thread, float32",
        "inference, batch 1, 1 thread, float32",
        "inference, batch 2, 1 thread, float32",
        "7->13 3x3, 31x45",
    ]
    for contest in result.contests:
        assert contest.left_out == {}
        assert list(contest.timings) == list(contest.case.contestants)
        assert len(contest.timings) >= 3
        assert {len(timing) for timing in contest.timings.values()} == {2}
        assert contest.ours == "scratchnet"
    assert list(result.sgemm) == [1]
    assert ("page faults are in all times" in text(result)) != result.malloc_keeps


def test_what_is_reported_as_work_is_what_was_announced() -> None:
    done = []
    bench = Bench(replace(SMALL, rounds=7, sections=("convolutions",)))
    bench.run("", lambda work, what: done.append(work))
    assert sum(done) == pytest.approx(bench.work)


def test_memory_is_measured_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    def needed(name: str, make: object, images: int, threads: int) -> Memory:
        if name == "torch eager channels_last":
            raise scratchnet.ScratchnetError("no room")
        return Memory(5, 5 + images * threads)

    monkeypatch.setattr("scratchnet.bench.memory.measure", needed)
    found = Bench(Plan(sections=["memory"], threads=[3], backends=["cpp", "reference"])).run("")
    (title,) = found.memory
    assert title == "memory of a training step, batch 40, 3 threads, float32"
    assert found.memory[title] == {
        "scratchnet cpp": 120,
        "scratchnet reference": 120,
        "torch eager": 120,
        "torch, better algebra, channels_last": 120,
    }
    assert "not measured: torch eager channels_last: no room" in text(found)


def test_without_choices_everything_runs() -> None:
    for plan in (Plan(), Plan(quick=True)):
        bench = Bench(plan)
        assert [*bench.cases, "memory"] == list(SECTIONS[:-1])
        assert len(bench.cases["convolutions"]) == len(SHAPES)
        assert bench.work > 0
        assert all(plan.rounds_of(section) > 1 for section in bench.cases)
    batches = {case.images for case in Bench(Plan(threads=[1])).cases["step"]}
    assert batches == {2, 40, 256}


def test_double_precision_agrees_with_autograd_in_float64() -> None:
    plan = Plan(sections=["float64"], batches=[2], threads=[1], rounds=1, shapes="7->13")
    found = Bench(plan).run("")
    assert len(found.contests) == 2
    for contest in found.contests:
        assert contest.left_out == {}


def test_backends_take_part_by_name() -> None:
    plan = replace(SMALL, backends=["reference", "auto"], batches=[1], rounds=1)
    for contest in Bench(plan).run("").contests:
        assert list(contest.timings)[:2] == ["scratchnet reference", "scratchnet"]
        assert contest.ratios("scratchnet reference") == (1, 1)


class Stop:
    """Ctrl-C after some rounds."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def __call__(self, work: float, what: str) -> None:
        self.left -= work > 0
        if self.left < 0:
            raise KeyboardInterrupt


def test_interrupted_the_complete_rounds_are_kept(tmp_path: Path) -> None:
    plan = replace(SMALL, rounds=2 * BLOCK, sections=("step", "convolutions"))
    found = Bench(plan).run("", Stop(rounds=BLOCK + 2))
    assert found.interrupted
    counts = [{len(t) for t in c.timings.values()} for c in found.contests]
    assert counts == [{BLOCK}, {3}]  # the third one was done when the bar was to move
    write_report(found, tmp_path)
    assert "interrupted" in (tmp_path / "bench.txt").read_text()
    assert json.loads((tmp_path / "bench.json").read_text())["interrupted"] is True


def test_interrupted_before_there_is_anything() -> None:
    with pytest.raises(KeyboardInterrupt):
        Bench(SMALL).run("", Stop(rounds=-1))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sections": ["steps"]}, "no section 'steps': did you mean 'step'"),
        ({"batches": [0]}, "batch is expected to be at least 1"),
        ({"threads": []}, "threads is expected to be at least 1"),
        ({"rounds": 0}, "rounds is expected to be at least 1"),
        ({"shapes": "9->9"}, "no shape contains '9->9': known are 64->64"),
        ({"layer": "ReLU", "sections": ["step"]}, "by itself: leave out step"),
    ],
)
def test_a_plan_that_makes_no_sense(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        Plan(**wrong)


def test_the_grid_is_made_of_the_shapes_it_names() -> None:
    assert len(SHAPES) == 14
    for name, call in SHAPES.items():
        channels, kernel = name.split(",")[0].split(" ")[:2]
        (_, c, h, w), (o, _, k, _), _ = call.shapes
        assert channels == f"{c}->{o}"
        assert kernel == f"{k}x{k}"
        assert f", {h}x{w}" in name or "depthwise" in name
