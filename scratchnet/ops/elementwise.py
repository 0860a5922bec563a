"""Element-wise functions: what they share, and the kernels that compute all of them.

The functions themselves stand in kinked.py (pieces of straight lines) and smooth.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.ops.extension import extension, how, laid_out_as, supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape


def elementwise(
    function: Callable[..., Tensor],
    backward: Callable[..., Tensor],
    *,
    twin: str,
    of_output: bool = False,
    exact: bool = False,
    refuses: Callable[..., str | None] = lambda **options: None,
    usual: Mapping[str, float] = MappingProxyType({}),
    tried: Sequence[Mapping[str, float]] = (),
    wrong: Sequence[Mapping[str, Any]] = (),
) -> Op:
    """Return the operation y = f(x), for tensors of any shape.

    Args:
        function: ``(x, **options) -> y``; its name, less underscores, is the operation's, and its
            options are numbers.
        backward: ``(grad_y, x, **options) -> grad_x``.
        twin: as Op takes it.
        of_output: whether ``backward`` takes y in the place of x, which then need not be kept: the
            next operation keeps y anyway.
        exact: as Op takes it.
        refuses: ``(**options)`` -> what it expected and what came, for options out of range.
        usual: what it is tested with for options that have no default.
        tried: other options that it is tested with.
        wrong: options that it refuses.
    """
    name = function.__name__.strip("_")

    @wraps(function)
    def forward(x: Tensor, **options: float) -> tuple[Tensor, Tensor | None]:
        y = function(x, **options)
        return y, y if of_output else None

    @wraps(backward)
    def gradient(
        grad_y: Tensor, y: Tensor | None, x: Tensor, *, needs: Needs, **options: float
    ) -> Gradients:
        return (backward(grad_y, x if y is None else y, **options) if needs[0] else None,)

    def check(x: Tensor, **options: Any) -> Shape:
        for option, value in options.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ArgumentError(f"{name} expects {option} to be a number, got {value!r}")
        reason = refuses(**options)
        if reason:
            raise ArgumentError(f"{name} expects {reason}")
        return tuple(x.shape)

    def cases() -> list[Case]:
        numbers = list(inspect.signature(function).parameters)[1:]
        return [
            *(Case((shape,), usual, few=shape == (3, 5)) for shape in _SHAPES),
            *(Case(((5, 17, 31),), options, few=True) for options in tried),
            *(Case((_IMAGES,), usual, layout, few=layout == "transposed") for layout in LAYOUTS),
            Case(((2, 3),), usual, dtypes=(torch.int64,), error="floating-point"),
            *(Case(((2, 3),), options, error="expects") for options in wrong),
            *(Case(((2, 3),), {**usual, number: "x"}, error="a number") for number in numbers),
        ]

    op = Op(
        name, forward=forward, backward=gradient, check=check, cases=cases, exact=exact,
        reads=() if of_output else None, twin=twin,
    )  # fmt: skip
    op.implement(
        "cpp",
        forward=partial(_forward_in_cpp, name, of_output),
        backward=partial(_backward_in_cpp, name),
        supports=supports,
        how=how,
    )
    return op


_SHAPES: list[Shape] = [(), (0,), (0, 3, 2, 5), (7,), (3, 5), (5, 17, 31), (37, 1021)]
_IMAGES = (2, 3, 7, 5)


# -- in C++ ----------------------------------------------------------------------------------------


def _forward_in_cpp(
    name: str, of_output: bool, x: Tensor, **options: float
) -> tuple[Tensor, Tensor | None]:
    y = torch.empty_like(x)  # without gaps, whatever x has
    extension().elementwise_forward(name, laid_out_as(y, x), y, options)
    return y, y if of_output else None


def _backward_in_cpp(
    name: str, grad_y: Tensor, y: Tensor | None, x: Tensor, *, needs: Needs, **options: float
) -> Gradients:
    if not needs[0]:
        return (None,)
    at = x if y is None else y
    grad_x = torch.empty_like(at)
    at, grad_y = laid_out_as(grad_x, at), laid_out_as(grad_x, grad_y)
    extension().elementwise_backward(name, grad_y, at, grad_x, options)
    return (grad_x,)
