"""Leaky ReLUs whose slope is trained, or drawn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError
from scratchnet.layers.activation import Elementwise
from scratchnet.layers.checks import check_grad, check_tensor, positive
from scratchnet.layers.module import Module
from scratchnet.layers.parameter import Parameter
from scratchnet.ops.kinked import leaky_relu
from scratchnet.ops.prelu import prelu


class PReLU(Module):
    """y = x where x > 0, else a·x with a trainable slope a, one for all channels or one for each.

    Input (N, C, ...), or any shape with one slope. ∂L/∂a = Σ ∂L/∂y·x over those x ≤ 0 that a meets.
    Source: He et al., "Delving Deep into Rectifiers" (2015), equations 1 and 8.

    Args:
        num_parameters: 1, or the number C of channels.
        init: the initial a.
        device: where a lives.
        dtype: of a, and of the inputs; torch's default dtype if None.

    Raises:
        ArgumentError: num_parameters is not an int of at least 1.
    """

    torch_names = ("torch.nn.PReLU",)
    weight: Parameter
    grad_weight: Tensor

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        positive("PReLU", num_parameters=num_parameters)
        self.num_parameters, self.init = num_parameters, init
        weight = torch.full((num_parameters,), float(init), dtype=dtype, device=device)
        self.add_parameter("weight", weight)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"num_parameters": self.num_parameters, "init": self.init}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return x where x > 0, else a·x.

        Raises:
            ShapeError: there is more than one slope, and their number is not that of the channels.
            TypeMismatch: not a tensor of the dtype and on the device of a.
        """
        weight = self.weight
        x = check_tensor(self, inputs[0], dtype=weight.dtype, device=weight.device)
        y, back = dispatch.run(prelu, x, weight)
        self.save(back)
        result: Tensor = y
        return result

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y · (1 where x > 0, else a);  ∂L/∂a as the class says."""
        (back,) = self.saved
        grad_y = check_grad(self, grad_outputs[0], *back.output)
        grad_x: Tensor = back.add_to((None, self.grad_weight), grad_y, needs=(True, True))[0]
        return grad_x


class RReLU(Elementwise):
    """y = x where x > 0, else a·x, with a slope a drawn for each element from U(lower, upper) in
    training, and a = (lower + upper) / 2 in eval mode.

    The derivative is 1, or a. Source: Xu et al., "Empirical Evaluation of Rectified Activations in
    Convolution Network" (2015), section 2.4.

    Args:
        lower: the least slope.
        upper: the largest slope.
        inplace: False; see :class:`Elementwise`.
        generator: of the slopes; torch's global generator if None.

    Raises:
        ArgumentError: lower is larger than upper.
    """

    op = leaky_relu
    torch_names = ("torch.nn.RReLU",)
    stochastic = True
    eval_differs = True

    def __init__(
        self,
        lower: float = 1 / 8,
        upper: float = 1 / 3,
        inplace: bool = False,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(inplace=inplace)
        if not lower <= upper:
            raise ArgumentError(f"RReLU expects lower ≤ upper, got {lower} and {upper}")
        self.lower, self.upper, self.generator = lower, upper, generator

    @property
    def negative_slope(self) -> float:
        """The slope in eval mode."""
        return (self.lower + self.upper) / 2

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"lower": self.lower, "upper": self.upper}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return x where x > 0, else a·x."""
        if not self.training:
            return super().forward(*inputs)
        x = check_tensor(self, inputs[0])
        slopes = torch.empty_like(x).uniform_(self.lower, self.upper, generator=self.generator)
        y, back = dispatch.run(prelu, x, slopes)
        self.save(back)
        result: Tensor = y
        return result

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y · (1 where x > 0, else the a that was drawn)."""
        (back,) = self.saved
        grad_y = check_grad(self, grad_outputs[0], *back.output)
        grad_x: Tensor = back(grad_y, needs=(True, False))[0]
        return grad_x
