"""The figures of a benchmark as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean, median

from scratchnet.bench import layer, operation, step, zoo
from scratchnet.bench.contest import Contest, plural, setting, short
from scratchnet.bench.machine import lines
from scratchnet.bench.operation import SHAPES
from scratchnet.bench.run import Result


@dataclass(frozen=True)
class Table:
    """A table to print, its first column to the left, the others to the right; and what follows."""

    title: str
    head: Sequence[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


def tables(result: Result) -> list[Table]:
    """Everything that was measured."""
    made = []
    for section in result.plan.running:
        contests = [c for c in result.contests if c.case.section == section]
        shapes = [c for c in contests if c.case.title in SHAPES or section == zoo.SECTION]
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
    return "\n\n".join([*parts, *result.remarks]) + "\n"


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text, first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for first, *others in [head, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def _contest(contest: Contest, result: Result) -> Table:
    """Everybody's times, and how many times as long as ours they are."""
    rows = []
    for name, seconds in contest.timings.items():
        times = (f"{1e3 * found:.2f}" for found in (min(seconds), median(seconds)))
        ratios = map(_times, contest.ratios(name) or (None, None))
        rows.append([name, *times, *ratios, f"{contest.images_per_second(name):,.0f}"])
    return Table(
        f"{contest.case.title}, {_rounds([contest])}",
        ["", "least ms", "median ms", "of least", "of median", "images/s"],
        rows,
        [*_floor(contest, result), *_left_out(contest)],
    )


def _floor(contest: Contest, result: Result) -> list[str]:
    """How near our step comes to its arithmetic at the speed of a matrix product."""
    case, seconds = contest.case, contest.timings.get(contest.ours)
    speed = result.sgemm.get(case.threads)
    if case.section != "step" or not seconds or not speed or short(case.dtype) != "float32":
        return []
    arithmetic = step.gflop(step.start(1, case.dtype)[0], case.images)
    floor = arithmetic / speed
    return [
        f"{contest.ours}: {min(seconds) / floor:.2f} times (median {median(seconds) / floor:.2f}) "
        f"what {arithmetic:.3f} GFLOP take at the {speed:.0f} GFLOP/s of a matrix product"
    ]


def _threads(contests: Sequence[Contest]) -> list[Table]:
    """How much faster more threads are than the fewest."""
    made = []
    for images in sorted({c.case.images for c in contests}):
        alike = [c for c in contests if c.case.images == images]
        first, *others = sorted(alike, key=lambda c: c.case.threads)
        rows = [
            [name, *(f"{median(base) / median(c.timings[name]):.2f}" for c in others)]
            for name, base in first.timings.items()
            if all(name in c.timings for c in others)
        ]
        if rows and others:
            what = f"times as fast as {plural(first.case.threads, 'thread')}, by medians"
            head = ["", *(plural(c.case.threads, "thread") for c in others)]
            made.append(Table(f"training step, batch {images}: {what}", head, rows))
    return made


def _shapes(contests: Sequence[Contest]) -> Table:
    """Single convolutions against torch's better layout."""
    names, case = (
        list(dict.fromkeys(n for c in contests for n in c.case.contestants)),
        contests[0].case,
    )
    rows = []
    for contest in contests:
        known = contest.timings
        times = [f"{1e3 * min(known[n]):.2f}" if n in known else "–" for n in names]
        rows.append([contest.case.title, *times, *map(_times, better_layout(contest))])
    ratios = [better for c in contests if None not in (better := better_layout(c))]
    notes = [f"{c.case.title}: {line}" for c in contests for line in _left_out(c)]
    if ratios:
        least, middle = ([float(r[i] or 0) for r in ratios] for i in (0, 1))
        notes = [
            f"geometric mean: {geometric_mean(least):.2f} of least, {geometric_mean(middle):.2f} "
            f"of median; worst: {min(least):.2f} of least, {min(middle):.2f} of median",
            *notes,
        ]
    subject = "operations and networks" if case.section == zoo.SECTION else "single convolutions"
    what = f"{subject}, forward and backward, {setting(case.threads, case.dtype)}"
    return Table(
        f"{what}, {_rounds(contests)}; least ms, and torch's better layout as a multiple of ours",
        ["", *names, "of least", "of median"],
        rows,
        notes,
    )


def better_layout(contest: Contest) -> tuple[float | None, float | None]:
    """How many times as long as ours torch takes in its better layout, by least and by median."""
    both = (operation.TORCH, operation.TORCH_LAST, layer.TWIN, layer.TWIN_LAST)
    ratios = map(contest.ratios, both)
    known = [ratio for ratio in ratios if ratio is not None]
    return (min(r[0] for r in known), min(r[1] for r in known)) if known else (None, None)


def _memory(result: Result) -> list[Table]:
    """Peak extra memory, and as a part of torch's."""
    made = []
    for title in {**result.memory, **result.no_memory}:
        rows = result.memory.get(title, {})
        base = next((n for n in (next(iter(step.TORCH)), layer.TWIN) if rows.get(n)), None)
        cells = [
            [name, f"{most / 1e6:.1f}", *([f"{most / rows[base]:.2f}"] if base else [])]
            for name, most in rows.items()
        ]
        reasons = result.no_memory.get(title, {})
        notes = [f"not measured: {name}: {reason}" for name, reason in reasons.items()]
        head = ["", "MB", *([f"of {base}'s"] if base else [])]
        made.append(Table(f"{title}: at its peak, more than before", head, cells, notes))
    return made


def _rounds(contests: Sequence[Contest]) -> str:
    counts = [len(seconds) for c in contests for seconds in c.timings.values()]
    return plural(min(counts, default=0), "round")


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}"


def _left_out(contest: Contest) -> list[str]:
    return [f"not timed: {name}: {reason}" for name, reason in contest.left_out.items()]
