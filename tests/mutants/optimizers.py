"""Faulty optimizers."""

from __future__ import annotations

import torch

from scratchnet.optim import SGD, Adam


class DecayThrownAway(SGD):
    """The penalty's gradient is computed and not used."""

    def step(self) -> None:
        decay, self.weight_decay = self.weight_decay, 0
        for value, grad in self.params:
            grad.add(value, alpha=decay)
        super().step()
        self.weight_decay = decay


class MomentumIgnored(SGD):
    """Momentum is accepted and never used."""

    def step(self) -> None:
        momentum, self.momentum = self.momentum, 0
        super().step()
        self.momentum = momentum


class DampensTheFirst(SGD):
    """The first gradient is dampened, too."""

    def step(self) -> None:
        if self.steps == 0 and self.momentum:
            self._running("momentum")
            self.steps = 1
        super().step()


class NewParameters(SGD):
    """Replaces the parameters' memory."""

    def step(self) -> None:
        for value, grad in self.params:
            value.data = value - self.lr * grad
        self.steps += 1


class GradientsConsumed(SGD):
    """Scales the gradients in place."""

    def step(self) -> None:
        for value, grad in self.params:
            value.sub_(grad.mul_(self.lr))
        self.steps += 1


class RateKept(SGD):
    """Uses the learning rate it was made with."""

    def __init__(self, params: object, lr: float, **options: object) -> None:
        super().__init__(params, lr, **options)
        self.first = lr

    def step(self) -> None:
        lr, self.lr = self.lr, self.first
        super().step()
        self.lr = lr


class StateForgotten(SGD):
    """Loads the step's number and not the velocities."""

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.state = {}


class Uncorrected(Adam):
    """Leaves out the correction of the running means."""

    def step(self) -> None:
        self.steps += 1
        beta1, beta2 = self.betas
        pairs = zip(self.params, self._running("mean"), self._running("square"), strict=True)
        for (value, grad), mean, square in pairs:
            direction = grad + self.weight_decay * value
            mean.lerp_(direction, 1 - beta1)
            square.mul_(beta2).addcmul_(direction, direction, value=1 - beta2)
            value.sub_(self.lr * mean / (torch.sqrt(square) + self.eps))
