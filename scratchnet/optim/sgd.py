"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.optim.base import FusedOptimizer, Params, at_least, supported


class SGD(FusedOptimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD.

    With gradient g (−g if maximize), after g ← g + weight_decay · θ:
    v ← momentum · v + (1 − dampening) · g  (v ← g at the first step);
    θ ← θ − lr · v, or θ − lr · (g + momentum · v) with nesterov.
    Source: torch.optim.SGD's documentation; Sutskever et al., "On the importance of initialization
    and momentum in deep learning" (2013).

    Args:
        params: ``model.param()``, ``model.parameters()`` or groups.
        lr: learning rate, ≥ 0.
        momentum: ≥ 0; 0 for none.
        dampening: how much less than fully g enters v.
        weight_decay: ≥ 0; the factor of the L2 penalty ½‖θ‖².
        nesterov: look ahead along v; needs momentum and no dampening.
        maximize: climb instead of descend.
        others: foreach, fused, differentiable of torch's, which must be off.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    kernel, kept = "sgd_step", ("momentum",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        maximize: bool = False,
        **others: bool | None,
    ) -> None:
        supported("SGD", others)
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
            maximize=maximize,
        )

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ArgumentError if an option is outside its range."""
        momentum, dampening = options["momentum"], options["dampening"]
        at_least(0, momentum=momentum, weight_decay=options["weight_decay"])
        if options["nesterov"] and (momentum <= 0 or dampening != 0):
            raise ArgumentError(
                "nesterov expects momentum > 0 and dampening = 0, "
                f"got momentum={momentum}, dampening={dampening}"
            )

    def numbers(
        self, value: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> tuple[float, ...]:
        """Return lr, momentum, 1 − dampening, weight_decay, maximize, nesterov, and whether this is
        the first step.
        """
        momentum, first = options["momentum"], False
        if momentum and "momentum" not in state:
            state["momentum"], first = torch.empty_like(value), True
        return (
            float(options["lr"]), momentum, 1 - options["dampening"], options["weight_decay"],
            options["maximize"], options["nesterov"], first,
        )  # fmt: skip

    def apply(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], numbers: tuple[float, ...]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        lr, momentum, enters, decay, maximize, nesterov, first = numbers
        direction = -grad if maximize else grad
        if decay:
            direction = direction.add(value, alpha=decay)
        if momentum:
            velocity = state["momentum"]
            if first:
                velocity.copy_(direction)
            else:
                velocity.mul_(momentum).add_(direction, alpha=enters)
            direction = direction.add(velocity, alpha=momentum) if nesterov else velocity
        value.add_(direction, alpha=-lr)
