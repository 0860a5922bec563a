"""Element-wise functions that are made of exponentials, each with its derivative.

σ(x) = 1 / (1 + e⁻ˣ), and Φ is the distribution function of the normal distribution, φ its density.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratchnet.ops.elementwise import elementwise


def _sigmoid(x: Tensor) -> Tensor:
    """y = σ(x) = 1 / (1 + e⁻ˣ), finite for every finite x."""
    return torch.sigmoid(x)


def _sigmoid_backward(grad_y: Tensor, y: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y · σ(x)·(1 − σ(x)) = ∂L/∂y · y·(1 − y)."""
    return grad_y * (y * (1 - y))


sigmoid = elementwise(_sigmoid, _sigmoid_backward, of_output=True, twin="torch.sigmoid")


def _logsigmoid(x: Tensor) -> Tensor:
    """y = log σ(x) = min(x, 0) − log(1 + e^(−|x|)), which does not overflow."""
    return x.clamp(max=0) - torch.log1p(torch.exp(-x.abs()))


def _logsigmoid_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y · (1 − σ(x)) = ∂L/∂y · σ(−x)."""
    return grad_y * torch.sigmoid(-x)


logsigmoid = elementwise(_logsigmoid, _logsigmoid_backward, twin="torch.nn.functional.logsigmoid")


def _tanh(x: Tensor) -> Tensor:
    """y = tanh(x)."""
    return torch.tanh(x)


def _tanh_backward(grad_y: Tensor, y: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y · (1 − tanh²(x)) = ∂L/∂y · (1 − y²)."""
    return grad_y * (1 - y * y)


tanh = elementwise(_tanh, _tanh_backward, of_output=True, twin="torch.tanh")


def _tanhshrink(x: Tensor) -> Tensor:
    """y = x − tanh(x)."""
    return x - torch.tanh(x)


def _tanhshrink_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y · tanh²(x)."""
    return grad_y * torch.tanh(x).square()


tanhshrink = elementwise(_tanhshrink, _tanhshrink_backward, twin="torch.nn.functional.tanhshrink")


def _softsign(x: Tensor) -> Tensor:
    """y = x / (1 + |x|)."""
    return x / (1 + x.abs())


def _softsign_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y / (1 + |x|)²."""
    return grad_y / (1 + x.abs()).square()


softsign = elementwise(_softsign, _softsign_backward, twin="torch.nn.functional.softsign")


