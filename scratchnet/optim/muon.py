"""Muon."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.optim.base import Optimizer, Params, at_least


class Muon(Optimizer):
    """Muon, as torch.optim.Muon: momentum, made a step of equal length in every direction.

    A convolution's weights are a matrix here, of a row for each output channel; a bias is a matrix
    of one column. With gradient G:
    B ← momentum · B + (1 − momentum) · G;  M = (1 − momentum) · G + momentum · B with nesterov,
    else B;
    θ ← (1 − lr · weight_decay) · θ − lr · s · orthogonal(M),
    where orthogonal(M) has the singular vectors of M and singular values near 1
    (:func:`orthogonalized`), and s depends on the matrix' shape.
    It differs from torch's in two ways: it takes parameters of any shape, and computes in their
    dtype, where torch's rounds to bfloat16.
    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024);
    torch.optim.Muon's documentation.

    Args:
        params: ``model.param()``, ``model.parameters()`` or groups.
        lr: learning rate, ≥ 0.
        weight_decay: ≥ 0; decoupled: how fast parameters shrink, in units of lr.
        momentum: in [0, 1).
        nesterov: look ahead along the momentum.
        ns_coefficients: of the iteration that makes orthogonal.
        eps: ≥ 0; a matrix shorter than this is not stretched to length 1.
        ns_steps: iterations, ≥ 1.
        adjust_lr_fn: what s is for a matrix of A rows and B columns: ``"original"`` (or None), the
            root of max(1, A/B), or ``"match_rms_adamw"``, 0.2 · the root of max(A, B), with which
            the parameters move as far as by Adam at the same lr.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_coefficients=ns_coefficients,
            eps=eps,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ArgumentError if an option is outside its range."""
        at_least(0, weight_decay=options["weight_decay"], eps=options["eps"])
        at_least(1, ns_steps=options["ns_steps"])
        if not 0 <= options["momentum"] < 1:
            raise ArgumentError(f"momentum is expected in [0, 1), got {options['momentum']}")
        if options["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ArgumentError(
                "adjust_lr_fn is expected to be 'original' or 'match_rms_adamw', "
                f"got {options['adjust_lr_fn']!r}"
            )

    def update(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(value)
        mean, momentum, lr = state["momentum"], options["momentum"], options["lr"]
        mean.lerp_(grad, 1 - momentum)
        direction = grad.lerp(mean, momentum) if options["nesterov"] else mean
        rows = value.shape[0] if value.dim() else 1
        matrix = direction.reshape(rows, value.numel() // max(1, rows))
        matrix = orthogonalized(
            matrix, options["ns_coefficients"], options["eps"], options["ns_steps"]
        )
        rate = lr * _scale(options["adjust_lr_fn"], *matrix.shape)
        value.mul_(1 - lr * options["weight_decay"])
        value.add_(matrix.view(value.shape), alpha=-rate)


at_adams_rate = partial(Muon, adjust_lr_fn="match_rms_adamw")
"""Muon as a run knows it by name: it moves the parameters as far as Adam at the same lr."""


def _scale(adjust_lr_fn: str | None, rows: int, columns: int) -> float:
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / max(1, columns)))


def orthogonalized(
    matrix: Tensor, coefficients: tuple[float, float, float], eps: float, steps: int
) -> Tensor:
    """Return a matrix of the same singular vectors, whose singular values are all near 1.

    X ← matrix / ‖matrix‖, then at each step X ← a X + b (XXᵀ) X + c (XXᵀ)² X (Newton and Schulz'
    iteration), which takes every singular value σ to a σ + b σ³ + c σ⁵; with the usual coefficients
    five steps take all those above 0.01 to between 0.65 and 1.2, without ever computing one.

    Args:
        matrix: (A, B), of any floating-point dtype; is not changed.
        coefficients: a, b and c.
        eps: what a smaller norm is taken for.
        steps: iterations.

    Returns:
        (A, B), contiguous.
    """
    a, b, c = coefficients
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T  # the smaller of XXᵀ and XᵀX
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x if wide else x.T.contiguous()
