"""What forward keeps for backward: once for each use of a module, answered last in, first out.

A *pass* is an outermost forward, with all the forwards of other modules inside it. A module that is
used several times in one pass (shared weights, recurrence) keeps one record for each use; every
backward takes the latest that has not been taken, and after the first it starts again from the
last, so that a backward may be repeated. The next pass forgets them: forwards that nobody goes back
through do not pile up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import count
from typing import Any

from torch import Tensor

from scratchnet.errors import OrderError

_numbers = count(1)


class _Running(threading.local):
    """Which modules run in this thread, and the number of the pass they run in."""

    number = 0
    keeping = False

    def __init__(self) -> None:
        self.modules: set[int] = set()


_running = _Running()


@contextmanager
def keeping() -> Iterator[None]:
    """Let forwards keep what backward needs in eval mode, too, in this thread: for who wants the
    derivative of what a model computes there.
    """
    before, _running.keeping = _running.keeping, True
    try:
        yield
    finally:
        _running.keeping = before


def is_keeping() -> bool:
    """Whether forwards keep what backward needs in eval mode, too."""
    return _running.keeping


class Record:
    """What one use kept.

    Attributes:
        values: what save() was given; None before.
        versions: of each tensor among them where it is, and how often it had been changed by then.
        output: what a base class notes of the output, for its own part of backward.
    """

    __slots__ = ("output", "values", "versions")

    def __init__(self) -> None:
        self.values: tuple[Any, ...] | None = None
        self.output: Any = None
        self.versions: list[tuple[str, Tensor, int]] = []

    def fill(self, values: tuple[Any, ...]) -> None:
        """Keep ``values``, and note how often each tensor among them has been changed."""
        self.values = values
        self.versions = []
        for i, value in enumerate(values):
            if isinstance(value, Tensor | tuple | list):
                found = _tensors(value, f"[{i}]")
                self.versions += [(where, x, x._version) for where, x in found]

    def check(self, name: str) -> None:
        """Raise OrderError if one of the tensors has been changed in place since."""
        for where, tensor, version in self.versions:
            if tensor._version != version:
                raise OrderError(
                    f"a tensor of the shape {tuple(tensor.shape)} that {name}.forward keeps for "
                    f"backward (saved{where}) was changed in place in between, so the gradient "
                    "would be wrong: change a copy (clone() it first), or call backward before"
                )


def _tensors(values: Any, where: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(values, Tensor):
        if not values.is_inference():  # those have no version
            yield where, values
    elif isinstance(values, tuple | list):
        for i, value in enumerate(values):
            yield from _tensors(value, f"{where}[{i}]")


class History:
    """The records of one module in one pass.

    Attributes:
        number: of the pass.
        records: the oldest first.
        left: how many of them backward has not taken yet.
        lost: whether records of an earlier pass were dropped before a backward took them.
    """

    def __init__(self, number: int, lost: bool) -> None:
        self.number, self.lost = number, lost
        self.records: list[Record] = []
        self.left = 0

    def take(self, name: str) -> None:
        """Prepare for a backward: the record is ``records[left - 1]``."""
        if _running.modules and self.number != _running.number:
            raise OrderError(
                f"{name} has run again since the forward of the module that it is part of, so what "
                "it keeps belongs to another pass: call backward before, or forward once more"
            )
        if not self.left:
            if self.lost:
                raise OrderError(
                    f"{name}.backward was called again, but of several forwards only what the last "
                    "one kept is left: call backward after each, or, to use a module several times "
                    "in one pass, do so within the forward of another module"
                )
            self.left = len(self.records)


def is_running(module: object) -> bool:
    """Whether a forward or backward of this module is under way in this thread."""
    return id(module) in _running.modules


def is_current(history: History) -> bool:
    """Whether this is of the pass under way."""
    return history.number == _running.number


def following(history: History | None) -> History:
    """Return where the next forward of a module with this history keeps its record."""
    if history is None:
        return History(_running.number, lost=False)
    untouched = history.left == len(history.records)
    if history.number == _running.number and untouched:
        return history
    return History(_running.number, lost=untouched and history.left > 0)


def as_forward(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``forward`` open a record, unless the module's forward runs already (as super's)."""

    @wraps(forward)
    def run(self: Any, *inputs: Any, **options: Any) -> Any:
        running = _running.modules
        if id(self) in running:
            return forward(self, *inputs, **options)
        if not running:
            _running.number = next(_numbers)
        self._begin()
        running.add(id(self))
        try:
            return forward(self, *inputs, **options)
        except BaseException:
            self._abandon()
            raise
        finally:
            running.discard(id(self))

    return run


def as_backward(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``backward`` take the latest record, unless the module's backward runs already."""

    @wraps(backward)
    def run(self: Any, *grad_outputs: Any, **options: Any) -> Any:
        running = _running.modules
        if id(self) in running:
            return backward(self, *grad_outputs, **options)
        history: History = self._kept()
        history.take(type(self).__name__)
        if not running:
            _running.number = history.number
        running.add(id(self))
        try:
            result = backward(self, *grad_outputs, **options)
        finally:
            running.discard(id(self))
        history.left -= 1
        return result

    return run
