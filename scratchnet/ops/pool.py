"""Pooling: the largest or the mean value of windows, which slide over the image or divide it.

Both work on the windows of each axis: which places of the input each one holds. Source: the
documentation of torch.nn.MaxPool2d, AvgPool2d and AdaptiveAvgPool2d. Stride, padding and dilation
are (vertical, horizontal). Signals (N, C, L) are images of one row.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.extension import channels_last, extension, how, new_images, supports
from scratchnet.ops.op import Gradients, Needs, Op, Shape, check_rank
from scratchnet.ops.pool_cases import adaptive_cases, average_cases, max_cases
from scratchnet.ops.window import Pair, output_size, sides

# -- the windows of an axis, (windows, places): the places in the input, −1 where there is none ----


def _sliding(n: int, out: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> Tensor:
    """Window i holds i·stride − padding + k·dilation for each k below the kernel size."""
    at = torch.arange(out).unsqueeze(1) * stride - padding + torch.arange(kernel) * dilation
    return at.where((at >= 0) & (at < n), -1)


def _dividing(n: int, out: int) -> Tensor:
    """Window i holds ⌊i·n/out⌋ up to, but without, ⌈(i + 1)·n/out⌉."""
    i = torch.arange(out).unsqueeze(1)
    first, end = i * n // out, -(-(i + 1) * n // out)
    at = first + torch.arange(int((end - first).max()))
    return at.where(at < end, -1)


def _windows(
    x: Tensor, *, kernel_size: Pair, stride: Pair, padding: Pair = (0, 0), ceil_mode: bool = False,
    dilation: Pair = (1, 1), **options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the vertical windows and the horizontal ones."""
    out = _output(x, kernel_size, stride, padding, dilation, ceil_mode)
    given = zip(sides(x), out, kernel_size, stride, padding, dilation, strict=True)
    rows, columns = (_sliding(*axis).to(x.device) for axis in given)
    return rows, columns


