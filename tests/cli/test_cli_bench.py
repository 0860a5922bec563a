from __future__ import annotations

import json
from pathlib import Path

import pytest
from commandline import Cli

import scratchnet
from scratchnet.bench.memory import Memory

SMALL = ("--threads", 1, "--rounds", 1)
STEP = ("bench", "step", "--batch", 1, *SMALL)


def test_tables_and_a_report_in_a_new_folder(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        result = cli(
            "bench", "convolutions", "inference", "--shapes", "7->13", "--batch", 2, *SMALL
        )
        assert result.code == 0, result.err
        lines = result.out.splitlines()
        assert "inference, batch 2, 1 thread, float32, 1 round" in lines
        assert any(line.startswith("7->13 3x3, 31x45  ") for line in lines)
        assert any(line.startswith("geometric mean: ") for line in lines)
        assert lines[-1].startswith(f"in runs/bench-{number}: bench.txt")
        out = tmp_path / "runs" / f"bench-{number}"
        assert {path.name for path in out.iterdir()} == {"bench.json", "bench.png", "bench.txt"}
    first = (out / "bench.txt").read_text().splitlines()[0]
    assert first == (
        "$ scratchnet bench convolutions inference --shapes '7->13' --batch 2 --threads 1 "
        "--rounds 1"
    )


def test_every_option_reaches_the_plan(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Stop(scratchnet.ScratchnetError):
        pass

    def look(self: object, plan: object) -> None:
        seen.append(plan)
        raise Stop("seen")

    monkeypatch.setattr("scratchnet.bench.Bench.__init__", look)
    assert cli(
        "bench", "memory", "step", "--batch", "256,2", "--threads", "2,1", "--rounds", 7,
        "--shapes", "1x1", "--dtype", "float64", "--backend", "reference,auto", "--compile",
        "--rival", "a.py", "--rival", "b.py:other", "--quick",
    ).code == 1  # fmt: skip
    assert cli(
        "bench", "--layer", "own", "--arg", "width=3", "--input", "2,3", "--input", "4,3"
    ).code == 1  # fmt: skip
    step, layer = (vars(plan) for plan in seen)
    assert {**step, "dtype": str(step["dtype"])} == {
        "sections": ["memory", "step"], "batches": [2, 256], "threads": [1, 2], "rounds": 7,
        "shapes": "1x1", "dtype": "torch.float64", "backends": ["reference", "auto"],
        "compiled": True, "rivals": ["a.py", "b.py:other"], "quick": True, "layer": None,
        "op": None, "arguments": None, "inputs": [],
    }  # fmt: skip
    assert layer["layer"] == "own"
    assert layer["arguments"] == {"width": 3}
    assert layer["inputs"] == [[2, 3], [4, 3]]


def test_json_has_everything_and_is_what_the_file_has(cli: Cli, tmp_path: Path) -> None:
    result = cli(*STEP, "--json", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found == json.loads((tmp_path / "out" / "bench.json").read_text())
    (contest,) = found["contests"]
    assert contest["compared_with"] == "scratchnet"
    assert contest["threads"] == contest["images"] == 1
    assert found["machine"]["scratchnet"] == scratchnet.__version__


def test_a_report_is_not_overwritten_unasked(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    result = cli(*STEP, "--out", tmp_path)
    assert result.code == 1
    assert "not empty" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert cli(*STEP, "--out", tmp_path, "--force").code == 0
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_what_computes_something_else_is_a_failure_with_a_report(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = scratchnet.MSE.backward
    monkeypatch.setattr(scratchnet.MSE, "backward", lambda self: 1.01 * right(self))
    result = cli(*STEP, "--out", tmp_path / "out")
    assert result.code == 1
    assert "not timed: scratchnet: computes something else" in result.out
    assert "scratchnet in training step, batch 1, 1 thread, float32" in result.err
    assert (tmp_path / "out" / "bench.txt").is_file()


def test_interrupted_it_shows_what_there_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scratchnet.bench.memory.measure", interrupt)
    result = cli("bench", "inference", "memory", "--batch", 1, *SMALL, "--out", tmp_path / "out")
    assert result.code == 130
    assert "inference, batch 1" in result.out
    assert "interrupted" in (tmp_path / "out" / "bench.txt").read_text()


def test_one_layer(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "scratchnet.bench.memory.measure",
        lambda name, make, images, threads: Memory(9, 9 + 1_000_000 * images),
    )
    result = cli(
        "bench", "--layer", "Conv2d", "--arg", "in_channels=2", "--arg", "out_channels=3",
        "--arg", "kernel_size=3", "--input", "3,2,6,5", *SMALL, "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert "Conv2d(in_channels=2, out_channels=3, kernel_size=(3, 3)" in result.out
    for title in (
        "forward and backward, 3x2x6x5, 1 thread, float32, 1 round",
        "forward in eval mode, 3x2x6x5, 1 thread, float32, 1 round",
        "memory of forward and backward, 3x2x6x5, 1 thread, float32: at its peak",
    ):
        assert f"\n{title}" in result.out
    assert "torch.nn channels_last" in result.out
    assert "3.0" in result.out


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("steps",), "no section 'steps': did you mean 'step'?"),
        (("--batch", "2,x"), "--batch expects numbers such as 2,40, got '2,x'"),
        (("--threads", "0"), "threads is expected to be at least 1"),
        (("--shapes", "9->9"), "no shape contains '9->9'"),
        (("--arg", "a=1"), "--arg and --input go with --layer NAME"),
        (("--input", "2,3"), "--arg and --input go with --layer NAME"),
        (("--op", "max_pool"), "no op 'max_pool': did you mean 'max_pool2d'?"),
        (("--layer", "Conv2b"), "no layer 'Conv2b': did you mean 'Conv2d'?"),
        (("--layer", "Conv2d", "--input", "2,x"), "--input expects sizes such as 2,3,32,32"),
        (("--layer", "Conv2d", "--arg", "in_channels=3"), "missing a required argument"),
        (("--layer", "rightlayers:BatchNorm"), "needs channels: give them with"),
        (("step", "--layer", "ReLU"), "measured by itself: leave out step"),
        (("--backend", "cpq"), "did you mean 'cpp'"),
        (("step", "--rival", "none.py"), "none.py cannot be run: FileNotFoundError: there is no"),
    ],
)
def test_mistakes(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("bench", *wrong)
    assert result.code == 1
    assert result.out == ""
    (line,) = result.err.splitlines()
    assert line.startswith("scratchnet: ")
    assert says in line
    assert list(tmp_path.iterdir()) == []
