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
    """Return (H_out, W_out): (n + 2·padding − dilation·(kernel_size−1) − 1) // stride + 1.

    Args:
        name: of the op or layer, for the message.
        size: H and W of the input.
        kernel_size, stride, padding, dilation: (vertical, horizontal).

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
    if padded[0] < spans[0] or padded[1] < spans[1]:
        raise ShapeError(
            f"{name}: the padded input is {padded[0]}x{padded[1]}, smaller than "
            f"the kernel's {spans[0]}x{spans[1]}: use larger images, more padding or a "
            "smaller kernel"
        )
    rows, columns = ((n - span) // s + 1 for n, span, s in zip(padded, spans, stride, strict=True))
    return rows, columns


def sides(tensor: Tensor) -> Pair:
    """Return height and width, of images or of kernels."""
    return tensor.shape[-2], tensor.shape[-1]
