from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import Cli
from PIL import Image

from scratchnet import models
from scratchnet.training import checkpoint


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    args = {"channels": 4, "depth": 2}
    model = models.build("residual", generator=torch.Generator().manual_seed(0), **args)
    checkpoint.save(model, tmp_path / "w.safetensors", name="residual", args=args)
    return tmp_path / "w.safetensors"


def save(path: Path, *size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def test_one_image_to_a_file(cli: Cli, weights: Path, tmp_path: Path) -> None:
    source, out = save(tmp_path / "a.png", 33, 17, 3), tmp_path / "b.png"
    result = cli("denoise", source, out, "--weights", weights, "--compare", "--tile", 8)
    assert result.code == 0, result.err
    assert result.out.split() == [str(out), str(tmp_path / "b-compare.png")]
    with Image.open(out) as image:
        assert (image.size, image.mode) == ((17, 33), "RGB")
    before = out.read_bytes()
    again = cli("denoise", source, out, "--weights", weights)
    assert again.code == 1
    assert "exists already" in again.err
    assert out.read_bytes() == before
    assert cli("denoise", source, out, "--weights", weights, "--force").code == 0


def test_a_self_ensemble_makes_another_image(cli: Cli, weights: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "a.png", 20, 17, 3)
    for name, options in (("b.png", ()), ("c.png", ("--self-ensemble",))):
        assert cli("denoise", source, tmp_path / name, "-w", weights, *options).code == 0
    one, mean = (np.asarray(Image.open(tmp_path / n), dtype=int) for n in ("b.png", "c.png"))
    assert one.shape == mean.shape
    assert (one != mean).any()


def test_a_folder_is_mirrored(cli: Cli, weights: Path, tmp_path: Path) -> None:
    save(tmp_path / "in/a.png", 9, 9, 3)
    save(tmp_path / "in/sub/b.png", 1, 1)
    (tmp_path / "in/notes.txt").write_text("not an image")
    result = cli("denoise", tmp_path / "in", tmp_path / "out", "-w", weights)
    assert result.code == 0, result.err
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert found == ["a.png", "sub/b.png"]


def test_one_bad_image_does_not_stop_the_others(cli: Cli, weights: Path, tmp_path: Path) -> None:
    save(tmp_path / "in/b.png", 9, 9, 3)
    for name in ("a.png", "c.png"):
        (tmp_path / "in" / name).write_text("not an image")
    result = cli("denoise", tmp_path / "in", tmp_path / "out", "-w", weights)
    assert result.code == 1
    assert "2 of 3 images could not be done" in result.err
    assert "a.png" in result.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Missing argument"),
        (("a.png",), 2, "Missing argument"),
        (("nowhere.png", "b.png"), 1, "there is no image or folder nowhere.png"),
        (("a.png", "a.png"), 1, "would be overwritten"),
        (("a.png", "b.doc"), 1, "no image format"),
        (("a.png", "b.png", "--tile", "0"), 2, "Invalid value for '--tile'"),
        (("a.png", "b.png", "--weights", "nowhere"), 1, "no weights at nowhere"),
        (("a.png", "b.png", "--weights", "a.png"), 1, "a.png is not a readable safetensors file"),
        (("a.png", "b.png", "--backend", "nonesuch"), 1, "nonesuch"),
        (("bad.png", "b.png"), 1, "bad.png cannot be read as an image"),
    ],
)
def test_mistakes(
    cli: Cli,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("a.png"), 5, 5, 3)
    Path("bad.png").write_text("no")
    before = sorted(p.name for p in tmp_path.iterdir())
    if "--weights" not in arguments:
        arguments += ("--weights", str(weights))
    result = cli("denoise", *arguments)
    assert result.code == code
    assert message in " ".join(result.err.split())
    assert code == 2 or result.err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_missing_kernels_are_reported_once_and_do_not_stop_the_work(
    cli: Cli, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scratchnet import backends
    from scratchnet.backends.cpp import backend as cpp

    monkeypatch.delenv("SCRATCHNET_BACKEND", raising=False)
    monkeypatch.setattr(cpp, "available", lambda: "there is no compiler")
    source, out = save(tmp_path / "a.png", 5, 7, 3), tmp_path / "b.png"
    try:
        backends.registry.generation += 1  # `auto` looks again at who is available
        result = cli("denoise", source, out, "--weights", weights)
        chosen = cli("denoise", source, out, "--weights", weights, "-f", "--backend", "reference")
    finally:
        backends.registry.generation += 1
    assert result.code == chosen.code == 0, result.err
    assert result.err.count("\n") == 1
    assert "C++ kernels are missing (there is no compiler)" in result.err
    assert chosen.err == ""


def test_no_option_is_declared_twice() -> None:
    """Of two options of one name, click takes the later one and forgets the other."""
    from typer.main import get_command

    from scratchnet.cli import app

    for name, command in get_command(app).commands.items():
        names = [opt for parameter in command.params for opt in parameter.opts]
        assert len(names) == len(set(names)), (name, names)
