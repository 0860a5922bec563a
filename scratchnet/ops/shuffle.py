"""Shuffles: channels that become pixels, pixels that become channels, channels in another order.

Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network" (2016), equation 4; for channels Zhang et al., "ShuffleNet" (2017),
section 3.1. Nothing is computed: each is a permutation, and the gradient goes the way back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape


def _copied(x: Tensor, shape: Shape) -> Tensor:
    """Return a copy of this shape: an output shares no memory with an input."""
    return x.clone(memory_format=torch.contiguous_format).view(shape)


# -- pixels ----------------------------------------------------------------------------------------


def _to_pixels(x: Tensor, *, upscale_factor: int) -> tuple[Tensor, None]:
    """y[…, c, i·r + u, j·r + v] = x[…, c·r² + u·r + v, i, j], r being the upscale_factor."""
    r = upscale_factor
    shape = _pixels_shape(x, upscale_factor=r)
    blocks = x.reshape(*x.shape[:-3], shape[-3], r, r, *x.shape[-2:])  # (…, C, r, r, H, W)
    return _copied(blocks.movedim((-4, -3), (-3, -1)), shape), None  # (…, C, H, r, W, r)


def _to_pixels_backward(
    grad_y: Tensor, kept: None, x: Tensor, *, upscale_factor: int, needs: Needs
) -> Gradients:
    """∂L/∂x is ∂L/∂y, each pixel back in the channel that it came from."""
    return (_to_channels(grad_y, downscale_factor=upscale_factor)[0] if needs[0] else None,)


def _to_channels(x: Tensor, *, downscale_factor: int) -> tuple[Tensor, None]:
    """y[…, c·r² + u·r + v, i, j] = x[…, c, i·r + u, j·r + v], r being the downscale_factor."""
    r = downscale_factor
    *lead, c, h, w = x.shape
    blocks = x.reshape(*lead, c, h // r, r, w // r, r).movedim((-3, -1), (-4, -3))
    return _copied(blocks, (*lead, c * r**2, h // r, w // r)), None


def _to_channels_backward(
    grad_y: Tensor, kept: None, x: Tensor, *, downscale_factor: int, needs: Needs
) -> Gradients:
    """∂L/∂x is ∂L/∂y, each channel's pixels back in their place."""
    return (_to_pixels(grad_y, upscale_factor=downscale_factor)[0] if needs[0] else None,)


def _check_rank(op: str, x: Tensor, factor: int) -> None:
    if x.dim() < 3:
        raise ShapeError(f"{op} expects (…, C, H, W), got {x.dim()}-D {tuple(x.shape)}")
    if factor < 1:
        raise ArgumentError(f"{op} expects a factor of at least 1, got {factor}")


def _pixels_shape(x: Tensor, *, upscale_factor: int) -> Shape:
    _check_rank("pixel_shuffle", x, upscale_factor)
    *lead, c, h, w = x.shape
    if c % upscale_factor**2:
        raise ShapeError(
            f"pixel_shuffle expects channels in a number that upscale_factor² = "
            f"{upscale_factor**2} divides, got {tuple(x.shape)}"
        )
    return *lead, c // upscale_factor**2, h * upscale_factor, w * upscale_factor


def _channels_shape(x: Tensor, *, downscale_factor: int) -> Shape:
    _check_rank("pixel_unshuffle", x, downscale_factor)
    *lead, c, h, w = x.shape
    if h % downscale_factor or w % downscale_factor:
        raise ShapeError(
            f"pixel_unshuffle expects a height and width that downscale_factor = "
            f"{downscale_factor} divides, got {tuple(x.shape)}"
        )
    return *lead, c * downscale_factor**2, h // downscale_factor, w // downscale_factor


# -- channels --------------------------------------------------------------------------------------


