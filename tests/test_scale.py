"""The values that a network sees, and that the image keeps its own."""

from __future__ import annotations

import numpy as np
import pytest

from scratchnet.denoise.denoiser import Denoiser
from scratchnet.denoise.scale import Scale
from scratchnet.errors import DataError
from scratchnet.training import checkpoint


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.full((3, 4), 7, np.uint8), 0, 255),
        ((drawn(9, 7, 3) * 60000 + 5000).astype(np.uint16), 0, 65535),
        (drawn(9, 7, 3).astype(np.float32), 0, 1),
        (np.array([[79, 1197, 500]], np.uint16), 79, 1197),
        (np.array([[-3.5, 20.0]], np.float32), -3.5, 20),
        (np.array([[0.0, 0.25]]), 0, 0.25),
        (np.array([[-(2**31), 2**31 - 1]], np.int32), -(2**31), 2**31 - 1),
        (np.full((3, 4), 300, np.uint16), 300, 301),
        (np.zeros((0, 4), np.float32), 0, 255),
    ],
)
def test_the_scale_follows_dtype_and_range(values: np.ndarray, low: float, high: float) -> None:
    found = Scale.of(values)
    assert found.low == pytest.approx(low, abs=1e-3 * (high - low))
    assert found.high == pytest.approx(high, abs=1e-3 * (high - low))


def test_hot_and_dead_pixels_do_not_stretch_it_and_stay() -> None:
    counts = (drawn(200, 150, 1) * 1000 + 100).astype(np.uint16)
    counts[3, 5], counts[7, 1] = 30000, 0
    scale = Scale.of(counts)
    assert 90 < scale.low < 110
    assert 1090 < scale.high < 1110
    unit, outside = scale.to_unit(counts)
    assert unit.min() == 0
    assert unit.max() == 1
    np.testing.assert_array_equal(scale.from_unit(unit, outside, np.uint16), counts)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match="NaN or infinity"):
        Scale.of(np.array([[0.5, wrong]]))
    with pytest.raises(DataError, match="expected integer or floating-point"):
        Scale.of(np.array([[1j]]))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_a_microscopes_counts_come_back_as_counts_and_cleaner(dtype: type) -> None:
    """Counts of 79 to about 1200, of which a network that divides by 65535 would see nothing."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:96, 0:96]
    clean = 100 + 400 * (1 + np.sin(x / 9) * np.cos(y / 7))
    noisy = np.repeat(clean[..., None], 3, 2) + rng.normal(0, 60, (96, 96, 3))
    noisy = noisy.clip(79).astype(dtype)
    denoiser = Denoiser(checkpoint.load(checkpoint.find_weights(None)))
    after = denoiser.pixels(noisy)
    assert after.dtype == dtype

    def error(image: np.ndarray) -> float:
        return float(np.sqrt(np.mean((image - clean[..., None]) ** 2)))

    assert error(after) < 0.5 * error(noisy)
