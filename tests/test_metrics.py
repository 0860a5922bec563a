from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from scratchnet.denoise.metrics import psnr, ssim
from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch


def floats(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def test_psnr_by_hand() -> None:
    a, b = torch.zeros(2, 1, 1, 2), torch.zeros(2, 1, 1, 2)
    b[0] += 0.1  # mean squared error 0.01: 20 dB
    b[1] += 1.0  # 1: 0 dB
    assert psnr(a, b, reduction="none").tolist() == pytest.approx([20, 0], abs=1e-5)
    assert psnr(a, b, reduction="per_image") == pytest.approx(10, abs=1e-5)
    assert psnr(a, b) == pytest.approx(-10 * math.log10(0.505), abs=1e-5)


def test_equal_images_have_80_db() -> None:
    a = floats(2, 3, 4, 4)
    assert psnr(a, a.clone()) == pytest.approx(80)
    assert psnr(levels(2, 3, 4, 4), levels(2, 3, 4, 4)) == pytest.approx(80)


def test_8_bit_errors_do_not_wrap() -> None:
    black, white = torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.full((1, 3, 2, 2), 255)
    assert psnr(black, white.to(torch.uint8)) == pytest.approx(0, abs=1e-6)
    assert psnr(white.to(torch.uint8), black) == pytest.approx(0, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_psnr_against_scikit_image(n: int, h: int, w: int, seed: int) -> None:
    a, b = levels(n, 3, h, w, seed=seed), levels(n, 3, h, w, seed=seed + 1)
    expected = [
        peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=255)
        for x, y in zip(a, b, strict=True)
    ]
    assert psnr(a, b, reduction="none").tolist() == pytest.approx(expected, abs=1e-5)
    assert psnr(a, b, reduction="per_image") == pytest.approx(np.mean(expected), abs=1e-5)
    assert psnr(a, b) == pytest.approx(
        peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=255), abs=1e-5
    )
    assert psnr(a, b, reduction="per_image") >= psnr(a, b) - 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_scale_does_not_matter_with_its_peak(dtype: torch.dtype) -> None:
    a, b = levels(2, 3, 5, 7), levels(2, 3, 5, 7, seed=1)
    expected = psnr(a, b)
    assert psnr(a.to(dtype), b.to(dtype), peak=255) == pytest.approx(expected)
    assert psnr(a.to(dtype) / 255, b.to(dtype) / 255) == pytest.approx(expected, abs=1e-4)


def test_one_image_needs_no_batch_axis() -> None:
    a, b = floats(3, 5, 4), floats(3, 5, 4, seed=1)
    assert psnr(a, b) == psnr(a[None], b[None])
    assert psnr(a, b, reduction="none").shape == (1,)


def test_memory_layout_does_not_matter() -> None:
    a, b = floats(2, 3, 8, 8), floats(2, 3, 8, 8, seed=1)
    last = a.to(memory_format=torch.channels_last)
    assert psnr(last, b) == pytest.approx(psnr(a, b), abs=1e-12)
    assert ssim(last, b) == pytest.approx(ssim(a, b), abs=1e-12)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_what_cannot_be_compared_is_refused(metric: object) -> None:
    assert callable(metric)
    a = floats(2, 3, 8, 8)
    with pytest.raises(ShapeError, match=r"\(2, 3, 8, 8\) and \(1, 3, 8, 8\)"):
        metric(a, a[:1])
    with pytest.raises(TypeMismatch, match=r"float64 and torch\.float32"):
        metric(a, a.float())
    with pytest.raises(TypeMismatch, match=r"float64 and torch\.uint8"):
        metric(a, levels(2, 3, 8, 8))
    with pytest.raises(TypeMismatch, match="int64"):
        metric(a.long(), a.long())
    with pytest.raises(TypeMismatch, match="ndarray"):
        metric(a.numpy(), a)
    with pytest.raises(ShapeError, match=r"at least one image.*\(0, 3, 8, 8\)"):
        metric(a[:0], a[:0])
    with pytest.raises(ShapeError, match=r"got \(8, 8\)"):
        metric(a[0, 0], a[0, 0])
    with pytest.raises(ArgumentError, match=r"peak.*above 0, got 0"):
        metric(a, a, peak=0)


def test_an_unknown_reduction_is_refused() -> None:
    a = floats(1, 3, 2, 2)
    with pytest.raises(ArgumentError, match="pooled, per_image or none, got 'mean'"):
        psnr(a, a, reduction="mean")  # type: ignore[call-overload]


@pytest.mark.parametrize(("h", "w"), [(7, 7), (11, 8), (32, 32)])
def test_ssim_against_scikit_image_on_each_image(h: int, w: int) -> None:
    a = levels(2, 3, h, w)
    b = (a.int() + levels(2, 3, h, w, seed=1).int() // 4).clamp(max=255).to(torch.uint8)
    expected = [
        structural_similarity(
            x.permute(1, 2, 0).numpy(), y.permute(1, 2, 0).numpy(), channel_axis=-1, data_range=255
        )
        for x, y in zip(a, b, strict=True)
    ]
    assert ssim(a, b) == pytest.approx(np.mean(expected), abs=1e-9)
    assert ssim(a[0], b[0]) == pytest.approx(expected[0], abs=1e-9)
    assert ssim(a.double() / 255, b.double() / 255) == pytest.approx(np.mean(expected), abs=1e-9)


def test_ssim_of_equal_images_is_one_and_falls_with_noise() -> None:
    a = floats(1, 3, 16, 16)
    little, much = a + 0.05 * floats(1, 3, 16, 16, seed=1), floats(1, 3, 16, 16, seed=2)
    assert ssim(a, a.clone()) == pytest.approx(1)
    assert 1 > ssim(a, little) > ssim(a, much)


def test_ssim_needs_room_for_its_window() -> None:
    small = floats(1, 3, 6, 9)
    with pytest.raises(ShapeError, match=r"7x7 pixels, got \(1, 3, 6, 9\)"):
        ssim(small, small)
