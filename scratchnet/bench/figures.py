"""The figures of a benchmark, drawn: who takes how many times as long as scratchnet."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from scratchnet.bench import zoo
from scratchnet.bench.contest import OURS, setting
from scratchnet.bench.machine import lines
from scratchnet.bench.operation import SHAPES
from scratchnet.bench.run import Result
from scratchnet.report.figures import INK, MUTED, dress
from scratchnet.report.figures import OURS as BLUE
from scratchnet.report.figures import save as save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW, EDGE, WIDTH, HEAD = 0.3, 1.4, 8.6, 0.7
"""Inches: a row of a panel, what a panel needs besides, a column, and what stands above all."""
# Colours told apart by colour-blind readers, and markers told apart on paper.
_LOOKS = [
    ("#a8488f", "o"), ("#2a8f6d", "s"), ("#d9822b", "D"), ("#1f2933", "^"), ("#7b8794", "v"),
    ("#c0392b", "P"), ("#5b5ea6", "X"), ("#8d6e63", "*"),
]  # fmt: skip
_TICKS = (0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100)


@dataclass(frozen=True)
class Panel:
    """A row for each case, by label: how many times as much as ours the others need, by name."""

    title: str
    rows: Mapping[str, Mapping[str, float]]

    @property
    def names(self) -> list[str]:
        """The contestants besides ours."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))

    @property
    def height(self) -> float:
        """In inches."""
        return EDGE + ROW * len(self.rows)


def panels(result: Result) -> list[Panel]:
    """One for each section, one more for its single convolutions, and one for memory."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for contest in result.contests:
        case = contest.case
        if contest.ours not in contest.timings:
            continue
        what, _, label = case.title.partition(", ")
        if case.title in SHAPES:
            what, label = f"single convolutions, {setting(case.threads, case.dtype)}", case.title
        elif case.section == zoo.SECTION:
            what, label = f"the zoo, {setting(case.threads, case.dtype)}", case.title
        elif case.section == "float64":
            what += " in float64"
        ours = f"{1e3 * median(contest.timings[contest.ours]):.2f} ms"
        others = {name: contest.ratios(name) for name in contest.timings if name != contest.ours}
        row = {name: ratio[1] for name, ratio in others.items() if ratio is not None}
        found.setdefault(what, {})[f"{label}   {ours}"] = row
    for title, needed in result.memory.items():
        own = next((name for name in needed if name.startswith(OURS)), "")
        if needed.get(own):
            what, _, label = title.partition(", ")
            row = {name: most / needed[own] for name, most in needed.items() if name != own}
            found.setdefault(what, {})[f"{label}   {needed[own] / 1e6:.1f} MB"] = row
    return [Panel(title, rows) for title, rows in found.items()]


def save(path: str | Path, result: Result) -> None:
    """Write all panels into one PNG file, in two columns if there are many."""
    from matplotlib.figure import Figure

    drawn = panels(result)
    half = (len(drawn) + 1) // 2 if len(drawn) > 3 else len(drawn)
    columns = [column for column in (drawn[:half], drawn[half:]) if column]
    height = max((sum(panel.height for panel in column) for column in columns), default=EDGE)
    size = (WIDTH * max(1, len(columns)), height + HEAD)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    head = [
        *lines(result.machine),
        f"How many times as much as {OURS} (the blue line; its own beside each row), by medians",
    ]
    figure.suptitle("\n".join(head), x=0.01, ha="left", fontsize=9, color=MUTED)
    if not columns:
        figure.text(0.05, 0.4, "nothing could be compared; bench.txt says why", color=INK)
    looks = _looks(drawn)
    parts = figure.subfigures(1, max(1, len(columns)), squeeze=False)[0]
    for part, column in zip(parts, columns, strict=False):
        heights = [panel.height for panel in column]
        rest = height - sum(heights)  # below the shorter column
        heights += [rest] if rest > 0.1 else []
        grid = part.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0]
        for axes, panel in itertools.zip_longest(grid, column):
            _draw(axes, panel, looks) if panel else axes.axis("off")
    save_figure(figure, path)


def _looks(drawn: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Give every contestant a look, and torch's two memory formats the same in all panels."""
    kinds = {
        name: name.replace(" eager", "").replace("torch.nn", "torch")
        for panel in drawn
        for name in panel.names
    }
    order = list(dict.fromkeys(kinds.values()))
    return {name: _LOOKS[order.index(kind) % len(_LOOKS)] for name, kind in kinds.items()}


def _draw(axes: Axes, panel: Panel, looks: Mapping[str, tuple[str, str]]) -> None:
    for name in panel.names:
        places = [y for y, row in enumerate(panel.rows.values()) if name in row]
        ratios = [row[name] for row in panel.rows.values() if name in row]
        colour, marker = looks[name]
        axes.scatter(ratios, places, s=36, color=colour, marker=marker, label=name, zorder=3)
    axes.axvline(1, color=BLUE, linewidth=2)
    axes.set_yticks(range(len(panel.rows)), list(panel.rows), fontsize=9)
    axes.set_ylim(len(panel.rows) - 0.4, -0.6)
    every = [ratio for row in panel.rows.values() for ratio in row.values()]
    low, high = min([0.8, *every]) / 1.1, max([2.0, *every]) * 1.1
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.tick_params(axis="y", length=0)
    dress(axes, panel.title, across="x")
    axes.spines["left"].set_visible(False)
    if panel.names:
        axes.legend(
            frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=2.6,
            borderpad=0, ncols=2,
        )  # fmt: skip
