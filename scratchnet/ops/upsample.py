"""Nearest-neighbour upsampling, alone and followed by a convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.ops.conv import conv2d
from scratchnet.ops.convolution_cases import upsample_conv2d_cases, upsample_nearest_cases
from scratchnet.ops.op import Gradients, Needs, Op, Shape, check_rank, shape_only
from scratchnet.ops.window import Pair

# -- y = U x ---------------------------------------------------------------------------------------


def _forward(x: Tensor, *, scale: Pair) -> tuple[Tensor, None]:
    """Output = ((Input · A)ᵀ · B)ᵀ: A repeats the columns, B the rows.

    As in any matrix product, a nan or an infinity spreads over its row and column (0 · inf = nan).
    """
    a = _repeat_matrix(x, x.shape[3], scale[1])  # (W, W·s_w)
    b = _repeat_matrix(x, x.shape[2], scale[0])  # (H, H·s_h)
    return ((x @ a).mT @ b).mT.contiguous(), None


def _backward(grad_y: Tensor, kept: None, x: Tensor, *, scale: Pair, needs: Needs) -> Gradients:
    """The adjoint of the forward: Aᵀ and Bᵀ sum what A and B repeated."""
    a = _repeat_matrix(grad_y, x.shape[3], scale[1])  # (W, W·s_w)
    b = _repeat_matrix(grad_y, x.shape[2], scale[0])  # (H, H·s_h)
    return (((grad_y.mT @ b.mT).mT @ a.mT).contiguous(),) if needs[0] else (None,)


def _repeat_matrix(like: Tensor, size: int, scale: int) -> Tensor:
    """Return the (size, size·scale) matrix M: x · M repeats each entry of x ``scale`` times."""
    identity = torch.eye(size, dtype=like.dtype, device=like.device)
    return identity.repeat_interleave(scale, dim=1)


def _check(x: Tensor, *, scale: Pair) -> Shape:
    check_rank("upsample_nearest", "x", x, "N, C, H, W")
    if min(scale) < 1:
        raise ArgumentError(f"upsample_nearest expects a scale of at least 1, got {scale}")
    n, c, h, w = x.shape
    return n, c, h * scale[0], w * scale[1]


def _terms(x: Tensor, *, scale: Pair) -> int:
    return scale[0] * scale[1]


upsample_nearest = Op(
    "upsample_nearest",
    forward=_forward,
    backward=_backward,
    check=_check,
    cases=upsample_nearest_cases,
    exact=True,
    multilinear=_terms,
    reads=(),
    twin="scratchnet.testing.oracle.upsample_nearest",
)

# -- y = A_W U x + b -------------------------------------------------------------------------------


def _conv_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    scale: Pair,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[Tensor, None]:
    """Upsample, then convolve."""
    conv = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return conv2d.reference.forward(_forward(x, scale=scale)[0], weight, bias, **conv)


def _conv_backward(
    grad_y: Tensor, kept: None, x: Tensor, weight: Tensor, bias: Tensor | None, *, scale: Pair,
    needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    """∂L/∂x = Uᵀ A_Wᵀ ∂L/∂y;  ∂L/∂W and ∂L/∂b as the convolution's, with U x for its input."""
    upsampled = _forward(x, scale=scale)[0]
    grad_upsampled, grad_weight, grad_bias = conv2d.reference.backward(
        grad_y, None, upsampled, weight, bias, **conv, needs=needs
    )
    grad_x = None
    if grad_upsampled is not None:
        (grad_x,) = _backward(grad_upsampled, None, x, scale=scale, needs=(True,))
    return grad_x, grad_weight, grad_bias


def upsampled(x: Tensor, scale: Pair) -> Tensor:
    """Return something of the upsampled image's shape and dtype, without its memory."""
    return shape_only(x).new_empty(()).expand(_check(x, scale=scale))


def _conv_check(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, scale: Pair, **conv: Any
) -> Shape:
    shape: Shape = conv2d.check(upsampled(x, scale), weight, bias, **conv)
    return shape


def _conv_terms(x: Tensor, weight: Tensor, bias: Tensor | None, *, scale: Pair, **conv: Any) -> int:
    assert conv2d.multilinear is not None
    most = conv2d.multilinear(upsampled(x, scale), weight, bias, **conv)
    return max(most, weight[:, 0].numel() * scale[0] * scale[1])


upsample_conv2d = Op(
    "upsample_conv2d",
    forward=_conv_forward,
    backward=_conv_backward,
    check=_conv_check,
    cases=upsample_conv2d_cases,
    exact=True,
    multilinear=_conv_terms,
    reads=("x", "weight"),
    twin="scratchnet.testing.oracle.upsample_conv2d",
)
