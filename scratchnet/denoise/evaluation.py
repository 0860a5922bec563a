"""How good a denoiser is, compared with the noisy input and classical denoisers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scratchnet.data import NoisyPairs, to_float, to_uint8
from scratchnet.denoise.classical import classical_denoisers
from scratchnet.denoise.ensemble import self_ensemble
from scratchnet.denoise.metrics import EPSILON, psnr, ssim
from scratchnet.layers.module import Module
from scratchnet.report.figures import Pixels, sheet

Method = Callable[[Tensor], Tensor]
"""From noisy images, uint8 (N, 3, H, W), to denoised ones: uint8, or floating point in 0..1."""

NOISY = "noisy input"

_PIXELS_A_BATCH = 128 * 32 * 32
_SMALLEST_FOR_SSIM = 7


@dataclass(frozen=True)
class Scores:
    """How close images are to their target.

    Attributes:
        psnr: in dB, pooled: −10·log10 of the mean squared error over everything.
        psnr_per_image: in dB, the mean of the images' own.
        ssim: structural similarity, at most 1; None where it was not asked for or the images are
            below 7x7.
    """

    psnr: float
    psnr_per_image: float
    ssim: float | None = None


def as_method(
    model: Module, dtype: torch.dtype = torch.float32, *, ensemble: bool = False
) -> Method:
    """A network as a :data:`Method`: images go in as 0..1, what comes out is clipped to that.

    With ``ensemble`` it is the mean over all ways to mirror and turn the images.
    """
    forward = self_ensemble(model.forward) if ensemble else model.forward

    def denoise(noisy: Tensor) -> Tensor:
        return forward(to_float(noisy).to(dtype)).clamp(0, 1)

    return denoise


def score(
    model: Module, noisy: Tensor, target: Tensor, *, dtype: torch.dtype = torch.float32
) -> Scores:
    """PSNR of a network's output, in bounded batches; it is in eval mode afterwards.

    Args:
        model: maps (N, 3, H, W) in 0..1 to the same shape.
        noisy: uint8 (N, 3, H, W), what goes in.
        target: uint8 (N, 3, H, W), what should come out.
        dtype: that of the model's weights.
    """
    model.eval()
    return score_method(as_method(model, dtype), noisy, target)


def score_noisy(data: NoisyPairs) -> Scores:
    """PSNR of the noisy validation images themselves: what any denoiser must beat."""
    return score_method(lambda noisy: noisy, data.val_noisy, data.val_target)


def score_method(
    method: Method, noisy: Tensor, target: Tensor, *, with_ssim: bool = False
) -> Scores:
    """PSNR, and SSIM if asked for, of a method's output, in batches of bounded size."""
    batches = _score_batches(method, noisy, target, with_ssim=with_ssim)
    per_batch, similarities, weights = zip(*batches, strict=True)
    per_image = torch.cat(per_batch)
    # Every image's mean squared error, from the definition of its PSNR, and their mean.
    error = (10 ** (-per_image / 10) - EPSILON).clamp(min=0).mean()
    pooled = -10 * torch.log10(error + EPSILON)
    mean_ssim = None
    if with_ssim and None not in similarities:
        mean_ssim = sum(s * w for s, w in zip(similarities, weights, strict=True)) / sum(weights)
    return Scores(float(pooled), float(per_image.mean()), mean_ssim)


def _score_batches(
    method: Method, noisy: Tensor, target: Tensor, *, with_ssim: bool
) -> Iterator[tuple[Tensor, float | None, int]]:
    height, width = noisy.shape[-2:]
    size = max(1, _PIXELS_A_BATCH // (height * width))
    with_ssim = with_ssim and min(height, width) >= _SMALLEST_FOR_SSIM
    for some, wanted in zip(torch.split(noisy, size), torch.split(target, size), strict=True):
        out = method(some)
        want = wanted if out.dtype == torch.uint8 else to_float(wanted).to(out.dtype)
        similarity = ssim(out, want) if with_ssim else None
        yield psnr(out, want, reduction="none"), similarity, len(some)


def all_methods(
    model: Module, name: str, dtype: torch.dtype = torch.float32, *, ensemble: bool = False
) -> dict[str, Method]:
    """The noisy input, the network under ``name``, and the classical denoisers.

    With ``ensemble`` the network a second time, as the mean over all ways to mirror and turn the
    images.
    """
    model.eval()
    return {
        NOISY: lambda noisy: noisy,
        name: as_method(model, dtype),
        **({f"{name}, self-ensemble": as_method(model, dtype, ensemble=True)} if ensemble else {}),
        **{key.replace("_", " "): value for key, value in classical_denoisers().items()},
    }


def evaluate(methods: dict[str, Method], data: NoisyPairs) -> Iterator[tuple[str, Scores]]:
    """Score methods on the validation images of ``data``, one by one.

    Returns:
        An iterator of (name, scores), SSIM included; each ``next`` does one method.
    """
    for name, method in methods.items():
        yield name, score_method(method, data.val_noisy, data.val_target, with_ssim=True)


def sample_sheet(
    path: str | Path,
    data: NoisyPairs,
    methods: dict[str, Method],
    *,
    columns: int = 8,
    title: str = "",
) -> None:
    """Save a sheet of validation images: a row for each method, then clean, with PSNRs.

    Args:
        path: the PNG file to write.
        data: whose validation images to show; evenly spaced ones.
        methods: a row for each.
        columns: how many images.
        title: a line above all.
    """
    count = len(data.val_noisy)
    chosen = torch.linspace(0, count - 1, min(columns, count)).round().long()
    noisy, target = data.val_noisy[chosen], data.val_target[chosen]
    rows: list[tuple[str, Sequence[Pixels], Sequence[str]]] = []
    for name, method in methods.items():
        out = method(noisy)
        shown = out if out.dtype == torch.uint8 else to_uint8(out)
        values = psnr(shown, target, reduction="none").tolist()
        rows.append((name, _pixels(shown), [f"{value:.1f} dB" for value in values]))
    last = "clean" if data.val_is_clean else "second noisy"
    rows.append((last, _pixels(target), [""] * len(chosen)))
    sheet(path, rows, title=title)


def _pixels(images: Tensor) -> list[Pixels]:
    return list(images.permute(0, 2, 3, 1).numpy())
