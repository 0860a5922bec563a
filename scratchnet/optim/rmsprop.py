"""RMSprop and Adagrad: steps divided by how large gradients have been."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scratchnet.optim.base import FusedOptimizer, Optimizer, Params, at_least, supported


class RMSprop(FusedOptimizer):
    """RMSprop, as torch.optim.RMSprop.

    With gradient g (−g if maximize), after g ← g + weight_decay · θ:
    v ← alpha · v + (1 − alpha) · g², and with ``centered`` m ← alpha · m + (1 − alpha) · g;
    u = g / (√v + eps), or g / (√(v − m²) + eps) if centered; b ← momentum · b + u; θ ← θ − lr · b.
    Source: Hinton, "Neural Networks for Machine Learning" (2012), lecture 6e; centered: Graves,
    "Generating Sequences With Recurrent Neural Networks" (2013), equations 38 to 45.

    Args:
        params: ``model.param()``, ``model.parameters()`` or groups.
        lr: learning rate, ≥ 0.
        alpha: in [0, 1]; how slowly v follows.
        eps: ≥ 0; keeps the denominator from zero.
        weight_decay: ≥ 0; the factor of the L2 penalty ½‖θ‖².
        momentum: ≥ 0; 0 for none.
        centered: divide by the standard deviation of g.
        maximize: climb instead of descend.
        others: foreach, capturable, differentiable of torch's, which must be off.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    kernel, kept = "rmsprop_step", ("square", "mean", "momentum")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        **others: bool | None,
    ) -> None:
        supported("RMSprop", others)
        super().__init__(
            params,
            lr=lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ArgumentError if an option is outside its range."""
        names = ("alpha", "eps", "weight_decay", "momentum")
        at_least(0, **{name: options[name] for name in names})

    def numbers(
        self, value: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> tuple[float, ...]:
        """Return lr, alpha, 1 − alpha, eps, weight_decay, momentum and maximize."""
        wanted = (True, options["centered"], options["momentum"] > 0)
        for name, want in zip(self.kept, wanted, strict=True):
            if want and name not in state:
                state[name] = torch.zeros_like(value)
        alpha, eps = options["alpha"], options["eps"]
        return (
            float(options["lr"]), alpha, 1 - alpha, eps, options["weight_decay"],
            options["momentum"], options["maximize"],
        )  # fmt: skip

    def apply(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], numbers: tuple[float, ...]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        lr, alpha, rest, eps, decay, momentum, maximize = numbers
        grad = -grad if maximize else grad
        if decay:
            grad = grad.add(value, alpha=decay)
        square = state["square"].mul_(alpha).addcmul_(grad, grad, value=rest)
        if "mean" in state:
            mean = state["mean"].lerp_(grad, rest)
            square = square.addcmul(mean, mean, value=-1)
        below = square.sqrt().add_(eps)
        if "momentum" in state:
            value.add_(state["momentum"].mul_(momentum).addcdiv_(grad, below), alpha=-lr)
        else:
            value.addcdiv_(grad, below, value=-lr)


class Adagrad(Optimizer):
    """Adagrad, as torch.optim.Adagrad.

    With gradient g (−g if maximize), after g ← g + weight_decay · θ, at step t:
    v ← v + g²;  θ ← θ − lr/(1 + (t − 1) · lr_decay) · g / (√v + eps).
    Source: Duchi et al., "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization" (2011).

    Args:
        params: ``model.param()``, ``model.parameters()`` or groups.
        lr: learning rate, ≥ 0.
        lr_decay: ≥ 0; how fast it falls.
        weight_decay: ≥ 0; the factor of the L2 penalty ½‖θ‖².
        initial_accumulator_value: ≥ 0; of v.
        eps: ≥ 0; keeps the denominator from zero.
        maximize: climb instead of descend.
        others: foreach, fused, differentiable of torch's, which must be off.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        **others: bool | None,
    ) -> None:
        supported("Adagrad", others)
        super().__init__(
            params,
            lr=lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ArgumentError if an option is outside its range."""
        names = ("lr_decay", "weight_decay", "initial_accumulator_value", "eps")
        at_least(0, **{name: options[name] for name in names})

    def update(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        if "sum" not in state:
            state["sum"] = torch.full_like(value, options["initial_accumulator_value"])
        t = state["step"] = int(state.get("step", 0)) + 1
        grad = -grad if options["maximize"] else grad
        if options["weight_decay"]:
            grad = grad.add(value, alpha=options["weight_decay"])
        rate = float(options["lr"]) / (1 + (t - 1) * options["lr_decay"])
        below = state["sum"].addcmul_(grad, grad).sqrt().add_(options["eps"])
        value.addcdiv_(grad, below, value=-rate)
