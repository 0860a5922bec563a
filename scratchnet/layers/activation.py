"""Activations: one function applied to every element."""

from __future__ import annotations

import torch
from torch import Tensor

from scratchnet.backends.base import Activation
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.module import Module


class ReLU(Module):
    """y = max(0, x), element by element; any shape, any floating-point dtype."""

    def link(self) -> Activation | None:
        """Return this activation's name; None for a subclass, which may compute something else."""
        return "relu" if type(self) is ReLU else None

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return max(0, x); nan stays nan."""
        (x,) = inputs
        y = torch.relu(check_tensor(self, x))
        self.save(y)
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y where x > 0, else 0.

        The output is kept, not the input: y > 0 exactly where x > 0, and the next layer keeps y
        anyway.
        """
        (y,) = self.saved
        grad_y = check_grad(self, grad_outputs[0], y.shape, y.dtype)
        return grad_y.masked_fill(y <= 0, 0)


class Sigmoid(Module):
    """y = σ(x) = 1 / (1 + e⁻ˣ), element by element; finite for every finite x."""

    def link(self) -> Activation | None:
        """Return this activation's name; None for a subclass, which may compute something else."""
        return "sigmoid" if type(self) is Sigmoid else None

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return σ(x), in [0, 1]."""
        (x,) = inputs
        y = torch.sigmoid(check_tensor(self, x))
        self.save(y)
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y · σ(x)·(1 − σ(x)) = ∂L/∂y · y·(1 − y)."""
        (y,) = self.saved
        grad_y = check_grad(self, grad_outputs[0], y.shape, y.dtype)
        grad_x: Tensor = grad_y * (y * (1 - y))
        return grad_x
