"""The benchmark itself, one section after the other, and what it found out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from scratchnet import backends, ops
from scratchnet.backends.dispatch import AUTO, verifying
from scratchnet.bench import layer, memory, operation, rival, step, zoo
from scratchnet.bench.contest import Case, Contest
from scratchnet.bench.machine import machine, sgemm_gflops
from scratchnet.bench.memory import keeps_memory
from scratchnet.bench.plan import Plan
from scratchnet.bench.race import Progress, Race, threads
from scratchnet.errors import ArgumentError, ScratchnetError

MEMORY_WORK = 2500.0  # of a process that measures memory, in the unit of Case.work


@dataclass
class Result:
    """Everything that was measured.

    Attributes:
        plan, command, machine: what was to be measured, how, and on what.
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


class Bench:
    """A plan made ready: every case, and every measurement of memory.

    Raises:
        ScratchnetError: a layer, a backend or a rival is not there, or not as it is asked for.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        for name in plan.backends:
            if name != AUTO:
                backends.get(name)
        self.rivals = [rival.load(name) for name in plan.rivals]
        for other in self.rivals:
            if other.section not in plan.running:
                raise ArgumentError(
                    f"{other.name} takes part in the section {other.section}, which is not "
                    "measured: name that one, too, or leave out the rival"
                )
        self.subjects: list[layer.Subject] = []
        if plan.layer is not None:
            self.subjects = layer.subjects(plan.layer, plan.arguments, plan.inputs, plan.dtype)
        self.calls: list[Any] = []
        if plan.op is not None:
            self.calls = operation.cases(plan.op, plan.arguments, plan.inputs)
        planned = {section: list(self._cases(section)) for section in plan.running}
        self.cases = {section: cases for section, cases in planned.items() if cases}
        self.memory = {
            f"memory of {'a ' * (not self.subjects)}{case.title}": case for case in self._hungry()
        }

    @property
    def work(self) -> float:
        """How much ``run`` will report as done, in all: roughly milliseconds."""
        rounds = sum(
            self.plan.rounds_of(section) * sum(case.work for case in cases)
            for section, cases in self.cases.items()
        )
        return rounds + MEMORY_WORK * sum(len(case.contestants) for case in self.memory.values())

    def run(self, command: str, on_progress: Progress = lambda done, what: None) -> Result:
        """Measure; ``command`` is for the record. Ctrl-C ends it early: what was timed by then is
        returned.

        Raises:
            KeyboardInterrupt: before anything was timed.
        """
        result = Result(
            self.plan,
            command,
            machine(),
            subjects=list(map(str, self.subjects)),
            verified=verifying(),
        )
        try:
            with keeps_memory() as result.malloc_keeps:
                for section in self.cases:
                    self._race(section, result, on_progress)
            self._measure_memory(result, on_progress)
        except KeyboardInterrupt:
            if not result.contests and not result.memory:
                raise
            result.interrupted = True
        return result

    def _race(self, section: str, result: Result, on_progress: Progress) -> None:
        cases = self.cases[section]
        counts = sorted({case.threads for case in cases}) if section == "step" else []
        with Race(cases, on_progress) as race:
            try:
                rounds = self.plan.rounds_of(section)
                _matrix_products(counts, rounds, result)
                race.run(rounds, on_progress)
                _matrix_products(counts, rounds, result)  # the better ones are the machine's
            finally:
                result.contests += race.timed

    def _measure_memory(self, result: Result, on_progress: Progress) -> None:
        for title, case in self.memory.items():
            for name, make in case.contestants.items():
                on_progress(0, f"memory of {name}")
                try:
                    needed = memory.measure(name, make, case.images, case.threads).needed
                    result.memory.setdefault(title, {})[name] = needed
                except ScratchnetError as error:
                    result.no_memory.setdefault(title, {})[name] = str(error)
                on_progress(MEMORY_WORK, f"memory of {name}")

    def _cases(self, section: str) -> Iterator[Case]:
        plan, names = self.plan, list(self.plan.backends) or [AUTO]
        each, counts = plan.over(section), sorted({t for _, t in plan.over(section)})
        dtypes = {"float64": torch.float64, "course": torch.float32}
        dtype = dtypes.get(section, plan.dtype)
        rivals = [other for other in self.rivals if other.section == section]
        for batch, n in each:
            if section in ("step", "inference", "float64", "course"):
                compiled = plan.compiled and section != "float64"
                yield step.case(
                    section, batch, n, dtype, backends=names, compiled=compiled, rivals=rivals
                )
        for n in counts:
            if section in ("convolutions", "float64"):
                yield from operation.convolutions(
                    section, n, dtype, backends=names, only=plan.shapes
                )
            if section == zoo.SECTION:
                yield from zoo.cases(n, dtype, names)
            for call in self.calls:
                op = ops.get(str(plan.op))
                chosen = plan.backends or operation.backends_of(op)
                yield operation.measure(section, op, call, n, dtype, on=chosen)
            for subject in self.subjects:
                yield from layer.cases(subject, n, plan.backends or layer.backends_of(subject))

    def _hungry(self) -> Iterator[Case]:
        """Whose memory to measure."""
        plan = self.plan
        for batch, n in plan.over("memory") if "memory" in plan.running else []:
            names = plan.backends or [AUTO]
            yield step.case("memory", batch, n, plan.dtype, backends=names)
        for subject in self.subjects:
            chosen = plan.backends or layer.backends_of(subject)
            yield layer.cases(subject, plan.over(layer.SECTION)[0][1], chosen)[0]
        for _, n in plan.over(zoo.SECTION) if zoo.SECTION in plan.running else []:
            for title, subject in zoo.subjects(plan.dtype):
                case = layer.cases(subject, n, plan.backends or [AUTO])[0]
                yield replace(case, title=f"step of {title}")


def _matrix_products(counts: list[int], rounds: int, result: Result) -> None:
    for count in counts:
        with threads(count):
            speed = sgemm_gflops(rounds=min(rounds, 20))
            result.sgemm[count] = max(result.sgemm.get(count, 0.0), speed)