def _of_groups(x: Tensor, *, groups: int) -> tuple[Tensor, None]:
    """y[n, c·G + g] = x[n, g·C/G + c]: one channel of each group after the other."""
    n, c, *rest = x.shape
    return _copied(x.reshape(n, groups, c // groups, *rest).transpose(1, 2), tuple(x.shape)), None


def _of_groups_backward(
    grad_y: Tensor, kept: None, x: Tensor, *, groups: int, needs: Needs
) -> Gradients:
    """∂L/∂x is ∂L/∂y in the former order: the same with C/G groups."""
    return (_of_groups(grad_y, groups=x.shape[1] // groups)[0] if needs[0] else None,)


def _groups_check(x: Tensor, *, groups: int) -> Shape:
    if x.dim() < 3 or 0 in x.shape[1:]:
        raise ShapeError(
            f"channel_shuffle expects (N, C, …) with at least one channel and pixel, got "
            f"{x.dim()}-D {tuple(x.shape)}"
        )
    if groups < 1:
        raise ArgumentError(f"channel_shuffle expects groups of at least 1, got {groups}")
    if x.shape[1] % groups:
        raise ShapeError(
            f"channel_shuffle expects channels in a number that groups = {groups} divides, got "
            f"{tuple(x.shape)}"
        )
    return tuple(x.shape)


# -- cases -----------------------------------------------------------------------------------------


def _none(x: Tensor, **options: int) -> int:
    return 0


def _shuffled_cases() -> list[Case]:
    two = {"upscale_factor": 2}
    return [
        Case(((1, 4, 1, 1),), two, few=True),
        Case(((0, 4, 3, 2),), two),
        Case(((2, 12, 3, 5),), two, few=True),
        Case(((2, 18, 3, 2),), {"upscale_factor": 3}, few=True),
        Case(((2, 3, 4, 5),), {"upscale_factor": 1}),
        Case(((8, 3, 2),), two),
        Case(((2, 3, 4, 3, 2),), two),
        Case(((3, 68, 9, 11),), two),
        *(Case(((2, 8, 3, 5),), two, layout=layout) for layout in LAYOUTS),
        Case(((2, 6, 3, 5),), two, error="divides"),
        Case(((4, 4),), two, error="(…, C, H, W)"),
        Case(((2, 4, 3, 5),), {"upscale_factor": 0}, error="at least 1"),
        Case(((2, 4, 3, 5),), two, dtypes=(torch.int64,), error="floating-point"),
    ]


def _unshuffled_cases() -> list[Case]:
    two = {"downscale_factor": 2}
    return [
        Case(((1, 1, 2, 2),), two, few=True),
        Case(((0, 3, 4, 2),), two),
        Case(((2, 3, 6, 10),), two, few=True),
        Case(((2, 2, 6, 9),), {"downscale_factor": 3}, few=True),
        Case(((2, 3, 4, 5),), {"downscale_factor": 1}),
        Case(((3, 4, 2),), two),
        Case(((3, 17, 18, 22),), two),
        *(Case(((2, 3, 6, 4),), two, layout=layout) for layout in LAYOUTS),
        Case(((2, 3, 5, 4),), two, error="divides"),
        Case(((4, 4),), two, error="(…, C, H, W)"),
        Case(((2, 4, 4, 4),), {"downscale_factor": 0}, error="at least 1"),
        Case(((2, 4, 4, 4),), two, dtypes=(torch.int64,), error="floating-point"),
    ]


def _grouped_cases() -> list[Case]:
    two = {"groups": 2}
    return [
        Case(((1, 1, 1, 1),), {"groups": 1}, few=True),
        Case(((0, 4, 3, 2),), two),
        Case(((2, 6, 3, 5),), two, few=True),
        Case(((2, 6, 3, 5),), {"groups": 3}, few=True),
        Case(((2, 6, 5),), two),
        Case(((2, 6, 2, 3, 2),), {"groups": 6}),
        Case(((3, 36, 19, 23),), {"groups": 4}),
        *(Case(((2, 8, 3, 5),), two, layout=layout) for layout in LAYOUTS),
        Case(((2, 5, 3, 5),), two, error="divides"),
        Case(((2, 4),), two, error="(N, C, …)"),
        Case(((2, 4, 3, 5),), {"groups": 0}, error="at least 1"),
        Case(((2, 4, 3, 5),), two, dtypes=(torch.int64,), error="floating-point"),
    ]


pixel_shuffle = Op(
    "pixel_shuffle", forward=_to_pixels, backward=_to_pixels_backward, check=_pixels_shape,
    cases=_shuffled_cases, exact=True, multilinear=_none, reads=(),
    twin="scratchnet.testing.oracle.pixel_shuffle",
)  # fmt: skip
pixel_unshuffle = Op(
    "pixel_unshuffle", forward=_to_channels, backward=_to_channels_backward,
    check=_channels_shape, cases=_unshuffled_cases, exact=True, multilinear=_none, reads=(),
    twin="scratchnet.testing.oracle.pixel_unshuffle",
)  # fmt: skip
channel_shuffle = Op(
    "channel_shuffle", forward=_of_groups, backward=_of_groups_backward, check=_groups_check,
    cases=_grouped_cases, exact=True, multilinear=_none, reads=(),
    twin="torch.nn.functional.channel_shuffle",
)  # fmt: skip
