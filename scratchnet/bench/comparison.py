"""What a comparison found out, and the figures that follow from it."""

from __future__ import annotations

import dataclasses
import math
import statistics
from dataclasses import dataclass, field
from typing import Any

from scratchnet.bench.contest import OURS
from scratchnet.bench.equality import Gradient, Losses
from scratchnet.bench.learning import Trace
from scratchnet.bench.memory import Memory
from scratchnet.data import NoisyPairs
from scratchnet.denoise.evaluation import Method
from scratchnet.training.config import TrainConfig


@dataclass(frozen=True)
class Comparison:
    """Everything that was measured.

    Attributes:
        config: the settings of the trainings.
        source: where the images come from, in a line.
        images: how many there are to train on, and how many to validate with.
        noisy_psnr: of the noisy validation images themselves, in dB.
        losses: of the first steps, in float64.
        gradients: of the first step, in float32, a row for each parameter.
        traces: for each contestant a trace for each seed.
        memory: for each contestant; empty if it was not asked for.
        machine: what it ran on.
        interrupted: whether it was ended early.
        methods: the contestants as trained with the first seed, as denoisers; not part of the JSON.
        data: the images; not part of the JSON.
    """

    config: TrainConfig
    source: str
    images: tuple[int, int]
    noisy_psnr: float
    losses: Losses
    gradients: list[Gradient]
    traces: dict[str, list[Trace]]
    memory: dict[str, Memory]
    machine: dict[str, Any]
    interrupted: bool
    methods: dict[str, Method] = field(repr=False)
    data: NoisyPairs = field(repr=False)

    @property
    def names(self) -> list[str]:
        """The contestants' names, scratchnet's first."""
        return list(self.traces)

    @property
    def epochs(self) -> int:
        """Epochs of each training."""
        return len(self.traces[OURS][0].psnr)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in an epoch."""
        return math.ceil(self.images[0] / self.config.batch_size)

    def step_seconds(self, name: str) -> float:
        """Median time of a training step; the first of each training, which warms up, left out."""
        times = [s for t in self.traces[name] for s in t.seconds[1:] or t.seconds]
        return statistics.median(times)

    def images_per_second(self, name: str) -> float:
        """Images trained on in a second, at the median step."""
        return min(self.config.batch_size, self.images[0]) / self.step_seconds(name)

    def epoch_seconds(self, name: str) -> float:
        """Median time of an epoch's steps, without validation."""
        n = self.steps_per_epoch
        sums = [
            sum(t.seconds[i : i + n])
            for t in self.traces[name]
            for i in range(0, len(t.seconds), n)
        ]
        return statistics.median(sums)

    def times_faster(self, name: str) -> float:
        """How many times as long a step of ``name`` takes as scratchnet's: median of the pairs.

        The two steps of a pair follow one another on the same batch, so that both see the machine
        equally busy.
        """
        pairs = [
            theirs / ours
            for a, b in zip(self.traces[OURS], self.traces[name], strict=False)
            for ours, theirs in zip(
                a.seconds[1:] or a.seconds, b.seconds[1:] or b.seconds, strict=True
            )
        ]
        return statistics.median(pairs)

    def psnr(self, name: str) -> list[tuple[float, float]]:
        """Mean and sample standard deviation over the seeds, after each epoch; nan for one seed."""
        per_epoch = zip(*(trace.psnr for trace in self.traces[name]), strict=True)
        return [
            (statistics.mean(v), statistics.stdev(v) if len(v) > 1 else math.nan) for v in per_epoch
        ]

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain values, ready for JSON, the derived figures included."""
        summary = {
            name: {
                "psnr": self.psnr(name)[-1][0],
                "psnr_spread": _or_none(self.psnr(name)[-1][1]),
                "seeds": len(self.traces[name]),
                "images_per_second": self.images_per_second(name),
                "step_seconds": self.step_seconds(name),
                "epoch_seconds": self.epoch_seconds(name),
                "times_as_long_as_scratchnet": self.times_faster(name),
                "peak_memory": dataclasses.asdict(self.memory[name]) if self.memory else None,
            }
            for name in self.names
        }
        return {
            "summary": summary,
            "interrupted": self.interrupted,
            "noisy_psnr": self.noisy_psnr,
            "source": self.source,
            "images": {"train": self.images[0], "validation": self.images[1]},
            "float64_losses": dataclasses.asdict(self.losses),
            "float32_gradients": [dataclasses.asdict(row) for row in self.gradients],
            "traces": {n: [dataclasses.asdict(t) for t in ts] for n, ts in self.traces.items()},
            "config": self.config.as_dict(),
            "machine": self.machine,
        }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
