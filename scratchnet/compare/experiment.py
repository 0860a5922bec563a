"""The comparison itself: equality first, then the race, then memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from scratchnet.compare import memory
from scratchnet.compare.contestants import LAYOUTS, OURS, Contestant, contestant
from scratchnet.compare.equality import STEPS, batch, first_gradients, first_losses
from scratchnet.compare.memory import Memory
from scratchnet.compare.result import Comparison, Trace
from scratchnet.config import TrainConfig
from scratchnet.data import NoisyPairs, batches
from scratchnet.errors import ArgumentError
from scratchnet.evaluation import Method, score_method, score_noisy
from scratchnet.facts import facts
from scratchnet.runs import make_trainer
from scratchnet.training import DivergedError

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

Progress = Callable[[int, str], None]
"""Called with how many pictures were just done, and what for."""


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
    """How many pictures ``compare`` will report as done, in all."""
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
    on_progress: Progress = lambda pictures, what: None,
) -> Comparison:
    """Train scratchnet's network and torch.nn's from the same weights on the same batches.

    Args:
        config: network, optimizer and all other settings.
        data: the pictures; they are the same for every seed.
        seeds: trainings of each, with the seeds ``config.seed``, ``config.seed + 1``, ...
        torch_seeds: for torch.nn fewer, from the first; None for as many.
        layouts: torch.nn's memory layouts, ``"contiguous"`` and ``"channels-last"``, each a
            contestant.
        with_memory: measure peak memory, in a process for each contestant.
        on_progress: told of progress.

    Raises:
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
    traces: dict[str, list[Trace]] = {name: [] for name in names}
    methods: dict[str, Method] = {}
    for i in range(seeds):
        racing = names if i < torch_seeds else [OURS]
        trained = _race(replace(config, seed=config.seed + i), data, racing, traces, on_progress)
        methods = methods or {name: trained[name].method() for name in names}
    needed: dict[str, Memory] = {}
    if with_memory:
        height, width = data.noisy_a.shape[2:]
        for name in names:
            on_progress(0, f"memory of {name}")
            needed[name] = memory.measure(name, config, (height, width), torch.get_num_threads())
    return Comparison(
        config=config,
        source=data.source,
        pictures=(len(data.noisy_a), len(data.val_noisy)),
        noisy_psnr=score_noisy(data).psnr,
        losses=losses,
        gradients=gradients,
        traces=traces,
        memory=needed,
        machine={**facts(), "threads": torch.get_num_threads()},
        methods=methods,
        data=data,
    )


def _race(
    config: TrainConfig,
    data: NoisyPairs,
    names: Sequence[str],
    traces: dict[str, list[Trace]],
    on_progress: Progress,
) -> dict[str, Contestant]:
    """Train the contestants in turns: each batch is a step of every one, and who begins rotates."""
    trainer = make_trainer(config, data)
    # torch's first: they copy the weights that scratchnet's steps change.
    racing = {n: contestant(n, trainer, config) for n in sorted(names, key=OURS.__eq__)}
    mine = {name: Trace(config.seed) for name in names}
    order = list(names)
    for epoch in range(1, config.epochs + 1):
        what = f"seed {config.seed}, epoch {epoch}/{config.epochs}"
        trainer.model.train()
        for indices in batches(len(data.noisy_a), config.batch_size, trainer.generator):
            noisy, target = batch(trainer, data, indices)
            for name in order:
                started = time.perf_counter()
                loss = racing[name].step(noisy, target)
                mine[name].seconds.append(time.perf_counter() - started)
                mine[name].losses.append(loss)
                if not math.isfinite(loss):
                    raise DivergedError(
                        f"the loss of {name} became {loss} ({what}): lower the learning rate "
                        f"(lr is {config.lr:g}), or try another seed"
                    )
                on_progress(len(indices), what)
            order = [*order[1:], order[0]]
        trainer.model.eval()
        for name, one in racing.items():
            scores = score_method(one.method(), data.val_noisy, data.val_target)
            mine[name].psnr.append(scores.psnr)
    for name, trace in mine.items():
        traces[name].append(trace)
    return racing
