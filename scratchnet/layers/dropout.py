"""Dropout: in training some elements are replaced, at random; in eval mode nothing happens."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.module import Module
from scratchnet.ops import dropout as ops


class Dropout(Module):
    """y = x / (1 − p) where x is kept and 0 where it is dropped, as torch.nn.Dropout.

    Each element is dropped with probability p, anew at each forward; in eval mode y = x. Any shape,
    any floating-point dtype. The same seed gives the same elements, on any backend and any number
    of threads, but not those of torch.

    Args:
        p: from 0 to 1.
        generator: source of the random numbers; torch's global generator by default.

    Raises:
        ArgumentError: p is outside its range.
    """

    stochastic = True
    eval_differs = True
    torch_names = ("torch.nn.Dropout",)
    axes: int | None = None
    ranks: tuple[int, ...] = ()

    def __init__(self, p: float = 0.5, *, generator: torch.Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise ArgumentError(f"{type(self).__name__} expects p from 0 to 1, got {p!r}")
        self.p, self.generator = p, generator

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"p": self.p}

    @property
    def affine(self) -> dict[str, Any]:
        """What becomes of an element that is kept (scale, shift), and of one that is dropped."""
        return {"scale": 1 / (1 - self.p) if self.p < 1 else 0.0}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return x with some elements dropped; in eval mode, and with p = 0, a copy of x.

        Raises:
            ShapeError: the layer drops channels, and there are none.
            TypeMismatch: not a floating-point tensor.
        """
        (x,) = inputs
        x = check_tensor(self, x)
        if self.ranks and x.dim() not in self.ranks:
            expected = " or ".join(f"{rank}-D" for rank in self.ranks)
            raise ShapeError(f"{type(self).__name__} expects {expected}, got {tuple(x.shape)}")
        if not self.training or self.p == 0:
            self.save(None, x.shape, x.dtype)
            return x.clone()
        # a batch and channels; only channels where there is no batch
        axes = self.axes and self.axes - (x.dim() == min(self.ranks))
        options: dict[str, Any] = {"p": self.p, "seed": draw_seed(self.generator), "axes": axes}
        y, back = dispatch.run(ops.dropout, x, **options, **self.affine)
        self.save(back, x.shape, x.dtype)
        result: Tensor = y
        return result

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂y · scale where x was kept, else 0."""
        back, shape, dtype = self.saved
        grad_y = check_grad(self, grad_outputs[0], shape, dtype)
        grad_x: Tensor = grad_y.clone() if back is None else back(grad_y)[0]
        return grad_x


class Dropout1d(Dropout):
    """As Dropout, but whole channels are dropped: those of (N, C, L) or (C, L); as
    torch.nn.Dropout1d.
    """

    torch_names = ("torch.nn.Dropout1d",)
    axes, ranks = 2, (2, 3)

    @classmethod
    def example(cls) -> tuple[Dropout1d, Tensor]:
        """Return one, and an input for it."""
        return cls(), torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


class Dropout2d(Dropout):
    """As Dropout, but whole channels are dropped: those of (N, C, H, W) or (C, H, W); as
    torch.nn.Dropout2d. Source: Tompson et al., "Efficient Object Localization Using Convolutional
    Networks" (2015), section 3.2.
    """

    torch_names = ("torch.nn.Dropout2d",)
    axes, ranks = 2, (3, 4)


class AlphaDropout(Dropout):
    """y = a·x + b where x is kept and a·α′ + b where it is dropped, as torch.nn.AlphaDropout.

    α′ = −λα is what SELU tends to; a = ((1 − p)(1 + p·α′²))^(−1/2) and b = −a·p·α′ keep mean and
    variance. Source: Klambauer et al., "Self-Normalizing Neural Networks" (2017), section 3.
    """

    torch_names = ("torch.nn.AlphaDropout",)

    @property
    def affine(self) -> dict[str, Any]:
        """What becomes of an element that is kept (scale, shift), and of one that is dropped."""
        low = -1.7580993408473766  # −λα of SELU
        if self.p == 1:
            return {"scale": 0.0}
        scale = 1 / math.sqrt((1 - self.p) * (1 + self.p * low**2))
        shift = -scale * self.p * low
        return {"scale": scale, "shift": shift, "fill": scale * low + shift}


def draw_seed(generator: torch.Generator | None) -> int:
    """Return what ``scratchnet.ops.dropout`` takes for a seed, by one draw."""
    return int(torch.randint(2**63 - 1, (), generator=generator))
