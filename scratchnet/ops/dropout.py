"""Dropout, by random numbers that are a function of a seed and of the place.

So nothing is kept for backward, which draws the same numbers again, and any number of threads gives
the same bits. The function is two rounds of the 32-bit mixer "lowbias32" (Chris Wellons,
"Prospecting for Hash Functions", 2018), one for each half of the seed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.ops.extension import extension, how, supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape

_LOW = 0xFFFFFFFF  # the low 32 bits, all that is looked at: int64 products may overflow above


def _mixed(bits: Tensor) -> Tensor:
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = ((bits ^ (bits >> shift)) * factor) & _LOW
    return bits ^ (bits >> 16)


def kept_places(count: int, p: float, seed: int, device: torch.device | None = None) -> Tensor:
    """Return which of ``count`` places are kept: each is dropped with probability p."""
    place = torch.arange(count, device=device)
    bits = _mixed((place & _LOW) ^ (seed & _LOW))
    bits = _mixed(bits ^ ((seed >> 32) + (place >> 32) & _LOW))
    return bits >= round(p * 2**32)


def _kept(x: Tensor, p: float, seed: int, axes: int | None) -> Tensor:
    """Return which elements of x are kept, in a shape that is broadcast."""
    lead = x.dim() if axes is None else min(axes, x.dim())
    shape = x.shape[:lead]
    places = kept_places(shape.numel(), p, seed, x.device)
    return places.view((*shape, *[1] * (x.dim() - lead)))


def _forward(
    x: Tensor, *, p: float, seed: int, scale: float, shift: float = 0.0, fill: float = 0.0,
    axes: int | None = None,
) -> tuple[Tensor, None]:  # fmt: skip
    """y = x · scale + shift where x is kept, else ``fill``. Each element is dropped with
    probability p; if ``axes`` are given, all that have the same place in the first ones together.
    """
    return torch.where(_kept(x, p, seed, axes), x * scale + shift, fill), None


def _backward(
    grad_y: Tensor, kept: None, x: Tensor, *, p: float, seed: int, scale: float, shift: float,
    fill: float, axes: int | None, needs: Needs,
) -> Gradients:  # fmt: skip
    """∂L/∂x = ∂L/∂y · scale where x was kept, else 0.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting"
    (2014), section 4.
    """
    if not needs[0]:
        return (None,)
    return (torch.where(_kept(x, p, seed, axes), grad_y * scale, 0.0),)


def _check(
    x: Tensor, *, p: float, seed: int, scale: float, shift: float, fill: float, axes: int | None
) -> Shape:
    if not 0 <= p <= 1:
        raise ArgumentError(f"dropout expects p from 0 to 1, got {p}")
    if not 0 <= seed < 2**63:
        raise ArgumentError(f"dropout expects a seed from 0 to 2^63 - 1, got {seed}")
    if axes is not None and axes < 1:
        raise ArgumentError(f"dropout expects at least 1 of the axes, got {axes}")
    return tuple(x.shape)


def _terms(x: Tensor, **options: object) -> int:
    return 2


def _exact(*, p: float = 0.0, scale: float = 0.5, **options: object) -> bool:
    return scale in (0.5, 1.0, 2.0)


def _cases() -> list[Case]:
    half = {"p": 0.5, "seed": 3, "scale": 2.0}
    alpha = {"p": 0.3, "seed": 2**40 + 5, "scale": 0.8, "shift": 0.25, "fill": -1.5}
    return [
        Case(((0, 3),), half),
        Case(((),), half),
        Case(((1, 1),), {**half, "p": 0.0}, few=True),
        Case(((3, 5),), {**half, "p": 1.0}, few=True),
        Case(((7, 13),), {**half, "axes": 1}, few=True),
        Case(((5, 17, 31),), alpha, few=True),
        *(Case(((2, 3, 7, 5),), half, layout=layout, few=True) for layout in LAYOUTS),
        *(Case(((2, 3, 7, 5),), {**half, "axes": 2}, layout=layout) for layout in LAYOUTS),
        Case(((2, 9, 31, 37),), {**half, "seed": 2**63 - 1}),
        Case(((2, 3),), {**half, "p": 1.5}, error="p from 0 to 1"),
        Case(((2, 3),), {**half, "seed": -1}, error="seed"),
        Case(((2, 3),), {**half, "axes": 0}, error="axes"),
        Case(((2, 3),), half, dtypes=(torch.int64,), error="floating-point"),
    ]


dropout = Op(
    "dropout", forward=_forward, backward=_backward, check=_check, cases=_cases, exact=_exact,
    reads=(), twin="scratchnet.testing.oracle.dropout",
)  # fmt: skip


# -- in C++ ----------------------------------------------------------------------------------------


def _forward_in_cpp(
    x: Tensor, *, p: float, seed: int, scale: float, shift: float = 0.0, fill: float = 0.0,
    axes: int | None = None,
) -> tuple[Tensor, None]:  # fmt: skip
    x = x.contiguous()
    y = torch.empty_like(x)
    extension().dropout(x, y, round(p * 2**32), seed, scale, shift, fill, _together(x, axes))
    return y, None


def _backward_in_cpp(
    grad_y: Tensor, kept: None, x: Tensor, *, p: float, seed: int, scale: float, shift: float,
    fill: float, axes: int | None, needs: Needs,
) -> Gradients:  # fmt: skip
    if not needs[0]:
        return (None,)
    linear = {"p": p, "seed": seed, "scale": scale, "axes": axes}
    return (_forward_in_cpp(grad_y, **linear)[0],)  # type: ignore[arg-type]


def _together(x: Tensor, axes: int | None) -> int:
    """Return how many neighbours share a place."""
    return 1 if axes is None else x.shape[axes:].numel()


dropout.implement(
    "cpp", forward=_forward_in_cpp, backward=_backward_in_cpp, supports=supports, how=how
)
