"""Contests run side by side, so that whatever disturbs the machine disturbs all alike.

Every round is a turn of each contestant, one run that is not timed and one that is, and who begins
rotates. Cases (batches, numbers of threads, shapes) take turns every few rounds. Nobody is timed
before its results were found equal to those expected.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

from scratchnet.backends.verify import VerificationError
from scratchnet.bench.contest import Case, Contest, Contestant, Outcome, Timing
from scratchnet.errors import ScratchnetError
from scratchnet.testing.closeness import ConformanceError, assert_close

Progress = Callable[[float, str], None]
"""Told of work just done, in the unit of ``Case.work``, and of what is being done."""

WARMUP = 3
BLOCK = 5
ROUNDINGS = 1000
"""How many roundings, relative to the largest magnitude of a tensor, right results may be apart."""


def check(outcome: Outcome, expected: Outcome) -> None:
    """Compare what a contestant computed with what it should have.

    Raises:
        ConformanceError: something is missing, has another shape, or is too far away.
    """
    if set(outcome) != set(expected):
        raise ConformanceError(f"expected {sorted(expected)}, got {sorted(outcome)}")
    for name, exact in expected.items():
        eps = torch.finfo(outcome[name].dtype).eps
        assert_close(outcome[name].double(), exact.double(), name, rtol=ROUNDINGS * eps)


class Race:
    """Some cases, ready to be timed, in a ``with`` block.

    Args:
        cases: what to measure; contestants are made, checked and warmed up here.
        on_progress: told which case is being prepared.

    Attributes:
        rounds: how many were done.
        contests: what is known of each case so far.
    """

    def __init__(self, cases: Sequence[Case], on_progress: Progress) -> None:
        self._contestants: list[dict[str, Contestant]] = []
        self.rounds = 0
        self.contests: list[Contest] = []
        with ExitStack() as stack:
            for case in cases:
                on_progress(0, f"checking {case.title}")
                contest = Contest(case, {}, {}, [])
                with threads(case.threads):
                    self._contestants.append(_prepare(contest, stack))
                self.contests.append(contest)
            self._stack = stack.pop_all()

    @property
    def timed(self) -> list[Contest]:
        """The contests that anything is known of."""
        return [c for c in self.contests if all(t.seconds for t in c.timings.values())]

    def run(self, rounds: int, on_progress: Progress) -> None:
        """Time everybody, ``rounds`` times; an interrupt leaves what was done in ``timed``."""
        order = list(zip(self.contests, self._contestants, strict=True))
        for block in [BLOCK] * (rounds // BLOCK) + [rounds % BLOCK] * bool(rounds % BLOCK):
            for contest, contestants in order:
                with threads(contest.case.threads):
                    for i in range(block):
                        on_progress(0, contest.case.title)
                        _round(contest, contestants, self.rounds + i)
                        on_progress(contest.case.work, contest.case.title)
            order = order[1:] + order[:1]
            self.rounds += block

    def __enter__(self) -> Race:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End processes that contestants hold."""
        self._stack.close()


def _prepare(contest: Contest, stack: ExitStack) -> dict[str, Contestant]:
    """Make the contestants, and leave out those that cannot run or compute something else."""
    contestants: dict[str, Contestant] = {}
    expected = contest.case.expected()
    for name, make in contest.case.contestants.items():
        try:
            contestant = make()
            close = getattr(contestant, "close", None)  # those that hold a process
            if close is not None:
                stack.callback(close)
            check(contestant.outcome(), expected)
        except (ConformanceError, VerificationError) as error:
            contest.left_out[name] = f"computes something else: {error}"
            contest.wrong.append(name)
        except ScratchnetError as error:
            contest.left_out[name] = str(error)
        else:
            contestants[name] = contestant
            contest.timings[name] = Timing()
    _warm_up(contestants, WARMUP)
    return contestants


def _warm_up(contestants: dict[str, Contestant], rounds: int) -> None:
    for _ in range(rounds):
        for contestant in contestants.values():
            contestant.run()


def _round(contest: Contest, contestants: dict[str, Contestant], number: int) -> None:
    """One round; its times are kept only if it is complete."""
    names = list(contestants)
    first = number % len(names) if names else 0
    seconds = {}
    for name in [*names[first:], *names[:first]]:
        # Once untimed: a step of a training follows another step of it, and finds in the caches
        # what that one left there, not what somebody else did.
        contestants[name].run()
        start = time.perf_counter()
        own = contestants[name].run()
        seconds[name] = time.perf_counter() - start if own is None else own
    for name, taken in seconds.items():
        contest.timings[name].seconds.append(taken)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with this many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean of ratios that treats a and 1/a alike."""
    return math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
