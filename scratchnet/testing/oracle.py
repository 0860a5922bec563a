"""torch's own convolutions as a backend: what the reference itself is compared with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from scratchnet.backends.base import Backend, Grads, Needs, Pair


class TorchOracle(Backend):
    """Computes in float64, whatever the input, and rounds once."""

    name = "torch"

    def conv2d_forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        """By torch.nn.functional.conv2d."""
        wide = None if bias is None else bias.double()
        y = functional.conv2d(x.double(), weight.double(), wide, stride, padding, dilation, groups)
        return y.to(x.dtype)

    def conv2d_backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        needs: Needs = (True, True, True),
    ) -> Grads:
        """By torch's autograd."""
        wide_x, wide_weight = (t.detach().double().requires_grad_() for t in (x, weight))
        bias = wide_x.new_zeros(weight.shape[0], requires_grad=True)
        with torch.enable_grad():
            y = functional.conv2d(wide_x, wide_weight, bias, stride, padding, dilation, groups)
            # a scalar, because autograd spends seconds on imports before it takes a gradient in
            grads = torch.autograd.grad((y * grad_y).sum(), (wide_x, wide_weight, bias))
        chosen = [g.to(x.dtype) if n else None for g, n in zip(grads, needs, strict=True)]
        return chosen[0], chosen[1], chosen[2]

    def upsample_nearest_forward(self, x: Tensor, *, scale: Pair) -> Tensor:
        """By repeat_interleave."""
        return x.repeat_interleave(scale[0], 2).repeat_interleave(scale[1], 3)

    def upsample_nearest_backward(self, grad_y: Tensor, *, scale: Pair) -> Tensor:
        """By summing blocks."""
        n, c, h, w = grad_y.shape
        blocks = grad_y.reshape(n, c, h // scale[0], scale[0], w // scale[1], scale[1])
        return blocks.sum((3, 5))
