"""Checks for backends whose kernels trust their arguments: what does not fit must not reach them.

Layers have checked their inputs already; these serve whoever calls a backend directly.
"""

from __future__ import annotations

from torch import Tensor

from scratchnet.backends.base import Pair
from scratchnet.errors import ShapeError, TypeMismatch


def check_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[int, int, int, int]:
    """Return the output's shape, (N, O, H_out, W_out).

    Raises:
        ShapeError: the shapes do not fit each other, or the kernel is larger than the image.
        TypeMismatch: x, weight and bias are of several dtypes.
    """
    if x.dim() != 4 or weight.dim() != 4:
        raise ShapeError(
            "expected x (N, C, H, W) and weight (O, C/G, Kh, Kw), "
            f"got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    n, c, h, w = x.shape
    o, c_per_group, kh, kw = weight.shape
    if groups < 1 or c != c_per_group * groups or o % groups:
        raise ShapeError(
            f"x {tuple(x.shape)} does not fit weight {tuple(weight.shape)} with {groups} groups: "
            "expected C = groups · weight.shape[1] and O divisible by groups"
        )
    if bias is not None and bias.shape != (o,):
        raise ShapeError(f"expected a bias of {o} numbers, got {tuple(bias.shape)}")
    if weight.dtype != x.dtype or (bias is not None and bias.dtype != x.dtype):
        raise TypeMismatch(f"expected one dtype, got x {x.dtype} and weight {weight.dtype}")
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        raise ShapeError(
            "expected stride and dilation of at least 1 and padding of at least 0, "
            f"got {stride}, {dilation} and {padding}"
        )
    rows = h + 2 * padding[0] - dilation[0] * (kh - 1) - 1
    columns = w + 2 * padding[1] - dilation[1] * (kw - 1) - 1
    if rows < 0 or columns < 0:
        raise ShapeError(f"the {kh}x{kw} kernel is larger than the padded {h}x{w} image")
    return n, o, rows // stride[0] + 1, columns // stride[1] + 1


def check_conv2d_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """Raise as check_conv2d does, or if grad_y is not of the output's shape and dtype."""
    shape = check_conv2d(x, weight, None, stride, padding, dilation, groups)
    if grad_y.shape != shape:
        raise ShapeError(f"expected a grad_y of the shape {shape}, got {tuple(grad_y.shape)}")
    if grad_y.dtype != x.dtype:
        raise TypeMismatch(f"expected grad_y in {x.dtype}, got {grad_y.dtype}")


def check_upsample(x: Tensor, scale: Pair, *, backward: bool = False) -> None:
    """Raise ShapeError unless x is (N, C, H, W), of whole blocks of ``scale`` if backward."""
    if x.dim() != 4 or min(scale) < 1:
        raise ShapeError(f"expected (N, C, H, W) and a scale of at least 1, got {tuple(x.shape)}")
    if backward and (x.shape[2] % scale[0] or x.shape[3] % scale[1]):
        raise ShapeError(f"expected whole blocks of {scale}, got {tuple(x.shape)}")
