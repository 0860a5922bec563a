"""Snake: an identity with ripples, whose frequencies are learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scratchnet import Module
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers.checks import check_grad, check_tensor


class Snake(Module):
    """y = x + sin²(ax)/a with a trainable a, one for all channels or one for each.

    Source: Ziyin et al., "Neural Networks Fail to Learn Periodic Functions and How to Fix It"
    (2020), equation 3.

    Args:
        num_parameters: 1, or the number of channels.
        init: the initial a, not 0.
        dtype: of a; torch's default dtype if None.

    Raises:
        ArgumentError: num_parameters is not at least 1, or init is 0.
    """

    weight: Tensor
    grad_weight: Tensor

    def __init__(
        self, num_parameters: int = 1, init: float = 0.5, *, dtype: torch.dtype | None = None
    ) -> None:
        if num_parameters < 1:
            raise ArgumentError(f"Snake expects num_parameters of at least 1, got {num_parameters}")
        if not init:
            raise ArgumentError("Snake expects init to be another number than 0")
        self.num_parameters, self.init = num_parameters, init
        self.add_parameter("weight", torch.full((num_parameters,), init, dtype=dtype))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"num_parameters": self.num_parameters, "init": self.init}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return x + sin²(ax)/a; x is (N, C, ...), or any shape with one parameter.

        Raises:
            ShapeError: the number of channels is not num_parameters.
        """
        x = check_tensor(self, inputs[0], dtype=self.weight.dtype)
        if self.num_parameters > 1 and (x.dim() < 2 or x.shape[1] != self.num_parameters):
            raise ShapeError(f"Snake expects (N, {self.num_parameters}, ...), got {tuple(x.shape)}")
        self.save(x)
        return _snake(x, self.weight)

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y · (1 + sin 2ax);  ∂L/∂a = Σ ∂L/∂y · (x·sin 2ax − sin²(ax)/a) / a."""
        (x,) = self.saved
        grad_y = check_grad(self, grad_outputs[0], x.shape, x.dtype)
        a = _met(self.weight, x)
        ripple, wave = torch.sin(2 * a * x), torch.sin(a * x).square() / a
        of_a = grad_y * (x * ripple - wave) / a
        self.grad_weight += of_a.sum_to_size(a.shape).reshape(-1)
        return grad_y * (1 + ripple)

    def twin(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return what autograd differentiates, for comparison: torch.nn has no counterpart."""
        return _snake


def _snake(x: Tensor, weight: Tensor) -> Tensor:
    """Return x + sin²(ax)/a."""
    a = _met(weight, x)
    return x + torch.sin(a * x).square() / a


def _met(weight: Tensor, x: Tensor) -> Tensor:
    """Return a, shaped so that it meets its channel in x."""
    axes = [1] * x.dim()
    if weight.numel() > 1:
        axes[1] = -1
    return weight.reshape(axes)
