"""A chain computed in float64 on the reference, with how far a right result may be from that.

The error of every number is carried along with it, as a variance: rounding errors are independent
enough to add up like a random walk, so the variances of sums add, through a convolution with the
squares of the weights. Sources: Higham, "Accuracy and Stability of Numerical Algorithms" (2002),
section 3.3 (running error analysis); Higham and Mary, "A New Approach to Probabilistic Rounding
Error Analysis" (2019).

This is tighter than any one tolerance for all numbers could be, because of ReLU's kink: where an
input of ReLU is nearer to 0 than its error, two right chains may let the gradient through or stop
it. Only what such elements reach is given that room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scratchnet.backends.base import Backend, Grads, Link, Needs
from scratchnet.backends.tolerance import terms_of_gradients, tolerance

# A tolerance is four standard deviations (tolerance.py); what a kink adds gets the same room.
_DEVIATIONS = 4.0


@dataclass(frozen=True)
class Estimate:
    """A tensor in float64, and how far a right result may be from it: squared, element by element,
    because errors of independent terms add up as squares.
    """

    value: Tensor
    variance: Tensor

    @property
    def bound(self) -> Tensor:
        """How far a right result may be; infinite where the numbers leave the dtype's range."""
        return self.variance.sqrt().nan_to_num(nan=torch.inf, posinf=torch.inf)


@dataclass(frozen=True)
class _Kept:
    """What backward needs of one link: the convolution's input and its result."""

    conv_input: Estimate
    conv_output: Estimate


class RunningError:
    """Links run one by one in float64, with bounds for a chain that computes in ``dtype``.

    Args:
        reference: what runs the operations.
        links: the chain.
        dtype: of the chain whose results are to be compared.
    """

    def __init__(self, reference: Backend, links: Sequence[Link], dtype: torch.dtype) -> None:
        self.reference, self.links, self.dtype = reference, tuple(links), dtype

    def forward(
        self, x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]
    ) -> tuple[Estimate, list[_Kept]]:
        """Return the output, and what backward needs; arguments as for Chain.forward."""
        x = x.double()
        at, kept = Estimate(x, torch.zeros_like(x)), []
        for link, weight, bias in zip(self.links, weights, biases, strict=True):
            if link.scale is not None:
                at = Estimate(self._up(at.value, link), self._up(at.variance, link))
            z = self._convolve(at, weight.double(), bias, link)
            kept.append(_Kept(at, z))
            at = self._activate(z, link)
        return at, kept

    def backward(
        self, grad_y: Tensor, kept: Sequence[_Kept], weights: Sequence[Tensor]
    ) -> tuple[Estimate, list[tuple[Estimate, Estimate]]]:
        """Return the gradient of x, and for each link those of weight and bias."""
        grad = Estimate(grad_y.double(), torch.zeros_like(grad_y, dtype=torch.float64))
        of_parameters = []
        for link, of_link, weight in reversed(list(zip(self.links, kept, weights, strict=True))):
            grad = self._activate_backward(grad, of_link.conv_output, link)
            grad, *others = self._convolve_backward(grad, of_link.conv_input, weight.double(), link)
            of_parameters.append((others[0], others[1]))
            if link.scale is not None:
                magnitudes = self._down(grad.value.abs(), link)
                rounding = self._rounding(magnitudes, link.scale[0] * link.scale[1])
                variance = self._down(grad.variance, link) + rounding
                grad = Estimate(self._down(grad.value, link), variance)
        return grad, of_parameters[::-1]

    # -- one link ----------------------------------------------------------------------------------

    def _convolve(self, at: Estimate, weight: Tensor, bias: Tensor | None, link: Link) -> Estimate:
        def run(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
            return self.reference.conv2d_forward(x, w, b, **link.geometry)

        bias = None if bias is None else bias.double()
        magnitudes = run(at.value.abs(), weight.abs(), None if bias is None else bias.abs())
        rounding = self._rounding(magnitudes, weight[0].numel() + 1)
        spread = run(at.variance, weight.square(), None)
        return Estimate(run(at.value, weight, bias), spread + rounding)

    def _convolve_backward(
        self, grad: Estimate, at: Estimate, weight: Tensor, link: Link
    ) -> list[Estimate]:
        def run(g: Tensor, x: Tensor, w: Tensor, needs: Needs = (True, True, True)) -> Grads:
            return self.reference.conv2d_backward(g, x, w, **link.geometry, needs=needs)

        terms = terms_of_gradients(grad.value, weight)
        values = run(grad.value, at.value, weight)
        magnitudes = run(grad.value.abs(), at.value.abs(), weight.abs())
        spread = run(grad.variance, at.value.square(), weight.square())
        of_input = run(grad.value.square(), at.variance, weight, (False, True, False))
        estimates = []
        for value, magnitude, variance, more in zip(
            values, magnitudes, spread, of_input, strict=True
        ):
            assert value is not None
            assert magnitude is not None
            assert variance is not None
            variance = variance + self._rounding(magnitude, terms)
            estimates.append(Estimate(value, variance if more is None else variance + more))
        return estimates

    def _activate(self, z: Estimate, link: Link) -> Estimate:
        if link.activation == "relu":
            return Estimate(torch.relu(z.value), z.variance)
        if link.activation == "sigmoid":  # whose slope is at most 1/4
            y = torch.sigmoid(z.value)
            return Estimate(y, z.variance / 16 + self._rounding(y))
        return z

    def _activate_backward(self, grad: Estimate, z: Estimate, link: Link) -> Estimate:
        g, variance = grad.value, grad.variance
        if link.activation == "relu":
            closed = z.value <= 0
            either = z.value.abs() < z.bound
            of_kink = variance + (_DEVIATIONS * g).square()
            return Estimate(
                g.masked_fill(closed, 0),
                torch.where(either, of_kink, variance.masked_fill(closed, 0)),
            )
        if link.activation == "sigmoid":
            y = self._activate(z, link)
            slope = y.value * (1 - y.value)
            of_slope = (1 - 2 * y.value).square() * y.variance + self._rounding(slope)
            return Estimate(g * slope, variance * slope.square() + g.square() * of_slope)
        return grad

    def _rounding(self, magnitudes: Tensor, terms: int = 1) -> Tensor:
        """Return the variance of sums of ``terms`` terms with these magnitudes; infinite where a
        sum may leave the dtype's range.
        """
        variance = (tolerance(self.dtype, terms) * magnitudes).square()
        return variance.masked_fill(magnitudes > torch.finfo(self.dtype).max, torch.inf)

    def _up(self, x: Tensor, link: Link) -> Tensor:
        assert link.scale is not None
        return self.reference.upsample_nearest_forward(x, scale=link.scale)

    def _down(self, grad: Tensor, link: Link) -> Tensor:
        assert link.scale is not None
        return self.reference.upsample_nearest_backward(grad, scale=link.scale)
