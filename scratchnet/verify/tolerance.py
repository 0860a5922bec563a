"""The one idea of "close enough": the tolerance between two correct results of one operation.

Every implementation is compared with the reference in float64. The tolerance is

- for sums of products (``Op.multilinear``): 4·ε·(1 + √terms) times the sum of the magnitudes of the
  terms, which the reference computes from absolute values; the largest of the neighbours' where an
  implementation may compute several together (``Op.tiled``);
- for an operation with its own error analysis (``Op.bounds``): the bound found there;
- for all others: FACTOR·√(1 + terms/16) times the largest error that the reference itself makes on
  that input in that dtype, plus ULPS units in the last place of each element. torch adds pairwise;
  the error of a plain loop over ``terms`` numbers grows as √terms, relative to that.

Whole numbers come out bit-equal where an operation is exact; the kit compares them so. At a kink or
a tie (ReLU at 0, equal maxima) the reference decides, since it sees the same numbers. Inside a
graph, where the numbers before a kink are themselves computed, the error analysis allows both sides
to those that are too close to call.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from scratchnet.ops.op import Needs, Op

FACTOR = 8.0
ULPS = 8.0
_TILE = 4  # the side of what Winograd's F(2x2, 3x3) transforms at a time
_NEARBY = 3  # inputs next to the given one on which the reference's error is measured, too


@dataclass(frozen=True)
class Bound:
    """The expected value of a result and its tolerance, element by element.

    Attributes:
        value: in float64.
        allowed: in float64; infinite or nan where the numbers leave the dtype's range, and nothing
            is compared.
        dtype: of the result.
    """

    value: Tensor
    allowed: Tensor
    dtype: torch.dtype


def tolerance(dtype: torch.dtype, terms: int = 1) -> float:
    """Return the tolerance between two correct sums of ``terms`` products, relative to the sum of
    the terms' magnitudes.

    4·ε·(1 + √terms): rounding errors of different orders of summation add up like a random walk,
    whose steps are at most ε/2. Source: Higham and Mary, "A New Approach to Probabilistic Rounding
    Error Analysis" (2019).
    """
    return 4 * torch.finfo(dtype).eps * (1 + math.sqrt(terms))


Tensors = tuple[Tensor | None, ...]


def forward_bounds(op: Op, tensors: Tensors, options: dict[str, Any]) -> list[Bound]:
    """Return the bound of each output of a call."""
    if op.bounds is not None:
        found: list[Bound] = _analysis(op).forward(tensors, options)
        return found
    dtype = _dtype(tensors)

    def run(given: Tensors) -> list[Tensor | None]:
        y, _ = op.reference.forward(*given, **options)
        return list(y) if isinstance(y, tuple) else [y]

    return [bound for bound in _bounds(op, run, tensors, tensors, options, dtype) if bound]


def backward_bounds(
    op: Op, grad_ys: Sequence[Tensor], tensors: Tensors, options: dict[str, Any], needs: Needs
) -> list[Bound | None]:
    """Return the bound of each gradient of a call; None where it is not needed."""
    if op.bounds is not None:
        found: list[Bound | None] = _analysis(op).backward(grad_ys, tensors, options, needs)
        return found
    dtype = _dtype(tensors)

    def run(given: Tensors) -> list[Tensor | None]:
        grads, rest = given[: len(grad_ys)], given[len(grad_ys) :]
        _, kept = op.reference.forward(*rest, **options)
        grad_y = grads[0] if len(grads) == 1 else grads
        return list(op.reference.backward(grad_y, kept, *rest, **options, needs=needs))

    return _bounds(op, run, (*grad_ys, *tensors), tensors, options, dtype)


def _bounds(
    op: Op,
    run: Any,
    given: Tensors,
    tensors: Tensors,
    options: dict[str, Any],
    dtype: torch.dtype,
) -> list[Bound | None]:
    wide = _converted(given, torch.float64)
    values = run(wide)
    if op.multilinear is not None:
        rtol = tolerance(dtype, max(op.multilinear(*tensors, **options), 1))
        found = run(tuple(None if t is None else t.abs() for t in wide))
        magnitudes = of_tiles(op, found, tensors, options)
        return [
            None if v is None or m is None else Bound(v, _in_range(rtol * m.abs(), m, dtype), dtype)
            for v, m in zip(values, magnitudes, strict=True)
        ]
    eps = torch.finfo(dtype).eps
    factor = FACTOR * math.sqrt(1 + _terms(op, tensors, options) / 16)
    errors = [0.0] * len(values)
    for near in _nearby(wide):
        for i, error in enumerate(_single_errors(run, near)):
            errors[i] = max(errors[i], error)
    ratio = eps / torch.finfo(torch.float32).eps
    return [
        None
        if value is None
        else Bound(
            value, _in_range(factor * ratio * error + ULPS * eps * value.abs(), value, dtype), dtype
        )
        for value, error in zip(values, errors, strict=True)
    ]


def of_tiles(
    op: Op, magnitudes: Sequence[Tensor | None], tensors: Tensors, options: dict[str, Any]
) -> list[Tensor | None]:
    """Return the magnitudes of the sums that an implementation may form: where neighbours are
    computed together, in tiles of 4x4 wherever they begin, those of the largest of them.
    """
    if op.tiled is None or not op.tiled(*tensors, **options):
        return list(magnitudes)
    return [
        m if m is None or m.dim() != 4 or m.numel() == 0
        else torch.max_pool2d(m.abs(), 2 * _TILE - 1, stride=1, padding=_TILE - 1)
        for m in magnitudes
    ]  # fmt: skip


def _terms(op: Op, tensors: Tensors, options: dict[str, Any]) -> int:
    """Return about how many terms the longest sum has: as many as the outputs that one element
    changes, or as the elements that there are for one output.
    """

    def outputs(given: Tensors) -> Tensor:
        y, _ = op.reference.forward(*given, **options)
        return torch.cat([one.flatten() for one in (y if isinstance(y, tuple) else (y,))])

    wide, most = _converted(tensors, torch.float64), 1
    usual = outputs(wide)
    for i, tensor in enumerate(wide):
        if tensor is not None and tensor.is_floating_point() and tensor.numel() and usual.numel():
            moved = tensor.clone(memory_format=torch.contiguous_format)
            moved.view(-1)[tensor.numel() // 2] += 1
            changed = int((outputs((*wide[:i], moved, *wide[i + 1 :])) != usual).sum())
            most = max(most, changed, tensor.numel() // usual.numel())
    return most


def _in_range(allowed: Tensor, magnitude: Tensor, dtype: torch.dtype) -> Tensor:
    """Return ``allowed``, but infinite where the numbers leave the dtype's range."""
    beyond = ~(magnitude.abs() <= torch.finfo(dtype).max)
    tiny = torch.finfo(dtype).tiny  # numbers below are stored with fewer digits
    return (allowed + tiny).masked_fill(beyond, torch.inf)


