from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scratchnet
from scratchnet import models
from scratchnet.denoise.denoiser import Denoiser, denoise_file
from scratchnet.denoise.jobs import Job, compare_path
from scratchnet.errors import DataError, ScratchnetError
from scratchnet.io.imagefile import read_image


def seeded(name: str, **args: int) -> scratchnet.Module:
    return models.build(name, generator=torch.Generator().manual_seed(0), **args)


def image(height: int, width: int, channels: int, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(height * width)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (23, 31), (40, 24)])
@pytest.mark.parametrize("name", ["residual", "noise2noise"])
def test_any_size_in_tiles_as_in_one_piece(name: str, size: tuple[int, int]) -> None:
    model = seeded(name)
    before = image(*size, 3)
    whole = Denoiser(model, tile=1000).pixels(before)
    tiles = Denoiser(model, tile=8).pixels(before)
    assert whole.shape == before.shape
    # The same but for the rounding of float32, which may tip a value over to the next grey level.
    assert np.abs(whole.astype(int) - tiles.astype(int)).max() <= 1
    assert (whole != tiles).mean() < 0.01


def test_the_result_is_what_the_network_says() -> None:
    model = seeded("residual", channels=4, depth=2)
    before = image(12, 9, 3)
    x = torch.from_numpy(before / np.float32(255)).permute(2, 0, 1)[None]
    wanted = model.eval().forward(x)[0].permute(1, 2, 0).mul(255).round().clamp(0, 255).numpy()
    assert np.abs(Denoiser(model).pixels(before) - wanted).max() <= 1


def identity() -> scratchnet.Module:
    layer = scratchnet.Conv2d(3, 3, 1, bias=False)
    layer.weight.copy_(torch.eye(3)[..., None, None])
    return layer


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_of_image_keeps_kind_and_values(channels: int, dtype: type) -> None:
    before = image(10, 13, channels, dtype)
    after = Denoiser(identity(), tile=4).pixels(before)
    assert after.dtype == dtype
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_passes_through_untouched(channels: int) -> None:
    before = image(10, 13, channels)
    after = Denoiser(seeded("residual")).pixels(before)
    np.testing.assert_array_equal(after[..., -1], before[..., -1])
    assert (after[..., :-1] != before[..., :-1]).any()


def test_weights_in_float64_are_used_as_such() -> None:
    before = image(8, 8, 3)
    np.testing.assert_array_equal(
        Denoiser(identity().to(dtype=torch.float64)).pixels(before), before
    )


def test_progress_adds_up_to_all_pixels() -> None:
    done: list[int] = []
    Denoiser(seeded("noise2noise"), tile=8).pixels(image(17, 30, 3), done.append)
    assert len(done) == 3 * 4
    assert sum(done) == 20 * 32  # with the rim up to multiples of 4


def test_memory_is_bounded_by_the_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    model, largest = seeded("residual", channels=4, depth=2), 0
    denoiser, forward = Denoiser(model, tile=16), model.forward

    def watch(x: torch.Tensor) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, x.numel())
        return forward(x)

    monkeypatch.setattr(model, "forward", watch)
    denoiser.pixels(image(100, 150, 3))
    assert largest == 3 * 20 * 20


def test_tensors_of_any_batch() -> None:
    model = seeded("noise2noise").eval()
    for n in (0, 1, 3):
        x = torch.rand((n, 3, 12, 20))
        out = Denoiser(model, tile=8).tensor(x)
        torch.testing.assert_close(out, model.forward(x), rtol=0, atol=1e-5)
    with pytest.raises(DataError, match=r"multiples of 4, got \(1, 3, 10, 8\)"):
        Denoiser(model).tensor(torch.rand(1, 3, 10, 8))


@pytest.mark.parametrize("size", [(12, 20), (8, 8)])
def test_an_ensemble_is_the_mean_of_all_turned_and_mirrored_images(size: tuple[int, int]) -> None:
    model = seeded("noise2noise").eval()
    x = torch.rand((2, 3, *size))
    ensemble = Denoiser(model, ensemble=True)
    total = torch.zeros_like(x)
    for turns in range(4):
        for mirrored in (x, x.flip(3)):
            y = torch.rot90(model.forward(torch.rot90(mirrored, turns, (2, 3))), -turns, (2, 3))
            total += y if mirrored is x else y.flip(3)
    out = ensemble.tensor(x)
    torch.testing.assert_close(out, total / 8, rtol=0, atol=1e-5)
    assert not torch.allclose(out, Denoiser(model).tensor(x), atol=1e-4)
    tiles = Denoiser(model, tile=8, ensemble=True).tensor(x)
    torch.testing.assert_close(tiles, out, rtol=0, atol=1e-5)


def test_an_ensemble_of_one_that_changes_nothing_changes_nothing() -> None:
    before = image(9, 14, 3)
    np.testing.assert_array_equal(Denoiser(identity(), ensemble=True).pixels(before), before)


def test_a_tile_below_one_pixel_is_refused() -> None:
    with pytest.raises(ScratchnetError, match="tile must be at least 1"):
        Denoiser(identity(), tile=0)


def test_a_file_with_a_image_of_before_and_after(tmp_path: Path) -> None:
    Image.fromarray(image(20, 30, 3)).save(tmp_path / "a.png")
    job = Job(tmp_path / "a.png", tmp_path / "out" / "b.png")
    shares: list[float] = []
    denoise_file(Denoiser(identity(), tile=8), job, compare=True, on_share=shares.append)
    np.testing.assert_array_equal(read_image(job.target).pixels, read_image(job.source).pixels)
    assert compare_path(job.target).name == "b-compare.png"
    assert sorted(p.name for p in job.target.parent.iterdir()) == ["b-compare.png", "b.png"]
    assert sum(shares) == pytest.approx(1)
