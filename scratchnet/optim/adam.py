"""Adam and its kin: AdamW, NAdam."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.optim.base import FusedOptimizer, Optimizer, Params, at_least, supported


def check_betas(options: Mapping[str, Any]) -> None:
    """Raise ArgumentError unless both are in [0, 1)."""
    if not all(0 <= beta < 1 for beta in options["betas"]):
        raise ArgumentError(f"betas are expected in [0, 1), got {options['betas']}")


class Adam(FusedOptimizer):
    """Adam, as torch.optim.Adam.

    With gradient g (−g if maximize), after g ← g + weight_decay · θ, or θ ← (1 − lr · weight_decay)
    · θ if that is decoupled, at step t:
    m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  with amsgrad v̂ is the largest v so far, else v;
    θ ← θ − lr · m/(1 − β₁ᵗ) / (√(v̂/(1 − β₂ᵗ)) + eps).
    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2014), algorithm 1; for
    amsgrad Reddi et al., "On the Convergence of Adam and Beyond" (2018).

    Args:
        params: ``model.param()``, ``model.parameters()`` or groups.
        lr: learning rate, ≥ 0.
        betas: decay rates (β₁, β₂) of the running means of g and g², each in [0, 1).
        eps: ≥ 0; keeps the denominator from zero.
        weight_decay: ≥ 0; the factor of the L2 penalty ½‖θ‖².
        amsgrad: never let the denominator shrink.
        maximize: climb instead of descend.
        decoupled_weight_decay: as :class:`AdamW`.
        others: foreach, fused, capturable, differentiable of torch's, which must be off.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    kernel, kept = "adam_step", ("mean", "square", "most")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        **others: bool | None,
    ) -> None:
        supported(type(self).__name__, others)
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ArgumentError if an option is outside its range."""
        at_least(0, eps=options["eps"], weight_decay=options["weight_decay"])
        check_betas(options)

    def numbers(
        self, value: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> tuple[float, ...]:
        """Return lr/(1 − β₁ᵗ), β₁, β₂, eps, weight_decay, √(1 − β₂ᵗ), what θ is multiplied with,
        maximize, 1 − β₁ and 1 − β₂.
        """
        if "mean" not in state:
            state["mean"], state["square"] = torch.zeros_like(value), torch.zeros_like(value)
        if options["amsgrad"] and "most" not in state:
            state["most"] = torch.zeros_like(value)
        t = state["step"] = int(state.get("step", 0)) + 1
        (beta1, beta2), lr = options["betas"], float(options["lr"])
        decay, decoupled = options["weight_decay"], options["decoupled_weight_decay"]
        return (
            lr / (1 - beta1**t), beta1, beta2, options["eps"], 0 if decoupled else decay,
            math.sqrt(1 - beta2**t), 1 - lr * decay if decoupled else 1, options["maximize"],
            1 - beta1, 1 - beta2,
        )  # fmt: skip

    def apply(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], numbers: tuple[float, ...]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        rate, _, beta2, eps, decay, root, shrink, maximize, rest1, rest2 = numbers
        grad = -grad if maximize else grad
        if decay:
            grad = grad.add(value, alpha=decay)
        mean, square = state["mean"], state["square"]
        mean.lerp_(grad, rest1)
        square.mul_(beta2).addcmul_(grad, grad, value=rest2)
        if "most" in state:
            square = torch.maximum(state["most"], square, out=state["most"])
        value.mul_(shrink).addcdiv_(mean, (square.sqrt() / root).add_(eps), value=-rate)


class AdamW(Adam):
    """Adam with decoupled weight decay, as torch.optim.AdamW: the parameters shrink by lr ·
    weight_decay at each step, whatever their gradients are. The rest is :class:`Adam`'s.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2017), algorithm 2.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        **others: bool | None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize,
            decoupled_weight_decay=True, **others,
        )  # fmt: skip


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, as torch.optim.NAdam.

    With g, m and v as of :class:`Adam`, μₜ = β₁ · (1 − ½ · 0.96^(t · momentum_decay)) and Πₜ = μ₁ ·
    … · μₜ: θ ← θ − lr · (μₜ₊₁ · m/(1 − Πₜ₊₁) + (1 − μₜ) · g/(1 − Πₜ)) / (√(v/(1 − β₂ᵗ)) + eps).
    Source: Dozat, "Incorporating Nesterov Momentum into Adam" (2016).

    Args:
        params: ``model.param()``, ``model.parameters()`` or groups.
        lr: learning rate, ≥ 0.
        betas: decay rates (β₁, β₂) of the running means of g and g², each in [0, 1).
        eps: ≥ 0; keeps the denominator from zero.
        weight_decay: ≥ 0; the factor of the L2 penalty ½‖θ‖².
        momentum_decay: ≥ 0; how fast μ grows towards β₁.
        decoupled_weight_decay: as :class:`AdamW`.
        maximize: climb instead of descend.
        others: foreach, capturable, differentiable of torch's, which must be off.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        **others: bool | None,
    ) -> None:
        supported("NAdam", others)
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ArgumentError if an option is outside its range."""
        at_least(0, **{name: options[name] for name in ("eps", "weight_decay", "momentum_decay")})
        check_betas(options)

    def update(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        if "mean" not in state:
            state["mean"], state["square"] = torch.zeros_like(value), torch.zeros_like(value)
        t = state["step"] = int(state.get("step", 0)) + 1
        (beta1, beta2), lr, decay = options["betas"], float(options["lr"]), options["weight_decay"]
        now, later = (
            beta1 * (1 - 0.5 * 0.96 ** (step * options["momentum_decay"])) for step in (t, t + 1)
        )
        product = state["product"] = float(state.get("product", 1.0)) * now
        grad = -grad if options["maximize"] else grad
        if decay and options["decoupled_weight_decay"]:
            value.mul_(1 - lr * decay)
        elif decay:
            grad = grad.add(value, alpha=decay)
        mean, square = state["mean"], state["square"]
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        below = (square / (1 - beta2**t)).sqrt_().add_(options["eps"])
        value.addcdiv_(grad, below, value=-lr * (1 - now) / (1 - product))
        value.addcdiv_(mean, below, value=-lr * later / (1 - product * later))
