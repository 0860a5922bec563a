"""Linear and Bilinear."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.base import Backend
from scratchnet.errors import ShapeError
from scratchnet.layers import init
from scratchnet.layers.checks import check_tensor, positive
from scratchnet.layers.op_layer import OpLayer
from scratchnet.layers.parameter import Parameter
from scratchnet.ops import linear as ops


class Linear(OpLayer):
    """y = x Wᵀ + b, of the last axis, as torch.nn.Linear.

    Input (..., in_features); output (..., out_features); any number of leading axes.

    Args:
        in_features: width of the input, at least 1.
        out_features: width of the output, at least 1.
        bias: whether to add b.
        backend: name or object of the backend for this layer; None for the selected one.
        generator: source of the initial values, U(−√k, √k) with k = 1 / in_features.
        dtype: floating-point; torch's default dtype if None.
        device: where the parameters live.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    op = ops.linear
    torch_names = ("torch.nn.Linear",)
    weight: Parameter
    bias: Parameter | None

    @classmethod
    def example(cls) -> tuple[Linear, Tensor]:
        """Return a small one, and an input for it."""
        return cls(5, 3), init.example_images()

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        backend: str | Backend | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        positive("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features, self.backend = in_features, out_features, backend
        for name, shape in (("weight", (out_features, in_features)), ("bias", (out_features,))):
            value = None
            if bias or name == "weight":
                value = init.uniform_fan_in(
                    shape, in_features, generator=generator, dtype=dtype, device=device
                )
            self.add_parameter(name, value)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias is not None,
        }

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return x Wᵀ + b.

        Raises:
            ShapeError: the last axis is not in_features wide.
            TypeMismatch: not a tensor of the parameters' dtype and device.
        """
        (x,) = inputs
        x = check_tensor(self, x, dtype=self.weight.dtype, device=self.weight.device)
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ShapeError(f"Linear expects (..., {self.in_features}), got {tuple(x.shape)}")
        return self.run(x)


class Bilinear(OpLayer):
    """y_o = x₁ᵀ W_o x₂ + b_o, of the last axes, as torch.nn.Bilinear.

    Inputs (..., in1_features) and (..., in2_features), with the same leading axes; output
    (..., out_features).

    Args:
        in1_features: width of the first input, at least 1.
        in2_features: width of the second, at least 1.
        out_features: width of the output, at least 1.
        bias: whether to add b.
        backend: name or object of the backend for this layer; None for the selected one.
        generator: source of the initial values, U(−√k, √k) with k = 1 / in1_features.
        dtype: floating-point; torch's default dtype if None.
        device: where the parameters live.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    op = ops.bilinear
    torch_names = ("torch.nn.Bilinear",)
    weight: Parameter
    bias: Parameter | None

    @classmethod
    def example(cls) -> tuple[Bilinear, tuple[Tensor, Tensor]]:
        """Return a small one, and inputs for it."""
        images = init.example_images()
        return cls(5, 2, 3), (images, images[..., 1:3].flip(0))

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        backend: str | Backend | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        sizes = {"in1_features": in1_features, "in2_features": in2_features}
        positive("Bilinear", **sizes, out_features=out_features)
        self.in1_features, self.in2_features = in1_features, in2_features
        self.out_features, self.backend = out_features, backend
        shapes = {"weight": (out_features, in1_features, in2_features), "bias": (out_features,)}
        for name, shape in shapes.items():
            value = None
            if bias or name == "weight":
                value = init.uniform_fan_in(
                    shape, in1_features, generator=generator, dtype=dtype, device=device
                )
            self.add_parameter(name, value)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "in1_features": self.in1_features,
            "in2_features": self.in2_features,
            "out_features": self.out_features,
            "bias": self.bias is not None,
        }

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return x₁ᵀ W x₂ + b.

        Raises:
            ShapeError: the inputs are not as wide as in1_features and in2_features, or differ in
                another axis than the last.
            TypeMismatch: not tensors of the parameters' dtype and device.
        """
        dtype, device = self.weight.dtype, self.weight.device
        first, second = (check_tensor(self, x, dtype=dtype, device=device) for x in inputs)
        return self.run(first, second)
