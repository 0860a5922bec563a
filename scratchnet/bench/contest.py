"""A contest: several ways to compute the same thing, checked for equality and timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.dispatch import AUTO

OURS = "scratchnet"

Outcome = Mapping[str, Tensor]
"""What a contestant computed, by name; the names are the same for all in a contest."""


@dataclass(frozen=True)
class Contestant:
    """One way to compute it.

    Attributes:
        run: do it once: this is what is timed. Returns the seconds, as a float, where it keeps
            time itself; whatever else it returns is ignored.
        outcome: return what comes out of it, of any dtype; called once, before the first ``run``.
        close: end a process that it holds.
    """

    run: Callable[[], object]
    outcome: Callable[[], Outcome]
    close: Callable[[], object] = bool  # nothing


@dataclass(frozen=True)
class Case:
    """One contest before it begins.

    Attributes:
        section: the part of the benchmark it belongs to.
        title: what is computed, in a few words.
        threads, dtype: that everyone computes with.
        contestants: by name, what makes each to work on so many images; it can be pickled. The
            first is what the others are compared with.
        expected: computes what should come out, in float64.
        images: that a round works on.
    """

    section: str
    title: str
    threads: int
    dtype: torch.dtype
    contestants: Mapping[str, Callable[[int], Contestant]]
    expected: Callable[[], Outcome]
    images: int

    @property
    def work(self) -> float:
        """Roughly how much a round is, for progress bars."""
        return self.images * len(self.contestants) / self.threads


@dataclass(frozen=True)
class Contest:
    """What came out of a case: seconds of every round of those that computed the right thing, and
    why others were left out; those that ran and computed something else are ``wrong``.
    """

    case: Case
    timings: dict[str, list[float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def ours(self) -> str:
        """The contestant that the others are compared with."""
        return next(iter(self.case.contestants))

    def ratios(self, name: str) -> tuple[float, float] | None:
        """How many times as long as ours ``name`` takes, by least and by median; None: unknown."""
        if self.ours not in self.timings or name not in self.timings:
            return None
        ours, other = self.timings[self.ours], self.timings[name]
        return min(other) / min(ours), median(other) / median(ours)

    def images_per_second(self, name: str) -> float:
        """At the median round."""
        return self.case.images / median(self.timings[name])

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as in JSON."""
        case, rows = self.case, {}
        for name, seconds in self.timings.items():
            of_least, of_median = self.ratios(name) or (None, None)
            rows[name] = {
                "least": min(seconds),
                "median": median(seconds),
                "ratio_of_least": of_least,
                "ratio_of_median": of_median,
                "images_per_second": self.images_per_second(name),
                "seconds": seconds,
            }
        return {
            **{key: getattr(case, key) for key in ("section", "title", "threads", "images")},
            "dtype": short(case.dtype),
            "compared_with": self.ours,
            "timings": rows,
            "left_out": self.left_out,
            "wrong": self.wrong,
        }


def our_name(backend: str) -> str:
    """Return the name of scratchnet on this backend, as a contestant."""
    return OURS if backend == AUTO else f"{OURS} {backend}"


def plural(number: int, thing: str) -> str:
    """Return "1 thread", "2 threads"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def setting(threads: int, dtype: torch.dtype) -> str:
    """Return "2 threads, float32"."""
    return f"{plural(threads, 'thread')}, {short(dtype)}"


def short(dtype: torch.dtype) -> str:
    """Return "float32"."""
    return str(dtype).removeprefix("torch.")
