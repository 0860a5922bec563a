"""The backend ``aten``: torch's own convolution operators, without autograd."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from scratchnet.backends.arguments import check_conv2d, check_conv2d_backward, check_upsample
from torch import Tensor

from scratchnet.backends.base import Backend, Grads, Needs, Pair, Verdict

aten = torch.ops.aten


class AtenBackend(Backend):
    """Convolutions by aten::convolution and its backward: oneDNN on a CPU, cuDNN on an NVIDIA GPU.

    The memory format of the results is torch's choice.
    """

    name: ClassVar[str] = "aten"
    priority: ClassVar[int] = 50

    def supports(self, op: str, *args: Any, **kwargs: Any) -> Verdict:
        """True if all tensors are of one floating-point dtype that torch convolves precisely."""
        dtypes = {a.dtype for a in (*args, *kwargs.values()) if isinstance(a, Tensor)}
        if len(dtypes) > 1:
            return "needs all tensors to have one dtype, and several are mixed"
        if not dtypes <= {torch.float32, torch.float64}:
            return f"computes in float32 and float64 only, and a tensor is {dtypes.pop()}"
        return True

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
        """See Backend.conv2d_forward."""
        n, o, h_out, w_out = check_conv2d(x, weight, bias, stride, padding, dilation, groups)
        if n == 0:
            return x.new_empty(n, o, h_out, w_out)
        y: Tensor = aten.convolution(
            x, weight, bias, stride, padding, dilation, False, (0, 0), groups
        )
        return y

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
        """See Backend.conv2d_backward."""
        check_conv2d_backward(grad_y, x, weight, stride, padding, dilation, groups)
        if x.shape[0] == 0:
            grads = x.new_empty(x.shape), weight.new_zeros(weight.shape), None
        else:
            grads = aten.convolution_backward(
                grad_y, x, weight, None, stride, padding, dilation, False, (0, 0), groups,
                (needs[0], needs[1], False),
            )  # fmt: skip
        return (
            grads[0] if needs[0] else None,
            grads[1] if needs[1] else None,
            grad_y.sum((0, 2, 3)) if needs[2] else None,
        )

    def upsample_nearest_forward(self, x: Tensor, *, scale: Pair) -> Tensor:
        """See Backend.upsample_nearest_forward."""
        check_upsample(x, scale)
        h, w = x.shape[2] * scale[0], x.shape[3] * scale[1]
        if x.numel() == 0:
            return x.new_empty(x.shape[0], x.shape[1], h, w)
        y: Tensor = aten.upsample_nearest2d(x, (h, w))
        return y

    def upsample_nearest_backward(self, grad_y: Tensor, *, scale: Pair) -> Tensor:
        """See Backend.upsample_nearest_backward."""
        check_upsample(grad_y, scale, backward=True)
        n, c, h, w = grad_y.shape
        size = n, c, h // scale[0], w // scale[1]
        if grad_y.numel() == 0:
            return grad_y.new_empty(size)
        grad_x: Tensor = aten.upsample_nearest2d_backward(grad_y, (h, w), size)
        return grad_x
