"""Softmax along one axis, and its logarithm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchnet.ops.extension import extension, how, laid_out_as, supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape, check_axis


def _softmax(x: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    """yᵢ = e^(xᵢ) / Σⱼ e^(xⱼ), both times e^(−max x), so that nothing overflows."""
    if x.numel() == 0:
        y = x.clone()
    else:
        terms = torch.exp(x - x.amax(dim, keepdim=True))
        y = terms / terms.sum(dim, keepdim=True)
    return y, y


def _softmax_backward(grad_y: Tensor, y: Tensor, x: Tensor, *, dim: int, needs: Needs) -> Gradients:
    """∂L/∂xᵢ = yᵢ·(∂L/∂yᵢ − Σⱼ yⱼ·∂L/∂yⱼ), because ∂yⱼ/∂xᵢ = yⱼ·([i = j] − yᵢ)."""
    if not needs[0]:
        return (None,)
    return (y * (grad_y - (y * grad_y).sum(dim, keepdim=True)),)


def _log_softmax(x: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    """yᵢ = xᵢ − max x − log Σⱼ e^(xⱼ − max x)."""
    if x.numel() == 0:
        y = x.clone()
    else:
        shifted = x - x.amax(dim, keepdim=True)
        y = shifted - torch.exp(shifted).sum(dim, keepdim=True).log()
    return y, y


def _log_softmax_backward(
    grad_y: Tensor, y: Tensor, x: Tensor, *, dim: int, needs: Needs
) -> Gradients:
    """∂L/∂xᵢ = ∂L/∂yᵢ − e^(yᵢ)·Σⱼ ∂L/∂yⱼ, because ∂yⱼ/∂xᵢ = [i = j] − e^(yᵢ)."""
    if not needs[0]:
        return (None,)
    return (grad_y - torch.exp(y) * grad_y.sum(dim, keepdim=True),)


def _along(
    name: str, forward: Callable[..., Any], backward: Callable[..., Gradients], twin: str
) -> Op:
    """Return an operation along ``dim`` that keeps its output alone."""

    def check(x: Tensor, *, dim: int) -> Shape:
        check_axis(name, x, dim)
        return tuple(x.shape)

    op = Op(
        name, forward=forward, backward=backward, check=check, cases=_cases, reads=(), twin=twin
    )
    op.implement(
        "cpp",
        forward=partial(_forward_in_cpp, name),
        backward=partial(_backward_in_cpp, name),
        supports=supports,
        how=how,
    )
    return op


def _forward_in_cpp(name: str, x: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(x)  # without gaps, whatever x has
    kernel = getattr(extension(), f"{name}_forward")
    kernel(laid_out_as(y, x), y, check_axis(name, x, dim))
    return y, y


def _backward_in_cpp(
    name: str, grad_y: Tensor, y: Tensor, x: Tensor, *, dim: int, needs: Needs
) -> Gradients:
    if not needs[0]:
        return (None,)
    grad_x = torch.empty_like(y)
    kernel = getattr(extension(), f"{name}_backward")
    kernel(laid_out_as(y, grad_y), y, grad_x, check_axis(name, x, dim))
    return (grad_x,)


def _cases() -> list[Case]:
    image = (2, 3, 7, 5)
    return [
        Case(((),), {"dim": 0}),
        Case(((0, 3, 2, 5),), {"dim": 1}),
        Case(((3, 0),), {"dim": 1}),
        Case(((1, 1),), {"dim": 1}),
        Case(((7,),), {"dim": -1}),
        Case(((3, 5),), {"dim": 1}, few=True),
        Case(((5, 3, 4),), {"dim": 1}, few=True),
        Case(((5, 17, 31),), {"dim": 0}),
        Case(((5, 17, 67),), {"dim": -2}),
        Case(((19, 1031),), {"dim": 1}),
        Case(((1031, 19),), {"dim": 0}),
        *(Case((image,), {"dim": 1}, layout, few=layout == "transposed") for layout in LAYOUTS),
        Case((image,), {"dim": 3}, "channels_last"),
        Case((image,), {"dim": 2}, "sliced"),
        Case((image,), {"dim": 4}, error="an axis of x"),
        Case((image,), {"dim": -5}, error="an axis of x"),
        Case((image,), {"dim": None}, error="an axis of x"),
        Case((image,), {"dim": 1}, dtypes=(torch.int64,), error="floating-point"),
    ]


softmax = _along("softmax", _softmax, _softmax_backward, "torch.softmax")
log_softmax = _along("log_softmax", _log_softmax, _log_softmax_backward, "torch.log_softmax")
