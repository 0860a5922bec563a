"""The backend ``depthwise``: convolutions with one channel a group, in C++.

It does one kind of call and says so: dispatch chooses it, explains it, and compares it with the
reference (SCRATCHNET_VERIFY=1) as it does any other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.base import Backend, Gradients, Needs, Verdict
from scratchnet.ops.conv import conv2d
from scratchnet.ops.extension import Extension
from scratchnet.ops.window import Pair

kernels = Extension("scratchnet_depthwise")
backend = Backend("depthwise", priority=200, available=kernels.available)


def _supports(x: Tensor, weight: Tensor, bias: Tensor | None, **conv: Any) -> Verdict:
    """True for one channel a group, not dilated, dense on the CPU."""
    if weight.shape[:2] != (conv["groups"], 1) or conv["dilation"] != (1, 1):
        return "runs convolutions with one channel a group only, without dilation"
    return kernels.supports(x, weight, bias)


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Pair, padding: Pair, **conv: Any
) -> tuple[Tensor, None]:
    y = x.new_empty(conv2d.check(x, weight, bias, stride=stride, padding=padding, **conv))
    bias = None if bias is None else bias.contiguous()
    kernels().forward(x.contiguous(), weight.contiguous(), bias, y, stride, padding)
    return y, None


def _backward(
    grad_y: Tensor, kept: None, x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: Pair,
    padding: Pair, needs: Needs, **conv: Any,
) -> Gradients:  # fmt: skip
    """All three gradients come out of one pass."""
    grad_y, x, weight = grad_y.contiguous(), x.contiguous(), weight.contiguous()
    grad_x = torch.empty_like(x)
    grad_weight = x.new_empty(x.shape[0], *weight.shape)  # by image
    grad_bias = x.new_empty(x.shape[:2])
    kernels().backward(grad_y, x, weight, grad_x, grad_weight, grad_bias, stride, padding)
    return (
        grad_x if needs[0] else None,
        grad_weight.sum(0) if needs[1] else None,
        grad_bias.sum(0) if needs[2] else None,
    )


backend.implement(conv2d, forward=_forward, backward=_backward, supports=_supports, how=kernels.how)
