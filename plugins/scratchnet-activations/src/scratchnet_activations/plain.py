"""Activations without parameters: one function applied to every element."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from scratchnet import Module
from scratchnet.errors import ArgumentError
from scratchnet.layers.checks import check_grad, check_tensor


class Elementwise(Module):
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


class LeakyReLU(Elementwise):
    """y = x where x > 0, else negative_slope · x.

    Source: Maas et al., "Rectifier Nonlinearities Improve Neural Network Acoustic Models" (2013).

    Args:
        negative_slope: of the left half.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"negative_slope": self.negative_slope}

    def function(self, x: Tensor) -> Tensor:
        """Return x where x > 0, else negative_slope · x."""
        return torch.where(x > 0, x, self.negative_slope * x)

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1 where x > 0, else negative_slope."""
        # full_like and not torch.where on two numbers, which would make float32 of them
        return torch.full_like(x, self.negative_slope).masked_fill(x > 0, 1.0)


class Tanh(Elementwise):
    """y = tanh(x)."""

    def function(self, x: Tensor) -> Tensor:
        """Return tanh(x)."""
        return torch.tanh(x)

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1 − tanh(x)²."""
        return 1 - torch.tanh(x).square()


class SiLU(Elementwise):
    """y = x · σ(x). Source: Elfwing et al., "Sigmoid-Weighted Linear Units" (2017), equation 3."""

    def function(self, x: Tensor) -> Tensor:
        """Return x · σ(x)."""
        return x * torch.sigmoid(x)

    def derivative(self, x: Tensor) -> Tensor:
        """Return σ(x) · (1 + x·(1 − σ(x)))."""
        s = torch.sigmoid(x)
        return s * (1 + x * (1 - s))


class GELU(Elementwise):
    """y = x · Φ(x), Φ being the normal distribution's.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), equation 1.
    """

    def function(self, x: Tensor) -> Tensor:
        """Return x · Φ(x)."""
        return x * _normal_below(x)

    def derivative(self, x: Tensor) -> Tensor:
        """Return Φ(x) + x·φ(x), φ being the normal density."""
        density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
        return _normal_below(x) + x * density


class Softplus(Elementwise):
    """y = log(1 + e^(βx)) / β, and x where βx > threshold.

    Source: Dugas et al., "Incorporating Second-Order Functional Knowledge" (2001); the threshold is
    torch.nn.Softplus's.

    Args:
        beta: β > 0; the larger, the nearer to ReLU.
        threshold: beyond which the function is taken for linear.

    Raises:
        ArgumentError: beta is not positive.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        if not beta > 0:
            raise ArgumentError(f"Softplus expects beta > 0, got {beta}")
        self.beta, self.threshold = beta, threshold

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"beta": self.beta, "threshold": self.threshold}

    def function(self, x: Tensor) -> Tensor:
        """Return log(1 + e^(βx)) / β, as logaddexp, which does not overflow."""
        scaled = self.beta * x
        soft = torch.logaddexp(scaled, torch.zeros_like(scaled)) / self.beta
        return torch.where(scaled > self.threshold, x, soft)

    def derivative(self, x: Tensor) -> Tensor:
        """Return σ(βx), and 1 beyond the threshold."""
        scaled = self.beta * x
        return torch.sigmoid(scaled).masked_fill(scaled > self.threshold, 1.0)


def _normal_below(x: Tensor) -> Tensor:
    """Return Φ(x) = (1 + erf(x/√2)) / 2."""
    return (1 + torch.erf(x / math.sqrt(2))) / 2
