"""The studies in docs/experiments/ run, go on where they were, and measure what they say."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
import tiny
import torch
from PIL import Image

import scratchnet
from scratchnet.data import NoisyPairs, to_float
from scratchnet.training import runs

FOLDER = Path(__file__).parent.parent / "docs" / "experiments"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(request.param)


def start(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", [script.__name__, *map(str, arguments)])
    script.study.guarded(script.main)


def forbid_training(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*arguments: object) -> None:
        raise AssertionError("this was trained already")

    monkeypatch.setattr(script, "train", train)


@pytest.mark.parametrize("script", ["optimizers"], indirect=True)
def test_optimizers(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "POWER_STEPS", 1)
    data, out = tiny.data_dir(tmp_path / "data", n=8, n_val=2), tmp_path / "out"
    options = ("--data", data, "-o", out, "--epochs", 2, "--seeds", 2)
    start(script, monkeypatch, *options)
    table = (out / "optimizers.md").read_text()
    for changes in (changes for group in script.GROUPS.values() for changes in group):
        assert table.count(f"\n| {script.label(changes)} |") == 1
    with Image.open(out / "optimizers.png") as figure:
        assert min(figure.size) > 500
    results = json.loads((out / "optimizers.json").read_text())["results"]
    assert len(results) == 2 * 16
    same = [results[f"lr {name}, seed 0"] for name in ("0.25, momentum 0.9", "2.5")]
    assert same[0]["first_gradient"] == same[1]["first_gradient"]  # one start for all settings
    assert same[0]["psnr"] != same[1]["psnr"]

    forbid_training(script, monkeypatch)
    before = (out / "optimizers.png").read_bytes()
    start(script, monkeypatch, *options)
    assert (out / "optimizers.png").read_bytes() == before
    with pytest.raises(SystemExit, match=r"^error: .*other settings.*-o"):
        start(script, monkeypatch, *options, "--n-train", 3)
    assert json.loads((out / "optimizers.json").read_text())["results"] == results


@pytest.mark.parametrize("script", ["optimizers"], indirect=True)
def test_a_setting_that_diverged_is_named_in_the_table(script: ModuleType, tmp_path: Path) -> None:
    whole = {"psnr": [20.0, 21.0], "gradient": [0.1] * 2, "weights": [5.0] * 2}
    broken = {"psnr": [20.0], "gradient": [0.1], "weights": [5.0]}
    notebook = script.study.Notebook(tmp_path / "n.json", {})
    for seed, result in enumerate((whole, broken)):
        notebook[script.run_name(script.PLAIN, seed)] = {**result, "curvature": [1.0, 2.0]}
    assert script.Results(notebook, 1, 2).row(script.PLAIN)[1:3] == ["20.00", "21.00"]
    assert script.Results(notebook, 2, 2).row(script.PLAIN)[1:3] == ["diverged", "diverged"]


@pytest.mark.parametrize("script", ["optimizers"], indirect=True)
def test_curvature_is_the_largest_eigenvalue_of_the_hessian(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "POWER_STEPS", 200)
    data = tiny.pairs(n=4)
    model = scratchnet.Conv2d(3, 3, 1, generator=torch.Generator().manual_seed(0))
    before = model.weight.clone()
    # A linear model's squared error is quadratic: with z = (x, 1) and a third of the mean's weight
    # for each of the three outputs, its Hessian is 2/3 · mean(z zᵀ), thrice.
    x = to_float(data.noisy_a).double().permute(1, 0, 2, 3).reshape(3, -1)
    z = torch.cat([x, torch.ones_like(x[:1])])
    hessian = 2 / 3 * (z @ z.T) / z.shape[1]
    expected = float(torch.linalg.eigvalsh(hessian)[-1])
    assert script.curvature(model, data) == pytest.approx(expected, rel=1e-6)
    assert torch.equal(model.weight, before)
    assert model.weight.dtype == torch.float32


@pytest.mark.parametrize("script", ["optimizers"], indirect=True)
def test_the_limit_of_stability_parts_what_converges_from_what_does_not(
    script: ModuleType,
) -> None:
    for changes in (changes for group in script.GROUPS.values() for changes in group):
        settings = {**changes, "weight_decay": 0.0}
        lengths = []
        for share in (0.98, 1.02):
            value, grad = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
            optimizer = scratchnet.SGD([(value, grad)], **settings)
            for _ in range(500):  # on a parabola of curvature just below and just above
                grad.copy_(value * share * script.limit(changes))
                optimizer.step()
            lengths.append(float(value.abs()))
        assert lengths[0] < 1e-3 < 1e3 < lengths[1], script.label(changes)


@pytest.mark.parametrize("script", ["targets"], indirect=True)
def test_targets(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("-o", tmp_path, "--epochs", 1, "--n-train", 8, "--n-val", 4)
    start(script, monkeypatch, *options)
    rows = (tmp_path / "targets.md").read_text().splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [f"| `{noise}`" for noise in script.NOISES]
    with Image.open(tmp_path / "targets.png") as figure:
        assert min(figure.size) > 500
    assert len(list(tmp_path.glob("*.safetensors"))) == 8

    forbid_training(script, monkeypatch)
    start(script, monkeypatch, *options)


@pytest.mark.parametrize("script", ["targets"], indirect=True)
def test_the_mean_of_impulse_noise_can_be_undone(script: ModuleType) -> None:
    clean = torch.tensor([0.0, 0.25, 0.5, 1.0])
    mean = 0.8 * clean + 0.2 * 0.5
    torch.testing.assert_close(script.mean_undone("impulse:0.2", mean), clean)
    assert torch.equal(script.mean_undone("gaussian:25", mean), mean)


@pytest.mark.parametrize("script", ["targets"], indirect=True)
def test_the_mean_of_the_noise_is_told_for_dark_and_for_bright_pixels(script: ModuleType) -> None:
    clean = torch.full((1, 3, 4, 4), 10, dtype=torch.uint8)
    clean[..., 2:] = 240
    noisy = clean.clone()
    noisy[..., 0] += 5
    noisy[..., 3] -= 30
    data = NoisyPairs(noisy, noisy, noisy, clean, val_is_clean=True, source="")
    assert script.mean_of_noise(data) == [2.5, -15.0]


@pytest.mark.parametrize("script", ["pictures"], indirect=True)
def test_images(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny.data_dir(tmp_path / "data")
    config = tiny.config(data=str(data), epochs=1, n_val=None)
    one, two = (runs.train(config.replace(seed=i), tmp_path / f"run{i}").out for i in range(2))
    heights = []
    for chosen in ([one], [one, two]):
        start(script, monkeypatch, *chosen, "-o", tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as image:
            heights.append(image.height)
    assert heights[1] > heights[0]  # a row for each
    with pytest.raises(SystemExit, match=r"error: .*nowhere"):
        start(script, monkeypatch, tmp_path / "nowhere", "-o", tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()
