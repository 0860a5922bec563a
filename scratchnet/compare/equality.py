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
from torch import Tensor

from scratchnet.compare.contestants import OURS, TORCH, contestant
from scratchnet.data import NoisyPairs
from scratchnet.training.config import TrainConfig
from scratchnet.training.runs import make_trainer
from scratchnet.training.trainer import Trainer

STEPS = 50
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Losses:
    """The losses of the first steps of both, in float64.

    Attributes:
        ours, torch: the losses.
        worst: the largest difference relative to torch's loss.
        equal: whether ``worst`` is at most 1e-9.
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
    config = replace(config, dtype="float64")
    trainer = make_trainer(config, data)
    torchs, ours = contestant(TORCH, trainer, config), contestant(OURS, trainer, config)
    losses = Losses([], [], 0.0, True)
    for noisy, target in itertools.islice(_stream(trainer), steps):
        mine, theirs = ours.step(noisy, target), torchs.step(noisy, target)
        worst = max(losses.worst, relative(mine, theirs))
        losses = Losses([*losses.ours, mine], [*losses.torch, theirs], worst, worst <= TOLERANCE)
        yield losses


def first_gradients(config: TrainConfig, data: NoisyPairs, names: Sequence[str]) -> list[Gradient]:
    """Return how far the gradients of the first step lie from torch's in float64.

    Args:
        config: its dtype is taken as float32.
        data: whose first batch to use.
        names: of the contestants.
    """
    config = replace(config, dtype="float32")
    trainer = make_trainer(config, data)
    noisy, target = next(_stream(trainer))
    wide = make_trainer(config, data)
    wide.model.to(dtype=torch.float64)
    exact = contestant(TORCH, wide, config)
    # torch's first: stepping scratchnet's changes the weights that torch's copy.
    contestants = {n: contestant(n, trainer, config) for n in sorted(names, key=OURS.__eq__)}
    for one in contestants.values():
        one.step(noisy, target)
    exact.step(noisy.double(), target.double())
    keys = [name for name, _, _ in trainer.model.named_param()]
    rows = []
    for i, (key, truth) in enumerate(zip(keys, exact.gradients(), strict=True)):
        largest = float(truth.abs().max())
        errors = {
            n: float((contestants[n].gradients()[i].double() - truth).abs().max()) / largest
            for n in names
        }
        rows.append(Gradient(key, largest, errors))
    return rows


def relative(a: float, b: float) -> float:
    """Return |a − b| / |b|; 0 where they are equal."""
    return 0.0 if a == b else abs(a - b) / abs(b) if b else float("inf")


def _stream(trainer: Trainer) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches that the trainer would see, epoch after epoch without an end."""
    while True:
        yield from trainer.batches()
