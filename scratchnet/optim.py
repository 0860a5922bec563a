"""Optimizers: they change parameters in place, from the gradients in the parameters' buffers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ScratchnetError

Params = Sequence[tuple[Tensor, Tensor]]


class Optimizer:
    """What optimizers share: the parameters, the learning rate, and a state that can be saved.

    The state is a flat dict of tensors: ``"step"`` and, for each kind of running value,
    ``"kind.i"`` for parameter i.

    Attributes:
        lr: the learning rate; may be changed between steps.
    """

    def __init__(self, params: Params, lr: float) -> None:
        self.params = list(params)
        if not self.params:
            raise ArgumentError(
                f"{type(self).__name__} expects at least one (parameter, gradient) pair, "
                "as model.param() returns them; got none"
            )
        _at_least(0, lr=lr)
        self.lr = lr
        self.steps = 0
        self.state: dict[str, list[Tensor]] = {}

    def step(self) -> None:
        """Change every parameter once, in place."""
        raise NotImplementedError(f"{type(self).__name__} does not define step()")

    def _running(self, kind: str) -> list[Tensor]:
        """Return the running values of this kind, one a parameter, zero at first."""
        if kind not in self.state:
            self.state[kind] = [torch.zeros_like(value) for value, _ in self.params]
        return self.state[kind]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as a flat dict; the tensors are not copied."""
        flat = {f"{k}.{i}": t for k, ts in self.state.items() for i, t in enumerate(ts)}
        return {"step": torch.tensor(self.steps), **flat}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a state that ``state_dict`` returned.

        Raises:
            ScratchnetError: it belongs to other parameters.
        """
        kinds = sorted({key.rsplit(".", 1)[0] for key in state if key != "step"})
        shapes = [value.shape for value, _ in self.params]
        wanted = {f"{k}.{i}": shape for k in kinds for i, shape in enumerate(shapes)}
        got = {key: tensor.shape for key, tensor in state.items() if key != "step"}
        if "step" not in state or wanted != got:
            raise ScratchnetError(
                f"this state belongs to another {type(self).__name__}: expected a step and "
                f"values of the shapes {[tuple(s) for s in shapes]}, got {sorted(state)}"
            )
        self.steps = int(state["step"])
        self.state = {
            k: [state[f"{k}.{i}"].detach().clone() for i in range(len(shapes))] for k in kinds
        }


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD.

    With gradient g (−g if maximize), after g ← g + weight_decay · θ:
    v ← momentum · v + (1 − dampening) · g  (v ← g at the first step);
    θ ← θ − lr · v, or θ − lr · (g + momentum · v) with nesterov.
    Source: torch.optim.SGD's documentation; Sutskever et al., "On the importance of initialization
    and momentum in deep learning" (2013).

    Args:
        params: ``model.param()``: pairs of parameter and gradient.
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
        lr: float,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr)
        _at_least(0, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ArgumentError(
                "nesterov expects momentum > 0 and dampening = 0, "
                f"got momentum={momentum}, dampening={dampening}"
            )
        self.momentum, self.dampening, self.weight_decay = momentum, dampening, weight_decay
        self.nesterov, self.maximize = nesterov, maximize

    def step(self) -> None:
        """Change every parameter once, in place, as the class describes."""
        velocities = self._running("momentum") if self.momentum else []
        for i, (value, grad) in enumerate(self.params):
            direction = -grad if self.maximize else grad
            if self.weight_decay:
                direction = direction.add(value, alpha=self.weight_decay)
            if self.momentum:
                velocity = velocities[i]
                if self.steps == 0:
                    velocity.copy_(direction)
                else:
                    velocity.mul_(self.momentum).add_(direction, alpha=1 - self.dampening)
                if self.nesterov:
                    direction = direction.add(velocity, alpha=self.momentum)
                else:
                    direction = velocity
            value.add_(direction, alpha=-self.lr)
        self.steps += 1


class Adam(Optimizer):
    """Adam, as torch.optim.Adam.

    With gradient g after g ← g + weight_decay · θ, at step t:
    m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;
    θ ← θ − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps).
    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2014), algorithm 1.

    Args:
        params: ``model.param()``: pairs of parameter and gradient.
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
        super().__init__(params, lr)
        _at_least(0, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ArgumentError(f"betas are expected in [0, 1), got {betas}")
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def step(self) -> None:
        """Change every parameter once, in place, as the class describes."""
        self.steps += 1
        (beta1, beta2), t = self.betas, self.steps
        rate = self.lr / (1 - beta1**t)
        correction = math.sqrt(1 - beta2**t)
        means, squares = self._running("mean"), self._running("square")
        for (value, grad), mean, square in zip(self.params, means, squares, strict=True):
            if self.weight_decay:
                grad = grad.add(value, alpha=self.weight_decay)
            mean.lerp_(grad, 1 - beta1)
            square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            value.addcdiv_(mean, (square.sqrt() / correction).add_(self.eps), value=-rate)


def _at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise ArgumentError(f"{name} is expected to be at least {least}, got {value}")
