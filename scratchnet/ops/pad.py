"""Padding: values put around an image, or, where negative, rows and columns cut off.

Source: torch.nn.functional.pad's documentation, whose order ``padding`` has: (before, after) of the
last axis, then of the one before it, and so on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape

MODES = ("constant", "reflect", "replicate", "circular")
Padding = tuple[int, ...]


def _sources(x: Tensor, padding: Padding, mode: str) -> list[tuple[int, Tensor]]:
    """Return (axis, where each of its places comes from) for each axis; −1 is the constant."""
    found = []
    for axis, (before, after) in _by_axis(x, padding):
        n = x.shape[axis]
        at = torch.arange(-before, n + after, device=x.device)
        if mode == "constant":
            at = at.where((at >= 0) & (at < n), -1)
        elif mode == "replicate":
            at = at.clamp(0, n - 1)
        elif mode == "reflect":
            at = (n - 1) - ((n - 1) - at.abs()).abs()
        else:  # what is cut off does not come round
            first, left = max(0, -before), n + min(0, before) + min(0, after)
            at = first + (at - first) % left
        found.append((axis, at))
    return found


def _by_axis(x: Tensor, padding: Padding) -> list[tuple[int, tuple[int, int]]]:
    pairs = zip(padding[::2], padding[1::2], strict=True)
    return [(x.dim() - i, pair) for i, pair in enumerate(pairs, start=1)]


def _forward(
    x: Tensor, *, padding: Padding, mode: str = "constant", value: float = 0.0
) -> tuple[Tensor, None]:
    """y[..., i, ...] = x[..., source(i), ...] along each padded axis, or ``value``."""
    y = x.clone()
    for axis, at in _sources(x, padding, mode):
        y = y.index_select(axis, at.clamp_min(0))
        y.index_fill_(axis, (at < 0).nonzero().flatten(), value)
    return y, None


def _backward(
    grad_y: Tensor, kept: None, x: Tensor, *, padding: Padding, mode: str, value: float,
    needs: Needs,
) -> Gradients:  # fmt: skip
    """∂L/∂x[j] = Σ of ∂L/∂y[i] over all i with source(i) = j: each copy gives its gradient back."""
    if not needs[0]:
        return (None,)
    grad = grad_y.clone()
    for axis, at in _sources(x, padding, mode):
        shape = (*grad.shape[:axis], x.shape[axis], *grad.shape[axis + 1 :])
        copied = (at >= 0).nonzero().flatten()
        part = grad.index_select(axis, copied)
        grad = grad.new_zeros(shape).index_add_(axis, at[copied], part)
    return (grad,)


def _check(x: Tensor, *, padding: Padding, mode: str, value: float) -> Shape:
    if mode not in MODES:
        raise ArgumentError(f"pad expects mode to be one of {', '.join(MODES)}, got {mode!r}")
    if len(padding) % 2 or not 2 <= len(padding) <= 6 or len(padding) > 2 * x.dim():
        raise ArgumentError(
            f"pad expects padding to be (before, after) of the last axis, then of the one before "
            f"it, for one to three axes of x {tuple(x.shape)}; got {padding}"
        )
    shape = list(x.shape)
    for axis, (before, after) in _by_axis(x, padding):
        n = shape[axis]
        shape[axis] = n + before + after
        most = {"reflect": n - 1, "circular": n + min(0, before) + min(0, after)}.get(mode)
        if most is not None and max(before, after) > most:
            raise ShapeError(
                f"pad with mode={mode!r} has {max(most, 0)} places to copy from an axis of {n}: "
                f"expected a padding of at most that, got ({before}, {after})"
            )
        if n < 1 or shape[axis] < 1 or min(before, after) <= -n:
            raise ShapeError(
                f"pad leaves nothing of an axis of {n}: expected less negative padding, or a "
                f"larger x; got ({before}, {after})"
            )
    return tuple(shape)


def _terms(x: Tensor, *, padding: Padding, mode: str, value: float) -> int:
    copies = (at[at >= 0].bincount() for _, at in _sources(x, padding, mode))
    return math.prod(int(count.max()) if count.numel() else 1 for count in copies)


def _cases() -> list[Case]:
    geometries = [(1, 2), (1, 1, 2, 1), (0, 3, 1, 0), (-1, 2, 1, -2), (-1, -1, 0, 0)]
    given = [{"padding": p, "mode": mode} for p in geometries for mode in MODES]
    four = {"padding": (1, 2, 2, 1), "mode": "reflect"}
    return [
        Case(((1, 1, 1, 1),), {"padding": (3, 2, 0, 1), "value": 2.0}, few=True),
        Case(((1, 1, 1, 1),), {"padding": (3, 2, 0, 1), "mode": "replicate"}, few=True),
        *(Case(((0, 3, 4, 5),), {"padding": (1, 1, 2, 0), "mode": mode}) for mode in MODES),
        *(Case(((2, 3, 7, 5),), options, few=len(options["padding"]) == 4) for options in given),
        *(Case(((2, 3, 7),), options) for options in given[:4]),
        *(Case(((2, 3, 8, 6),), four, layout=layout) for layout in LAYOUTS),
        *(Case(((2, 3, 3, 4),), {"padding": (3, 3, 2, 2), "mode": mode}) for mode in MODES),
        *(Case(((2, 3, 4, 3, 5),), {"padding": (1, 2, 0, 1, 2, 1), "mode": m}) for m in MODES),
        Case(((2, 17, 19, 23),), {"padding": (0, 0, 0, 0)}),
        Case(((3, 5, 43, 71),), {"padding": (3, 3, 3, 3), "mode": "circular"}),
        Case(((2, 3, 4, 5),), {"padding": (1, 1, 1)}, error="(before, after)"),
        Case(((4,),), {"padding": (1, 1, 1, 1)}, error="one to three axes"),
        Case(((2, 3, 4, 5),), {"padding": (1, 1), "mode": "mirror"}, error="mode to be one of"),
        Case(((2, 3, 4, 5),), {"padding": (5, 0), "mode": "reflect"}, error="4 places to copy"),
        Case(((2, 3, 4, 5),), {"padding": (5, -1), "mode": "circular"}, error="4 places to copy"),
        Case(((2, 3, 4, 5),), {"padding": (-3, -2)}, error="leaves nothing"),
        Case(((2, 3, 4, 5),), {"padding": (1, 1)}, dtypes=(torch.int64,), error="floating-point"),
    ]


pad = Op(
    "pad", forward=_forward, backward=_backward, check=_check, cases=_cases, exact=True,
    multilinear=_terms, reads=(), twin="scratchnet.testing.oracle.pad",
)  # fmt: skip
