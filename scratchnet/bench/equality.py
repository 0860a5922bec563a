"""How far the numbers of the two implementations agree.

Trained long enough at a high learning rate, two correct float32 programs part company: rounding
differs from the first addition on, and each step multiplies the difference. So equality is shown
where it can be: on the losses of the first steps in float64, and on one step's gradients in
float32, each against the gradients in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from scratchnet.bench.contest import OURS
from scratchnet.bench.learning import TORCH, Learning
from scratchnet.data import NoisyPairs
from scratchnet.testing.closeness import TRAINED
from scratchnet.training.config import TrainConfig

STEPS = 50


@dataclass(frozen=True)
class Losses:
    """The losses of the first steps of both, in float64.

    Attributes:
        ours, torch: the losses.
        worst: the largest difference relative to torch's loss.
        equal: whether ``worst`` is small enough.
    """

    ours: list[float]
    torch: list[float]
    worst: float
    equal: bool


@dataclass(frozen=True)
class Gradient:
    """How far one parameter's float32 gradients lie from the float64 one.

    Attributes:
        name: of the parameter.
        largest: the gradient's largest magnitude.
        errors: for each contestant the largest error, relative to ``largest``.
    """

    name: str
    largest: float
    errors: dict[str, float]


def first_losses(config: TrainConfig, data: NoisyPairs, steps: int = STEPS) -> Iterator[Losses]:
    """Train both in float64, step by step.

    Returns:
        An iterator of the losses so far; each ``next`` does one step of both.
    """
    learning = Learning(replace(config, dtype="float64"), data, [OURS, TORCH])
    for noisy, target in itertools.islice(learning.stream(), steps):
        learning.step(noisy, target)
        ours, torchs = (list(learning.traces[name].losses) for name in (OURS, TORCH))
        worst = max(map(relative, ours, torchs))
        yield Losses(ours, torchs, worst, worst <= TRAINED)


def first_gradients(config: TrainConfig, data: NoisyPairs, names: Sequence[str]) -> list[Gradient]:
    """Return how far the gradients of the first step lie from torch's in float64.

    Args:
        config: its dtype is taken as float32.
        data: whose first batch to use.
        names: of the contestants.
    """
    config = replace(config, dtype="float32")
    learning, exact = Learning(config, data, names), Learning(config, data, [TORCH])
    exact.networks[TORCH].model.to(dtype=torch.float64)
    noisy, target = next(learning.stream())
    learning.step(noisy, target)
    exact.step(noisy.double(), target.double())
    keys = [name for name, _, _ in learning.trainer.model.named_param()]
    rows = []
    for i, truth in enumerate(exact.networks[TORCH].gradients()):
        largest = float(truth.abs().max())
        errors = {
            name: float((one.gradients()[i].double() - truth).abs().max()) / largest
            for name, one in learning.networks.items()
        }
        rows.append(Gradient(keys[i], largest, errors))
    return rows


def relative(a: float, b: float) -> float:
    """Return |a − b| / |b|; 0 where they are equal."""
    return 0.0 if a == b else abs(a - b) / abs(b) if b else float("inf")
