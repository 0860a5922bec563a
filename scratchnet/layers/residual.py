"""Residual: a module whose output is added to its input."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from scratchnet.errors import ShapeError
from scratchnet.layers import fuse
from scratchnet.layers.checks import check_tensor
from scratchnet.layers.module import Module


class Residual(Module):
    """y = x + f(x). Source: He et al., "Deep Residual Learning for Image Recognition" (2015),
    equation 1.

    Args:
        body: f; its output has the shape of its input.
    """

    def __init__(self, body: Module) -> None:
        self.body = body

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"body": self.body}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return x + f(x).

        Raises:
            ShapeError: f changes the shape.
        """
        x = check_tensor(self, inputs[0])
        fused = fuse.whole(self, x)
        if fused is not None:
            self.save(fused[1])
            return fused[0]
        y = self.body.forward(x)
        if y.shape != x.shape:
            raise ShapeError(
                f"Residual expects a body that keeps the shape {tuple(x.shape)}, "
                f"but it returned {tuple(y.shape)}"
            )
        self.save(None)
        return y + x

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y + Jᵀ ∂L/∂y, with J the Jacobian of f."""
        (grad_y,) = grad_outputs
        (fused,) = self.saved
        if fused is not None:
            grad_x: Tensor = fused.backward(grad_y)
            return grad_x
        return self.body.backward(grad_y) + check_tensor(self, grad_y)

    def backward_parameters(self, *grad_outputs: Tensor) -> None:
        """Those of f: the sum has none of its own."""
        (fused,) = self.saved
        (self.body if fused is None else fused).backward_parameters(*grad_outputs)
