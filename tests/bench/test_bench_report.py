"""The figures that follow from the measured ones, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import scratchnet
from scratchnet.bench import Result, write_report
from scratchnet.bench.contest import Contest
from scratchnet.bench.figures import panels
from scratchnet.bench.step import gflop
from scratchnet.bench.tables import tables


def handmade(result: Result) -> Result:
    """Two threads are 1.5 times as fast as one; torch takes 4 and 2 times as long as ours."""
    one = result.contests[1]
    assert one.case.images == 2
    ours, eager = "scratchnet", "torch eager"
    timings = {ours: [3e-3, 1e-3, 2e-3], eager: [6e-3, 4e-3, 8e-3]}
    faster = {n: [s / 1.5 for s in t] for n, t in timings.items()}
    two = replace(one.case, threads=2, title="training step, batch 2, 2 threads, float32")
    shapes = []
    for name, least in (("7->13 3x3, 31x45", 2.0), ("64->64 1x1, 56x56", 0.5)):
        case = replace(result.contests[-1].case, title=name)
        made = {
            ours: [1.0, 1.5],
            "torch": [least, 3.0],
            "torch channels_last": [4 * least] * 2,
        }
        shapes.append(Contest(case, made, {}, []))
    return replace(
        result,
        contests=[Contest(one.case, timings, {}, []), Contest(two, faster, {}, []), *shapes],
        sgemm={1: 100.0, 2: 200.0},
        memory={"memory of a training step": {ours: 5_000_000, eager: 20_000_000}},
    )


def test_ratios_are_least_by_least_and_median_by_median(result: Result) -> None:
    found = handmade(result)
    contest = found.contests[0]
    assert contest.ratios("torch eager") == (4, 3)
    assert contest.ratios("scratchnet") == (1, 1)
    assert contest.images_per_second("scratchnet") == 2 / 2e-3
    assert contest.as_dict()["timings"]["torch eager"]["ratio_of_median"] == 3
    step, faster, threads, shapes, memory = _by_title(found)
    assert step.rows == [
        ["scratchnet", "1.00", "2.00", "1.00", "1.00", "1,000"],
        ["torch eager", "4.00", "6.00", "4.00", "3.00", "333"],
    ]
    work = gflop(scratchnet.models.noise2noise(), 2)
    assert f"{1e-3 * 100 / work:.2f} times (median {2e-3 * 100 / work:.2f})" in step.notes[0]
    assert f"{1e-3 / 1.5 * 200 / work:.2f} times" in faster.notes[0]
    assert threads.rows == [["scratchnet", "1.50"], ["torch eager", "1.50"]]
    # the better layout of each, and the geometric mean of 2 and 0.5
    assert [row[-2] for row in shapes.rows] == ["2.00", "0.50"]
    assert shapes.notes[0].startswith("geometric mean: 1.00 of least")
    assert "worst: 0.50 of least" in shapes.notes[0]
    assert memory.rows == [["scratchnet", "5.0", "0.25"], ["torch eager", "20.0", "1.00"]]


def _by_title(found: Result) -> list:
    return [t for t in tables(found) if t.rows]


def test_the_figure_shows_the_same_ratios(result: Result) -> None:
    step, shapes, memory = panels(handmade(result))
    assert step.rows == {
        "batch 2, 1 thread, float32   2.00 ms": {"torch eager": pytest.approx(3)},
        "batch 2, 2 threads, float32   1.33 ms": {"torch eager": pytest.approx(3)},
    }
    assert list(shapes.rows) == ["7->13 3x3, 31x45   1250.00 ms", "64->64 1x1, 56x56   1250.00 ms"]
    assert list(memory.rows.values()) == [{"torch eager": 4}]


def test_the_arithmetic_of_a_step_is_counted() -> None:
    # forward: 27·32 at 16x16, 9·32·32 at 8x8, twice, and 9·32·3 at 16x16; twice as much backward,
    # but for the first layer's input
    first, inner, last = 27 * 32 * 256, 9 * 32 * 32 * 64, 9 * 32 * 3 * 256
    macs = 2 * first + 3 * (inner + inner + last)
    assert gflop(scratchnet.models.noise2noise(), 40) == pytest.approx(2 * 40 * macs / 1e9)
    assert gflop(scratchnet.models.noise2noise(), 40) == pytest.approx(0.372, abs=5e-4)


def test_the_report_is_complete(result: Result, tmp_path: Path) -> None:
    write_report(result, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "bench.json", "bench.png", "bench.txt",
    ]  # fmt: skip
    with Image.open(tmp_path / "new" / "bench.png") as opened:
        assert min(opened.size) > 300
    lines = (tmp_path / "new" / "bench.txt").read_text().splitlines()
    assert lines[0] == "$ scratchnet bench step"
    assert f"torch {torch.__version__}" in lines[2]
    for contest in result.contests:
        assert any(line.startswith(contest.case.title) for line in lines)


def test_the_numbers_carry_the_facts(result: Result, tmp_path: Path) -> None:
    write_report(result, tmp_path)
    read = json.loads((tmp_path / "bench.json").read_text())
    machine = read["machine"]
    assert machine["torch"]["running"] == torch.__version__
    assert machine["scratchnet"] == scratchnet.__version__
    assert machine["cores"] >= 1
    assert {"processor", "system", "kernels", "instruction_set", "python", "build"} <= set(machine)
    for contest in read["contests"]:
        ours = contest["timings"][contest["compared_with"]]
        for row in contest["timings"].values():
            assert len(row["seconds"]) == 2
            assert row["least"] == min(row["seconds"])
            assert row["ratio_of_least"] == pytest.approx(row["least"] / ours["least"])
            assert row["ratio_of_median"] == pytest.approx(row["median"] / ours["median"])
            assert row["images_per_second"] == pytest.approx(contest["images"] / row["median"])


def test_a_report_of_nothing_but_failures(result: Result, tmp_path: Path) -> None:
    failed = [
        Contest(c.case, {}, dict.fromkeys(c.case.contestants, "no"), []) for c in result.contests
    ]
    write_report(replace(result, contests=failed), tmp_path)
    assert "not timed: torch eager: no" in (tmp_path / "bench.txt").read_text()
