"""One half of the channels times a function of the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ShapeError
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape, check_axis
from scratchnet.ops.smooth import silu_derivative


def _glu(x: Tensor, *, dim: int = -1) -> tuple[Tensor, None]:
    """y = a·σ(b), where x = [a, b] along ``dim``."""
    a, b = x.chunk(2, dim)
    return a * torch.sigmoid(b), None


def _glu_backward(grad_y: Tensor, kept: None, x: Tensor, *, dim: int, needs: Needs) -> Gradients:
    """∂L/∂a = ∂L/∂y·σ(b) and ∂L/∂b = ∂L/∂y·a·σ(b)·(1 − σ(b))."""
    if not needs[0]:
        return (None,)
    a, b = x.chunk(2, dim)
    s = torch.sigmoid(b)
    return (torch.cat([grad_y * s, grad_y * a * (s * (1 - s))], dim),)


def _swiglu(x: Tensor, *, dim: int = -1) -> tuple[Tensor, None]:
    """y = silu(a)·b, where x = [a, b] along ``dim``; silu(a) = a·σ(a)."""
    a, b = x.chunk(2, dim)
    return a * torch.sigmoid(a) * b, None


def _swiglu_backward(grad_y: Tensor, kept: None, x: Tensor, *, dim: int, needs: Needs) -> Gradients:
    """∂L/∂a = ∂L/∂y·b·silu'(a) and ∂L/∂b = ∂L/∂y·silu(a)."""
    if not needs[0]:
        return (None,)
    a, b = x.chunk(2, dim)
    grad_a, grad_b = grad_y * b * silu_derivative(a), grad_y * (a * torch.sigmoid(a))
    return (torch.cat([grad_a, grad_b], dim),)


def _gate(
    name: str, forward: Callable[..., Any], backward: Callable[..., Gradients], twin: str
) -> Op:
    def check(x: Tensor, *, dim: int) -> Shape:
        if x.dim() == 0:
            raise ShapeError(f"{name} expects at least one axis, got a single number")
        shape, at = list(x.shape), check_axis(name, x, dim)
        if shape[at] % 2:
            raise ShapeError(
                f"{name} halves dim={dim} and expects it to be even, got {tuple(x.shape)}"
            )
        shape[at] //= 2
        return tuple(shape)

    return Op(name, forward=forward, backward=backward, check=check, cases=_cases, twin=twin)


def _cases() -> list[Case]:
    image = (2, 4, 7, 6)
    return [
        Case(((0, 4, 2, 6),)),
        Case(((2, 0),)),
        Case(((8,),)),
        Case(((3, 10),), few=True),
        Case(((3, 10, 33),), {"dim": 1}, few=True),
        Case(((6, 5),), {"dim": 0}),
        Case(((3, 11, 66),)),
        Case(((2, 1, 5, 7002),)),
        *(Case((image,), {"dim": 1}, layout, few=layout == "transposed") for layout in LAYOUTS),
        Case((image,), {"dim": -1}, "channels_last"),
        Case((image,), {"dim": 2}, error="even"),
        Case(((),), error="one axis"),
        Case((image,), {"dim": 4}, error="an axis of x"),
        Case((image,), {"dim": "x"}, error="an axis of x"),
        Case((image,), {"dim": 1}, dtypes=(torch.int64,), error="floating-point"),
    ]


glu = _gate("glu", _glu, _glu_backward, "torch.nn.functional.glu")
swiglu = _gate("swiglu", _swiglu, _swiglu_backward, "scratchnet.testing.oracle.swiglu")
