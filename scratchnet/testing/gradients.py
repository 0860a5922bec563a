"""Gradients against finite differences, along random directions, in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from scratchnet.layers.module import Module
from scratchnet.testing.closeness import ConformanceError, assert_close
from scratchnet.testing.subject import Example, Grads, converted, cotangents, fixed_noise
from scratchnet.testing.tensors import normal

STEP = 1e-6
TOLERANCE = 1e-7
# Beyond this many elements a failure is reported without saying which elements are wrong.
ELEMENTWISE = 1000


def gradcheck(
    layer: Module,
    inputs: Tensor | Sequence[Tensor],
    *,
    seed: int = 0,
    step: float = STEP,
    tolerance: float = TOLERANCE,
) -> float:
    """Check every gradient of ``layer.backward`` against finite differences.

    For the Jacobian J of the output with respect to the input, or to a parameter, and random
    directions u and v, ⟨v, Jᵀu⟩ from one backward must equal ⟨u, (f(·+hv) − f(·−hv)) / 2h⟩ from two
    forwards. Source: the random projections of HIPS/autograd's check_grads; Baydin et al.,
    "Automatic Differentiation in Machine Learning: a Survey" (2018), section 2.1.

    Args:
        layer: a module with hand-written gradients; a copy is checked, in float64 and in its mode.
        inputs: a tensor, or a sequence of them for a module with several inputs; those of integers
            stay what they are. A stochastic layer gets the same random numbers each time. The
            function should be differentiable there: keep away from kinks such as ReLU's at 0.
        seed: of the directions.
        step: h.
        tolerance: largest difference allowed, relative to ‖u‖·‖Jv‖ (plus what rounding explains).

    Returns:
        The largest relative difference found.

    Raises:
        ConformanceError: a gradient is wrong; the message says which, by how much, and where.
    """
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    double = copy.deepcopy(layer).to(dtype=torch.float64)
    wide = tuple(x.detach().clone() for x in converted(given, torch.float64))
    worst = check_input_gradients(double, wide, seed=seed, step=step, tolerance=tolerance)
    return max(
        worst, check_parameter_gradients(double, wide, seed=seed, step=step, tolerance=tolerance)
    )


class _Function:
    """The layer as a function of its inputs and parameters only: the random numbers are the same at
    each call, and so are the buffers.
    """

    def __init__(self, layer: Module, inputs: Example, seed: int) -> None:
        self.layer, self.inputs, self.seed = layer, inputs, seed
        self.buffers = [(buffer, buffer.clone()) for buffer in layer.buffers()]

    def __call__(self) -> Example:
        for buffer, value in self.buffers:
            buffer.copy_(value)
        with fixed_noise(self.layer, self.seed):
            y = self.layer.forward(*self.inputs)
        return y if isinstance(y, tuple) else (y,)

    def backward(self) -> tuple[Grads, Example]:
        """Return the gradients of the inputs, and the random cotangents u they belong to."""
        u = cotangents(self(), self.seed + 7)
        grads = self.layer.backward(*(each.clone() for each in u))
        return grads if isinstance(grads, tuple) else (grads,), u


def check_input_gradients(
    layer: Module,
    inputs: Example,
    *,
    seed: int = 0,
    step: float = STEP,
    tolerance: float = TOLERANCE,
) -> float:
    """Check what ``layer.backward`` returns; as gradcheck, with everything in float64."""
    function = _Function(layer, inputs, seed)
    grads, u = function.backward()
    worst = 0.0
    for i, (x, grad) in enumerate(zip(inputs, grads, strict=False)):
        if grad is None:
            continue
        what = "gradient of the input" if len(inputs) == 1 else f"gradient of input {i}"
        worst = max(worst, _check_direction(function, x, grad, u, what, seed + i, step, tolerance))
    return worst


def check_parameter_gradients(
    layer: Module,
    inputs: Example,
    *,
    seed: int = 0,
    step: float = STEP,
    tolerance: float = TOLERANCE,
) -> float:
    """Check what ``layer.backward`` adds to the gradient buffers; as check_input_gradients."""
    layer.zero_grad()
    function = _Function(layer, inputs, seed)
    _, u = function.backward()
    worst = 0.0
    for i, (name, value, grad) in enumerate(list(layer.named_param())):
        what, at = f"gradient of {name}", seed + 100 + i
        found = _check_direction(function, value, grad.clone(), u, what, at, step, tolerance)
        worst = max(worst, found)
    return worst


def _check_direction(
    forward: Callable[[], Example],
    at: Tensor,
    grad: Tensor,
    u: Example,
    what: str,
    seed: int,
    step: float,
    tolerance: float,
) -> float:
    """Compare ⟨v, grad⟩ with ⟨u, Jv⟩, J taken by changing ``at`` in place along v."""
    if grad.shape != at.shape:
        raise ConformanceError(
            f"{what}: expected the shape {tuple(at.shape)}, got {tuple(grad.shape)}"
        )
    v = normal(at.shape, torch.float64, seed)
    jv = _central_difference(forward, at, v, step)
    numeric, by_hand = _product(u, jv), _product((v,), (grad,))
    # f's own rounding, 2⁻⁵³·|f|, comes out of the difference quotient divided by h
    noise = 2**-50 / step * _norm(forward())
    scale = _norm(u) * (_norm(jv) + noise / tolerance)
    difference = abs(numeric - by_hand)
    if difference <= tolerance * scale:
        return difference / scale if scale else 0.0
    if at.numel() <= ELEMENTWISE:
        _compare_elements(forward, at, grad, u, what, step)
    raise ConformanceError(
        f"{what}: along a random direction backward gives {by_hand:.9g}, finite differences give "
        f"{numeric:.9g} (ratio {by_hand / numeric if numeric else float('inf'):.5g})"
    )


def _product(a: Example, b: Example) -> float:
    return sum(float((x * y).sum()) for x, y in zip(a, b, strict=True))


def _norm(tensors: Example) -> float:
    return math.hypot(*(float(x.norm()) for x in tensors))


def _central_difference(
    forward: Callable[[], Example], at: Tensor, v: Tensor, step: float
) -> Example:
    """Return (f(at + h·v) − f(at − h·v)) / 2h, leaving ``at`` as it was, bit for bit."""
    kept = at.clone()
    at.copy_(kept + step * v)
    above = [y.clone() for y in forward()]
    at.copy_(kept - step * v)
    below = [y.clone() for y in forward()]
    at.copy_(kept)
    return tuple((a - b) / (2 * step) for a, b in zip(above, below, strict=True))


def _compare_elements(
    forward: Callable[[], Example], at: Tensor, grad: Tensor, u: Example, what: str, step: float
) -> None:
    """Raise with the elements that are wrong; there are few enough to try each."""
    numeric = torch.zeros(at.numel(), dtype=torch.float64)
    for i in range(at.numel()):
        direction = torch.zeros(at.numel(), dtype=torch.float64)
        direction[i] = 1
        numeric[i] = _product(u, _central_difference(forward, at, direction.view(at.shape), step))
    expected = numeric.view(at.shape)
    assert_close(
        grad, expected, f"{what} (expected: finite differences)", rtol=1e-5,
        scale=torch.full_like(expected, max(float(expected.abs().max()), 1e-6)),
    )  # fmt: skip
