"""What is to be measured."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from scratchnet.bench import layer, operation
from scratchnet.bench.machine import cores
from scratchnet.bench.operation import SHAPES
from scratchnet.errors import ArgumentError

# Rounds of each section, in the order in which they run, and in a quick look: three minutes on two
# cores, and half of that.
_ROUNDS = {
    "step": (30, 10),
    "inference": (30, 10),
    "convolutions": (15, 4),
    "float64": (6, 2),
    "course": (5, 2),
    "memory": (1, 1),
    "zoo": (15, 5),  # which takes minutes: only if it is asked for
}
SECTIONS = tuple(_ROUNDS)
USUAL = SECTIONS[:-1]
BATCHES = (2, 40, 256)
PAPERS_BATCH = 40


@dataclass(frozen=True)
class Plan:
    """What to measure, and with whom.

    Attributes:
        sections: of SECTIONS; empty for the usual. Not with ``layer``.
        batches: images a step; None for 40 and, in the section "step", for 2 and 256, too.
        threads: None for one a core and, in the section "step", for a single one, too.
        rounds: of everything; None for a number that fits the section.
        backends: of scratchnet; each takes part, and the first is compared with.
        shapes: convolutions whose name contains this.
        dtype: of the sections "step", "inference" and "convolutions", and of a layer.
        compiled: let torch.compile take part, which needs a C++ compiler and minutes.
        rivals: who else takes part, as ``scratchnet.bench.rival.load`` takes them.
        quick: fewer rounds and cases.
        layer, op: name of one layer or operation to measure, and nothing else.
        arguments: of its constructor, or its options; None for its own.
        inputs: shapes of its inputs, or of all of its tensors; empty for its own.
    """

    sections: Sequence[str] = ()
    batches: Sequence[int] | None = None
    threads: Sequence[int] | None = None
    rounds: int | None = None
    backends: Sequence[str] = ()
    shapes: str = ""
    dtype: torch.dtype = torch.float32
    compiled: bool = False
    rivals: Sequence[str] = ()
    quick: bool = False
    layer: str | None = None
    op: str | None = None
    arguments: dict[str, Any] | None = None
    inputs: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        for name in self.sections:
            if name not in SECTIONS:
                close = difflib.get_close_matches(name, SECTIONS, n=1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise ArgumentError(
                    f"there is no section {name!r}: {hint}known are {', '.join(SECTIONS)}"
                )
        for name, values in (("batch", self.batches), ("threads", self.threads)):
            if values is not None and (not values or min(values) < 1):
                raise ArgumentError(f"{name} is expected to be at least 1, got {list(values)}")
        if self.rounds is not None and self.rounds < 1:
            raise ArgumentError(f"rounds is expected to be at least 1, got {self.rounds}")
        alone = [what for what in ("layer", "op") if getattr(self, what) is not None]
        if alone and (extra := [*alone[1:], *self.sections]):
            raise ArgumentError(
                f"one {alone[0]} is measured by itself: leave out {', '.join(extra)}"
            )
        if not any(self.shapes in name for name in SHAPES):
            raise ArgumentError(f"no shape contains {self.shapes!r}: known are {'; '.join(SHAPES)}")

    def over(self, section: str) -> list[tuple[int, int]]:
        """The (batch, threads) that the section covers."""
        widely = section == "step" and not self.quick
        batches = BATCHES if widely else (PAPERS_BATCH,)
        threads = sorted({1, cores()}) if widely else [cores()]
        return list(product(self.batches or batches, self.threads or threads))

    @property
    def running(self) -> list[str]:
        """The sections, in order."""
        if self.layer is not None or self.op is not None:
            return [layer.SECTION if self.op is None else operation.SECTION]
        return [name for name in SECTIONS if name in (self.sections or USUAL)]

    def rounds_of(self, section: str) -> int:
        """How many rounds the section takes."""
        return self.rounds or _ROUNDS.get(section, (40, 10))[self.quick]
