"""Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scratchnet.optim.adam import check_betas
from scratchnet.optim.base import FusedOptimizer, Params, at_least


class Lion(FusedOptimizer):
    """Lion: every parameter moves equally far, in the direction of a mean of its gradients.

    With gradient g (−g if maximize):
    θ ← (1 − lr · weight_decay) · θ − lr · sign(β₁ m + (1 − β₁) g);  m ← β₂ m + (1 − β₂) g.
    Source: Chen et al., "Symbolic Discovery of Optimization Algorithms" (2023), algorithm 2. Its lr
    is 3 to 10 times smaller than Adam's, its weight_decay as many times larger.

    Args:
        params: ``model.param()``, ``model.parameters()`` or groups.
        lr: learning rate, ≥ 0.
        betas: (β₁, β₂), of the mean that is followed and of the one that is kept, each in [0, 1).
        weight_decay: ≥ 0; decoupled: how fast parameters shrink, in units of lr.
        maximize: climb instead of descend.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    kernel, kept = "lion_step", ("mean",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, maximize=maximize)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ArgumentError if an option is outside its range."""
        at_least(0, weight_decay=options["weight_decay"])
        check_betas(options)

    def numbers(
        self, value: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> tuple[float, ...]:
        """Return lr, 1 − β₁, 1 − β₂, 1 − lr · weight_decay and maximize."""
        if "mean" not in state:
            state["mean"] = torch.zeros_like(value)
        (beta1, beta2), lr = options["betas"], float(options["lr"])
        return lr, 1 - beta1, 1 - beta2, 1 - lr * options["weight_decay"], options["maximize"]

    def apply(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], numbers: tuple[float, ...]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        lr, rest1, rest2, shrink, maximize = numbers
        grad = -grad if maximize else grad
        value.mul_(shrink).add_(state["mean"].lerp(grad, rest1).sign_(), alpha=-lr)
        state["mean"].lerp_(grad, rest2)
