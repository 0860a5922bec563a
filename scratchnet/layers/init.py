"""Initial values of parameters, and of inputs to try them on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratchnet.errors import TypeMismatch


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
