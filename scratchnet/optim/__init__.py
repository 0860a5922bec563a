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
        params: ``model.param()``: pairs of parameter and gradient.
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
        super().__init__(params, lr)
        _at_least(0, weight_decay=weight_decay, eps=eps)
        _at_least(1, ns_steps=ns_steps)
        if not 0 <= momentum < 1:
            raise ArgumentError(f"momentum is expected in [0, 1), got {momentum}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ArgumentError(
                "adjust_lr_fn is expected to be 'original' or 'match_rms_adamw', "
                f"got {adjust_lr_fn!r}"
            )
        self.weight_decay, self.momentum, self.nesterov = weight_decay, momentum, nesterov
        self.ns_coefficients, self.eps, self.ns_steps = ns_coefficients, eps, ns_steps
        self.match_rms = adjust_lr_fn == "match_rms_adamw"

    def step(self) -> None:
        """Change every parameter once, in place, as the class describes."""
        means = self._running("momentum")
        for (value, grad), mean in zip(self.params, means, strict=True):
            mean.lerp_(grad, 1 - self.momentum)
            direction = grad.lerp(mean, self.momentum) if self.nesterov else mean
            rows = value.shape[0] if value.dim() else 1
            matrix = direction.reshape(rows, value.numel() // max(1, rows))
            matrix = orthogonalized(matrix, self.ns_coefficients, self.eps, self.ns_steps)
            value.mul_(1 - self.lr * self.weight_decay)
            value.add_(matrix.view(value.shape), alpha=-self.lr * self._scale(*matrix.shape))
        self.steps += 1

    def _scale(self, rows: int, columns: int) -> float:
        if self.match_rms:
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


def _at_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if not value >= least:
            raise ArgumentError(f"{name} is expected to be at least {least}, got {value}")
