"""How far two right results of one operation may be apart."""

from __future__ import annotations

import math

import torch


def tolerance(dtype: torch.dtype, terms: int = 1) -> float:
    """Return how far two sums of ``terms`` products may be apart, relative to the sum of the terms'
    magnitudes.

    4·ε·(1 + √terms): rounding errors of different orders of summation add up like a random walk,
    whose steps are at most ε/2. Source: Higham and Mary, "A New Approach to Probabilistic Rounding
    Error Analysis" (2019).
    """
    return 4 * torch.finfo(dtype).eps * (1 + math.sqrt(terms))
