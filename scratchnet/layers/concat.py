"""Concat: a module whose output is appended to its input."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ShapeError
from scratchnet.layers import fuse
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.module import Module


class Concat(Module):
    """y = [x, f(x)], joined along the channels: a skip connection that adds nothing up.

    Input (N, C, H, W) or (C, H, W); output (N, C + C', H, W), where f returns C' channels of the
    same height and width. Source: Ronneberger et al., "U-Net" (2015), figure 1 ("copy", without
    "crop"); Huang et al., "Densely Connected Convolutional Networks" (2016), equation 2.

    Args:
        body: f; it keeps height and width.
    """

    _output: tuple[torch.Size, torch.dtype]

    def __init__(self, body: Module) -> None:
        self.body = body

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"body": self.body}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return [x, f(x)], with x in the first channels.

        Raises:
            ShapeError: x has no channels, or f changes height, width or batch.
        """
        x = check_tensor(self, inputs[0])
        if x.dim() not in (3, 4):
            raise ShapeError(f"Concat expects (N, C, H, W) or (C, H, W), got {tuple(x.shape)}")
        fused = fuse.whole(self, x)
        if fused is not None:
            self.save(fused[1], 0)
            return fused[0]
        y = self.body.forward(x)
        if y.dim() != x.dim() or _without_channels(y) != _without_channels(x):
            raise ShapeError(
                "Concat expects a body that changes nothing but the number of channels of "
                f"{tuple(x.shape)}, but it returned {tuple(y.shape)}"
            )
        joined = torch.cat([x, y], dim=-3)
        self.save(None, x.shape[-3])
        self._output = joined.shape, joined.dtype
        return joined

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = g₁ + Jᵀ g₂, where ∂L/∂y = [g₁, g₂] and J is the Jacobian of f.

        x reaches the output twice, as itself and through f: the two gradients add up.
        """
        fused, channels = self.saved
        if fused is not None:
            grad_x: Tensor = fused.backward(grad_outputs[0])
            return grad_x
        grad_y = check_grad(self, grad_outputs[0], *self._output)
        direct, through_body = grad_y.tensor_split((channels,), dim=-3)
        return self.body.backward(through_body) + direct


def _without_channels(x: Tensor) -> tuple[int, ...]:
    return (*x.shape[:-3], *x.shape[-2:])
