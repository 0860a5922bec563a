"""Interpolation: an image resampled to another size.

Along each axis an output position is a place on the input's axis, and takes a weighted sum of the
pixels (taps) next to it: a linear map, with few entries in each row of its matrix. Source: the
documentation of torch.nn.Upsample; for ``bicubic`` Keys, "Cubic Convolution Interpolation for
Digital Image Processing" (1981), equation 15, with a = −3/4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.extension import channels_last, extension, how, new_images, supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape

RANKS = {
    "nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "linear": (1,), "bilinear": (2,),
    "bicubic": (2,), "trilinear": (3,),
}  # fmt: skip
"""{mode: how many axes the image may have}"""

Scale = tuple[float | None, ...]


@lru_cache(maxsize=256)
def _taps(
    mode: str, size: int, out: int, align_corners: bool, scale: float | None
) -> tuple[Tensor, Tensor]:
    """Return which of the ``size`` pixels each of the ``out`` positions sees, and their weights:
    (out, taps) whole numbers, and (out, taps) float64.
    """
    position = torch.arange(out, dtype=torch.float64)
    if align_corners:  # the first and the last pixel stay where they are
        place = position * ((size - 1) / (out - 1) if out > 1 else 0.0)
    else:  # pixels are squares, and the image keeps its outline
        step = 1 / scale if scale else size / out
        place = (position if mode == "nearest" else position + 0.5) * step
    if mode.startswith("nearest"):
        # a place that is whole but for rounding is meant to be whole
        index = place.float().floor().long().clamp(max=size - 1).unsqueeze(1)
        return index, torch.ones(out, 1, dtype=torch.float64)
    if not align_corners:
        place = place - 0.5
    if mode == "bicubic":
        first, taps = place.floor(), torch.arange(-1, 3)
        weight = _cubic((first.unsqueeze(1) + taps - place.unsqueeze(1)).abs())
    else:
        place = place.clamp(min=0)
        first, taps = place.floor().clamp(max=size - 1), torch.arange(2)
        share = (place - first).clamp(max=1)
        weight = torch.stack([1 - share, share], 1)
    return (first.long().unsqueeze(1) + taps).clamp(0, size - 1), weight


def _cubic(distance: Tensor) -> Tensor:
    """Keys' kernel: (a+2)·d³ − (a+3)·d² + 1 up to d = 1, a·(d³ − 5d² + 8d − 4) up to 2."""
    a, d = -0.75, distance
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return near.where(d <= 1, far.where(d < 2, torch.zeros_like(d)))


def _axes(
    x: Tensor, size: Shape, mode: str, align_corners: bool, scale: Scale | None
) -> list[tuple[int, Tensor, Tensor]]:
    """Return (axis, pixels seen, their weights) for each axis of the image."""
    scales = scale or (None,) * len(size)
    found = []
    for axis, (out, by) in enumerate(zip(size, scales, strict=True), start=2):
        index, weight = _taps(mode, x.shape[axis], out, align_corners, by)
        found.append((axis, index.to(x.device), weight.to(x)))
    return found


def _forward(
    x: Tensor,
    *,
    size: Shape,
    mode: str = "nearest",
    align_corners: bool = False,
    scale: Scale | None = None,
) -> tuple[Tensor, None]:
    """y[…, i, …] = Σ_t weight[i, t] · x[…, pixel(i, t), …], along one axis after the other.

    ``size`` is the output's; positions are ``scale`` apart where it is given (by axis), else as far
    as both sizes say; with ``align_corners`` the centres of the corner pixels meet.
    """
    y = x
    for axis, index, weight in _axes(x, size, mode, align_corners, scale):
        seen, y = y, x.new_zeros(())
        for i, w in zip(index.unbind(1), weight.unbind(1), strict=True):
            y = y + seen.index_select(axis, i) * _along(axis, w, x)
    return y, None


def _backward(
    grad_y: Tensor, kept: None, x: Tensor, *, size: Shape, mode: str, align_corners: bool,
    scale: Scale | None, needs: Needs,
) -> Gradients:  # fmt: skip
    """∂L/∂x[j] = Σ of weight[i, t] · ∂L/∂y[i] over all i and t with pixel(i, t) = j."""
    if not needs[0]:
        return (None,)
    grad = grad_y
    for axis, index, weight in reversed(_axes(x, size, mode, align_corners, scale)):
        shape = (*grad.shape[:axis], x.shape[axis], *grad.shape[axis + 1 :])
        total = grad.new_zeros(shape)
        for i, w in zip(index.unbind(1), weight.unbind(1), strict=True):
            total.index_add_(axis, i, grad * _along(axis, w, x))
        grad = total
    return (grad,)


