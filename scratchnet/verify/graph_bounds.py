"""The tolerance of a correct graph: an error analysis, stage by stage.

The error of every number is carried along with it, as a variance: rounding errors are independent
enough to add up like a random walk, so the variances of sums add, through a convolution with the
squares of the weights. Sources: Higham, "Accuracy and Stability of Numerical Algorithms" (2002),
section 3.3 (running error analysis); Higham and Mary, "A New Approach to Probabilistic Rounding
Error Analysis" (2019).

This is tighter than any one tolerance for all numbers could be, because of kinks and ties: where an
input of ReLU is nearer to 0 than its error, two correct graphs may let the gradient through or stop
it. Only what such elements reach is given that room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scratchnet import ops
from scratchnet.ops.graph import Stage, Stages
from scratchnet.ops.op import Gradients, Needs, Op
from scratchnet.verify.tolerance import Bound, Tensors, of_tiles, tolerance

# A tolerance is four standard deviations (tolerance.py); what a kink adds gets the same room.
_DEVIATIONS = 4.0


@dataclass(frozen=True)
class _Estimate:
    """A tensor in float64, and the tolerance of a correct result: squared, element by element,
    because errors of independent terms add up as squares.
    """

    value: Tensor
    variance: Tensor

    def bound(self, dtype: torch.dtype) -> Bound:
        allowed = self.variance.sqrt().nan_to_num(nan=torch.inf, posinf=torch.inf)
        info = torch.finfo(dtype)  # where the variance is too small for float64, two ulps remain
        return Bound(self.value, allowed + 2 * info.eps * self.value.abs() + info.tiny, dtype)


def forward(tensors: Tensors, options: dict[str, Any]) -> list[Bound]:
    """Return the bound of the output; see verify/tolerance.py."""
    x, *parameters = tensors
    assert x is not None
    values = _Analysis(x.dtype).run(x, parameters, options["stages"])
    return [values[-1].bound(x.dtype)]


def backward(
    grad_ys: Sequence[Tensor], tensors: Tensors, options: dict[str, Any], needs: Needs
) -> list[Bound | None]:
    """Return the bounds of the gradients; see verify/tolerance.py."""
    x, *parameters = tensors
    assert x is not None
    stages: Stages = options["stages"]
    analysis = _Analysis(x.dtype)
    values = analysis.run(x, parameters, stages)
    zero = torch.zeros_like(grad_ys[0], dtype=torch.float64)
    grads: list[_Estimate | None] = [None] * len(stages) + [_Estimate(grad_ys[0].double(), zero)]
    of_parameters: list[_Estimate | None] = []
    for i, (stage, own) in reversed(list(enumerate(stages.with_parameters(parameters)))):
        grad = grads[i + 1] or _exact(torch.zeros_like(values[i + 1].value))
        given = analysis.stage_backward(stage, grad, [values[j] for j in stage.reads], own)
        of_parameters[:0] = given[len(stage.reads) :]
        for j, more in zip(stage.reads, given, strict=False):
            before = grads[j]
            assert more is not None
            grads[j] = more if before is None else analysis.sum(before, more)
    found = [grads[0] or _exact(torch.zeros_like(values[0].value)), *of_parameters]
    return [
        estimate.bound(x.dtype) if needed and estimate is not None else None
        for estimate, needed in zip(found, needs, strict=True)
    ]


def _exact(value: Tensor) -> _Estimate:
    return _Estimate(value, torch.zeros_like(value))


class _Analysis:
    """Runs stages in float64, with room for those that compute in ``dtype``."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def run(
        self, x: Tensor, parameters: Sequence[Tensor | None], stages: Stages
    ) -> list[_Estimate]:
        """Return the estimates of all values."""
        values = [_exact(x.double())]
        for stage, own in stages.with_parameters(parameters):
            values.append(self._stage(stage, [values[j] for j in stage.reads], own))
        return values

    def sum(self, a: _Estimate, b: _Estimate) -> _Estimate:
        """Return the estimate of a + b."""
        rounding = self._rounding((a.value + b.value).abs(), 1)
        return _Estimate(a.value + b.value, a.variance + b.variance + rounding)

    def _stage(self, stage: Stage, reads: list[_Estimate], own: Tensors) -> _Estimate:
        op, options, wide = ops.get(stage.op), stage.arguments, _wide(own)
        values = [read.value for read in reads]
        value = _forward(op, values, wide, options)
        if op.multilinear is None:
            return self._stage_by_slope(op, value, reads, options)
        terms = op.multilinear(*values, *wide, **options)
        apart = _forward(op, [v.abs() for v in values], _each(wide, torch.abs), options)
        (magnitudes,) = of_tiles(op, [apart], (*values, *wide), options)
        assert magnitudes is not None
        squares = _each(wide, torch.square)
        no_bias = tuple(
            None if name in op.optional else square
            for name, square in zip(op.tensors[len(reads) :], squares, strict=True)
        )
        spread = _forward(op, [read.variance for read in reads], no_bias, options)
        return _Estimate(value, spread + self._rounding(magnitudes, terms))

    def _stage_by_slope(
        self, op: Op, value: Tensor, reads: list[_Estimate], options: dict[str, Any]
    ) -> _Estimate:
        (z,) = reads
        if value.shape != z.value.shape:  # the largest of a window is as wrong as its worst one
            return _Estimate(value, _forward(op, [z.variance], (), options))
        slope, change = _slopes(op, z, options)
        rounding = 0 if op.exact(**options) else self._rounding(value.abs(), 1)
        return _Estimate(value, z.variance * (slope.abs() + change).square() + rounding)

    def stage_backward(
        self, stage: Stage, grad: _Estimate, reads: list[_Estimate], own: Tensors
    ) -> list[_Estimate | None]:
        """Return the estimates of the gradients of what a stage reads, and of its parameters."""
        op, options, wide = ops.get(stage.op), stage.arguments, _wide(own)
        if op.multilinear is None:
            return [self._back_by_slope(op, grad, reads, options)]
        values = [read.value for read in reads]
        needs = (*(True for _ in reads), *(p is not None for p in own))
        terms = op.multilinear(*values, *wide, **options)
        results = _backward(op, grad.value, values, wide, options, needs)
        apart = _backward(
            op, grad.value.abs(), [v.abs() for v in values], _each(wide, torch.abs), options, needs
        )
        magnitudes = of_tiles(op, apart, (*values, *wide), options)
        squares = [v.square() for v in values]
        spread = _backward(op, grad.variance, squares, _each(wide, torch.square), options, needs)
        # a gradient that is multiplied by a value inherits the error of that value, too
        by_reads = (
            *(False for _ in reads),
            *(p is not None and name in op.reads
              for name, p in zip(op.tensors[len(reads) :], own, strict=True)),
        )  # fmt: skip
        variances = [read.variance for read in reads]
        of_reads = _backward(op, grad.value.square(), variances, wide, options, by_reads)
        found: list[_Estimate | None] = []
        for result, magnitude, variance, more in zip(
            results, magnitudes, spread, of_reads, strict=True
        ):
            if result is None or magnitude is None or variance is None:
                found.append(None)
                continue
            variance = variance + self._rounding(magnitude, terms)
            found.append(_Estimate(result, variance if more is None else variance + more))
        return found

    def _back_by_slope(
        self, op: Op, grad: _Estimate, reads: list[_Estimate], options: dict[str, Any]
    ) -> _Estimate:
        (z,) = reads
        if grad.value.shape != z.value.shape:
            return _back_by_choice(op, grad, z, options)
        slope, change = _slopes(op, z, options)
        if not op.exact(**options):  # y·(1 − y) and its like: as wrong as a rounded y, or 1
            y = _forward(op, [z.value], (), options)
            change = change + tolerance(self.dtype) * y.abs().clamp(min=1)
        room = torch.where(change > 0.5, _DEVIATIONS * change, change)  # a kink, or smooth
        variance = grad.variance * (slope.abs() + change).square() + (grad.value * room).square()
        if not op.exact(**options):
            variance = variance + self._rounding((grad.value * slope).abs(), 2)
        return _Estimate(grad.value * slope, variance)

    def _rounding(self, magnitudes: Tensor, terms: int) -> Tensor:
        """Return the variance of sums of ``terms`` terms with these magnitudes; infinite where a
        sum may leave the dtype's range.
        """
        rtol = tolerance(self.dtype, terms) if terms else 0.0
        variance = (rtol * magnitudes).square()
        return variance.masked_fill(magnitudes > torch.finfo(self.dtype).max, torch.inf)


