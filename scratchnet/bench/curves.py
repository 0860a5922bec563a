"""The comparison in figures: quality, losses, how the losses part, and speed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import IO, TYPE_CHECKING, Any

from scratchnet.bench.comparison import Comparison, relative
from scratchnet.bench.contest import OURS, plural
from scratchnet.bench.learning import TORCH, TORCH_LAST
from scratchnet.report.figures import INK, MUTED, NOISY, dress
from scratchnet.report.figures import OURS as BLUE
from scratchnet.report.figures import save as save_figure
from scratchnet.testing.closeness import TRAINED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Panel = Callable[["Axes", Comparison], None]

# Told apart by colour-blind readers, and by dashes on paper.
_LOOKS = {
    OURS: (BLUE, "-"),
    TORCH: ("#a8488f", (0, (6, 2))),
    TORCH_LAST: ("#2a8f6d", (0, (2, 1.5))),
}
_MOST_STEPS = 300


def quality(axes: Axes, result: Comparison) -> None:
    """PSNR after each epoch: the mean over the seeds, and a band of one standard deviation."""
    from matplotlib.ticker import MaxNLocator

    epochs = range(1, result.epochs + 1)
    axes.axhline(result.noisy_psnr, color=NOISY, linewidth=1.2, linestyle=":", label="noisy input")
    for name in result.names:
        mean, spread = zip(*result.psnr(name), strict=True)
        label = f"{name}, {plural(len(result.traces[name]), 'seed')}"
        marker = "o" if len(mean) < 20 else ""
        _line(axes, epochs, mean, name, label=label, linewidth=2, marker=marker, markersize=4)
        # not drawn for a single seed, whose deviation is nan
        low, high = ([m + k * s for m, s in zip(mean, spread, strict=True)] for k in (-1, 1))
        axes.fill_between(epochs, low, high, color=_LOOKS[name][0], alpha=0.15, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(
        axes, "Quality: mean over the seeds ± standard deviation", "epoch", "validation PSNR (dB)"
    )


def losses(axes: Axes, result: Comparison) -> None:
    """Training loss, step by step, of the first seed; smoothed where there are many steps."""
    for name in result.names:
        values = result.traces[name][0].losses
        smooth = _smoothed(values, max(1, len(values) // 100))
        _line(axes, *smooth, name, label=name, linewidth=1.5)
    axes.set_yscale("log")
    _dress(axes, f"Training loss, seed {result.config.seed}", "step", "mean squared error")


def differences(axes: Axes, result: Comparison) -> None:
    """How far the losses lie apart, at most so far: rounding errors that grow step by step."""
    axes.axhline(TRAINED, color=MUTED, linewidth=1, linestyle=":")
    axes.annotate(
        "asked for in float64", (1, TRAINED), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", ha="right", color=MUTED, fontsize=9,
    )  # fmt: skip
    exact = _apart(result.losses.ours, result.losses.torch)
    label = f"{OURS} and {TORCH}, float64"
    axes.plot(range(1, len(exact) + 1), exact, color=INK, linewidth=1.5, label=label)
    base, *others = result.names[1:]
    for name in (OURS, *others):
        apart = _apart(*(result.traces[n][0].losses[:_MOST_STEPS] for n in (name, base)))
        label = f"{name} and {base}, {result.config.dtype}"
        _line(axes, range(1, len(apart) + 1), apart, name, label=label, linewidth=1.2)
    axes.set_yscale("log")
    axes.set_ylim(1e-17, 10)
    _dress(axes, "How far the losses lie apart", "step", "largest relative difference so far")


def speed(axes: Axes, result: Comparison) -> None:
    """Images trained on in a second, at the median step."""
    rates = [result.images_per_second(name) for name in result.names]
    bars = axes.barh(range(len(rates)), rates, height=0.6)
    for bar, name in zip(bars, result.names, strict=True):
        bar.set_color(_LOOKS[name][0])
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=4, color=INK)
    axes.set_yticks(range(len(rates)), [name.replace(" ", "\n") for name in result.names])
    axes.invert_yaxis()
    axes.margins(x=0.18)
    threads = plural(result.machine["threads"], "thread")
    _dress(axes, f"Speed, {threads}", "training images in a second", "")


PANELS: dict[Panel, tuple[str, str]] = {
    quality: (
        "Quality",
        "How much do the curves differ, and how much do other seeds change? Bands show chance.",
    ),
    losses: ("Training loss", "All see the same batches in the same order."),
    differences: (
        "How the losses part",
        "Correct programs add in different orders, so their rounding differs, and training at a "
        "high learning rate multiplies the difference from step to step. In float32 torch.nn's own "
        "two memory layouts part in the same way; float64 starts nine digits lower.",
    ),
    speed: (
        "Speed",
        "Median over all training steps; the contestants take turns on each batch.",
    ),
}
"""Each with its heading and caption on the page."""


def draw(to: str | Path | IO[bytes], result: Comparison, panels: Sequence[Panel] = ()) -> None:
    """Draw panels into a PNG file, all by default; a single one is to be read on a phone."""
    from matplotlib.figure import Figure

    one = len(panels) == 1
    height = 7.6 if not one else 2.4 if panels[0] is speed else 4.0
    figure = Figure(figsize=(5.4 if one else 11.5, height), dpi=150, layout="constrained")
    grid = figure.subplots(1 if one else 2, 1 if one else 2, squeeze=False)
    for axes, panel in zip(grid.flat, panels or PANELS, strict=True):
        panel(axes, result)
    save_figure(figure, to)


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], name: str, **how: Any) -> None:
    """A contestant's line, in its looks."""
    colour, dash = _LOOKS[name]
    axes.plot(x, y, color=colour, linestyle=dash, **how)


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    dress(axes, title, x, y)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)


def _apart(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the largest relative difference up to each step; nan, not drawn, before the first."""
    gaps = (relative(a, b) for a, b in zip(ours, theirs, strict=True))
    return [gap or math.nan for gap in itertools.accumulate(gaps, max)]


def _smoothed(values: Sequence[float], width: int) -> tuple[list[float], list[float]]:
    """Return the middle and the mean of each run of ``width`` values; the last may be shorter."""
    runs = [(i, values[i : i + width]) for i in range(0, len(values), width)]
    return [i + (len(run) + 1) / 2 for i, run in runs], [fmean(run) for _, run in runs]