def _along(axis: int, values: Tensor, x: Tensor) -> Tensor:
    """Return ``values``, one for each place on this axis, in a shape that meets x's."""
    return values.view(-1, *[1] * (x.dim() - 1 - axis))


def _check(x: Tensor, *, size: Shape, mode: str, align_corners: bool, scale: Scale | None) -> Shape:
    if mode not in RANKS:
        raise ArgumentError(
            f"interpolate expects mode to be one of {', '.join(RANKS)}; got {mode!r}"
        )
    if x.dim() - 2 not in RANKS[mode]:
        ranks = " or ".join(f"{rank + 2}-D" for rank in RANKS[mode])
        raise ShapeError(
            f"interpolate with mode={mode!r} expects x to be {ranks} (N, C, ...), got "
            f"{x.dim()}-D {tuple(x.shape)}"
        )
    if align_corners and mode.startswith("nearest"):
        raise ArgumentError(f"interpolate with mode={mode!r} has no align_corners")
    if len(size) != x.dim() - 2 or min(size) < 1:
        raise ArgumentError(
            f"interpolate expects size to be {x.dim() - 2} numbers of at least 1, got {size}"
        )
    if scale is not None and (
        len(scale) != len(size) or any(s is not None and s <= 0 for s in scale)
    ):
        raise ArgumentError(
            f"interpolate expects scale to be {len(size)} numbers above 0 (or None), got {scale}"
        )
    if 0 in x.shape[1:]:
        raise ShapeError(
            f"interpolate expects at least one channel and pixel, got {tuple(x.shape)}"
        )
    return (*x.shape[:2], *size)


def _cases() -> list[Case]:
    plane: list[dict[str, Any]] = [
        {"size": (14, 10), "mode": "bilinear"},
        {"size": (14, 10), "mode": "bilinear", "align_corners": True},
        {"size": (5, 11), "mode": "bilinear"},
        {"size": (3, 2), "mode": "bilinear", "align_corners": True},
        {"size": (10, 7), "mode": "bilinear", "scale": (1.5, 1.4)},
        {"size": (14, 10), "mode": "bicubic"},
        {"size": (4, 9), "mode": "bicubic", "align_corners": True},
        {"size": (9, 13), "mode": "bicubic", "scale": (1.3, None)},
        {"size": (14, 10)},
        {"size": (3, 8)},
        {"size": (17, 2), "mode": "nearest-exact"},
        {"size": (10, 6), "scale": (1.5, 1.3)},
        {"size": (1, 1), "mode": "bilinear", "align_corners": True},
        {"size": (7, 5), "mode": "bicubic"},
    ]
    few = {0, 3, 6, 10}
    line: dict[str, Any] = {"size": (9,), "mode": "linear"}
    volume: dict[str, Any] = {"size": (3, 8, 5), "mode": "trilinear"}
    wide = {"size": (37, 58), "mode": "bilinear"}
    return [
        Case(((1, 1, 1, 1),), {"size": (3, 2), "mode": "bilinear"}),
        Case(((1, 1, 1, 1),), {"size": (2, 5), "mode": "bicubic"}),
        Case(((0, 3, 4, 5),), {"size": (7, 5), "mode": "bilinear"}),
        *(Case(((2, 3, 7, 5),), options, few=i in few) for i, options in enumerate(plane)),
        *(Case(((2, 3, 8, 6),), plane[0], layout=layout) for layout in LAYOUTS),
        *(Case(((2, 3, 8, 6),), plane[6], layout=layout) for layout in LAYOUTS[1:3]),
        *(Case(((2, 3, 5),), {**line, **more}) for more in ({}, {"align_corners": True})),
        *(Case(((2, 3, 5),), {"size": (n,), "mode": "nearest"}) for n in (2, 10)),
        *(Case(((2, 3, 4, 5, 3),), {**volume, **more}) for more in ({}, {"align_corners": True})),
        Case(((2, 3, 4, 5, 3),), {"size": (8, 3, 3), "mode": "nearest-exact"}),
        Case(((3, 17, 19, 29),), wide),
        Case(((3, 17, 19, 29),), {**wide, "mode": "bicubic"}),
        Case(((2, 3, 4, 5),), {"size": (2, 2), "mode": "lanczos"}, error="mode to be one of"),
        Case(((2, 3, 4),), {"size": (2,), "mode": "bilinear"}, error="expects x to be 4-D"),
        Case(((2, 3, 4, 5),), {"size": (2, 2), "align_corners": True}, error="no align_corners"),
        Case(((2, 3, 4, 5),), {"size": (2,)}, error="2 numbers of at least 1"),
        Case(((2, 3, 4, 5),), {"size": (2, 0)}, error="2 numbers of at least 1"),
        Case(((2, 3, 4, 5),), {"size": (2, 2), "scale": (1.0, -1.0)}, error="numbers above 0"),
        Case(((2, 3, 0, 5),), {"size": (2, 2)}, error="at least one channel and pixel"),
        Case(((2, 3, 4, 5),), {"size": (2, 2)}, dtypes=(torch.int64,), error="floating-point"),
    ]


