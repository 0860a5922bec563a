"""The comparison itself: equality first, then the race, then memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from scratchnet.bench import memory
from scratchnet.bench.comparison import Comparison
from scratchnet.bench.contest import OURS
from scratchnet.bench.equality import STEPS, first_gradients, first_losses
from scratchnet.bench.learning import LAYOUTS, Learning, contestant
from scratchnet.bench.machine import facts
from scratchnet.bench.memory import Memory, Order
from scratchnet.bench.race import Progress
from scratchnet.data import NoisyPairs
from scratchnet.denoise.evaluation import score_noisy
from scratchnet.errors import ArgumentError
from scratchnet.training.config import TrainConfig

DEFAULTS = TrainConfig(
    preset="compare",
    model="noise2noise",
    optimizer="sgd",
    lr=0.5,
    momentum=0.9,
    schedule="constant",
    batch_size=10,
    epochs=3,
    noise="gaussian:50",
    n_train=2000,
    n_val=200,
)
"""The paper's network, with a momentum and small batches by which it learns within a minute."""


def contestants_of(layouts: Sequence[str]) -> list[str]:
    """The contestants' names: scratchnet, and torch.nn in each memory layout.

    Raises:
        ArgumentError: a layout is unknown, or there is none.
    """
    if not layouts or any(layout not in LAYOUTS for layout in layouts):
        raise ArgumentError(f"layouts are expected of {', '.join(LAYOUTS)}, got {list(layouts)}")
    return [OURS, *(name for layout, name in LAYOUTS.items() if layout in layouts)]


def work(
    config: TrainConfig, data: NoisyPairs, *, seeds: int, torch_seeds: int, layouts: Sequence[str]
) -> int:
    """How many images ``compare`` will report as done, in all."""
    trainings = seeds + torch_seeds * len(layouts)
    return 2 * STEPS * config.batch_size + trainings * config.epochs * len(data.noisy_a)


def compare(
    config: TrainConfig,
    data: NoisyPairs,
    *,
    seeds: int = 3,
    torch_seeds: int | None = None,
    layouts: Sequence[str] = tuple(LAYOUTS),
    with_memory: bool = True,
    on_progress: Progress = lambda images, what: None,
) -> Comparison:
    """Train scratchnet's network and torch.nn's from the same weights on the same batches.

    Args:
        config: network, optimizer and all other settings.
        data: the images; they are the same for every seed.
        seeds: trainings of each, with the seeds ``config.seed``, ``config.seed + 1``, ...
        torch_seeds: for torch.nn fewer, from the first; None for as many.
        layouts: torch.nn's memory layouts, ``"contiguous"`` and ``"channels-last"``, each a
            contestant.
        with_memory: measure peak memory, in a process for each contestant.
        on_progress: told of progress.

    Ctrl-C ends it early: what is complete is returned, trainings, or the first training's epochs.

    Raises:
        KeyboardInterrupt: Ctrl-C before the first epoch was done.
        ArgumentError: a number of seeds below 1, more for torch.nn than in all, or a wrong layout.
        DivergedError: a loss is no longer finite.
    """
    names = contestants_of(layouts)
    torch_seeds = seeds if torch_seeds is None else torch_seeds
    if not 1 <= torch_seeds <= seeds:
        raise ArgumentError(
            "expected at least 1 seed, and at most as many for torch.nn; "
            f"got {seeds} and {torch_seeds}"
        )
    for so_far in first_losses(config, data):
        losses = so_far
        on_progress(2 * config.batch_size, "equality in float64")
    gradients = first_gradients(config, data, names)
    races: list[Learning] = []
    needed: dict[str, Memory] = {}
    interrupted = False
    try:
        for i in range(seeds):
            racing = names if i < torch_seeds else [OURS]
            races.append(Learning(replace(config, seed=config.seed + i), data, racing))
            races[-1].run(on_progress)
        if with_memory:
            height, width = data.noisy_a.shape[2:]
            for name in names:
                on_progress(0, f"memory of {name}")
                make = partial(contestant, name, config, (height, width))
                order = Order(name, make, config.batch_size, torch.get_num_threads())
                needed[name] = memory.measure(order)
    except KeyboardInterrupt:
        interrupted = True
        if len(races) > 1 and races[-1].epochs < config.epochs:
            races.pop()  # the means are over trainings of equal length
        if not races or races[0].epochs == 0:
            raise
    whole = [race.whole_epochs() for race in races]
    return Comparison(
        config=config,
        source=data.source,
        images=(len(data.noisy_a), len(data.val_noisy)),
        noisy_psnr=score_noisy(data).psnr,
        losses=losses,
        gradients=gradients,
        traces={name: [traces[name] for traces in whole if name in traces] for name in names},
        memory=needed if len(needed) == len(names) else {},
        machine={**facts(), "threads": torch.get_num_threads()},
        interrupted=interrupted,
        methods=races[0].methods(),
        data=data,
    )
