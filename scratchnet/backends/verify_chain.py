"""The runtime cross-check of layers that run as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.base import Backend, Chain, Link
from scratchnet.backends.mismatch import difference, fail, largest
from scratchnet.backends.one_by_one import OneByOne
from scratchnet.backends.tolerance import tolerance

# A rounding error can move a number across ReLU's kink, which changes single elements of a chain's
# gradients by as much as they are large; a wrong kernel changes most of them.
CHAIN_GRADIENTS = {torch.float32: 1e-2, torch.float64: 1e-6}


class VerifiedChain(Chain):
    """Runs a chain, and its links one by one on the reference, and raises where they differ.

    Args:
        reference: what the links are run on one by one.
        name: of the backend that made the chain.
        inner: the chain whose results are returned.
        links: of the chain.
    """

    def __init__(
        self, reference: Backend, name: str, inner: Chain, links: tuple[Link, ...]
    ) -> None:
        self.name, self.inner, self.links = name, inner, links
        self.plain = OneByOne(reference, links)

    def forward(
        self, x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], *, keep: bool
    ) -> tuple[Tensor, Any]:
        """Checked; see Chain."""
        y, kept = self.inner.forward(x, weights, biases, keep=keep)
        expected, plain_kept = self.plain.forward(x, weights, biases, keep=keep)
        rtol = len(self.links) * tolerance(x.dtype, max(w[0].numel() for w in weights))
        fault = difference(y, expected, rtol * largest(expected))
        if fault:
            self._fail("output", fault, x, weights, biases, {})
        return y, (kept, plain_kept, list(biases))

    def backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        y: Tensor,
        kept: Any,
        weights: Sequence[Tensor],
        grad_weights: Sequence[Tensor],
        grad_biases: Sequence[Tensor | None],
    ) -> Tensor:
        """Checked; see Chain."""
        inner_kept, plain_kept, biases = kept
        plain_w = [torch.zeros_like(g) for g in grad_weights]
        plain_b = [None if g is None else torch.zeros_like(g) for g in grad_biases]
        own_w = [torch.zeros_like(g) for g in grad_weights]
        own_b = [None if g is None else torch.zeros_like(g) for g in grad_biases]
        expected = self.plain.backward(grad_y, x, y, plain_kept, weights, plain_w, plain_b)
        grad_x = self.inner.backward(grad_y, x, y, inner_kept, weights, own_w, own_b)
        for what, actual, same in [
            ("grad_x", grad_x, expected),
            *(
                (f"grad_weight {i}", a, e)
                for i, (a, e) in enumerate(zip(own_w, plain_w, strict=True))
            ),
            *(
                (f"grad_bias {i}", a, e)
                for i, (a, e) in enumerate(zip(own_b, plain_b, strict=True))
            ),
        ]:
            if actual is None or same is None:
                continue
            if not (actual - same).norm() <= CHAIN_GRADIENTS[x.dtype] * same.norm():
                fault = difference(actual, same, 0 * same.abs())
                self._fail(what, fault or "not finite", x, weights, biases, {"grad_y": grad_y})
        for total, own in zip((*grad_weights, *grad_biases), (*own_w, *own_b), strict=True):
            if total is not None and own is not None:
                total.add_(own)
        return grad_x

    def _fail(
        self,
        what: str,
        fault: str,
        x: Tensor,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        more: dict[str, Tensor],
    ) -> None:
        tensors = {"x": x, **{f"weight.{i}": w for i, w in enumerate(weights)}, **more}
        tensors |= {f"bias.{i}": b for i, b in enumerate(biases) if b is not None}
        options = {"links": [asdict(link) for link in self.links]}
        fail(self.name, "chain", what, fault, tensors, options)
