"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.optim.base import Optimizer, Params, at_least


class SGD(Optimizer):
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

    Raises:
        ArgumentError: an argument is outside its range.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
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

    def update(
        self, value: Tensor, grad: Tensor, state: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        """Change one parameter in place, as the class describes."""
        momentum = options["momentum"]
        direction = -grad if options["maximize"] else grad
        if options["weight_decay"]:
            direction = direction.add(value, alpha=options["weight_decay"])
        if momentum:
            if "momentum" in state:
                velocity = state["momentum"]
                velocity.mul_(momentum).add_(direction, alpha=1 - options["dampening"])
            else:
                velocity = state["momentum"] = direction.clone()
            ahead = options["nesterov"]
            direction = direction.add(velocity, alpha=momentum) if ahead else velocity
        value.add_(direction, alpha=-options["lr"])
