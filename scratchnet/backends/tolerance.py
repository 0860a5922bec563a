"""How far two right results of one operation may be apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def tolerance(dtype: torch.dtype, terms: int = 1) -> float:
    """Return how far two sums of ``terms`` products may be apart, relative to the sum of the terms'
    magnitudes.

    4·ε·(1 + √terms): rounding errors of different orders of summation add up like a random walk,
    whose steps are at most ε/2. Source: Higham and Mary, "A New Approach to Probabilistic Rounding
    Error Analysis" (2019).
    """
    return 4 * torch.finfo(dtype).eps * (1 + math.sqrt(terms))


def terms_of_gradients(grad_y: Tensor, weight: Tensor, scale: tuple[int, int] = (1, 1)) -> int:
    """Return the most products that a convolution's backward adds up into one number.

    Args:
        grad_y: (N, O, H_out, W_out).
        weight: (O, C/G, Kh, Kw).
        scale: of an upsampling before the convolution.
    """
    places = grad_y.numel() // max(grad_y.shape[1], 1)  # for an element of the weight's gradient
    return max(places, weight[:, 0].numel() * scale[0] * scale[1])
