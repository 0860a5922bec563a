"""Rivals from outside: anybody's training step takes part by ``scratchnet bench --rival FILE.py``.

The file defines a function (or class) ``rival`` that returns a :class:`Rival`;
``benchmarks/course_style.py`` is one, and ``benchmarks/jax_rival.py`` one in another process.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from scratchnet.bench.contest import Contestant
from scratchnet.bench.contestants import STEPS, named
from scratchnet.errors import ArgumentError, ScratchnetError
from scratchnet.layers.containers import Sequential
from scratchnet.models import owncode

FUNCTION = "rival"


class Step(Protocol):
    """A training step, ready to be done."""

    def run(self) -> object:
        """Do one step: forward, mean squared error, backward, plain SGD. This is what is timed.

        Returns the seconds, as a float, where it keeps time itself.
        """

    def outcome(self, steps: int) -> tuple[Tensor, list[Tensor]]:
        """Do some steps, before the first ``run``; return the loss before each, and the gradients
        of the first, in the order of ``model.param()``.
        """

    def close(self) -> None:
        """End what it holds."""


class Rival(Protocol):
    """Who else can do the training step of the paper's network.

    Attributes:
        name: in tables and figures.
        section: of the benchmark that it takes part in: ``"step"`` or ``"course"``.
    """

    name: str
    section: str

    def available(self) -> bool | str:
        """True if it can run here, else a line saying what is missing."""

    def prepare(self, model: Sequential, x: Tensor, y: Tensor, *, lr: float, threads: int) -> Step:
        """Return a step.

        Args:
            model: whose weights to begin with; it may be kept.
            x: images (N, 3, H, W), of the model's dtype.
            y: what the network should make of them.
            lr: learning rate.
            threads: to compute with.

        Raises:
            ScratchnetError: it cannot, for a reason to be shown, such as the dtype.
        """


def load(name: str) -> Rival:
    """Return the rival that ``"FILE.py"``, ``"FILE.py:FUNCTION"`` or ``"package.module:FUNCTION"``
    names.

    Raises:
        ArgumentError: there is no such file or function, or it returns something else.
    """
    found = owncode.function(f"{name}:{FUNCTION}" if name.endswith(".py") else name)()
    wanted = ("name", "section", "available", "prepare")
    missing = [attribute for attribute in wanted if not hasattr(found, attribute)]
    if missing or found.section not in ("step", "course"):
        what = f"no {missing[0]}" if missing else f"the section {found.section!r}"
        raise ArgumentError(
            f"rival {name}: expected name, available(), prepare() and a section, 'step' or "
            f"'course'; got a {type(found).__name__} with {what}"
        )
    rival: Rival = found
    return rival


def contestant(rival: Rival, model: Sequential, x: Tensor, y: Tensor, *, lr: float) -> Contestant:
    """Return a rival's training step; arguments as of ``Rival.prepare``.

    Raises:
        ScratchnetError: it is not available, or cannot do this step.
    """
    if (available := rival.available()) is not True:
        raise ScratchnetError(str(available))
    names = [name for name, _, _ in model.named_param()]
    step = rival.prepare(model, x, y, lr=lr, threads=torch.get_num_threads())
    return Contestant(step.run, lambda: named(names, *step.outcome(STEPS)), step.close)
