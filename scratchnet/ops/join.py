"""Two tensors joined: their sum, and their concatenation."""

from __future__ import annotations

import torch
from torch import Tensor

from scratchnet.errors import ShapeError
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape


def _add(a: Tensor, b: Tensor) -> tuple[Tensor, None]:
    """y = a + b, of one shape: nothing is broadcast."""
    return a + b, None


def _add_backward(grad_y: Tensor, kept: None, a: Tensor, b: Tensor, *, needs: Needs) -> Gradients:
    """∂L/∂a = ∂L/∂b = ∂L/∂y."""
    return grad_y.clone() if needs[0] else None, grad_y.clone() if needs[1] else None


def _add_check(a: Tensor, b: Tensor) -> Shape:
    if a.shape != b.shape:
        raise ShapeError(f"add expects one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    return tuple(a.shape)


def _add_cases() -> list[Case]:
    shapes = [(0, 3, 2, 2), (), (1, 1, 1, 1), (5, 7), (3, 11, 23, 19)]
    return [
        *(Case((shape, shape), few=len(shape) < 4) for shape in shapes),
        *(Case(((2, 3, 7, 5), (2, 3, 7, 5)), layout=layout, few=True) for layout in LAYOUTS),
        Case(((2, 3), (3, 2)), error="one shape"),
        Case(((2, 3), (1, 3)), error="one shape"),
        Case(((2, 3), (2, 3)), dtypes=(torch.float32, torch.float64), error="one dtype"),
    ]


def _concat(a: Tensor, b: Tensor) -> tuple[Tensor, None]:
    """y = [a, b], joined along the channels."""
    return torch.cat([a, b], dim=1), None


def _concat_backward(
    grad_y: Tensor, kept: None, a: Tensor, b: Tensor, *, needs: Needs
) -> Gradients:
    """∂L/∂y = [∂L/∂a, ∂L/∂b]: each gets the gradient of its channels."""
    grad_a, grad_b = grad_y.tensor_split((a.shape[1],), dim=1)
    return grad_a.clone() if needs[0] else None, grad_b.clone() if needs[1] else None


def _concat_check(a: Tensor, b: Tensor) -> Shape:
    alike = (*a.shape[:1], *a.shape[2:]) == (*b.shape[:1], *b.shape[2:])
    if a.dim() < 2 or a.dim() != b.dim() or not alike:
        raise ShapeError(
            "concat expects (N, C, ...) and (N, C', ...) that differ in nothing but the channels, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    return a.shape[0], a.shape[1] + b.shape[1], *a.shape[2:]


def _concat_cases() -> list[Case]:
    return [
        Case(((0, 3, 2, 2), (0, 1, 2, 2))),
        Case(((1, 1, 1, 1), (1, 1, 1, 1)), few=True),
        Case(((2, 3), (2, 5)), few=True),
        Case(((2, 3, 4), (2, 1, 4))),
        Case(((2, 17, 19, 13), (2, 9, 19, 13))),
        *(Case(((2, 3, 7, 5), (2, 4, 7, 5)), layout=layout, few=True) for layout in LAYOUTS),
        Case(((2, 3, 4), (2, 3, 5)), error="but the channels"),
        Case(((2, 3, 4), (1, 3, 4)), error="but the channels"),
        Case(((2, 3, 4), (2, 3, 4, 1)), error="but the channels"),
        Case(((3,), (3,)), error="but the channels"),
    ]


def _terms_of_sum(a: Tensor, b: Tensor) -> int:
    return 1


def _none(a: Tensor, b: Tensor) -> int:
    return 0


add = Op(
    "add", forward=_add, backward=_add_backward, check=_add_check, cases=_add_cases, exact=True,
    multilinear=_terms_of_sum, reads=(), twin="torch.add",
)  # fmt: skip
concat = Op(
    "concat", forward=_concat, backward=_concat_backward, check=_concat_check,
    cases=_concat_cases, exact=True, multilinear=_none, reads=(),
    twin="scratchnet.testing.oracle.concat",
)  # fmt: skip
