"""The figures of a benchmark, drawn: who takes how many times as long as scratchnet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scratchnet.bench import convolutions
from scratchnet.bench.contest import OURS, plural, short
from scratchnet.bench.machine import lines
from scratchnet.bench.result import Result
from scratchnet.io.files import atomic
from scratchnet.report.figures import GRID, INK, MUTED
from scratchnet.report.figures import OURS as BLUE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

Look = tuple[str, str]

ROW, EDGE, WIDTH, HEAD = 0.3, 1.4, 8.6, 0.7
"""Inches: a row of a panel, what a panel needs besides, a column, and what stands above all."""
# Colours told apart by colour-blind readers, and markers told apart on paper.
_LOOKS: list[Look] = [
    ("#a8488f", "o"), ("#2a8f6d", "s"), ("#d9822b", "D"), ("#1f2933", "^"), ("#7b8794", "v"),
    ("#c0392b", "P"), ("#5b5ea6", "X"), ("#8d6e63", "*"),
]  # fmt: skip
_TICKS = (0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100)


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
        if case.title in convolutions.SHAPES:
            what = f"single convolutions, {plural(case.threads, 'thread')}, {short(case.dtype)}"
            label = case.title
        elif case.section == "float64":
            what += " in float64"
        ours = f"{1e3 * contest.timings[contest.ours].median:.2f} ms"
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
    columns = _columns(drawn)
    height = max((sum(panel.height for panel in column) for column in columns), default=EDGE)
    figure = Figure(
        figsize=(WIDTH * max(1, len(columns)), height + HEAD), dpi=120, layout="constrained"
    )
    head = [
        *lines(result.machine),
        f"How many times as much as {OURS} (the blue line; its own beside each row), by medians",
    ]
    figure.suptitle("\n".join(head), x=0.01, ha="left", fontsize=9, color=MUTED)
    if not columns:
        figure.text(0.05, 0.4, "nothing could be compared; bench.txt says why", color=INK)
    else:
        looks = _looks(drawn)
        parts = figure.subfigures(1, len(columns), squeeze=False)[0]
        for part, column in zip(parts, columns, strict=True):
            _draw_column(part, column, height, looks)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _columns(drawn: Sequence[Panel]) -> list[list[Panel]]:
    """Split the panels into two columns of about the same height, if they are more than three."""
    if len(drawn) < 4:
        return [list(drawn)] if drawn else []
    total = sum(panel.height for panel in drawn)

    def higher(split: int) -> float:
        first = sum(panel.height for panel in drawn[:split])
        return max(first, total - first)

    split = min(range(1, len(drawn)), key=higher)
    return [list(drawn[:split]), list(drawn[split:])]


def _looks(drawn: Sequence[Panel]) -> dict[str, Look]:
    """Give every contestant a look, and torch's two memory formats the same in all panels."""
    kinds = dict.fromkeys(_kind(name) for panel in drawn for name in panel.names)
    order = {kind: _LOOKS[i % len(_LOOKS)] for i, kind in enumerate(kinds)}
    return {name: order[_kind(name)] for panel in drawn for name in panel.names}


def _kind(name: str) -> str:
    return name.replace(" eager", "").replace("torch.nn", "torch")


def _draw_column(
    part: SubFigure, column: Sequence[Panel], height: float, looks: Mapping[str, Look]
) -> None:
    heights = [panel.height for panel in column]
    rest = height - sum(heights)
    heights += [rest] * (rest > 0.1)
    grid = part.subplots(len(heights), squeeze=False, height_ratios=heights)
    for axes, panel in zip(grid[:, 0], column, strict=False):
        _draw(axes, panel, looks)
    if len(heights) > len(column):
        grid[-1, 0].axis("off")


def _draw(axes: Axes, panel: Panel, looks: Mapping[str, Look]) -> None:
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
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(panel.title, loc="left", fontsize=11, color=INK)
    if panel.names:
        axes.legend(
            frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, 0), borderaxespad=2.6,
            borderpad=0, ncols=2,
        )  # fmt: skip
