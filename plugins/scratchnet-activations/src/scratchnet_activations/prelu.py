"""PReLU: a leaky ReLU that learns its slope."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet import Module
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers.checks import check_grad, check_tensor


class PReLU(Module):
    """y = x where x > 0, else a · x with a trainable a, one for all channels or one for each.

    Source: He et al., "Delving Deep into Rectifiers" (2015), equations 1 and 8.

    Args:
        num_parameters: 1, or the number of channels.
        init: the initial a.
        dtype: of a; torch's default dtype if None.

    Raises:
        ArgumentError: num_parameters is not at least 1.
    """

    weight: Tensor
    grad_weight: Tensor

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: torch.dtype | None = None
    ) -> None:
        if num_parameters < 1:
            raise ArgumentError(f"PReLU expects num_parameters of at least 1, got {num_parameters}")
        self.num_parameters, self.init = num_parameters, init
        self.add_parameter("weight", torch.full((num_parameters,), init, dtype=dtype))

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"num_parameters": self.num_parameters, "init": self.init}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return x where x > 0, else a · x; x is (N, C, ...), or any shape with one parameter.

        Raises:
            ShapeError: the number of channels is not num_parameters.
        """
        x = check_tensor(self, inputs[0], dtype=self.weight.dtype)
        if self.num_parameters > 1 and (x.dim() < 2 or x.shape[1] != self.num_parameters):
            raise ShapeError(f"PReLU expects (N, {self.num_parameters}, ...), got {tuple(x.shape)}")
        self.save(x)
        return torch.where(x > 0, x, self._slopes(x) * x)

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y · (1 where x > 0, else a);  ∂L/∂a = Σ ∂L/∂y · x where x ≤ 0."""
        (x,) = self.saved
        grad_y = check_grad(self, grad_outputs[0], x.shape, x.dtype)
        of_slope = (grad_y * x).masked_fill(x > 0, 0)
        if self.num_parameters == 1:
            self.grad_weight += of_slope.sum()
        else:
            self.grad_weight += of_slope.transpose(0, 1).flatten(1).sum(1)  # (C, N, ...) -> (C,)
        return torch.where(x > 0, grad_y, self._slopes(x) * grad_y)

    def _slopes(self, x: Tensor) -> Tensor:
        """Return a, shaped so that it meets its channel in x."""
        return (
            self.weight if self.num_parameters == 1 else self.weight.view(-1, *[1] * (x.dim() - 2))
        )
