from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from commandline import Cli

import scratchnet

SMALL = ("--epochs", 1, "--seeds", 1, "--batch-size", 8, "--no-memory", "--threads", 1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny.data_dir(tmp_path / "data")


def test_a_table_and_a_report(cli: Cli, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cli("compare", "--data", data, "--out", out, *SMALL)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].endswith("24 noisy pairs, 6 validation images")
    assert lines[1].split("  ")[-1].strip() == "torch.nn channels-last"
    assert any(line.startswith("validation PSNR (dB)") for line in lines)
    assert any("the first 50 losses are equal" in line for line in lines)
    assert f"in {out}: report.html" in lines[-1]
    assert (out / "report.html").is_file()


def test_every_option_reaches_the_comparison(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(
        "compare", "--json", "--data", data, "--preset", "paper", "--seeds", 2, "--torch-seeds", 1,
        "--layout", "contiguous", "--no-memory", "--epochs", 1, "--model", "residual",
        "--model-arg", "channels=3", "--model-arg", "depth=2", "--optimizer", "sgd", "--lr", 0.01,
        "--momentum", 0.5, "--batch-size", 6, "--dtype", "float64", "--seed", 5, "--n-train", 12,
        "--n-val", 4, "--size", 16, "--noise", "gaussian:9", "--backend", "reference",
        "--threads", 1,
    )  # fmt: skip
    assert result.code == 0, result.err
    found = json.loads(result.out)
    wanted = {
        "preset": "paper", "model": "residual", "model_args": {"channels": 3, "depth": 2},
        "optimizer": "sgd", "lr": 0.01, "momentum": 0.5, "batch_size": 6, "dtype": "float64",
        "seed": 5, "epochs": 1, "n_train": 12, "n_val": 4, "size": 16,
        "noise": "gaussian:9", "backend": "reference", "threads": 1,
    }  # fmt: skip
    assert wanted.items() <= found["config"].items()
    assert [trace["seed"] for trace in found["traces"]["scratchnet"]] == [5, 6]
    assert [trace["seed"] for trace in found["traces"]["torch.nn"]] == [5]
    assert found["images"] == {"train": 12, "validation": 4}
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / "runs" / "compare-1"]


def test_a_report_is_not_overwritten_unasked(cli: Cli, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    result = cli("compare", "--data", data, "--out", out, *SMALL)
    assert result.code == 1
    assert "not empty" in result.err
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert cli("compare", "--data", data, "--out", out, "--force", *SMALL).code == 0
    assert (out / "mine.txt").read_text() == "precious"


def test_what_is_not_equal_is_a_failure(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = scratchnet.MSE.backward
    monkeypatch.setattr(scratchnet.MSE, "backward", lambda self: 1.001 * right(self))
    result = cli("compare", "--data", data, "--out", tmp_path / "out", *SMALL)
    assert result.code == 1
    assert "NOT equal" in result.out
    assert "do not compute the same" in result.err
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            ("--optimizer", "muon"),
            "torch.optim has no Muon for convolutions to compare with: choose",
        ),
        (("--preset", "paper", "--config", "x.json"), "either --preset or --config"),
        (("--preset", "nonesuch"), "unknown preset"),
        (("--model", "nonesuch"), "there is no network"),
        (("--torch-seeds", 2), "at most as many for torch.nn"),
    ],
)
def test_mistakes(
    cli: Cli, data: Path, tmp_path: Path, wrong: tuple[object, ...], says: str
) -> None:
    result = cli("compare", "--data", data, "--out", tmp_path / "out", *SMALL, *wrong)
    assert result.code == 1
    assert says in result.err
    assert not (tmp_path / "out").exists()
