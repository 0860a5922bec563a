"""A small benchmark, and contests of contestants made up, for the tests of scratchnet.bench."""

from __future__ import annotations

from collections.abc import Callable

import torch

from scratchnet.bench import Plan
from scratchnet.bench.contest import Case, Contestant, Outcome

SMALL = Plan(
    sections=("step", "inference", "convolutions"),
    batches=[1, 2],
    threads=[1],
    rounds=2,
    shapes="7->13",
)


class Fake:
    """A contestant that computes ``value`` and writes down when it runs."""

    def __init__(self, name: str, log: list[str], value: float = 1.0, own: float | None = None):
        self.name, self.log, self.value, self.own = name, log, value, own

    def run(self) -> float | None:
        self.log.append(self.name)
        return self.own

    def outcome(self) -> Outcome:
        return {"y": torch.tensor([2.0, self.value])}

    def close(self) -> None:
        """There is nothing to end."""


def fake_case(makers: dict[str, Callable[[], Contestant]], title: str = "fake") -> Case:
    make = {name: lambda images, maker=maker: maker() for name, maker in makers.items()}
    return Case("step", title, 1, torch.float32, make, lambda: {"y": torch.tensor([2.0, 1.0])}, 5)


def ignore(work: float, what: str) -> None:
    """What to do with progress."""
