"""A chain that runs its links one after the other: what every faster chain must equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.base import Backend, Chain, Link


class OneByOne(Chain):
    """Links run through the plain operations of a backend.

    Args:
        backend: what runs each operation.
        links: the chain.
    """

    def __init__(self, backend: Backend, links: Sequence[Link]) -> None:
        self.backend, self.links = backend, tuple(links)

    def forward(
        self, x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], *, keep: bool
    ) -> tuple[Tensor, Any]:
        """See :meth:`Chain.forward`; kept are each convolution's input and each link's output."""
        kept = []
        for link, weight, bias in zip(self.links, weights, biases, strict=True):
            if link.scale is not None:
                x = self.backend.upsample_nearest_forward(x, scale=link.scale)
            y = self.backend.conv2d_forward(x, weight, bias, **link.geometry)
            y = _activate(y, link)
            kept.append((x, y))
            x = y
        return x, kept if keep else None

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
        """See :meth:`Chain.backward`: the chain rule from the last link to the first."""
        grad = grad_y
        for i in reversed(range(len(self.links))):
            link, (link_x, link_y) = self.links[i], kept[i]
            grad_bias = grad_biases[i]
            grad_x, grad_w, grad_b = self.backend.conv2d_backward(
                _activation_backward(grad, link_y, link),
                link_x,
                weights[i],
                **link.geometry,
                needs=(i > 0 or needs_grad_x, True, grad_bias is not None),
            )
            assert grad_w is not None
            grad_weights[i].add_(grad_w)
            if grad_bias is not None and grad_b is not None:
                grad_bias.add_(grad_b)
            if grad_x is None:
                return None
            grad = grad_x
            if link.scale is not None:
                grad = self.backend.upsample_nearest_backward(grad, scale=link.scale)
        return grad


def _activate(y: Tensor, link: Link) -> Tensor:
    if link.activation == "relu":
        return torch.relu(y)
    return torch.sigmoid(y) if link.activation == "sigmoid" else y


def _activation_backward(grad_y: Tensor, y: Tensor, link: Link) -> Tensor:
    if link.activation == "relu":
        return grad_y.masked_fill(y <= 0, 0)
    return grad_y * (y * (1 - y)) if link.activation == "sigmoid" else grad_y
