"""The figures of a benchmark, drawn: who takes how many times as long as scratchnet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scratchnet.bench import convolutions
from scratchnet.bench.contest import OURS
from scratchnet.bench.machine import lines
from scratchnet.bench.result import Result
from scratchnet.files import atomic
from scratchnet.report import GRID, INK, MUTED
from scratchnet.report import OURS as BLUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW, EDGE, WIDTH = 0.3, 1.25, 8.2
"""Inches: a row of a panel, what a panel needs besides, and the width of a column."""
# Told apart by colour-blind readers, and by shape on paper.
_LOOKS = [
    ("#a8488f", "o"), ("#2a8f6d", "s"), ("#d9822b", "D"), ("#1f2933", "^"), ("#7b8794", "v"),
    ("#c0392b", "P"), ("#5b5ea6", "X"), ("#8d6e63", "*"),
]  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """A row for each case: how many times as much as ours the others need.

    Attributes:
        title: what is compared.
        rows: by label, the ratios by contestant.
    """

    title: str
    rows: Mapping[str, Mapping[str, float]]

    @property
    def height(self) -> float:
        """In inches."""
        return EDGE + ROW * len(self.rows)


def panels(result: Result) -> list[Panel]:
    """One for each section and number of threads of single convolutions, and one for memory."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for contest in result.contests:
        case = contest.case
        if contest.ours not in contest.timings:
            continue
        title, label = _TITLES.get(case.section, case.section), case.title
        if label in convolutions.SHAPES:
            title = convolutions.title(case.threads, case.dtype)
        ours = f"{1e3 * contest.timings[contest.ours].median:.2f} ms"
        others = {n: contest.ratios(n) for n in contest.timings if n != contest.ours}
        row = {name: ratio[1] for name, ratio in others.items() if ratio is not None}
        found.setdefault(title, {})[f"{label}   {ours}"] = row
    for title, needed in result.memory.items():
        ours = next((name for name in needed if name.startswith(OURS)), "")
        if needed.get(ours):
            row = {n: most / needed[ours] for n, most in needed.items() if n != ours}
            label = f"{title.removeprefix('memory of ')}   {needed[ours] / 1e6:.1f} MB"
            found.setdefault("peak memory, more than before", {})[label] = row
    return [Panel(title, rows) for title, rows in found.items()]


_TITLES = {
    "step": "training step",
    "float64": "training step in float64",
    "course": "the backend `reference`",
    "layer": "one layer",
}


def save(path: str | Path, result: Result) -> None:
    """Write all panels into one PNG file, in two columns if there are many."""
    from matplotlib.figure import Figure

    columns: list[list[Panel]] = [[], []]
    drawn = panels(result)
    half = sum(panel.height for panel in drawn) / 2
    for panel in drawn:
        first = len(drawn) < 4 or sum(p.height for p in columns[0]) + panel.height / 2 <= half
        columns[0 if first and not columns[1] else 1].append(panel)
    columns = [column for column in columns if column]
    height = max((sum(p.height for p in column) for column in columns), default=EDGE)
    figure = Figure(
        figsize=(WIDTH * max(1, len(columns)), height + 0.5), dpi=120, layout="constrained"
    )
    figure.suptitle("\n".join(lines(result.machine)), x=0.01, ha="left", fontsize=9, color=MUTED)
    if not drawn:
        figure.text(0.05, 0.4, "nothing could be compared; bench.txt says why", color=INK)
    for part, column in zip(
        figure.subfigures(1, len(columns) or 1, squeeze=False)[0], columns, strict=False
    ):
        heights = [panel.height for panel in column]
        missing = height - sum(heights)
        axes = part.subplots(
            len(column) + (missing > 0.1), squeeze=False,
            height_ratios=[*heights, missing] if missing > 0.1 else heights,
        )[:, 0]  # fmt: skip
        for one, panel in zip(axes, column, strict=False):
            _draw(one, panel)
        if missing > 0.1:
            axes[-1].axis("off")
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw(axes: Axes, panel: Panel) -> None:
    names = list(dict.fromkeys(name for row in panel.rows.values() for name in row))
    for name, (colour, marker) in zip(
        names, _LOOKS * (1 + len(names) // len(_LOOKS)), strict=False
    ):
        places = [y for y, row in enumerate(panel.rows.values()) if name in row]
        ratios = [row[name] for row in panel.rows.values() if name in row]
        axes.scatter(ratios, places, s=36, color=colour, marker=marker, label=name, zorder=3)
    axes.axvline(1, color=BLUE, linewidth=2)
    axes.set_yticks(range(len(panel.rows)), list(panel.rows), fontsize=9)
    axes.set_ylim(len(panel.rows) - 0.4, -0.6)
    axes.set_xscale("log")
    every = [ratio for row in panel.rows.values() for ratio in row.values()]
    low, high = min([0.8, *every]) / 1.1, max([2.0, *every]) * 1.1
    axes.set_xlim(low, high)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(
        f"{panel.title}: how many times as much as {OURS}", loc="left", fontsize=11, color=INK
    )
    if names:
        axes.legend(
            frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.9 / panel.height),
            ncols=3,
        )  # fmt: skip
