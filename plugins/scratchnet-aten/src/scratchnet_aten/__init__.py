"""The backend ``aten``: torch's own operators, without autograd.

Convolutions by aten::convolution and its backward: oneDNN on a CPU, cuDNN on an NVIDIA GPU. The
memory format of the results is torch's choice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.base import Backend, Gradients, Needs, Verdict
from scratchnet.ops.conv import conv2d, conv2d_input_grad, conv2d_weight_grad
from scratchnet.ops.upsample import upsample_nearest
from scratchnet.ops.window import Pair

aten = torch.ops.aten
backend = Backend("aten", priority=50)


def _supports(*tensors: Tensor | None, **options: Any) -> Verdict:
    for tensor in tensors:
        if tensor is not None and tensor.dtype not in (torch.float32, torch.float64):
            return f"computes in float32 and float64 only, and a tensor is {tensor.dtype}"
    return True


# -- convolution: forward, and of its backward what is needed --------------------------------------


def _conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Pair, padding: Pair, dilation: Pair,
    groups: int,
) -> Tensor:  # fmt: skip
    if x.shape[0] == 0:
        size = conv2d.check(
            x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
        return x.new_empty(size)
    return aten.convolution(x, weight, bias, stride, padding, dilation, False, (0, 0), groups)


def _grads(
    grad_y: Tensor, x: Tensor, weight: Tensor, needs: Needs, *, stride: Pair, padding: Pair,
    dilation: Pair, groups: int,
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    if x.shape[0] == 0:
        return (
            x.new_empty(x.shape) if needs[0] else None,
            weight.new_zeros(weight.shape) if needs[1] else None,
        )
    grads = aten.convolution_backward(
        grad_y, x, weight, None, stride, padding, dilation, False, (0, 0), groups,
        (needs[0], needs[1], False),
    )  # fmt: skip
    return grads[0], grads[1]


def _shape(like: Tensor, *shape: int) -> Tensor:
    """Return something of this shape for an argument of which nothing else is read."""
    return like.new_empty(()).expand(shape)


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, **conv: Any
) -> tuple[Tensor, None]:  # fmt: skip
    return _conv(x, weight, bias, **conv), None


def _backward(
    grad_y: Tensor, kept: None, x: Tensor, weight: Tensor, bias: Tensor | None, *, needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    grads = _grads(grad_y, x, weight, needs, **conv)
    return *grads, grad_y.sum((0, 2, 3)) if needs[2] else None


def _input_grad(
    grad_y: Tensor, weight: Tensor, *, input_size: Pair, **conv: Any
) -> tuple[Tensor, None]:
    x = _shape(grad_y, grad_y.shape[0], weight.shape[1] * conv["groups"], *input_size)
    return _grads(grad_y, x, weight, (True, False), **conv)[0], None


def _input_grad_backward(
    grad_x: Tensor, kept: None, grad_y: Tensor, weight: Tensor, *, input_size: Pair, needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    return (
        _conv(grad_x, weight, None, **conv) if needs[0] else None,
        _grads(grad_y, grad_x, weight, (False, needs[1]), **conv)[1] if needs[1] else None,
    )


def _weight_grad(
    grad_y: Tensor, x: Tensor, *, kernel_size: Pair, **conv: Any
) -> tuple[Tensor, None]:
    weight = _shape(x, grad_y.shape[1], x.shape[1] // conv["groups"], *kernel_size)
    return _grads(grad_y, x, weight, (False, True), **conv)[1], None


def _weight_grad_backward(
    grad_w: Tensor, kept: None, grad_y: Tensor, x: Tensor, *, kernel_size: Pair, needs: Needs,
    **conv: Any,
) -> Gradients:  # fmt: skip
    return (
        _conv(x, grad_w, None, **conv) if needs[0] else None,
        _grads(grad_y, x, grad_w, (True, False), **conv)[0] if needs[1] else None,
    )


# -- upsampling ------------------------------------------------------------------------------------


def _upsample(x: Tensor, *, scale: Pair) -> tuple[Tensor, None]:
    size = upsample_nearest.check(x, scale=scale)
    return (aten.upsample_nearest2d(x, size[2:]) if x.numel() else x.new_empty(size)), None


def _upsample_backward(
    grad_y: Tensor, kept: None, x: Tensor, *, scale: Pair, needs: Needs
) -> Gradients:
    if not needs[0]:
        return (None,)
    if not x.numel():
        return (grad_y.new_empty(x.shape),)
    return (aten.upsample_nearest2d_backward(grad_y, grad_y.shape[2:], x.shape),)


for op, forward, backward in (
    (conv2d, _forward, _backward),
    (conv2d_input_grad, _input_grad, _input_grad_backward),
    (conv2d_weight_grad, _weight_grad, _weight_grad_backward),
    (upsample_nearest, _upsample, _upsample_backward),
):
    backend.implement(op, forward=forward, backward=backward, supports=_supports)
