"""Linear and bilinear maps of the last axis. D is the width of the input, O that of the output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scratchnet.errors import ShapeError
from scratchnet.ops.extension import supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, None]:
    """y = x Wᵀ + b, of the last axis."""
    y = x @ weight.T
    return y if bias is None else y + bias, None


def _linear_backward(
    grad_y: Tensor, kept: None, x: Tensor, weight: Tensor, bias: Tensor | None, *, needs: Needs
) -> Gradients:
    """With rows n of all leading axes: ∂L/∂x = ∂L/∂y W;  ∂L/∂W = Σₙ ∂L/∂yₙ xₙᵀ;  ∂L/∂b = Σₙ ∂L/∂yₙ.

    Source: Goodfellow et al., "Deep Learning" (2016), section 6.5.6.
    """
    rows = grad_y.reshape(-1, weight.shape[0])  # (..., O) -> (N, O)
    return (
        grad_y @ weight if needs[0] else None,
        rows.T @ x.reshape(-1, weight.shape[1]) if needs[1] else None,
        rows.sum(0) if needs[2] else None,
    )


def _linear_check(x: Tensor, weight: Tensor, bias: Tensor | None) -> Shape:
    if weight.dim() != 2 or 0 in weight.shape:
        raise ShapeError(f"linear expects weight (O, D), got {tuple(weight.shape)}")
    if x.dim() < 1 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear expects x (..., {weight.shape[1]}), as wide as the weight, got "
            f"{tuple(x.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear expects bias ({weight.shape[0]},), got {tuple(bias.shape)}")
    return *x.shape[:-1], weight.shape[0]


def _linear_terms(x: Tensor, weight: Tensor, bias: Tensor | None) -> int:
    return max(weight.shape[0], weight.shape[1], x.numel() // weight.shape[1]) + 1


def _linear_cases() -> list[Case]:
    images = ((2, 3, 7, 5), (6, 5), (6,))
    return [
        Case(((0, 3), (2, 3), (2,)), few=True),
        Case(((1, 1), (1, 1), (1,))),
        Case(((5,), (3, 5), None), few=True),
        Case(((4, 0, 5), (3, 5), (3,))),
        Case(((7, 13), (11, 13), (11,)), few=True),
        Case(((3, 5, 17), (33, 17), None)),
        *(Case(images, layout=layout, few=layout == "sliced") for layout in LAYOUTS),
        Case(((4, 31, 65), (67, 65), (67,))),
        Case(((2, 3), (4, 5), None), error="as wide as the weight"),
        Case(((), (4, 5), None), error="as wide as the weight"),
        Case(((2, 5), (4, 5, 1), None), error="weight (O, D)"),
        Case(((2, 5), (4, 5), (5,)), error="bias (4,)"),
        Case(((2, 5), (4, 5)), dtypes=(torch.float32, torch.float64), error="one dtype"),
    ]


linear = Op(
    "linear", forward=_linear, backward=_linear_backward, check=_linear_check, cases=_linear_cases,
    exact=True, multilinear=_linear_terms, reads=("x", "weight"),
    twin="torch.nn.functional.linear",
)  # fmt: skip


def _bilinear(
    x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, None]:
    """y_o = x₁ᵀ W_o x₂ + b_o, of the last axes."""
    y = torch.einsum("...i,oij,...j->...o", x1, weight, x2)
    return y if bias is None else y + bias, None


def _bilinear_backward(
    grad_y: Tensor, kept: None, x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None, *,
    needs: Needs,
) -> Gradients:  # fmt: skip
    """y is linear in each: ∂L/∂x₁ = Σ_o ∂L/∂y_o W_o x₂;  ∂L/∂x₂ = Σ_o ∂L/∂y_o W_oᵀ x₁;
    ∂L/∂W_o = Σₙ ∂L/∂y_{n,o} x₁ x₂ᵀ;  ∂L/∂b = Σₙ ∂L/∂yₙ.
    """
    rows, first, second = (t.reshape(-1, t.shape[-1]) for t in (grad_y, x1, x2))
    return (
        torch.einsum("...o,oij,...j->...i", grad_y, weight, x2) if needs[0] else None,
        torch.einsum("...o,oij,...i->...j", grad_y, weight, x1) if needs[1] else None,
        torch.einsum("no,ni,nj->oij", rows, first, second) if needs[2] else None,
        rows.sum(0) if needs[3] else None,
    )


def _bilinear_check(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None) -> Shape:
    if weight.dim() != 3 or 0 in weight.shape:
        raise ShapeError(f"bilinear expects weight (O, D1, D2), got {tuple(weight.shape)}")
    if x1.dim() < 1 or x2.dim() < 1 or x1.shape[:-1] != x2.shape[:-1]:
        raise ShapeError(
            "bilinear expects x1 and x2 that differ in nothing but the last axis, got "
            f"{tuple(x1.shape)} and {tuple(x2.shape)}"
        )
    if (x1.shape[-1], x2.shape[-1]) != weight.shape[1:]:
        raise ShapeError(
            f"bilinear expects x1 and x2 as wide as the weight says, {tuple(weight.shape[1:])}, "
            f"got {x1.shape[-1]} and {x2.shape[-1]}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"bilinear expects bias ({weight.shape[0]},), got {tuple(bias.shape)}")
    return *x1.shape[:-1], weight.shape[0]


def _bilinear_terms(x1: Tensor, x2: Tensor, weight: Tensor, bias: Tensor | None) -> int:
    return weight.numel() + x1.shape[:-1].numel() + 1


def _bilinear_cases() -> list[Case]:
    images = ((2, 3, 7, 5), (2, 3, 7, 4), (6, 5, 4), (6,))
    return [
        Case(((0, 3), (0, 2), (4, 3, 2), (4,)), few=True),
        Case(((1,), (1,), (1, 1, 1), None), few=True),
        Case(((7, 5), (7, 3), (2, 5, 3), (2,)), few=True),
        *(Case(images, layout=layout) for layout in LAYOUTS),
        Case(((2, 3), (2, 2), (3, 2), None), error="(O, D1, D2)"),
        Case(((2, 3), (3, 2), (4, 3, 2), None), error="nothing but the last axis"),
        Case(((2, 3), (2, 3), (4, 3, 2), None), error="as wide as"),
        Case(((2, 3), (2, 2), (4, 3, 2), (3,)), error="bias (4,)"),
    ]


bilinear = Op(
    "bilinear", forward=_bilinear, backward=_bilinear_backward, check=_bilinear_check,
    cases=_bilinear_cases, exact=True, multilinear=_bilinear_terms,
    reads=("x1", "x2", "weight"), twin="torch.nn.functional.bilinear",
)  # fmt: skip


# -- with torch's matrix product, which is as fast as a kernel could be ----------------------------


def _linear_by_product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, None]:
    rows = x.reshape(-1, weight.shape[1])
    y = rows @ weight.T if bias is None else torch.addmm(bias, rows, weight.T)
    return y.view(*x.shape[:-1], weight.shape[0]), None


def _linear_backward_by_product(
    grad_y: Tensor, kept: None, x: Tensor, weight: Tensor, bias: Tensor | None, *, needs: Needs,
    into: Sequence[Tensor | None] = (None, None, None),
) -> Gradients:  # fmt: skip
    """The gradient of the weight is added to its buffer by the matrix product itself."""
    rows = grad_y.reshape(-1, weight.shape[0])
    grad_x = grad_weight = grad_bias = None
    if needs[0]:
        grad_x = (rows @ weight).view(x.shape)
    if needs[1]:
        if into[1] is None:
            grad_weight = rows.T @ x.reshape(-1, weight.shape[1])
        else:
            into[1].addmm_(rows.T, x.reshape(-1, weight.shape[1]))
    if needs[2]:
        grad_bias = rows.sum(0)
        if into[2] is not None:
            into[2].add_(grad_bias)
            grad_bias = None
    return grad_x, grad_weight, grad_bias


def _how(*tensors: Tensor | None) -> str:
    return "runs, by torch's matrix product"


linear.implement(
    "cpp", forward=_linear_by_product, backward=_linear_backward_by_product, supports=supports,
    how=_how, accumulates=True,
)  # fmt: skip
