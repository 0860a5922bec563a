"""Nobody is timed before its results were found equal, and all take turns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from contests import SMALL, Fake, fake_case, ignore

import scratchnet
from scratchnet.bench import Bench, text
from scratchnet.bench.contest import Outcome
from scratchnet.bench.race import BLOCK, WARMUP, Race
from scratchnet.bench.step import TORCH


def test_what_computes_something_else_is_not_timed() -> None:
    log: list[str] = []

    def cannot() -> Fake:
        raise scratchnet.ScratchnetError("it is not installed")

    makers = {
        "right": lambda: Fake("right", log),
        "rounded": lambda: Fake("rounded", log, 1 + 1e-5),
        "wrong": lambda: Fake("wrong", log, 1 + 1e-3),
        "nan": lambda: Fake("nan", log, float("nan")),
        "missing": cannot,
    }
    with Race([fake_case(makers)], ignore) as race:
        race.run(3, ignore)
    (contest,) = race.timed
    assert set(log) == set(contest.timings) == {"right", "rounded"}
    assert contest.wrong == ["wrong", "nan"]
    assert "expected 1, got 1.00" in contest.left_out["wrong"]
    assert contest.left_out["missing"] == "it is not installed"
    made = contest.as_dict()
    assert set(made["timings"]) == {"right", "rounded"}
    assert set(made["left_out"]) == {"wrong", "nan", "missing"}


@pytest.mark.parametrize("outcome", [{"z": torch.ones(2)}, {"y": torch.ones(3)}, {}])
def test_another_shape_or_another_name_is_something_else(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fake, "outcome", lambda self: outcome)
    with Race([fake_case({"a": lambda: Fake("a", [])})], ignore) as race:
        assert race.contests[0].wrong == ["a"]


def test_a_wrong_gradient_keeps_us_out_of_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    right = scratchnet.Sigmoid.backward
    monkeypatch.setattr(scratchnet.Sigmoid, "backward", lambda self, g: 1.001 * right(self, g))
    found = Bench(replace(SMALL, sections=("step",), batches=[1])).run("")
    (contest,) = found.contests
    assert contest.wrong == ["scratchnet"]
    assert "gradient of" in contest.left_out["scratchnet"]
    assert set(contest.timings) == set(TORCH)
    assert found.wrong == ["scratchnet in training step, batch 1, 1 thread, float32"]
    assert contest.ratios("torch eager") is None
    assert "not timed: scratchnet: computes something else" in text(found)


def test_an_update_that_is_left_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratchnet.SGD, "step", lambda self: None)
    found = Bench(replace(SMALL, sections=("step",), batches=[1])).run("")
    assert "losses" in found.contests[0].left_out["scratchnet"]


def test_a_wrong_kernel_is_not_timed() -> None:
    wrong = "mutants.backends:OverlapsForgotten"
    plan = replace(SMALL, sections=("convolutions",), backends=["auto", wrong])
    (contest,) = Bench(plan).run("").contests
    assert contest.wrong == [f"scratchnet {wrong}"]
    assert "gradient of x" in contest.left_out[f"scratchnet {wrong}"]
    assert len(contest.timings) == 3


def test_contestants_take_turns_and_who_begins_rotates() -> None:
    log: list[str] = []
    cases = [
        fake_case({name: lambda name=name: Fake(name, log) for name in names}, names)
        for names in ("abc", "xy")
    ]
    with Race(cases, ignore) as race:
        assert log == list("abc") * WARMUP + list("xy") * WARMUP
        log.clear()
        race.run(BLOCK + 1, ignore)
    first, second = "".join(log[: 30 + 20]), "".join(log[30 + 20 :])
    # five rounds of each case, in which everybody runs twice; then the second case comes first
    assert first == "aabbccbbccaaccaabbaabbccbbccaa" + "xxyyyyxxxxyyyyxxxxyy"
    assert second == "yyxx" + "ccaabb"
    for contest in race.timed:
        assert {len(timing) for timing in contest.timings.values()} == {BLOCK + 1}


def test_who_times_itself_is_believed() -> None:
    log: list[str] = []
    makers = {"far": lambda: Fake("far", log, own=7.5), "near": lambda: Fake("near", log)}
    with Race([fake_case(makers)], ignore) as race:
        log.clear()
        race.run(1, ignore)
    assert log == ["far", "far", "near", "near"]
    (contest,) = race.timed
    assert contest.timings["far"] == [7.5]
    assert len(contest.timings["near"]) == 1


def test_threads_are_set_for_each_case_and_set_back() -> None:
    seen = []

    class Seeing(Fake):
        def run(self) -> None:
            seen.append(torch.get_num_threads())

    cases = [
        replace(fake_case({"a": lambda: Seeing("a", [])}), threads=threads) for threads in (2, 1)
    ]
    before = torch.get_num_threads()
    with Race(cases, ignore) as race:
        race.run(1, ignore)
    assert seen == [2] * WARMUP + [1] * WARMUP + [2, 2, 1, 1]
    assert torch.get_num_threads() == before
