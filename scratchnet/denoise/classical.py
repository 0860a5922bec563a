"""Two classical denoisers of scikit-image: what a network must beat to be worth its training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scratchnet.errors import ShapeError, TypeMismatch

Floats = NDArray[np.float64]


def classical_denoisers() -> dict[str, Callable[[Tensor], Tensor]]:
    """Denoisers by name; each estimates the strength of the noise from the image itself.

    `nl_means` is non-local means (Buades, Coll and Morel, 2005), `tv_chambolle` minimises the
    total variation (Chambolle, 2004); both are scikit-image's.

    Returns:
        Functions from noisy to denoised images, uint8 (N, 3, H, W) both. They raise
        `TypeMismatch` for another dtype and `ShapeError` for another shape.
    """
    return {"nl_means": _batched(_nl_means), "tv_chambolle": _batched(_tv_chambolle)}


def estimate_sigma(image: Floats) -> float:
    """Standard deviation of white noise in an image (H, W, 3), on its scale, mean over channels.

    The median of the absolute diagonal differences (x₀₀ − x₀₁ − x₁₀ + x₁₁)/2 of all 2x2 squares,
    over 0.6745: the finest diagonal Haar wavelet coefficients, in which an image's own content
    is rare (Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage", 1994). 0 for
    images less than 2 pixels wide or high.
    """
    diagonal = (image[:-1, :-1] - image[:-1, 1:] - image[1:, :-1] + image[1:, 1:]) / 2
    if diagonal.size == 0:
        return 0.0
    return float(np.median(np.abs(diagonal), axis=(0, 1)).mean() / 0.6745)


def _batched(denoise: Callable[[Floats, float], Floats]) -> Callable[[Tensor], Tensor]:
    def denoise_batch(noisy: Tensor) -> Tensor:
        if not isinstance(noisy, Tensor) or noisy.dtype != torch.uint8:
            came = noisy.dtype if isinstance(noisy, Tensor) else type(noisy).__name__
            raise TypeMismatch(f"expected a uint8 tensor of images (values 0-255), got {came}")
        if noisy.ndim != 4 or noisy.shape[1] != 3:
            raise ShapeError(f"expected images of shape (N, 3, H, W), got {tuple(noisy.shape)}")
        out = torch.empty_like(noisy, memory_format=torch.contiguous_format)
        for i, image in enumerate(noisy.permute(0, 2, 3, 1).cpu().numpy() / 255.0):  # (H, W, 3)
            sigma = estimate_sigma(image)
            clean = denoise(image, sigma) if sigma > 0 else image
            grey_levels = (clean * 255).round().clip(0, 255).astype(np.uint8)
            out[i] = torch.from_numpy(grey_levels).permute(2, 0, 1)
        return out

    return denoise_batch


# scikit-image is imported where it is used: it takes longer to import than the rest of scratchnet.


def _nl_means(image: Floats, sigma: float) -> Floats:
    from skimage.restoration import denoise_nl_means

    denoised: Floats = denoise_nl_means(
        image, h=0.8 * sigma, sigma=sigma, patch_size=5, patch_distance=6, channel_axis=-1
    )
    return denoised


def _tv_chambolle(image: Floats, sigma: float) -> Floats:
    from skimage.restoration import denoise_tv_chambolle

    denoised: Floats = denoise_tv_chambolle(  # type: ignore[no-untyped-call]
        image, weight=0.8 * sigma, channel_axis=-1
    )
    return denoised
