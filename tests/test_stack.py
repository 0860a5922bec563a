"""TIFF stacks, image by image; and TIFF images that Pillow has no format for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

import scratchnet
from scratchnet.denoise.denoiser import Denoiser, denoise_file
from scratchnet.denoise.jobs import Job
from scratchnet.errors import DataError
from scratchnet.io.imagefile import read_image
from scratchnet.io.stack import open_stack


def values(*shape: int, dtype: type = np.uint16, low: float = 100, high: float = 900) -> np.ndarray:
    drawn = np.random.default_rng(0).random(shape)
    return (drawn * (high - low) + low).astype(dtype)


def identity() -> Denoiser:
    layer = scratchnet.Conv2d(3, 3, 1, bias=False)
    layer.weight.zero_()
    for i in range(3):
        layer.weight[i, i] = 1
    return Denoiser(layer)


def denoised(source: Path, target: Path, denoiser: Denoiser | None = None) -> np.ndarray:
    denoise_file(denoiser or identity(), Job(source, target), compare=True)
    return tifffile.imread(target)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int16])
@pytest.mark.parametrize("shape", [(5, 9, 12), (3, 8, 7, 3), (2, 3, 8, 7)])
def test_a_stack_keeps_its_shape_dtype_and_values(
    tmp_path: Path, dtype: type, shape: tuple[int, ...]
) -> None:
    before = values(*shape, dtype=dtype, low=-5 if dtype == np.float32 else 3, high=200)
    colours = {"photometric": "rgb"} if shape[-1] == 3 else {"photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", before, **colours)
    after = denoised(tmp_path / "a.tif", tmp_path / "b.tif")
    assert after.dtype == dtype
    assert after.shape in (before.shape, (6, 8, 7))  # pages: two axes of images become one
    np.testing.assert_allclose(after, before.reshape(after.shape), rtol=1e-6, atol=1e-4)
    assert (tmp_path / "b-compare.png").exists()


def test_one_scale_serves_all_images(tmp_path: Path) -> None:
    """A dim image of a bright stack is not stretched: the network would see other noise."""
    before = np.stack([np.full((16, 16), 1000), np.full((16, 16), 110)]).astype(np.uint16)
    before[0, 0, 0] = 100
    tifffile.imwrite(tmp_path / "a.tif", before, photometric="minisblack")
    seen: list[float] = []

    class Spy(scratchnet.Module):
        def forward(self, *inputs):  # type: ignore[no-untyped-def]
            seen.append(float(inputs[0].max()))
            self.save()
            return inputs[0]

        def backward(self, *grads):  # type: ignore[no-untyped-def]
            return grads[0]

    denoiser = Denoiser(Spy())
    seen.clear()
    denoised(tmp_path / "a.tif", tmp_path / "b.tif", denoiser)
    assert seen == pytest.approx([1, 10 / 900], abs=1e-6)


def test_metadata_are_kept(tmp_path: Path) -> None:
    before = values(2, 3, 9, 12)
    metadata = {"axes": "TZYX", "PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", before, metadata=metadata, photometric="minisblack")
    denoised(tmp_path / "a.ome.tif", tmp_path / "b.ome.tif")
    with (
        tifffile.TiffFile(tmp_path / "a.ome.tif") as a,
        tifffile.TiffFile(tmp_path / "b.ome.tif") as b,
    ):
        assert b.ome_metadata == a.ome_metadata
        assert b.series[0].axes == "TZYX"
        assert b.series[0].shape == (2, 3, 9, 12)


def test_one_image_of_floats(tmp_path: Path) -> None:
    before = values(9, 12, dtype=np.float32, low=-1, high=3)
    tifffile.imwrite(tmp_path / "a.tif", before)
    after = denoised(tmp_path / "a.tif", tmp_path / "b.tif")
    assert after.dtype == np.float32
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_what_is_no_stack_is_left_to_the_other_reader(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values(9, 12))
    with open_stack(tmp_path / "a.tif") as found:
        assert found is None
    assert read_image(tmp_path / "a.tif").pixels.dtype == np.uint16
    (tmp_path / "text.tif").write_text("no image")
    with open_stack(tmp_path / "text.tif") as found:
        assert found is None


@pytest.mark.parametrize("wrong", ["sizes", "ending", "nan"])
def test_what_cannot_be_kept_is_an_error_and_leaves_nothing(tmp_path: Path, wrong: str) -> None:
    before, target = values(2, 9, 12, dtype=np.float32), tmp_path / "b.tif"
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(before[0])
        if wrong == "nan":
            before[1, 3, 4] = np.nan
        file.write(before[1, :8] if wrong == "sizes" else before[1])
    if wrong == "ending":
        target = tmp_path / "b.png"
    message = {"sizes": "one size and dtype", "ending": "TIFF file only", "nan": "NaN"}[wrong]
    with pytest.raises(DataError, match=message):
        denoise_file(identity(), Job(tmp_path / "a.tif", target))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