def _softplus(x: Tensor, *, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """y = log(1 + e^(βx)) / β, and x where βx > threshold."""
    scaled = beta * x
    soft = torch.logaddexp(scaled, torch.zeros_like(scaled)) / beta
    return torch.where(scaled > threshold, x, soft)


def _softplus_backward(grad_y: Tensor, x: Tensor, *, beta: float, threshold: float) -> Tensor:
    """∂L/∂x = ∂L/∂y · σ(βx), and ∂L/∂y where βx > threshold."""
    scaled = beta * x
    return torch.where(scaled > threshold, grad_y, grad_y * torch.sigmoid(scaled))


def _zero_beta(*, beta: float, threshold: float) -> str | None:
    return None if beta else "beta to be another number than 0"


softplus = elementwise(
    _softplus, _softplus_backward, twin="torch.nn.functional.softplus", refuses=_zero_beta,
    tried=[{"beta": 2, "threshold": 1.5}, {"beta": -0.5}], wrong=[{"beta": 0}],
)  # fmt: skip


def _elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """y = x where x > 0, else α·(eˣ − 1)."""
    return torch.where(x > 0, x, alpha * torch.expm1(x))


def _elu_backward(grad_y: Tensor, x: Tensor, *, alpha: float) -> Tensor:
    """∂L/∂x = ∂L/∂y where x > 0, else ∂L/∂y · α·eˣ."""
    return torch.where(x > 0, grad_y, grad_y * (alpha * torch.exp(x)))


elu = elementwise(
    _elu, _elu_backward, twin="torch.nn.functional.elu", tried=[{"alpha": 0.3}, {"alpha": -2}]
)


def _celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """y = x where x > 0, else α·(e^(x/α) − 1): ELU, with a derivative that does not jump."""
    return torch.where(x > 0, x, alpha * torch.expm1(x / alpha))


def _celu_backward(grad_y: Tensor, x: Tensor, *, alpha: float) -> Tensor:
    """∂L/∂x = ∂L/∂y where x > 0, else ∂L/∂y · e^(x/α)."""
    return torch.where(x > 0, grad_y, grad_y * torch.exp(x / alpha))


def _zero_alpha(*, alpha: float) -> str | None:
    return None if alpha else "alpha to be another number than 0"


celu = elementwise(
    _celu, _celu_backward, twin="scratchnet.testing.oracle.celu", refuses=_zero_alpha,
    tried=[{"alpha": 0.3}, {"alpha": -2}], wrong=[{"alpha": 0}],
)  # fmt: skip

# λ and α of SELU: the fixed point of mean 0 and variance 1. Source: Klambauer et al. (2017),
# equation 14; the digits are torch's.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _selu(x: Tensor) -> Tensor:
    """y = λx where x > 0, else λα·(eˣ − 1)."""
    return _SELU_SCALE * _elu(x, alpha=_SELU_ALPHA)


def _selu_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y · λ where x > 0, else ∂L/∂y · λα·eˣ."""
    return _SELU_SCALE * _elu_backward(grad_y, x, alpha=_SELU_ALPHA)


selu = elementwise(_selu, _selu_backward, twin="torch.nn.functional.selu")


def _silu(x: Tensor) -> Tensor:
    """y = x·σ(x)."""
    return x * torch.sigmoid(x)


def silu_derivative(x: Tensor) -> Tensor:
    """Return σ(x) · (1 + x·(1 − σ(x)))."""
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


def _silu_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y · σ(x)·(1 + x·(1 − σ(x)))."""
    return grad_y * silu_derivative(x)


silu = elementwise(_silu, _silu_backward, twin="torch.nn.functional.silu")


def _mish(x: Tensor) -> Tensor:
    """y = x·tanh(log(1 + eˣ))."""
    return x * torch.tanh(_softplus(x))


def _mish_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y · (t + x·σ(x)·(1 − t²)), with t = tanh(log(1 + eˣ))."""
    t = torch.tanh(_softplus(x))
    return grad_y * (t + x * torch.sigmoid(x) * (1 - t * t))


mish = elementwise(_mish, _mish_backward, twin="torch.nn.functional.mish")


def _gelu(x: Tensor) -> Tensor:
    """y = x·Φ(x)."""
    return x * _below(x)


def _gelu_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y · (Φ(x) + x·φ(x))."""
    density = torch.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    return grad_y * (_below(x) + x * density)


def _below(x: Tensor) -> Tensor:
    """Return Φ(x) = erfc(−x/√2) / 2, which keeps its digits where it is small."""
    return torch.erfc(-x / math.sqrt(2)) / 2


gelu = elementwise(_gelu, _gelu_backward, twin="torch.nn.functional.gelu")

_INNER, _CUBIC = math.sqrt(2 / math.pi), 0.044715


def _gelu_tanh(x: Tensor) -> Tensor:
    """y = x/2 · (1 + t) with t = tanh u(x) and u(x) = √(2/π)·(x + 0.044715·x³): near x·Φ(x)."""
    return x / 2 * (1 + _tanh_inner(x)[0])


def _gelu_tanh_backward(grad_y: Tensor, x: Tensor) -> Tensor:
    """∂L/∂x = ∂L/∂y · (1/2·(1 + t) + x/2·(1 − t²)·u'(x))."""
    t, slope = _tanh_inner(x)
    return grad_y * ((1 + t) / 2 + x / 2 * (1 - t * t) * slope)


def _tanh_inner(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return tanh u(x) and u'(x), within ±10: beyond, tanh is ±1 and x³ might overflow."""
    x = x.clamp(-10, 10)
    return torch.tanh(_INNER * (x + _CUBIC * x * x * x)), _INNER * (1 + 3 * _CUBIC * x * x)


gelu_tanh = elementwise(_gelu_tanh, _gelu_tanh_backward, twin="scratchnet.testing.oracle.gelu_tanh")
