"""Rivals from outside: anybody's training step takes part by ``scratchnet bench --rival FILE.py``.

The file defines a function (or class) ``rival`` that returns a :class:`Rival`;
``benchmarks/course_style.py`` is one, and ``benchmarks/jax_rival.py`` one in another process.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from scratchnet.errors import ArgumentError
from scratchnet.layers.containers import Sequential
from scratchnet.models import owncode


class Step(Protocol):
    """A training step, ready to be done."""

    def run(self) -> object:
        """Do one: forward, mean squared error, backward, plain SGD. This is what is timed; a float
        that it returns is taken as the seconds.
        """

    def outcome(self, steps: int) -> tuple[Tensor, list[Tensor]]:
        """Do some, before the first ``run``; return the loss before each, and the gradients of the
        first, in the order of ``model.param()``.
        """

    def close(self) -> None:
        """End what it holds."""


@runtime_checkable
class Rival(Protocol):
    """Who else can do the training step of the paper's network, in the section ``"step"`` or
    ``"course"``.
    """

    name: str
    section: str

    def available(self) -> bool | str:
        """True if it can run here, else a line saying what is missing."""

    def prepare(self, model: Sequential, x: Tensor, y: Tensor, *, lr: float, threads: int) -> Step:
        """Return a step from the weights of ``model``, which may be kept, on images x (N, 3, H, W),
        of which the network should make y.

        Raises:
            ScratchnetError: it cannot, for a reason to be shown, such as the dtype.
        """


def load(name: str) -> Rival:
    """Return the rival that ``"FILE.py"``, ``"FILE.py:FUNCTION"`` or ``"package.module:FUNCTION"``
    names.

    Raises:
        ArgumentError: there is no such file or function, or it returns something else.
    """
    found = owncode.function(f"{name}:rival" if name.endswith(".py") else name)()
    if not isinstance(found, Rival) or found.section not in ("step", "course"):
        raise ArgumentError(
            f"rival {name}: expected name, available(), prepare() and a section, 'step' or "
            f"'course'; got {found!r}, section {getattr(found, 'section', None)!r}"
        )
    return found
