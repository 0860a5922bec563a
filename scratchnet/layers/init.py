"""Initial values of parameters, and of inputs to try them on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch


def example_images(axes: str = "H, W") -> Tensor:
    """Return what an ``example()`` puts in: rectangles of four channels, always the same; with
    ``axes`` "L" signals, with "D, H, W" volumes.
    """
    size = {"L": (35,), "H, W": (7, 5), "D, H, W": (5, 6, 4)}[axes]
    return torch.randn((2, 4, *size), generator=torch.Generator().manual_seed(0))


def uniform_fan_in(
    shape: tuple[int, ...],
    fan_in: int,
    *,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw from U(-√k, √k) with k = 1/fan_in, torch.nn's default for convolutions.

    Source: the *Variables* section of torch.nn.Conv2d's documentation; the rule is LeCun et al.,
    "Efficient BackProp" (1998), section 4.6, up to a constant.

    Args:
        shape: of the result.
        fan_in: how many inputs are summed into one output; 0 gives zeros, for there is nothing to
            sum.
        generator: where the numbers come from; torch's global generator by default.
        dtype: floating-point; torch's default dtype if None.
        device: where the result lives.

    Raises:
        TypeMismatch: dtype is not floating-point.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise TypeMismatch(f"expected a floating-point dtype such as torch.float32, got {dtype}")
    bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
    return torch.empty(shape, dtype=dtype, device=device).uniform_(
        -bound, bound, generator=generator
    )


# -- in place, with torch.nn.init's names ----------------------------------------------------------
#
# Each fills a weight (O, C, ...), such as ``layer.weight``, and returns it.


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw from U(-b, b), b = gain · √(3/fan), so that the variance stays from layer to layer.

    Source: He et al., "Delving Deep into Rectifiers" (2015), equations 10 and 14.

    Args:
        tensor: is filled, in place, and returned.
        a: the negative slope of a leaky_relu.
        mode: ``"fan_in"`` keeps the variance forwards, ``"fan_out"`` that of gradients backwards.
        nonlinearity: what follows the layer; see :func:`calculate_gain`.
        generator: where the numbers come from.

    Raises:
        ShapeError: fewer than two dimensions.
        ArgumentError: another mode or nonlinearity.
    """
    bound = math.sqrt(3) * _kaiming(tensor, a, mode, nonlinearity)
    return _filled(tensor, "uniform_", -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw from a normal distribution of the standard deviation gain/√fan; the rest as
    :func:`kaiming_uniform_`.
    """
    std = _kaiming(tensor, a, mode, nonlinearity)
    return _filled(tensor, "normal_", 0, std, generator)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Draw from U(-b, b), b = gain · √(6/(fan_in + fan_out)): a compromise between forwards and
    backwards.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks" (2010), equation 16.

    Args:
        tensor: is filled, in place, and returned.
        gain: of what follows the layer; see :func:`calculate_gain`.
        generator: where the numbers come from.

    Raises:
        ShapeError: fewer than two dimensions.
    """
    bound = math.sqrt(3) * gain * math.sqrt(2 / sum(fans(tensor)))
    return _filled(tensor, "uniform_", -bound, bound, generator)


def xavier_normal_(
    tensor: Tensor, gain: float = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Draw from a normal distribution of the standard deviation gain · √(2/(fan_in + fan_out)); the
    rest as :func:`xavier_uniform_`.
    """
    std = gain * math.sqrt(2 / sum(fans(tensor)))
    return _filled(tensor, "normal_", 0, std, generator)


def orthogonal_(
    tensor: Tensor, gain: float = 1, generator: torch.Generator | None = None
) -> Tensor:
    """Make a matrix (O, C · ...) whose rows, or columns if there are fewer, are orthogonal and as
    long as ``gain``, drawn uniformly among all such.

    Source: Saxe et al., "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks" (2013); the signs: Mezzadri, "How to generate random matrices from the
    classical compact groups" (2007), section 5.

    Args:
        tensor: is filled, in place, and returned.
        gain: of what follows the layer; see :func:`calculate_gain`.
        generator: where the numbers come from.

    Raises:
        ShapeError: fewer than two dimensions.
    """
    fans(tensor)
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    drawn = tensor.detach().new_empty((rows, columns)).normal_(generator=generator)
    q, r = torch.linalg.qr(drawn if rows >= columns else drawn.T)
    q = q * r.diagonal().sign()
    tensor.detach().copy_((q if rows >= columns else q.T).reshape(tensor.shape) * gain)
    return tensor


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw from a normal distribution, but only from [a, b]: what is outside is drawn again.

    Args:
        tensor: is filled, in place, and returned.
        mean, std: of the distribution before it is cut off.
        a, b: the limits, a < b.
        generator: where the numbers come from.

    Raises:
        ArgumentError: nothing is between a and b, or std is not above 0; or they are more than 4
            standard deviations from the mean, where hardly anything is drawn.
    """
    if not (a < b and std > 0):
        raise ArgumentError(f"trunc_normal_ expects a < b and std > 0, got {a}, {b} and {std}")
    if a > mean + 4 * std or b < mean - 4 * std:
        raise ArgumentError(
            f"trunc_normal_ expects limits around the mean, got [{a}, {b}] for {mean} ± {std}"
        )
    values = tensor.detach().normal_(mean, std, generator=generator)
    while bool((outside := (values < a) | (values > b)).any()):
        again = torch.empty_like(values).normal_(mean, std, generator=generator)
        values.copy_(torch.where(outside, again, values))
    return tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return by how much a nonlinearity shrinks the standard deviation, inverted, as
    torch.nn.init.calculate_gain.

    Args:
        nonlinearity: ``"linear"``, ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"`` or
            ``"selu"``.
        param: the negative slope of a leaky_relu; 0.01 if None.

    Raises:
        ArgumentError: another nonlinearity.
    """
    slope = 0.01 if param is None else param
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75}
    gains["leaky_relu"] = math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in gains:
        raise ArgumentError(
            f"nonlinearity is expected to be one of {', '.join(gains)}, got {nonlinearity!r}"
        )
    return gains[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """Return how many inputs are summed into one output of a weight (O, C, ...), and how many
    outputs one input is a part of.

    Raises:
        ShapeError: fewer than two dimensions.
    """
    if tensor.dim() < 2:
        raise ShapeError(
            f"expected a weight (O, C, ...) of two dimensions or more, got {tuple(tensor.shape)}"
        )
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """Return gain/√fan; 0 for a tensor without elements."""
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"mode is expected to be 'fan_in' or 'fan_out', got {mode!r}")
    gain, fan = calculate_gain(nonlinearity, a), fans(tensor)[mode == "fan_out"]
    return gain / math.sqrt(fan) if tensor.numel() else 0.0


def _filled(
    tensor: Tensor, how: str, first: float, second: float, generator: torch.Generator | None
) -> Tensor:
    """Draw a tensor's values, unseen by autograd."""
    getattr(tensor.detach(), how)(first, second, generator=generator)
    return tensor
