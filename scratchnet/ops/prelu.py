"""A leaky ReLU whose slopes are a tensor: trained, or drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from scratchnet.errors import ShapeError
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape


def _forward(x: Tensor, weight: Tensor) -> tuple[Tensor, None]:
    """y = x where x > 0, else a·x, with one slope a for all, for each channel, or each element."""
    return torch.where(x > 0, x, _met(weight, x) * x), None


def _backward(grad_y: Tensor, kept: None, x: Tensor, weight: Tensor, *, needs: Needs) -> Gradients:
    """∂L/∂x = ∂L/∂y · (1 where x > 0, else a);  ∂L/∂a = Σ ∂L/∂y · x over those x ≤ 0 that a
    meets.
    """
    grad_x = grad_weight = None
    if needs[0]:
        grad_x = torch.where(x > 0, grad_y, _met(weight, x) * grad_y)
    if needs[1]:
        terms = (grad_y * x).masked_fill(x > 0, 0)
        grad_weight = terms.sum_to_size(_met(weight, x).shape).reshape(weight.shape)
    return grad_x, grad_weight


def _met(weight: Tensor, x: Tensor) -> Tensor:
    """Return the slopes with the axes of x: (1, ..., 1), (1, C, 1, ...), or as x."""
    if weight.shape == x.shape:
        return weight
    axes = [1] * x.dim()
    if weight.numel() != 1:
        axes[1] = -1
    return weight.reshape(axes)


def _check(x: Tensor, weight: Tensor) -> Shape:
    channels = x.shape[1] if x.dim() > 1 else 1
    if weight.shape != x.shape and tuple(weight.shape) not in ((1,), (channels,)):
        raise ShapeError(
            f"prelu expects one slope (1,), one for each of the {channels} channels of x, or one "
            f"for each element {tuple(x.shape)}, got {tuple(weight.shape)}"
        )
    return tuple(x.shape)


def _cases() -> list[Case]:
    image = (2, 3, 7, 5)
    return [
        Case(((), (1,))),
        Case(((0, 3, 2, 5), (3,))),
        Case(((7,), (7,))),
        Case(((7,), (1,)), few=True),
        Case(((3, 5), (5,)), few=True),
        Case(((3, 17, 31), (17,))),
        Case(((3, 33, 29), (3, 33, 29))),
        Case(((2, 11, 67, 29), (11,))),
        Case(((2, 11, 67, 29), (1,))),
        *(Case((image, (3,)), layout=layout, few=layout == "transposed") for layout in LAYOUTS),
        Case((image, (1,)), layout="sliced"),
        Case((image, image), layout="channels_last"),
        Case((image, (5,)), error="one for each of the 3 channels"),
        Case(((7,), (3,)), error="slope"),
        Case((image, (3,)), dtypes=(torch.float32, torch.float64), error="one dtype"),
    ]


prelu = Op(
    "prelu", forward=_forward, backward=_backward, check=_check, cases=_cases, exact=True,
    twin="scratchnet.testing.oracle.prelu",
)  # fmt: skip