def _nearby(wide: Tensors) -> list[Tensors]:
    """Return the tensors, and some next to them: on a single input the error may be 0 by chance."""
    generator = torch.Generator().manual_seed(0)

    def changed(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or not tensor.is_floating_point():
            return tensor
        noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        return tensor * (1 + 2**-12 * (noise.to(tensor.device) - 0.5))

    return [wide, *(tuple(map(changed, wide)) for _ in range(_NEARBY))]


def _single_errors(run: Any, wide: Tensors) -> list[float]:
    """Return the largest error of each result of the reference in float32."""
    single = _converted(wide, torch.float32)
    exact = run(_converted(single, torch.float64))
    found = []
    for rounded, value in zip(run(single), exact, strict=True):
        if rounded is None or value is None or value.numel() == 0:
            found.append(0.0)
            continue
        error = (rounded.double() - value).abs()
        found.append(float(error[error.isfinite()].max()) if error.isfinite().any() else 0.0)
    return found


def _converted(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    return tuple(
        t if t is None or not t.is_floating_point() else t.detach().to(dtype) for t in tensors
    )


def _dtype(tensors: Tensors) -> torch.dtype:
    return next(t.dtype for t in tensors if t is not None and t.is_floating_point())


def _analysis(op: Op) -> Any:
    """Return the module that ``op.bounds`` names: its ``forward`` and ``backward`` give bounds."""
    assert op.bounds is not None
    return import_module(op.bounds)
