"""Pooling: the largest or the mean value of a window that slides over the image.

Source: torch.nn.MaxPool2d's and AvgPool2d's documentation. Stride, padding and dilation are
(vertical, horizontal).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import fold, unfold

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.extension import channels_last, extension, how, new_images, supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape, check_rank
from scratchnet.ops.window import Pair, output_size, sides


def _windows(x: Tensor, kernel_size: Pair, dilation: Pair, padding: Pair, stride: Pair) -> Tensor:
    """Return the windows as columns: (N, C, H, W) -> (N, C·K, L) -> (N, C, K, L)."""
    columns: Tensor = unfold(x, kernel_size, dilation, padding, stride)
    taps = kernel_size[0] * kernel_size[1]
    return columns.view(x.shape[0], x.shape[1], taps, columns.shape[-1])


def _output(x: Tensor, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    return output_size("pooling", sides(x), kernel_size, stride, padding, dilation)


def _max(
    x: Tensor,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> tuple[Tensor, Tensor]:
    """y = the largest value of each window, padding being −∞; kept is its index there, (N, C, L).

    Of equal values it is the first, row by row.
    """
    pad = (padding[1], padding[1], padding[0], padding[0])
    padded = torch.constant_pad_nd(x, pad, -torch.inf)
    windows = _windows(padded, kernel_size, dilation, (0, 0), stride)
    y, index = windows.max(2)
    size = _output(x, kernel_size, stride, padding, dilation)
    return y.view(*x.shape[:2], *size), index


def _max_backward(
    grad_y: Tensor,
    index: Tensor,
    x: Tensor,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    needs: Needs,
) -> Gradients:
    """∂L/∂x = Σ over the windows in which x is the largest, of ∂L/∂y."""
    if not needs[0]:
        return (None,)
    n, c = x.shape[:2]
    columns = grad_y.new_zeros(n, c, kernel_size[0] * kernel_size[1], index.shape[-1])
    columns.scatter_(2, index.unsqueeze(2), grad_y.flatten(2).unsqueeze(2))
    return (fold(columns.flatten(1, 2), sides(x), kernel_size, dilation, padding, stride),)


def _check(
    x: Tensor, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1),
) -> Shape:  # fmt: skip
    check_rank("pooling", "x", x, "N, C, H, W")
    size = _output(x, kernel_size, stride, padding, dilation)
    if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
        raise ArgumentError(
            f"pooling expects a padding of at most half the kernel, got {padding} for {kernel_size}"
        )
    if 0 in x.shape[1:]:
        raise ShapeError(f"pooling expects at least one channel and pixel, got {tuple(x.shape)}")
    return x.shape[0], x.shape[1], *size


def _average(
    x: Tensor,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Tensor, None]:
    """y = the sum of each window ÷ the number of its values (those of the padding, which are 0,
    among them if ``count_include_pad``), or ÷ ``divisor_override``.
    """
    windows = _windows(x, kernel_size, (1, 1), padding, stride)
    y = windows.sum(2) / _counts(
        x, kernel_size, stride, padding, count_include_pad, divisor_override
    )
    return y.view(*x.shape[:2], *_output(x, kernel_size, stride, padding, (1, 1))), None


def _average_backward(
    grad_y: Tensor,
    kept: None,
    x: Tensor,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: bool,
    divisor_override: int | None,
    needs: Needs,
) -> Gradients:
    """∂L/∂x = Σ over the windows that hold x, of ∂L/∂y ÷ what that window is divided by."""
    if not needs[0]:
        return (None,)
    n, c = x.shape[:2]
    shares = grad_y.flatten(2) / _counts(
        x, kernel_size, stride, padding, count_include_pad, divisor_override
    )
    columns = shares.unsqueeze(2).expand(n, c, kernel_size[0] * kernel_size[1], shares.shape[-1])
    return (fold(columns.flatten(1, 2), sides(x), kernel_size, (1, 1), padding, stride),)


def _counts(
    x: Tensor, kernel_size: Pair, stride: Pair, padding: Pair, include_pad: bool,
    override: int | None,
) -> Tensor | int:  # fmt: skip
    """Return what each window is divided by, (L,)."""
    if override is not None:
        return override
    if include_pad:
        return kernel_size[0] * kernel_size[1]
    ones = x.new_ones(1, 1, *sides(x))
    return _windows(ones, kernel_size, (1, 1), padding, stride).sum((0, 1, 2))


def _average_check(
    x: Tensor, *, kernel_size: Pair, stride: Pair, padding: Pair, count_include_pad: bool,
    divisor_override: int | None,
) -> Shape:  # fmt: skip
    if divisor_override == 0:
        raise ArgumentError("avg_pool2d expects a divisor_override that is not 0")
    return _check(x, kernel_size=kernel_size, stride=stride, padding=padding)


def _average_terms(x: Tensor, *, kernel_size: Pair, **options: object) -> int:
    return kernel_size[0] * kernel_size[1]


_GEOMETRIES = [
    {"kernel_size": (1, 1), "stride": (1, 1)},
    {"kernel_size": (2, 2), "stride": (2, 2)},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0)},
    {"kernel_size": (2, 3), "stride": (3, 3), "padding": (1, 1)},
    {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1)},
    {"kernel_size": (5, 4), "stride": (1, 2), "padding": (0, 2)},
]
_MALFORMED = [
    Case(((3, 4, 5),), _GEOMETRIES[1], error="N, C, H, W"),
    Case(((2, 3, 1, 5),), _GEOMETRIES[1], error="smaller than"),
    Case(((2, 3, 4, 5),), {"kernel_size": (2, 2), "stride": (0, 1)}, error="at least 1"),
    Case(((2, 3, 4, 5),), {**_GEOMETRIES[1], "padding": (2, 0)}, error="half the kernel"),
    Case(((2, 3, 4, 5),), _GEOMETRIES[1], dtypes=(torch.int64,), error="floating-point"),
]


def _cases(*more: dict[str, object]) -> list[Case]:
    return [
        Case(((1, 1, 1, 1),), _GEOMETRIES[0], few=True),
        Case(((0, 3, 7, 5),), _GEOMETRIES[1]),
        *(Case(((2, 3, 7, 5),), options, few=True) for options in _GEOMETRIES),
        *(Case(((2, 3, 8, 6),), _GEOMETRIES[2], layout=layout) for layout in LAYOUTS),
        *(Case(((2, 17, 9, 11),), {**_GEOMETRIES[2], **options}) for options in more),
        Case(((3, 19, 23, 29),), _GEOMETRIES[4]),
        *_MALFORMED,
    ]


def _max_cases() -> list[Case]:
    return _cases({"dilation": (2, 1)}, {"dilation": (2, 3), "padding": (0, 1)})


def _average_cases() -> list[Case]:
    return [
        *_cases({"count_include_pad": False}, {"divisor_override": 3}),
        Case(((2, 3, 4, 5),), {**_GEOMETRIES[1], "divisor_override": 0}, error="divisor_override"),
    ]


max_pool2d = Op(
    "max_pool2d", forward=_max, backward=_max_backward, check=_check, cases=_max_cases, exact=True,
    reads=(), twin="torch.nn.functional.max_pool2d",
)  # fmt: skip
avg_pool2d = Op(
    "avg_pool2d", forward=_average, backward=_average_backward, check=_average_check,
    cases=_average_cases, multilinear=_average_terms, reads=(),
    twin="scratchnet.testing.oracle.avg_pool2d",
)  # fmt: skip


# -- in C++ ----------------------------------------------------------------------------------------


def _max_in_cpp(x: Tensor, **options: Pair) -> tuple[Tensor, Tensor]:
    y = new_images(x, _check(x, **options))
    indices = torch.empty_like(y, dtype=torch.int64)  # of pixels in x, for each pixel of y
    extension().max_pool2d_forward(channels_last(x), y, indices, **options)
    return y, indices


def _max_backward_in_cpp(
    grad_y: Tensor, indices: Tensor, x: Tensor, *, needs: Needs, **options: Pair
) -> Gradients:
    if not needs[0]:
        return (None,)
    grad_x = new_images(grad_y, tuple(x.shape))
    extension().max_pool2d_backward(channels_last(grad_y), indices, grad_x)
    return (grad_x,)


def _average_in_cpp(x: Tensor, **options: Any) -> tuple[Tensor, None]:
    y = new_images(x, _average_check(x, **options))
    extension().avg_pool2d_forward(channels_last(x), y, **options)
    return y, None


def _average_backward_in_cpp(
    grad_y: Tensor, kept: None, x: Tensor, *, needs: Needs, **options: Any
) -> Gradients:
    if not needs[0]:
        return (None,)
    grad_x = new_images(grad_y, tuple(x.shape))
    extension().avg_pool2d_backward(channels_last(grad_y), grad_x, **options)
    return (grad_x,)


max_pool2d.implement(
    "cpp", forward=_max_in_cpp, backward=_max_backward_in_cpp, supports=supports, how=how
)
avg_pool2d.implement(
    "cpp", forward=_average_in_cpp, backward=_average_backward_in_cpp, supports=supports, how=how
)