def _back_by_choice(op: Op, grad: _Estimate, z: _Estimate, options: dict[str, Any]) -> _Estimate:
    """Return the estimate for a choice among numbers: of ties, any may have been chosen."""

    def chosen(at: Tensor, g: Tensor) -> Tensor:
        (result,) = _backward(op, g, [at], (), options, (True,))
        assert result is not None
        return result

    value = chosen(z.value, grad.value)
    bound = z.variance.sqrt()
    winners = chosen(z.value, torch.ones_like(grad.value)) > 0
    generator = torch.Generator().manual_seed(0)
    others = [torch.where(winners, z.value - bound, z.value + bound)]
    for _ in range(4):
        sign = torch.randint(0, 2, bound.shape, generator=generator).to(bound) * 2 - 1
        others.append(z.value + sign * bound)
    change = torch.stack([(chosen(at, grad.value) - value).abs() for at in others]).amax(0)
    spread = chosen(z.value, grad.variance)
    return _Estimate(value, spread + (_DEVIATIONS * change).square())


def _slopes(op: Op, z: _Estimate, options: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the derivative of an element-wise function at z, and how far it changes within z's
    error.
    """
    ones, bound = torch.ones_like(z.value), z.variance.sqrt()

    def derivative(at: Tensor) -> Tensor:
        (slope,) = _backward(op, ones, [at], (), options, (True,))
        assert slope is not None
        return slope

    slope = derivative(z.value)
    below, above = derivative(z.value - bound), derivative(z.value + bound)
    return slope, (below - slope).abs().maximum((above - slope).abs())


def _forward(op: Op, reads: list[Tensor], own: Tensors, options: dict[str, Any]) -> Tensor:
    y: Tensor = op.reference.forward(*reads, *own, **options)[0]
    return y


def _backward(
    op: Op, grad: Tensor, reads: list[Tensor], own: Tensors, options: dict[str, Any], needs: Needs
) -> Gradients:
    _, kept = op.reference.forward(*reads, *own, **options)
    return op.reference.backward(grad, kept, *reads, *own, **options, needs=needs)


def _wide(tensors: Tensors) -> Tensors:
    return tuple(None if t is None else t.detach().double() for t in tensors)


def _each(tensors: Tensors, function: Any) -> Tensors:
    return tuple(None if t is None else function(t) for t in tensors)
