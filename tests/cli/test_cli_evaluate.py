from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from commandline import Cli
from PIL import Image

from scratchnet.training import runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    data = tiny.data_dir(folder / "data", n_val=4)
    config = tiny.config(data=str(data), epochs=1, n_val=None)
    return runs.train(config, folder / "run").out


def test_json_has_all_figures_and_those_of_the_run(cli: Cli, run: Path) -> None:
    result = cli("evaluate", run, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["target_is_clean"] is True
    methods = report["methods"]
    assert list(methods) == ["noisy input", "residual", "nl means", "tv chambolle"]
    assert all(set(m) == {"psnr", "psnr_per_image", "ssim"} for m in methods.values())
    last = (run / "metrics.csv").read_text().splitlines()[-1].split(",")
    assert methods["residual"]["psnr"] == pytest.approx(float(last[3]), abs=1e-9)


def test_a_self_ensemble_has_a_row_of_its_own(cli: Cli, run: Path) -> None:
    result = cli("evaluate", run, "--json", "--self-ensemble")
    assert result.code == 0, result.err
    methods = json.loads(result.out)["methods"]
    assert methods["residual, self-ensemble"] != methods["residual"]


def test_the_table_shows_the_same(cli: Cli, run: Path) -> None:
    methods = json.loads(cli("evaluate", run, "--json").out)["methods"]
    result = cli("evaluate", run / "model.safetensors")
    assert result.code == 0, result.err
    for name, figures in methods.items():
        (line,) = [line for line in result.out.splitlines() if line.startswith(name)]
        assert f"{figures['psnr']:.2f} dB" in line
        assert f"{figures['psnr_per_image']:.2f} dB" in line
        assert f"{figures['ssim']:.4f}" in line
    assert "4 validation images of 16x16" in result.out


def test_other_data_and_a_sheet(cli: Cli, run: Path, tmp_path: Path) -> None:
    other, sheet = tiny.data_dir(tmp_path / "other", n_val=2), tmp_path / "sheet.png"
    result = cli("evaluate", run, "--data", other, "--out", sheet, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["data"] == f"2 validation images of 16x16 from {other}"
    with Image.open(sheet) as image:
        assert image.width > 300


def test_a_noisy_target_is_called_noisy(cli: Cli, run: Path, tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        for i in range(3):
            image = tiny.noisy(tiny.clean_images(1, 20, 20, seed=i), seed)[0]
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / folder / f"{i}.png")
    options = ("--noisy-a", tmp_path / "a", "--noisy-b", tmp_path / "b", "--n-val", 2)
    assert json.loads(cli("evaluate", run, *options, "--json").out)["target_is_clean"] is False
    assert "against a second noisy image" in cli("evaluate", run, *options).out


def test_without_weights_it_says_where_to_get_some(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scratchnet.training.checkpoint.shipped", dict)
    result = cli("evaluate")
    assert result.code == 1
    assert "train some with `scratchnet train`" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "no weights at nowhere"),
        (("--out", "sheet.jpg"), "ends in .png"),
        (("--data", "nowhere"), "nowhere"),
        (("--backend", "nonesuch"), "nonesuch"),
    ],
)
def test_mistakes(cli: Cli, run: Path, arguments: tuple[str, ...], message: str) -> None:
    weights = () if arguments[0] == "nowhere" else (run,)
    result = cli("evaluate", *weights, *arguments)
    assert result.code == 1
    assert message in result.err
    assert result.err.count("\n") == 1
