"""The figures of a benchmark as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean

from scratchnet.bench import layer, operation, step
from scratchnet.bench.contest import Contest, plural, short
from scratchnet.bench.convolutions import SHAPES
from scratchnet.bench.machine import lines
from scratchnet.bench.result import Result


@dataclass(frozen=True)
class Table:
    """A table to print.

    Attributes:
        title: what it shows.
        head: a heading for each column; the first is to the left, the others to the right.
        rows: of cells.
        notes: what follows from it, a line each.
    """

    title: str
    head: Sequence[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def tables(result: Result) -> list[Table]:
    """Everything that was measured."""
    made = []
    for section in result.plan.running:
        contests = [c for c in result.contests if c.case.section == section]
        shapes = [c for c in contests if c.case.title in SHAPES]
        made += [_contest(c, result) for c in contests if c not in shapes]
        for count in sorted({c.case.threads for c in shapes}):
            made.append(_shapes([c for c in shapes if c.case.threads == count]))
        if section == "step":
            made += _threads(contests)
    return made + _memory(result)


def text(result: Result) -> str:
    """The command, the machine and all tables as plain text."""
    parts = ["\n".join([f"$ {result.command}", *lines(result.machine)])]
    parts += [f"layer: {subject}" for subject in result.subjects]
    for table in tables(result):
        parts.append("\n".join([table.title, "", plain(table.head, table.rows)]))
        parts += ["\n".join(table.notes)] if table.notes else []
    parts += result.remarks
    return "\n\n".join(parts) + "\n"


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text, first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for first, *others in [head, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def _contest(contest: Contest, result: Result) -> Table:
    """Everybody's times, and how many times as long as ours they are."""
    rows = []
    for name, timing in contest.timings.items():
        least, median = contest.ratios(name) or (None, None)
        rows.append(
            [
                name,
                f"{1e3 * timing.least:.2f}",
                f"{1e3 * timing.median:.2f}",
                _times(least),
                _times(median),
                f"{contest.images_per_second(name):,.0f}",
            ]
        )
    notes = _left_out(contest.left_out)
    if contest.case.section == "step":
        notes = [*_floor(contest, result), *notes]
    return Table(
        f"{contest.case.title}, {plural(_rounds([contest]), 'round')}",
        ["", "least ms", "median ms", "of least", "of median", "images/s"],
        rows,
        notes,
    )


def _floor(contest: Contest, result: Result) -> list[str]:
    """How near our step comes to its arithmetic at the speed of a matrix product."""
    timing, speed = contest.timings.get(contest.ours), result.sgemm.get(contest.case.threads)
    if timing is None or speed is None or short(contest.case.dtype) != "float32":
        return []
    arithmetic = step.gflop(step.start(1, contest.case.dtype)[0], contest.case.images)
    floor = arithmetic / speed
    return [
        f"{contest.ours}: {timing.least / floor:.2f} times (median {timing.median / floor:.2f}) "
        f"what {arithmetic:.3f} GFLOP take at the {speed:.0f} GFLOP/s of a matrix product"
    ]


def _threads(contests: Sequence[Contest]) -> list[Table]:
    """How much faster more threads are than the fewest."""
    made = []
    for images in sorted({c.case.images for c in contests}):
        alike = sorted(
            (c for c in contests if c.case.images == images), key=lambda c: c.case.threads
        )
        first = alike[0]
        rows = []
        for name, base in first.timings.items():
            others = [c.timings[name] for c in alike[1:] if name in c.timings]
            if others and len(others) == len(alike) - 1:
                speedups = [f"{base.median / other.median:.2f}" for other in others]
                rows.append([name, *speedups])
        if rows:
            counts = [f"{plural(c.case.threads, 'thread')}" for c in alike[1:]]
            what = f"times as fast as {plural(first.case.threads, 'thread')}, by medians"
            made.append(Table(f"training step, batch {images}: {what}", ["", *counts], rows))
    return made


def _shapes(contests: Sequence[Contest]) -> Table:
    """Single convolutions against torch's better layout."""
    others = [operation.TORCH, operation.TORCH_LAST]
    ours = [name for name in contests[0].case.contestants if name not in others]
    rows, notes = [], []
    for contest in contests:
        times = [
            f"{1e3 * contest.timings[n].least:.2f}" if n in contest.timings else "–"
            for n in (*ours, *others)
        ]
        rows.append([contest.case.title, *times, *map(_times, better_layout(contest))])
        notes += [f"{contest.case.title}: {line}" for line in _left_out(contest.left_out)]
    known = [r for r in map(better_layout, contests) if None not in r]
    if known:
        least, median = ([r[i] or 0.0 for r in known] for i in (0, 1))
        notes.insert(
            0,
            f"geometric mean: {geometric_mean(least):.2f} of least, {geometric_mean(median):.2f} "
            f"of median; worst: {min(least):.2f} of least, {min(median):.2f} of median",
        )
    case = contests[0].case
    return Table(
        f"single convolutions, forward and backward, {plural(case.threads, 'thread')}, "
        f"{short(case.dtype)}, {plural(_rounds(contests), 'round')}; "
        "least ms, and torch's better layout as a multiple of ours",
        ["", *ours, *others, "of least", "of median"],
        rows,
        notes,
    )


def better_layout(contest: Contest) -> tuple[float | None, float | None]:
    """How many times as long as ours torch takes in its better layout, by least and by median."""
    ratios = [contest.ratios(name) for name in (operation.TORCH, operation.TORCH_LAST)]
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return None, None
    return min(least for least, _ in known), min(median for _, median in known)


def _memory(result: Result) -> list[Table]:
    """Peak extra memory, and as a part of torch's."""
    made = []
    for title in {**result.memory, **result.no_memory}:
        rows = result.memory.get(title, {})
        base = next((n for n in (next(iter(step.TORCH)), layer.TWIN) if rows.get(n)), None)
        head = ["", "MB", *([f"of {base}'s"] if base else [])]
        cells = [
            [name, f"{most / 1e6:.1f}", *([f"{most / rows[base]:.2f}"] if base else [])]
            for name, most in rows.items()
        ]
        reasons = result.no_memory.get(title, {})
        notes = [f"not measured: {name}: {reason}" for name, reason in reasons.items()]
        made.append(Table(f"{title}: at its peak, more than before", head, cells, notes))
    return made


def _rounds(contests: Sequence[Contest]) -> int:
    counts = [len(t.seconds) for c in contests for t in c.timings.values()]
    return min(counts, default=0)


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"


def _left_out(reasons: dict[str, str]) -> list[str]:
    return [f"not timed: {name}: {reason}" for name, reason in reasons.items()]
