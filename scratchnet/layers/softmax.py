"""Softmax and its relatives, and gates: functions along one axis."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers import init
from scratchnet.layers.activation import Function
from scratchnet.layers.checks import check_tensor
from scratchnet.ops import gated, softmax


class Along(Function):
    """A function along one axis, of an input of any shape.

    Args:
        dim: the axis.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"dim": self.dim}


class Softmax(Along):
    """yᵢ = e^(xᵢ) / Σⱼ e^(xⱼ) along an axis: positive numbers whose sum is 1; no overflow.

    ∂L/∂xᵢ = yᵢ·(∂L/∂yᵢ − Σⱼ yⱼ·∂L/∂yⱼ). Source: Bridle, "Probabilistic Interpretation of
    Feedforward Classification Network Outputs" (1990).

    Args:
        dim: the axis. torch guesses one from the number of axes if it is None, and warns: here it
            must be given.

    Raises:
        ArgumentError: dim is None; or, in forward, the input has no such axis.
    """

    op = softmax.softmax
    torch_names = ("torch.nn.Softmax",)

    @classmethod
    def example(cls) -> tuple[Softmax, Tensor]:
        """Return one along the channels, and an input for it."""
        return cls(1), init.example_images()

    def __init__(self, dim: int | None = None) -> None:
        if dim is None:
            raise ArgumentError(
                f"{type(self).__name__} expects the axis, got dim=None, from which torch guesses "
                "one: write dim=-1 for the last axis, dim=1 for the channels"
            )
        super().__init__(dim)


class LogSoftmax(Softmax):
    """yᵢ = xᵢ − log Σⱼ e^(xⱼ) along an axis: the logarithm of Softmax, which does not overflow.

    ∂L/∂xᵢ = ∂L/∂yᵢ − e^(yᵢ)·Σⱼ ∂L/∂yⱼ.

    Args:
        dim: the axis; as for :class:`Softmax`.

    Raises:
        ArgumentError: dim is None; or, in forward, the input has no such axis.
    """

    op = softmax.log_softmax
    torch_names = ("torch.nn.LogSoftmax",)


class Softmin(Softmax):
    """yᵢ = e^(−xᵢ) / Σⱼ e^(−xⱼ) along an axis: Softmax of −x.

    Args:
        dim: the axis; as for :class:`Softmax`.

    Raises:
        ArgumentError: dim is None; or, in forward, the input has no such axis.
    """

    torch_names = ("torch.nn.Softmin",)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return Softmax(−x)."""
        return super().forward(-check_tensor(self, inputs[0]))

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x is the negative of Softmax's at −x."""
        return -super().backward(*grad_outputs)


class Softmax2d(Along):
    """Softmax over the channels, at each pixel of images (N, C, H, W) or (C, H, W)."""

    op = softmax.softmax
    torch_names = ("torch.nn.Softmax2d",)

    def __init__(self) -> None:
        super().__init__(-3)

    def config(self) -> dict[str, Any]:
        """Return {}: it has no arguments."""
        return {}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return Softmax(dim=-3).

        Raises:
            ShapeError: x has neither three axes nor four.
        """
        x = check_tensor(self, inputs[0])
        if x.dim() not in (3, 4):
            raise ShapeError(f"Softmax2d expects (N, C, H, W) or (C, H, W), got {tuple(x.shape)}")
        return super().forward(x)


class GLU(Along):
    """y = a·σ(b), where x = [a, b] along an axis, which is halved: the second half is the gate.

    ∂L/∂a = ∂L/∂y·σ(b) and ∂L/∂b = ∂L/∂y·a·σ(b)·(1 − σ(b)). Source: Dauphin et al., "Language
    Modeling with Gated Convolutional Networks" (2016), equation 1.

    Args:
        dim: the axis, of even size.

    Raises:
        ArgumentError: in forward, the input has no such axis.
        ShapeError: in forward, its size is odd.
    """

    op = gated.glu
    torch_names = ("torch.nn.GLU",)

    @classmethod
    def example(cls) -> tuple[GLU, Tensor]:
        """Return a small one, and an input for it."""
        return cls(1), init.example_images()

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim)


class SwiGLU(Along):
    """y = silu(a)·b with silu(a) = a·σ(a), where x = [a, b] along an axis, which is halved.

    The *first* half goes through silu, unlike GLU, whose second half is the gate: x is what one
    linear layer with the weights [W, V] stacked in this order gives. torch.nn has no counterpart;
    to_torch makes a scratchnet.interop.TorchSwiGLU. ∂L/∂a = ∂L/∂y·b·σ(a)·(1 + a·(1 − σ(a))) and
    ∂L/∂b = ∂L/∂y·silu(a). Source: Shazeer, "GLU Variants Improve Transformer" (2020), equation 5.

    Args:
        dim: the axis, of even size.

    Raises:
        ArgumentError: in forward, the input has no such axis.
        ShapeError: in forward, its size is odd.
    """

    op = gated.swiglu
    torch_names = ("scratchnet.interop.TorchSwiGLU",)

    @classmethod
    def example(cls) -> tuple[SwiGLU, Tensor]:
        """Return a small one, and an input for it."""
        return cls(1), init.example_images()

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim)
