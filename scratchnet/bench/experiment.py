"""The comparison itself: equality first, then the trainings, then memory.

Trained long enough at a high learning rate, two correct float32 programs part company: rounding
differs from the first addition on, and each step multiplies the difference. So equality is shown
where it can be: on the losses of the first steps in float64, and on one step's gradients in
float32, each against the gradients in float64.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from scratchnet.bench import memory
from scratchnet.bench.comparison import Comparison, Gradient, Losses, relative
from scratchnet.bench.contest import OURS
from scratchnet.bench.contestants import gradients
from scratchnet.bench.learning import LAYOUTS, TORCH, Learning, contestant
from scratchnet.bench.machine import machine
from scratchnet.bench.memory import Memory
from scratchnet.bench.race import Progress
from scratchnet.data import NoisyPairs
from scratchnet.denoise.evaluation import score_noisy
from scratchnet.errors import ArgumentError
from scratchnet.testing.closeness import TRAINED
from scratchnet.training.config import TrainConfig, preset

STEPS = 50
"""Whose losses are compared in float64."""
DEFAULTS = preset("paper").replace(
    preset="compare", lr=0.5, momentum=0.9, batch_size=10, epochs=3, noise="gaussian:50",
    n_train=2000, n_val=200,
)  # fmt: skip
"""The paper's network, with a momentum and small batches by which it learns within a minute."""


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
        layouts: torch.nn's, ``"contiguous"`` and ``"channels-last"``, each a contestant.
        with_memory: measure peak memory, in a process for each contestant.
        on_progress: told of progress.

    Ctrl-C ends it early: what is complete is returned, trainings, or the first training's epochs.

    Raises:
        KeyboardInterrupt: before the first epoch was done.
        ArgumentError: a number of seeds below 1, more for torch.nn than in all, or a wrong layout.
        DivergedError: a loss is no longer finite.
    """
    if not layouts or any(layout not in LAYOUTS for layout in layouts):
        raise ArgumentError(f"layouts are expected of {', '.join(LAYOUTS)}, got {list(layouts)}")
    names = [OURS, *(name for layout, name in LAYOUTS.items() if layout in layouts)]
    torch_seeds = seeds if torch_seeds is None else torch_seeds
    if not 1 <= torch_seeds <= seeds:
        given = f"got {seeds} and {torch_seeds}"
        raise ArgumentError(f"expected at least 1 seed, and at most as many for torch.nn; {given}")
    losses = first_losses(config, data, on_progress)
    first = first_gradients(config, data, names)
    trainings: list[Learning] = []
    needed: dict[str, Memory] = {}
    interrupted = False
    try:
        for i in range(seeds):
            racing = names if i < torch_seeds else [OURS]
            trainings.append(Learning(replace(config, seed=config.seed + i), data, racing))
            trainings[-1].run(on_progress)
        height, width = data.noisy_a.shape[2:]
        for name in names if with_memory else []:
            on_progress(0, f"memory of {name}")
            make = partial(contestant, name, config, (height, width))
            threads = torch.get_num_threads()
            needed[name] = memory.measure(name, make, config.batch_size, threads)
    except KeyboardInterrupt:
        interrupted = True
        if len(trainings) > 1 and len(trainings[-1].traces[OURS].psnr) < config.epochs:
            trainings.pop()  # the means are over trainings of equal length
        if not trainings or not trainings[0].traces[OURS].psnr:
            raise
    return Comparison(
        config,
        data,
        score_noisy(data).psnr,
        losses,
        first,
        traces={name: [t.traces[name] for t in trainings if name in t.traces] for name in names},
        memory=needed if len(needed) == len(names) else {},
        machine=machine(),
        interrupted=interrupted,
        methods=trainings[0].methods(),
    )


def first_losses(config: TrainConfig, data: NoisyPairs, on_progress: Progress) -> Losses:
    """Train both in float64 for some steps."""
    learning = Learning(replace(config, dtype="float64"), data, [OURS, TORCH])
    steps = []
    for noisy, target in itertools.islice(learning.stream(), STEPS):
        steps.append(learning.step(noisy, target))
        on_progress(2 * config.batch_size, "equality in float64")
    ours, torchs = ([step[name][0] for step in steps] for name in (OURS, TORCH))
    worst = max(map(relative, ours, torchs))
    return Losses(ours, torchs, worst, worst <= TRAINED)


def first_gradients(config: TrainConfig, data: NoisyPairs, names: Sequence[str]) -> list[Gradient]:
    """Return how far everyone's float32 gradients of the first step lie from torch's in float64."""
    config = replace(config, dtype="float32")
    learning, exact = Learning(config, data, names), Learning(config, data, [TORCH])
    exact.networks[TORCH].model.to(dtype=torch.float64)
    noisy, target = next(learning.stream())
    learning.step(noisy, target)
    exact.step(noisy.double(), target.double())
    keys = [key for key, _, _ in learning.trainer.model.named_param()]
    found = {name: gradients(network.model) for name, network in learning.networks.items()}
    rows = []
    for i, truth in enumerate(gradients(exact.networks[TORCH].model)):
        largest = float(truth.abs().max())
        errors = {n: float((g[i].double() - truth).abs().max()) / largest for n, g in found.items()}
        rows.append(Gradient(keys[i], largest, errors))
    return rows
