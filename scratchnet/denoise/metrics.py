"""How close two images are: PSNR in both common definitions, and SSIM."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch

EPSILON = 1e-8
"""Added to the mean squared error (on the 0..1 scale): equal images have 80 dB, not infinity."""

_SSIM_WINDOW = 7


@overload
def psnr(
    a: Tensor,
    b: Tensor,
    *,
    peak: float | None = ...,
    reduction: Literal["pooled", "per_image"] = ...,
) -> float: ...


@overload
def psnr(
    a: Tensor, b: Tensor, *, peak: float | None = ..., reduction: Literal["none"]
) -> Tensor: ...


def psnr(
    a: Tensor,
    b: Tensor,
    *,
    peak: float | None = None,
    reduction: Literal["pooled", "per_image", "none"] = "pooled",
) -> float | Tensor:
    """Peak signal-to-noise ratio in dB: −10·log10(mean(((a − b) / peak)²) + 1e-8).

    Two definitions are in use, which differ by tenths of a dB: `pooled` takes the mean of the
    squared error over all images and then the logarithm; `per_image` takes each image's own
    PSNR and then the mean, and so is never lower. The errors are computed in float64.

    Args:
        a: (N, C, H, W) or (C, H, W), floating point or uint8.
        b: As `a`, of the same shape and dtype.
        peak: The value of white. Without it: 255 for uint8, 1 for floating point.
        reduction: `pooled`, `per_image`, or `none` for one value per image.

    Returns:
        A float; with `none` a float64 tensor of shape (N,).

    Raises:
        TypeMismatch: `a` and `b` are no tensors of the same dtype, floating point or uint8.
        ShapeError: They differ in shape, have no 3 or 4 dimensions, or hold nothing to compare.
        ArgumentError: `peak` is not above 0, or `reduction` is unknown.
    """
    _check(a, b)
    if reduction not in ("pooled", "per_image", "none"):
        raise ArgumentError(f"reduction: expected pooled, per_image or none, got {reduction!r}")
    difference = (a.to(torch.float64) - b.to(torch.float64)) / _peak(a, peak)
    squared_error = difference.square().reshape(-1, *difference.shape[-3:])  # (N, C, H, W)
    per_image = squared_error.mean(dim=(1, 2, 3))
    if reduction == "none":
        return _decibel(per_image)
    # Images of a batch are equally large: the mean of their means is the mean over everything.
    pooled = reduction == "pooled"
    return float(_decibel(per_image.mean()) if pooled else _decibel(per_image).mean())


def ssim(a: Tensor, b: Tensor, *, peak: float | None = None) -> float:
    """Mean structural similarity of images, 1 for equal ones; computed by scikit-image.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", 2004, with scikit-image's defaults: a uniform 7x7 window, per channel.

    Args:
        a: (N, C, H, W) or (C, H, W), floating point or uint8, H and W at least 7.
        b: As `a`, of the same shape and dtype.
        peak: The value of white. Without it: 255 for uint8, 1 for floating point.

    Returns:
        The mean over channels and images.

    Raises:
        TypeMismatch: `a` and `b` are no tensors of the same dtype, floating point or uint8.
        ShapeError: They differ in shape, have no 3 or 4 dimensions, or are smaller than the
            window.
        ArgumentError: `peak` is not above 0.
    """
    # Imported here: it brings scipy along, which takes longer to import than scratchnet itself.
    from skimage.metrics import structural_similarity

    _check(a, b)
    if min(a.shape[-2:]) < _SSIM_WINDOW:
        raise ShapeError(
            f"ssim compares windows of {_SSIM_WINDOW}x{_SSIM_WINDOW} pixels, got {tuple(a.shape)}"
        )
    white = _peak(a, peak)
    first, second = (
        x.detach().cpu().to(torch.float64).reshape(-1, *x.shape[-3:]).numpy() for x in (a, b)
    )
    values = [
        structural_similarity(  # type: ignore[no-untyped-call]
            x, y, win_size=_SSIM_WINDOW, channel_axis=0, data_range=white
        )
        for x, y in zip(first, second, strict=True)
    ]
    return float(sum(values) / len(values))


def _decibel(mean_squared_error: Tensor) -> Tensor:
    return -10 * torch.log10(mean_squared_error + EPSILON)


def _peak(images: Tensor, peak: float | None) -> float:
    if peak is None:
        return 255.0 if images.dtype == torch.uint8 else 1.0
    if not peak > 0:
        raise ArgumentError(f"peak: expected the value of white, above 0, got {peak}")
    return float(peak)


def _check(a: Tensor, b: Tensor) -> None:
    for value in (a, b):
        if not isinstance(value, Tensor):
            raise TypeMismatch(f"expected two tensors of images, got {type(value).__name__}")
    if a.dtype != b.dtype or not (a.is_floating_point() or a.dtype == torch.uint8):
        raise TypeMismatch(
            "expected images of one dtype, floating point (0..peak) or uint8 (0-255), "
            f"got {a.dtype} and {b.dtype}"
        )
    if a.shape != b.shape:
        raise ShapeError(
            f"expected images of the same shape, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if a.ndim not in (3, 4) or a.numel() == 0:
        raise ShapeError(
            f"expected at least one image, (N, C, H, W) or (C, H, W), got {tuple(a.shape)}"
        )