interpolate = Op(
    "interpolate", forward=_forward, backward=_backward, check=_check, cases=_cases,
    reads=(), twin="scratchnet.testing.oracle.interpolate",
)  # fmt: skip


# -- in C++ ----------------------------------------------------------------------------------------

Matrix = tuple[Tensor, Tensor, Tensor]
"""Where the taps of each place begin; the pixels that they see; their weights."""


@lru_cache(maxsize=256)
def _matrix(
    mode: str, size: int, out: int, align_corners: bool, scale: float | None, dtype: torch.dtype,
    transposed: bool,
) -> Matrix:  # fmt: skip
    """Return the map from an axis of ``size`` pixels to one of ``out``, or the adjoint of that."""
    index, weight = _taps(mode, size, out, align_corners, scale)
    places = torch.arange(out).unsqueeze(1).expand_as(index).flatten()
    pixels, weights = index.flatten(), weight.flatten()
    if transposed:
        order = pixels.argsort(stable=True)
        places, pixels, weights, out = pixels[order], places[order], weights[order], size
    starts = torch.cat([places.new_zeros(1), places.bincount(minlength=out).cumsum(0)])
    return starts, pixels.contiguous(), weights.to(dtype)


def _matrices(
    x: Tensor, size: Shape, mode: str, align_corners: bool, scale: Scale | None, transposed: bool
) -> list[Matrix]:
    scales = scale or (None,) * len(size)
    return [
        _matrix(mode, n, out, align_corners, by, x.dtype, transposed)
        for n, out, by in zip(x.shape[2:], size, scales, strict=True)
    ]


def _mapped(x: Tensor, *axes: Matrix) -> Tensor:
    """Return x with a map applied along each axis of its images."""
    if len(axes) == 1:  # a sequence is an image of one row
        return _mapped(x.unsqueeze(2), _same(x.dtype), *axes).squeeze(2)
    if len(axes) == 2:
        sizes = [len(starts) - 1 for starts, _, _ in axes]
        y = new_images(x, (*x.shape[:2], *sizes))
        extension().interpolate(channels_last(x), y, *axes)
        return y
    n, c, d = x.shape[:3]  # frame by frame, and then a frame's pixels are channels
    frames = _mapped(x.movedim(1, 4).flatten(0, 1).movedim(3, 1), *axes[1:])
    h, w = frames.shape[2:]
    pixels = frames.movedim(1, 3).reshape(n, d, h * w * c, 1).transpose(1, 2)
    y = _mapped(pixels, axes[0], _same(x.dtype))  # (N, H·W·C, D, 1)
    return y.transpose(1, 2).reshape(n, y.shape[2], h, w, c).movedim(4, 1)


@lru_cache(maxsize=2)
def _same(dtype: torch.dtype) -> Matrix:
    """Return the map of one pixel to itself."""
    return _matrix("nearest", 1, 1, False, None, dtype, False)


def _forward_in_cpp(x: Tensor, **options: Any) -> tuple[Tensor, None]:
    return _mapped(x, *_matrices(x, **options, transposed=False)), None


def _backward_in_cpp(
    grad_y: Tensor, kept: None, x: Tensor, *, needs: Needs, **options: Any
) -> Gradients:
    return (_mapped(grad_y, *_matrices(x, **options, transposed=True)) if needs[0] else None,)


interpolate.implement(
    "cpp", forward=_forward_in_cpp, backward=_backward_in_cpp, supports=supports, how=how
)
