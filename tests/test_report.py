from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scratchnet.report.figures import before_after, psnr_curve, sheet


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_the_curve_is_a_image_and_the_same_each_time(tmp_path: Path, epochs: int) -> None:
    values = [20 + 0.01 * i for i in range(epochs)]
    for name in ("a.png", "b.png"):
        psnr_curve(tmp_path / name, range(1, epochs + 1), values, noisy_psnr=20.5, title="t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = read(tmp_path / "a.png")
    assert pixels.shape[0] > 400
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    assert len(list(tmp_path.iterdir())) == 2


def test_a_sheet_shows_every_pixel_of_every_image_in_its_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (name, [rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(3)], ["x"] * 3)
        for name in ("noisy", "clean")
    ]
    sheet(tmp_path / "s.png", rows, cell=80)
    shown = read(tmp_path / "s.png")
    positions = []
    for _, images, _ in rows:
        for image in images:
            enlarged = image.repeat(10, axis=0).repeat(10, axis=1)
            hits = [
                (y, x)
                for y in range(shown.shape[0] - 79)
                for x in range(shown.shape[1] - 79)
                if np.array_equal(shown[y + 5, x + 5 : x + 80 : 10], enlarged[5, 5::10])
                and np.array_equal(shown[y : y + 80, x : x + 80], enlarged)
            ]
            assert len(hits) == 1
            positions += hits
    (a, b, c), (d, e, f) = positions[:3], positions[3:]
    assert a[0] == b[0] == c[0] < d[0] == e[0] == f[0]
    assert a[1] == d[1] < b[1] == e[1] < c[1] == f[1]


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 5, 1), (40, 30, 4), (1000, 700, 3), (3, 900, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_before_and_after_takes_any_image(
    tmp_path: Path, shape: tuple[int, ...], dtype: type
) -> None:
    before = np.zeros(shape, dtype)
    after = np.full(shape, np.iinfo(dtype).max, dtype)
    before_after(tmp_path / "c.png", before, after)
    shown = read(tmp_path / "c.png")
    half = shown.shape[1] // 2
    middle = shown.shape[0] * 3 // 4
    assert (shown[middle, half // 2] == 0).all()
    assert (shown[middle, half + half // 2] == 255).all()
