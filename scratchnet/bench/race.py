"""Contests run side by side, so that whatever disturbs the machine disturbs all alike.

Every round is a turn of each contestant, one run that is not timed and one that is, and who begins
rotates. Cases (batches, numbers of threads, shapes) take turns every few rounds. Nobody is timed
before its results were found equal to those expected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch

from scratchnet.bench.contest import Case, Contest, Contestant, Outcome
from scratchnet.errors import ScratchnetError
from scratchnet.testing.closeness import ConformanceError, assert_close, rounding
from scratchnet.verify import VerificationError

Progress = Callable[[float, str], None]
"""Told of work just done (milliseconds of ``Case.work``, or images) and of what is being done."""

WARMUP = 3
BLOCK = 5


def check(outcome: Outcome, expected: Outcome) -> None:
    """Raise ConformanceError where a contestant computed something else than it should have."""
    if set(outcome) != set(expected):
        raise ConformanceError(f"expected {sorted(expected)}, got {sorted(outcome)}")
    for name, exact in expected.items():
        tolerance = rounding(outcome[name].dtype)
        assert_close(outcome[name].double(), exact.double(), name, rtol=tolerance)


def turns(
    ways: Mapping[str, Callable[[], object]], first: int, *, warm: bool = True
) -> dict[str, float]:
    """Let all run once, the one of number ``first`` first, and return the seconds of each.

    With ``warm`` each runs once before it is timed: a step of a training follows another step of
    it, and finds in the caches what that one left there, not what somebody else did.
    """
    names = list(ways)
    begin = first % len(names) if names else 0
    seconds = {}
    for name in [*names[begin:], *names[:begin]]:
        if warm:
            ways[name]()
        start = time.perf_counter()
        own = ways[name]()
        taken = time.perf_counter() - start
        seconds[name] = own if isinstance(own, float) else taken
    return seconds


class Race(ExitStack):
    """Some cases in a ``with`` block, which ends what contestants hold: they are made, checked and
    warmed up here, then timed; ``contests`` is what is known of each case so far.
    """

    def __init__(self, cases: Sequence[Case], on_progress: Progress) -> None:
        super().__init__()
        self.rounds = 0
        self.contests = [Contest(case) for case in cases]
        self._ways: list[dict[str, Callable[[], object]]] = []
        try:
            for contest in self.contests:
                on_progress(0, f"checking {contest.case.title}")
                with threads(contest.case.threads):
                    self._ways.append(_prepare(contest, self))
        except BaseException:
            self.close()
            raise

    @property
    def timed(self) -> list[Contest]:
        """The contests that anything is known of."""
        return [c for c in self.contests if all(c.timings.values())]

    def run(self, rounds: int, on_progress: Progress) -> None:
        """Time everybody, ``rounds`` times; an interrupt leaves what was done in ``timed``."""
        order = list(zip(self.contests, self._ways, strict=True))
        for block in [BLOCK] * (rounds // BLOCK) + [rounds % BLOCK] * bool(rounds % BLOCK):
            for contest, ways in order:
                with threads(contest.case.threads):
                    for i in range(block):
                        on_progress(0, contest.case.title)
                        # only complete rounds are kept
                        for name, taken in turns(ways, self.rounds + i).items():
                            contest.timings[name].append(taken)
                        on_progress(contest.case.work, contest.case.title)
            order = order[1:] + order[:1]
            self.rounds += block


def _prepare(contest: Contest, stack: ExitStack) -> dict[str, Callable[[], object]]:
    """Make the contestants, and leave out those that cannot run or compute something else."""
    ready: dict[str, Contestant] = {}
    expected = contest.case.expected()
    for name, make in contest.case.contestants.items():
        try:
            contestant = make(contest.case.images)
            stack.callback(contestant.close)
            check(contestant.outcome(), expected)
        except (ConformanceError, VerificationError) as error:
            contest.left_out[name] = f"computes something else: {error}"
            contest.wrong.append(name)
        except ScratchnetError as error:
            contest.left_out[name] = str(error)
        else:
            ready[name] = contestant
            contest.timings[name] = []
    for _ in range(WARMUP):
        for contestant in ready.values():
            contestant.run()
    return {name: contestant.run for name, contestant in ready.items()}


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with this many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
