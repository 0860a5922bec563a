"""What a comparison found out: the figures that follow from it, in a table and a few sentences."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scratchnet.bench.contest import OURS
from scratchnet.bench.learning import Trace
from scratchnet.bench.memory import Memory
from scratchnet.data import NoisyPairs
from scratchnet.denoise.evaluation import Method
from scratchnet.testing.closeness import TRAINED
from scratchnet.training.config import TrainConfig


@dataclass(frozen=True)
class Losses:
    """The losses of the first steps of both, in float64; ``worst`` is the largest difference
    relative to torch's.
    """

    ours: list[float]
    torch: list[float]
    worst: float
    equal: bool


@dataclass(frozen=True)
class Gradient:
    """How far one parameter's float32 gradients lie from the float64 one: each contestant's largest
    error, relative to the gradient's largest magnitude.
    """

    name: str
    largest: float
    errors: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """Everything that was measured.

    Attributes:
        config: the settings of the trainings.
        data: the images; of the JSON only where they come from, and how many there are.
        noisy_psnr: of the noisy validation images themselves, in dB.
        losses, gradients: of the first steps, in float64; of the first step, in float32.
        traces: for each contestant, scratchnet first, a trace for each seed.
        memory: for each contestant; empty if it was not asked for.
        methods: the contestants as trained with the first seed, as denoisers; not part of the JSON.
    """

    config: TrainConfig
    data: NoisyPairs = field(repr=False)
    noisy_psnr: float
    losses: Losses
    gradients: list[Gradient]
    traces: dict[str, list[Trace]]
    memory: dict[str, Memory]
    machine: dict[str, Any]
    interrupted: bool
    methods: dict[str, Method] = field(repr=False)

    @property
    def names(self) -> list[str]:
        """The contestants' names, scratchnet's first."""
        return list(self.traces)

    @property
    def fastest_torch(self) -> str:
        """The name of torch's faster layout."""
        return min(self.names[1:], key=self.step_seconds)

    @property
    def epochs(self) -> int:
        """Epochs of each training."""
        return len(self.traces[OURS][0].psnr)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in an epoch."""
        return math.ceil(len(self.data.noisy_a) / self.config.batch_size)

    def step_seconds(self, name: str) -> float:
        """Median time of a training step; the first of each training, which warms up, left out."""
        return statistics.median(s for trace in self.traces[name] for s in _warm(trace))

    def images_per_second(self, name: str) -> float:
        """Images trained on in a second, at the median step."""
        return min(self.config.batch_size, len(self.data.noisy_a)) / self.step_seconds(name)

    def epoch_seconds(self, name: str) -> float:
        """Median time of an epoch's steps, without validation."""
        n, traces = self.steps_per_epoch, self.traces[name]
        return statistics.median(
            sum(t.seconds[i : i + n]) for t in traces for i in range(0, len(t.seconds), n)
        )

    def times_faster(self, name: str) -> float:
        """How many times as long a step of ``name`` takes as scratchnet's: median of the pairs.

        The two steps of a pair follow one another on the same batch, so that both see the machine
        equally busy.
        """
        return statistics.median(
            theirs / ours
            for a, b in zip(self.traces[OURS], self.traces[name], strict=False)
            for ours, theirs in zip(_warm(a), _warm(b), strict=True)
        )

    def psnr(self, name: str) -> list[tuple[float, float]]:
        """Mean and sample standard deviation over the seeds, after each epoch; nan for one seed."""
        per_epoch = zip(*(trace.psnr for trace in self.traces[name]), strict=True)
        return [
            (statistics.mean(v), statistics.stdev(v) if len(v) > 1 else math.nan) for v in per_epoch
        ]

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return a head with the contestants' names, and a row for each figure."""

        def quality(name: str) -> str:
            mean, spread = self.psnr(name)[-1]
            return f"{mean:.2f}" if math.isnan(spread) else f"{mean:.2f} ± {spread:.2f}"

        rows: dict[str, Callable[[str], str]] = {
            "validation PSNR (dB)": quality,
            "above the noisy input (dB)": lambda n: f"{self.psnr(n)[-1][0] - self.noisy_psnr:+.2f}",
            "training images in a second": lambda n: f"{self.images_per_second(n):,.0f}",
            "a step (ms)": lambda n: f"{1e3 * self.step_seconds(n):.2f}",
            "an epoch (s)": lambda n: f"{self.epoch_seconds(n):.2f}",
            "time, times scratchnet's": lambda n: f"{self.times_faster(n):.2f}",
        }
        if self.memory:
            rows["peak memory (MB)"] = lambda n: f"{self.memory[n].peak / 1e6:,.0f}"
            since = "of it since the first step (MB)"
            rows[since] = lambda n: f"{self.memory[n].needed / 1e6:,.0f}"
        return ["", *self.names], [[what, *map(row, self.names)] for what, row in rows.items()]

    def equality(self) -> str:
        """Return in a sentence how far the first losses agree in float64."""
        verdict = "equal" if self.losses.equal else "NOT equal"
        return (
            f"In float64 the first {len(self.losses.ours)} losses are {verdict}: they differ by at "
            f"most {self.losses.worst:.1e} of their value (asked for: {TRAINED:.0e})."
        )

    def exactness(self) -> str:
        """Return in a sentence how far the first gradients lie from the exact ones in float32."""
        worst = {n: max(row.errors[n] for row in self.gradients) for n in self.names}
        return (
            "In float32 the gradients of the first step lie from the float64 ones at most, relative"
            " to a parameter's largest gradient: "
            + ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
            + "."
        )

    def as_dict(self) -> dict[str, Any]:
        """The comparison as plain values, ready for JSON, the derived figures included."""
        data, summary = self.data, {}
        for name in self.names:
            mean, spread = self.psnr(name)[-1]
            summary[name] = {
                "psnr": mean,
                "psnr_spread": None if math.isnan(spread) else spread,
                "seeds": len(self.traces[name]),
                "images_per_second": self.images_per_second(name),
                "step_seconds": self.step_seconds(name),
                "epoch_seconds": self.epoch_seconds(name),
                "times_as_long_as_scratchnet": self.times_faster(name),
                "peak_memory": dataclasses.asdict(self.memory[name]) if self.memory else None,
            }
        return {
            "summary": summary,
            "interrupted": self.interrupted,
            "noisy_psnr": self.noisy_psnr,
            "source": data.source,
            "images": {"train": len(data.noisy_a), "validation": len(data.val_noisy)},
            "float64_losses": dataclasses.asdict(self.losses),
            "float32_gradients": [dataclasses.asdict(row) for row in self.gradients],
            "traces": {n: [dataclasses.asdict(t) for t in ts] for n, ts in self.traces.items()},
            "config": self.config.as_dict(),
            "machine": self.machine,
        }


def relative(a: float, b: float) -> float:
    """Return |a − b| / |b|; 0 where they are equal."""
    return 0.0 if a == b else abs(a - b) / abs(b) if b else math.inf


def _warm(trace: Trace) -> list[float]:
    """The seconds without the first step's, if there are more."""
    return trace.seconds[1:] or trace.seconds
