"""A comparison in a table and a few sentences."""

from __future__ import annotations

import math
from collections.abc import Callable

from scratchnet.bench.comparison import Comparison
from scratchnet.testing.closeness import TRAINED


def table(result: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return a head with the contestants' names, and a row for each figure."""
    figures: dict[str, Callable[[str], str]] = {
        "validation PSNR (dB)": lambda name: _with_spread(*result.psnr(name)[-1]),
        "above the noisy input (dB)": lambda name: _gain(result, name),
        "training images in a second": lambda name: f"{result.images_per_second(name):,.0f}",
        "a step (ms)": lambda name: f"{1e3 * result.step_seconds(name):.2f}",
        "an epoch (s)": lambda name: f"{result.epoch_seconds(name):.2f}",
        "time, times scratchnet's": lambda name: f"{result.times_faster(name):.2f}",
    }
    if result.memory:
        figures["peak memory (MB)"] = lambda name: f"{result.memory[name].peak / 1e6:,.0f}"
        figures["of it since the first step (MB)"] = lambda name: _since_first_step(result, name)
    head = ["", *result.names]
    return head, [[what, *map(figure, result.names)] for what, figure in figures.items()]


def equality(result: Comparison) -> str:
    """Return in a sentence how far the first losses agree in float64."""
    worst, n = result.losses.worst, len(result.losses.ours)
    verdict = "equal" if result.losses.equal else "NOT equal"
    return (
        f"In float64 the first {n} losses are {verdict}: they differ by at most {worst:.1e} of "
        f"their value (asked for: {TRAINED:.0e})."
    )


def gradients(result: Comparison) -> str:
    """Return in a sentence how far the first gradients lie from the exact ones in float32."""
    worst = {n: max(row.errors[n] for row in result.gradients) for n in result.names}
    return (
        "In float32 the gradients of the first step lie from the float64 ones at most, relative to "
        "a parameter's largest gradient: "
        + ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
        + "."
    )


def fastest_torch(result: Comparison) -> str:
    """Return the name of torch's faster layout."""
    return min(result.names[1:], key=result.step_seconds)


def _with_spread(mean: float, spread: float) -> str:
    return f"{mean:.2f}" if math.isnan(spread) else f"{mean:.2f} ± {spread:.2f}"


def _gain(result: Comparison, name: str) -> str:
    return f"{result.psnr(name)[-1][0] - result.noisy_psnr:+.2f}"


def _since_first_step(result: Comparison, name: str) -> str:
    needed = result.memory[name]
    return f"{(needed.peak - needed.before) / 1e6:,.0f}"
