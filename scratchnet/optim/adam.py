"""Adam."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.optim.base import Optimizer, Params, at_least


class Adam(Optimizer):
    """Adam, as torch.optim.Adam.

    With gradient g after g ← g + weight_decay · θ, at step t:
    m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;
    θ ← θ − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps).
    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2014), algorithm 1.

    Args:
        params: ``model.param()``, ``model.parameters()`` or groups.
        lr: learning rate, ≥ 0.
        betas: decay rates (β₁, β₂) of the running means of g and g², each in [0, 1).
        eps: ≥ 0; keeps the denominator from zero.
        weight_decay: ≥ 0; the factor of the L2 penalty ½‖θ‖².

    Raises:
        ArgumentError: an argument is outside its range.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ArgumentError if an option is outside its range."""
        at_least(0, eps=options["eps"], weight_decay=options["weight_decay"])
        if not all(0 <= beta < 1 for beta in options["betas"]):
            raise ArgumentError(f"betas are expected in [0, 1), got {options['betas']}")

    def update(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        if "mean" not in state:
            state["mean"], state["square"] = torch.zeros_like(value), torch.zeros_like(value)
        t = state["step"] = int(state.get("step", 0)) + 1
        beta1, beta2 = options["betas"]
        rate = options["lr"] / (1 - beta1**t)
        correction = math.sqrt(1 - beta2**t)
        if options["weight_decay"]:
            grad = grad.add(value, alpha=options["weight_decay"])
        mean, square = state["mean"], state["square"]
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        value.addcdiv_(mean, (square.sqrt() / correction).add_(options["eps"]), value=-rate)
