"""Activations without parameters: one function applied to every element."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scratchnet import Module
from scratchnet.errors import ArgumentError
from scratchnet.layers.checks import check_grad, check_tensor


class Plain(Module):
    """y = f(x), element by element; any shape, any floating-point dtype."""

    @abstractmethod
    def function(self, x: Tensor) -> Tensor:
        """Return f(x)."""

    @abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """Return f'(x)."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return f(x)."""
        x = check_tensor(self, inputs[0])
        self.save(x)
        return self.function(x)

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y · f'(x)."""
        (x,) = self.saved
        return check_grad(self, grad_outputs[0], x.shape, x.dtype) * self.derivative(x)

    def twin(self) -> Callable[[Tensor], Tensor]:
        """Return what autograd differentiates, for comparison: torch.nn has no counterpart."""
        return self.function


class SquaredReLU(Plain):
    """y = max(0, x)². Source: So et al., "Primer: Searching for Efficient Transformers" (2021)."""

    def function(self, x: Tensor) -> Tensor:
        """Return max(0, x)²."""
        return torch.relu(x).square()

    def derivative(self, x: Tensor) -> Tensor:
        """Return 2·max(0, x)."""
        return 2 * torch.relu(x)


class Sine(Plain):
    """y = sin(ωx). Source: Sitzmann et al., "Implicit Neural Representations with Periodic
    Activation Functions" (2020), section 3.2.

    Args:
        omega: ω > 0.

    Raises:
        ArgumentError: omega is not positive.
    """

    def __init__(self, omega: float = 30.0) -> None:
        if not omega > 0:
            raise ArgumentError(f"Sine expects omega > 0, got {omega}")
        self.omega = omega

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"omega": self.omega}

    def function(self, x: Tensor) -> Tensor:
        """Return sin(ωx)."""
        return torch.sin(self.omega * x)

    def derivative(self, x: Tensor) -> Tensor:
        """Return ω·cos(ωx)."""
        return self.omega * torch.cos(self.omega * x)
