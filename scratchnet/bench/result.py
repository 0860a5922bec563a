"""What a benchmark found out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scratchnet.bench.contest import Contest
from scratchnet.bench.plan import Plan


@dataclass
class Result:
    """Everything that was measured.

    Attributes:
        plan: what was to be measured.
        command: the command line, for the record.
        machine: what it ran on.
        contests: of all sections.
        memory, no_memory: by title and contestant the bytes needed, or why that is not known.
        sgemm: GFLOP/s of matrix products by number of threads.
        subjects: the layer with its inputs, in words.
        malloc_keeps: whether malloc kept freed memory, so that no page faults were measured.
        verified: whether each call ran on the reference, too, so that times are of both.
        interrupted: whether it was ended early.
    """

    plan: Plan
    command: str
    machine: dict[str, Any]
    contests: list[Contest] = field(default_factory=list)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    no_memory: dict[str, dict[str, str]] = field(default_factory=dict)
    sgemm: dict[int, float] = field(default_factory=dict)
    subjects: list[str] = field(default_factory=list)
    malloc_keeps: bool = False
    verified: bool = False
    interrupted: bool = False

    @property
    def wrong(self) -> list[str]:
        """Who computed something else than expected, and in what."""
        return [f"{n} in {c.case.title}" for c in self.contests for n in c.wrong]

    @property
    def remarks(self) -> list[str]:
        """What is to be known of all figures."""
        page_faults = "this system's malloc gives memory back: page faults are in all times"
        of_both = "verified: each kernel call equals the reference's; times are of both"
        return [
            *([] if self.malloc_keeps else [page_faults]),
            *([of_both] if self.verified else []),
            *(["interrupted: this is what had been measured"] if self.interrupted else []),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in JSON."""
        as_they_are = ("command", "interrupted", "verified", "malloc_keeps", "machine")
        return {
            **{name: getattr(self, name) for name in as_they_are},
            "sgemm_gflops": {str(threads): speed for threads, speed in self.sgemm.items()},
            "layer": self.subjects,
            "contests": [contest.as_dict() for contest in self.contests],
            "memory": [
                {"title": title, "bytes": rows, "left_out": self.no_memory.get(title, {})}
                for title, rows in self.memory.items()
            ],
        }
