"""The geometry of a window that slides over an image: convolution and pooling."""

from __future__ import annotations

from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError

Pair = tuple[int, int]


def output_size(
    name: str,
    size: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Pair:
    """Return (H_out, W_out); see :func:`output_sizes`."""
    rows, columns = output_sizes(name, size, kernel_size, stride, padding, dilation)
    return rows, columns


def output_sizes(
    name: str,
    size: tuple[int, ...],
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """Return (n + 2·padding − dilation·(kernel_size−1) − 1) // stride + 1 for each axis.

    Args:
        name: of the op or layer, for the message.
        size: of the input, such as H and W.
        kernel_size, stride, padding, dilation: one number for each axis.

    Raises:
        ArgumentError: an option is outside its range.
        ShapeError: the padded input is smaller than the (dilated) kernel.
    """
    if min(*stride, *dilation, *kernel_size) < 1 or min(padding) < 0:
        raise ArgumentError(
            f"{name} expects kernel_size, stride and dilation of at least 1 and padding of at "
            f"least 0, got {kernel_size}, {stride}, {dilation} and {padding}"
        )
    spans = [d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True)]
    padded = [n + 2 * p for n, p in zip(size, padding, strict=True)]
    if any(n < span for n, span in zip(padded, spans, strict=True)):
        raise ShapeError(
            f"{name}: the padded input is {'x'.join(map(str, padded))}, smaller than the kernel's "
            f"{'x'.join(map(str, spans))}: use larger images, more padding or a smaller kernel"
        )
    if 0 in size:
        raise ShapeError(
            f"{name} expects images of at least one pixel, got {size}: only the batch may be empty"
        )
    return tuple((n - span) // s + 1 for n, span, s in zip(padded, spans, stride, strict=True))


def sides(tensor: Tensor) -> Pair:
    """Return height and width, of images or of kernels."""
    return tensor.shape[-2], tensor.shape[-1]
