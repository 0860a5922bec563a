"""Activations: one function applied to every element."""

from __future__ import annotations

from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.module import Module
from scratchnet.ops import elementwise
from scratchnet.ops.op import Op


class Elementwise(Module):
    """A layer that applies one operation to every element; any shape, any floating-point dtype.

    Attributes:
        op: the operation.
    """

    op: Op

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the function of every element."""
        y, back = dispatch.run(self.op, check_tensor(self, inputs[0]))
        self.save(back)
        result: Tensor = y
        return result

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y · the derivative at x."""
        (back,) = self.saved
        grad_x: Tensor = back(check_grad(self, grad_outputs[0], *back.output))[0]
        return grad_x


class ReLU(Elementwise):
    """y = max(0, x); nan stays nan. The derivative is 1 where x > 0, else 0."""

    op = elementwise.relu
    torch_names = ("torch.nn.ReLU",)


class Sigmoid(Elementwise):
    """y = σ(x) = 1 / (1 + e⁻ˣ), finite for every finite x. The derivative is y·(1 − y)."""

    op = elementwise.sigmoid
    torch_names = ("torch.nn.Sigmoid",)
