"""Learning-rate schedules: functions (step, total steps) -> factor on the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable

from scratchnet.registry import Registry, function

Schedule = Callable[[int, int], float]


def constant(step: int, total: int) -> float:
    """Return 1 at every step."""
    return 1.0


def cosine(step: int, total: int) -> float:
    """Fall from 1 to 0 along half a cosine. Source: Loshchilov and Hutter, "SGDR" (2016), equation
    5.
    """
    return 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))


def one_cycle(step: int, total: int) -> float:
    """Rise from 1/25 to 1 over the first 30 % of the steps and fall to 1/250,000, each along half a
    cosine.

    Source: Smith and Topin, "Super-Convergence" (2017), with the defaults of
    torch.optim.lr_scheduler.OneCycleLR: the last step, ``total - 1``, reaches the end.
    """
    rise = 0.3 * total - 1
    start, end = 1 / 25, 1 / 25e4
    if step <= rise:
        return _half_cosine(start, 1.0, step / rise)
    return _half_cosine(1.0, end, min((step - rise) / max(total - 1 - rise, 1), 1.0))


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


registry: Registry[Schedule] = Registry("scratchnet.schedules", kind="schedule", prepare=function)
names, get = registry.names, registry.get
