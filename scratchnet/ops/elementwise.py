"""Element-wise functions."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from scratchnet.ops.extension import extension, how, supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape

# Both keep the output and not the input: the next operation keeps it anyway.


def _cases() -> list[Case]:
    shapes = [
        (),
        (0,),
        (0, 3, 2, 5),
        (1,),
        (1, 1, 1, 1),
        (7,),
        (3, 5),
        (5, 17, 31),
        (3, 11, 67, 29),
    ]
    few = {(1,), (3, 5), (2, 3, 7, 5)}
    return [
        *(Case((shape,), few=shape in few) for shape in shapes),
        *(Case(((2, 3, 7, 5),), layout=layout, few=layout == "transposed") for layout in LAYOUTS),
        Case(((2, 3),), dtypes=(torch.int64,), error="floating-point"),
    ]


def _check(x: Tensor) -> Shape:
    return tuple(x.shape)


def _relu(x: Tensor) -> tuple[Tensor, Tensor]:
    """y = max(0, x); nan stays nan."""
    y = torch.relu(x)
    return y, y


def _relu_backward(grad_y: Tensor, y: Tensor, x: Tensor, *, needs: Needs) -> Gradients:
    """∂L/∂x = ∂L/∂y where x > 0, which is where y > 0, else 0: at the kink the derivative is
    0, as in torch.
    """
    return (grad_y.masked_fill(y <= 0, 0),) if needs[0] else (None,)


def _sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """y = σ(x) = 1 / (1 + e⁻ˣ), finite for every finite x."""
    y = torch.sigmoid(x)
    return y, y


def _sigmoid_backward(grad_y: Tensor, y: Tensor, x: Tensor, *, needs: Needs) -> Gradients:
    """∂L/∂x = ∂L/∂y · σ(x)·(1 − σ(x)) = ∂L/∂y · y·(1 − y)."""
    return (grad_y * (y * (1 - y)),) if needs[0] else (None,)


relu = Op(
    "relu", forward=_relu, backward=_relu_backward, check=_check, cases=_cases, exact=True,
    reads=(), twin="torch.nn.functional.relu",
)  # fmt: skip
sigmoid = Op(
    "sigmoid", forward=_sigmoid, backward=_sigmoid_backward, check=_check, cases=_cases, reads=(),
    twin="torch.sigmoid",
)  # fmt: skip


# -- in C++ ----------------------------------------------------------------------------------------


def _laid_out_as(like: Tensor, tensor: Tensor) -> Tensor:
    """Return ``tensor`` with the strides of ``like``: the kernels go through memory in order."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like).copy_(tensor)


def _forward_in_cpp(kernel: str, x: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(x)  # without gaps, whatever x has
    getattr(extension(), kernel)(_laid_out_as(y, x), y)
    return y, y


def _backward_in_cpp(
    kernel: str, grad_y: Tensor, y: Tensor, x: Tensor, *, needs: Needs
) -> Gradients:
    if not needs[0]:
        return (None,)
    grad_x = torch.empty_like(y)
    getattr(extension(), kernel)(_laid_out_as(y, grad_y), y, grad_x)
    return (grad_x,)


for _op in (relu, sigmoid):
    _op.implement(
        "cpp",
        forward=partial(_forward_in_cpp, f"{_op.name}_forward"),
        backward=partial(_backward_in_cpp, f"{_op.name}_backward"),
        supports=supports,
        how=how,
    )
