"""The runtime cross-check of layers that run as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import registry
from scratchnet.backends.base import Backend, Chain, Link
from scratchnet.backends.mismatch import difference, fail
from scratchnet.backends.running_error import Estimate, RunningError


class VerifiedChain(Chain):
    """Runs a chain, and its links one by one on the reference, and raises where they differ.

    Args:
        backend: what made the chain.
        inner: the chain whose results are returned.
        links: of the chain.
    """

    def __init__(self, backend: Backend, inner: Chain, links: tuple[Link, ...]) -> None:
        self.backend, self.inner, self.links = backend, inner, links
        self.reference = registry.get("reference")

    def forward(
        self, x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], *, keep: bool
    ) -> tuple[Tensor, Any]:
        """Checked; see Chain."""
        given = _named(x, weights, biases)
        y, kept = self.inner.forward(x, weights, biases, keep=keep)
        plain = RunningError(self.reference, self.links, x.dtype)
        expected, plain_kept = plain.forward(x, weights, biases)
        self._compare("output", y, expected, given, {"keep": keep})
        return y, (kept, plain, plain_kept, given) if keep else None

    def backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        y: Tensor,
        kept: Any,
        weights: Sequence[Tensor],
        grad_weights: Sequence[Tensor],
        grad_biases: Sequence[Tensor | None],
        *,
        needs_grad_x: bool = True,
    ) -> Tensor | None:
        """Checked; see Chain."""
        inner_kept, plain, plain_kept, given = kept
        given = {**given, "grad_y": grad_y}
        own_w = [torch.zeros_like(g) for g in grad_weights]
        own_b = [None if g is None else torch.zeros_like(g) for g in grad_biases]
        grad_x = self.inner.backward(
            grad_y, x, y, inner_kept, weights, own_w, own_b, needs_grad_x=needs_grad_x
        )
        of_input, of_parameters = plain.backward(grad_y, plain_kept, weights)
        how = {"needs_grad_x": needs_grad_x}
        if needs_grad_x:
            self._compare("grad_x", grad_x, of_input, given, how)
        for i, (of_weight, of_bias) in enumerate(of_parameters):
            self._compare(f"grad_weight {i}", own_w[i], of_weight, given, how)
            if own_b[i] is not None:
                self._compare(f"grad_bias {i}", own_b[i], of_bias, given, how)
        for total, own in zip((*grad_weights, *grad_biases), (*own_w, *own_b), strict=True):
            if total is not None and own is not None:
                total.add_(own)
        return grad_x

    def _compare(
        self,
        what: str,
        actual: Tensor | None,
        expected: Estimate,
        given: dict[str, Tensor],
        how: dict[str, bool],
    ) -> None:
        fault = difference(actual, expected.value.to(given["x"].dtype), expected.bound)
        if fault:
            options = {"links": [asdict(link) for link in self.links], **how}
            fail(self.backend, "chain", what, fault, given, options)


def _named(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    named = {"x": x, **{f"weight.{i}": weight for i, weight in enumerate(weights)}}
    return named | {f"bias.{i}": bias for i, bias in enumerate(biases) if bias is not None}
