"""Faulty optimizers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from scratchnet.layers.parameter import Parameter
from scratchnet.optim import SGD, Adam


class DecayThrownAway(SGD):
    """The penalty's gradient is computed and not used."""

    def update(self, value: Tensor, grad: Tensor, state: dict, options: Mapping) -> None:
        grad.add(value, alpha=options["weight_decay"])
        super().update(value, grad, state, {**options, "weight_decay": 0})


class MomentumIgnored(SGD):
    """Momentum is accepted and never used."""

    def update(self, value: Tensor, grad: Tensor, state: dict, options: Mapping) -> None:
        super().update(value, grad, state, {**options, "momentum": 0})


class DampensTheFirst(SGD):
    """The first gradient is dampened, too."""

    def update(self, value: Tensor, grad: Tensor, state: dict, options: Mapping) -> None:
        if options["momentum"]:
            state.setdefault("momentum", torch.zeros_like(value))
        super().update(value, grad, state, options)


class NewParameters(SGD):
    """Replaces the parameters' memory."""

    def update(self, value: Tensor, grad: Tensor, state: dict, options: Mapping) -> None:
        value.data = value - options["lr"] * grad


class GradientsConsumed(SGD):
    """Scales the gradients in place."""

    def update(self, value: Tensor, grad: Tensor, state: dict, options: Mapping) -> None:
        value.sub_(grad.mul_(options["lr"]))


class RateKept(SGD):
    """Uses the learning rate it was made with."""

    def update(self, value: Tensor, grad: Tensor, state: dict, options: Mapping) -> None:
        super().update(value, grad, state, {**options, "lr": self.defaults["lr"]})


class StateForgotten(SGD):
    """Loads nothing."""

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.state.clear()


class Uncorrected(Adam):
    """Leaves out the correction of the running means."""

    def update(self, value: Tensor, grad: Tensor, state: dict, options: Mapping) -> None:
        beta1, beta2 = options["betas"]
        if not state:
            state |= {"mean": torch.zeros_like(value), "square": torch.zeros_like(value)}
        direction = grad + options["weight_decay"] * value
        mean, square = state["mean"], state["square"]
        mean.lerp_(direction, 1 - beta1)
        square.mul_(beta2).addcmul_(direction, direction, value=1 - beta2)
        value.sub_(options["lr"] * mean / (torch.sqrt(square) + options["eps"]))


class MovesTheFrozen(SGD):
    """Takes a frozen parameter's buffer for its gradient."""

    def step(self) -> None:
        super().step()
        for group in self.param_groups:
            for value in group["params"]:
                if isinstance(value, Parameter) and value.grad is None:
                    self.update(value, value.buffer, self.state[value], group)


class OptionsOfTheFirstGroup(SGD):
    """Every group gets the first one's options."""

    def update(self, value: Tensor, grad: Tensor, state: dict, options: Mapping) -> None:
        super().update(value, grad, state, self.param_groups[0])