def _output(
    x: Tensor, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Pair:
    """Return (H_out, W_out). With ``ceil_mode`` a last window may reach beyond the padding, if it
    begins before the lower or right padding does.
    """
    floor = output_size("pooling", sides(x), kernel_size, stride, padding, dilation)
    if not ceil_mode:
        return floor
    spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    rows, columns = (
        min((n + 2 * p - span + s - 1) // s, (n + p - 1) // s) + 1
        for n, p, span, s in zip(sides(x), padding, spans, stride, strict=True)
    )
    return rows, columns


# -- the largest value -----------------------------------------------------------------------------


def _largest(x: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest value of each window and where it is: the number of the pixel, row by
    row. Of equal values it is the first; what is outside the image is −∞.
    """
    down, across = rows[:, None, :, None], columns[None, :, None, :]
    windows = x[:, :, down, across]  # (N, C, H, W) -> (N, C, H_out, W_out, Kh, Kw)
    outside = (down < 0) | (across < 0)
    y, index = windows.masked_fill(outside, -torch.inf).flatten(4).max(4)
    pixels = (down * x.shape[3] + across).masked_fill(outside, -1).flatten(2)
    places = pixels.expand(*x.shape[:2], *pixels.shape)
    return y, places.gather(4, index.unsqueeze(4)).squeeze(4)


def _scattered(grad_y: Tensor, places: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = Σ over the windows in which x is the largest, of ∂L/∂y."""
    grad = grad_y.new_zeros(*x.shape[:2], x.shape[2] * x.shape[3])
    return grad.scatter_add_(2, places.flatten(2), grad_y.flatten(2)).view(x.shape)


def _max(
    x: Tensor,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """y = the largest value of each window, padding being −∞; kept is where it is."""
    given = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
    return _largest(x, *_windows(x, **given, dilation=dilation, ceil_mode=ceil_mode))


def _max_backward(
    grad_y: Tensor, places: Tensor, x: Tensor, *, needs: Needs, **options: Any
) -> Gradients:
    """As ``_scattered``."""
    return (_scattered(grad_y, places, x),) if needs[0] else (None,)


def max_places(x: Tensor, **options: Any) -> Tensor:
    """Return where in its image each output of ``max_pool2d`` with these options comes from, as
    torch's ``return_indices``: the number of the pixel, row by row, int64.
    """
    return _largest(x, *_windows(x, **options))[1]


def _check(
    x: Tensor, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1),
    ceil_mode: bool,
) -> Shape:  # fmt: skip
    check_rank("pooling", "x", x, "N, C, H, W")
    size = _output(x, kernel_size, stride, padding, dilation, ceil_mode)
    if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
        raise ArgumentError(
            f"pooling expects a padding of at most half the kernel, got {padding} for {kernel_size}"
        )
    _check_filled(x)
    return x.shape[0], x.shape[1], *size


def _check_filled(x: Tensor) -> None:
    if 0 in x.shape[1:]:
        raise ShapeError(f"pooling expects at least one channel and pixel, got {tuple(x.shape)}")


# -- the mean --------------------------------------------------------------------------------------


def _held(places: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return (windows, n) of ones where the window holds the place: what sums over windows."""
    ones = (places.unsqueeze(2) == torch.arange(x.shape[axis], device=x.device)).any(1)
    return ones.to(x.dtype)


def _average(
    x: Tensor,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """y = V x Hᵀ / count, where V and H hold a one for each place of each vertical and horizontal
    window: the sum of each window ÷ the number of its values (those of the padding, which are 0,
    among them if ``count_include_pad``), or ÷ ``divisor_override``.
    """
    rows, columns = _windows(
        x, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    vertical, horizontal = _held(rows, x, 2), _held(columns, x, 3)
    counts = [vertical.sum(1), horizontal.sum(1)]
    if count_include_pad:
        for i in (0, 1):
            first = torch.arange(len(counts[i]), device=x.device) * stride[i]
            inside = x.shape[2 + i] + 2 * padding[i] - first
            counts[i] = inside.clamp(max=kernel_size[i]).to(x.dtype)
    count = counts[0][:, None] * counts[1]
    if divisor_override is not None:
        count = torch.full_like(count, divisor_override)
    return vertical @ x @ horizontal.T / count, (vertical, horizontal, count)


def _average_backward(
    grad_y: Tensor, kept: tuple[Tensor, ...], x: Tensor, *, needs: Needs, **options: Any
) -> Gradients:
    """∂L/∂x = Vᵀ (∂L/∂y / count) H: the sum over the windows that hold x, of ∂L/∂y ÷ what that
    window is divided by.
    """
    if not needs[0]:
        return (None,)
    vertical, horizontal, count = kept
    return (vertical.T @ (grad_y / count) @ horizontal,)


def _average_check(
    x: Tensor, *, kernel_size: Pair, stride: Pair, padding: Pair, ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None,
) -> Shape:  # fmt: skip
    if divisor_override == 0:
        raise ArgumentError("avg_pool2d expects a divisor_override that is not 0")
    return _check(x, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode)


def _average_terms(x: Tensor, *, kernel_size: Pair, **options: object) -> int:
    return kernel_size[0] * kernel_size[1]


# -- adaptive: as many windows as are asked for ----------------------------------------------------


def _adaptive_average(x: Tensor, *, output_size: Pair) -> tuple[Tensor, tuple[Tensor, ...]]:
    """y = V x Hᵀ / count, as ``avg_pool2d`` has it: the mean of each window."""
    rows, columns = _dividing_windows(x, output_size)
    vertical, horizontal = _held(rows, x, 2), _held(columns, x, 3)
    count = vertical.sum(1)[:, None] * horizontal.sum(1)
    return vertical @ x @ horizontal.T / count, (vertical, horizontal, count)


def _adaptive_max(x: Tensor, *, output_size: Pair) -> tuple[Tensor, Tensor]:
    """y = the largest value of each window; kept is where it is."""
    return _largest(x, *_dividing_windows(x, output_size))


def adaptive_max_places(x: Tensor, *, output_size: Pair) -> Tensor:
    """As :func:`max_places`, of ``adaptive_max_pool2d``."""
    return _adaptive_max(x, output_size=output_size)[1]


def _dividing_windows(x: Tensor, output_size: Pair) -> tuple[Tensor, Tensor]:
    rows, columns = (
        _dividing(*axis).to(x.device) for axis in zip(sides(x), output_size, strict=True)
    )
    return rows, columns


def _adaptive_check(x: Tensor, *, output_size: Pair) -> Shape:
    check_rank("adaptive pooling", "x", x, "N, C, H, W")
    if min(output_size) < 1:
        raise ArgumentError(
            f"adaptive pooling expects an output_size of at least 1, got {output_size}"
        )
    _check_filled(x)
    return x.shape[0], x.shape[1], *output_size


def _adaptive_terms(x: Tensor, *, output_size: Pair) -> int:
    (h, w), (rows, columns) = sides(x), output_size
    return max((h // rows + 2) * (w // columns + 2), (rows // h + 2) * (columns // w + 2))


max_pool2d = Op(
    "max_pool2d", forward=_max, backward=_max_backward, check=_check, cases=max_cases, exact=True,
    reads=(), twin="torch.nn.functional.max_pool2d",
)  # fmt: skip
avg_pool2d = Op(
    "avg_pool2d", forward=_average, backward=_average_backward, check=_average_check,
    cases=average_cases, multilinear=_average_terms, reads=(),
    twin="torch.nn.functional.avg_pool2d",
)  # fmt: skip
adaptive_avg_pool2d = Op(
    "adaptive_avg_pool2d", forward=_adaptive_average, backward=_average_backward,
    check=_adaptive_check, cases=adaptive_cases, multilinear=_adaptive_terms, reads=(),
    twin="torch.nn.functional.adaptive_avg_pool2d",
)  # fmt: skip
adaptive_max_pool2d = Op(
    "adaptive_max_pool2d", forward=_adaptive_max, backward=_max_backward, check=_adaptive_check,
    cases=adaptive_cases, exact=True, reads=(),
    twin="torch.nn.functional.adaptive_max_pool2d",
)  # fmt: skip


# -- in C++, by name: the kernels of the four have those of the operations -------------------------


def _max_in_cpp(op: Op, x: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    y = new_images(x, op.check(x, **options))
    whole = torch.int32 if x.dtype == torch.float32 else torch.int64
    places = torch.empty_like(y, dtype=whole)  # of pixels in x, for each pixel of y
    _kernel(op, "forward")(channels_last(x), y, places, **_geometry(options))
    return y, places


def _max_backward_in_cpp(
    op: Op, grad_y: Tensor, places: Tensor, x: Tensor, *, needs: Needs, **options: Any
) -> Gradients:
    if not needs[0]:
        return (None,)
    grad_x = new_images(grad_y, tuple(x.shape))
    _kernel(op, "backward")(channels_last(grad_y), places, grad_x, **_geometry(options))
    return (grad_x,)


def _average_in_cpp(op: Op, x: Tensor, **options: Any) -> tuple[Tensor, None]:
    y = new_images(x, op.check(x, **options))
    _kernel(op, "forward")(channels_last(x), y, **_geometry(options))
    return y, None


def _average_backward_in_cpp(
    op: Op, grad_y: Tensor, kept: None, x: Tensor, *, needs: Needs, **options: Any
) -> Gradients:
    if not needs[0]:
        return (None,)
    grad_x = new_images(grad_y, tuple(x.shape))
    _kernel(op, "backward")(channels_last(grad_y), grad_x, **_geometry(options))
    return (grad_x,)


def _kernel(op: Op, way: str) -> Any:
    return getattr(extension(), f"{op.name}_{way}")


def _geometry(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the kernels take: the others are in the size of y."""
    return {k: v for k, v in options.items() if k not in ("ceil_mode", "output_size")}


for _op in (max_pool2d, adaptive_max_pool2d):
    _op.implement(
        "cpp",
        forward=partial(_max_in_cpp, _op),
        backward=partial(_max_backward_in_cpp, _op),
        supports=supports,
        how=how,
    )
for _op in (avg_pool2d, adaptive_avg_pool2d):
    _op.implement(
        "cpp",
        forward=partial(_average_in_cpp, _op),
        backward=partial(_average_backward_in_cpp, _op),
        supports=supports,
        how=how,
    )
