"""Faulty chains: what a backend may get wrong when it runs several layers as one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from scratchnet.backends.base import Chain, Link
from scratchnet.backends.one_by_one import OneByOne
from scratchnet.backends.reference import ReferenceBackend


class RightChain(OneByOne):
    """One link after the other; this one is right."""


class Overwrites(RightChain):
    """Parameter gradients are written over what was there."""

    def backward(self, *args: Any, **options: bool) -> Tensor | None:
        weights, biases = args[5:]
        for grad in (*weights, *filter(lambda bias: bias is not None, biases)):
            grad.zero_()
        return super().backward(*args, **options)


class ForgetsTheLastMask(RightChain):
    """The last activation's derivative is forgotten."""

    def backward(
        self, grad_y: Tensor, x: Tensor, y: Tensor, kept: Any, *args: Any, **options: bool
    ) -> Tensor | None:
        last = kept[-1]
        open_everywhere = [*kept[:-1], (last[0], last[1].abs() + 1)]
        return super().backward(grad_y, x, y, open_everywhere, *args, **options)


class RectifiesItsInput(RightChain):
    """The first link works in place."""

    def forward(self, x: Tensor, *args: Any, keep: bool) -> tuple[Tensor, Any]:
        if x.is_contiguous():
            x.clamp_(max=2)
        return super().forward(x, *args, keep=keep)


class CutsWithoutKeep(RightChain):
    """A shorter way is taken when nothing has to be kept, and it rounds."""

    def forward(self, x: Tensor, *args: Any, keep: bool) -> tuple[Tensor, Any]:
        y, kept = super().forward(x, *args, keep=keep)
        return y if keep else (y * 64).round() / 64, kept


class SharedHidden(RightChain):
    """The hidden activations are kept in the chain itself, not with the call."""

    hidden: Any = None

    def forward(self, *args: Any, keep: bool) -> tuple[Tensor, Any]:
        y, self.hidden = super().forward(*args, keep=keep)
        time.sleep(0.002)
        return y, None

    def backward(
        self, grad_y: Tensor, x: Tensor, y: Tensor, kept: Any, *args: Any, **options: bool
    ) -> Tensor | None:
        return super().backward(grad_y, x, y, self.hidden, *args, **options)


class AlwaysGivesGradX(RightChain):
    """The gradient of the input is computed even if nobody wants it."""

    def backward(self, *args: Any, **options: bool) -> Tensor | None:
        return super().backward(*args)


class ChainBackend(ReferenceBackend):
    """The reference, running layers as one chain; plans are kept, as a fast backend does."""

    name = "mutant"

    def __init__(self, kind: type[RightChain]) -> None:
        self.kind = kind
        self.plans: dict[Any, Chain] = {}

    def chain(self, x: Tensor, links: Sequence[Link]) -> Chain:
        return self.plans.setdefault((x.shape, x.dtype, links), self.kind(self, links))
