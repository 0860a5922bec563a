"""Scaled dot-product attention. L queries, S keys and values, E wide; leading axes are a batch.

Source: Vaswani et al., "Attention Is All You Need" (2017), section 3.2.1; tiled with a running
softmax: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), Dao et al.,
"FlashAttention" (2022).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.dropout import kept_places
from scratchnet.ops.extension import extension, how, supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape


def _softmax(
    q: Tensor, k: Tensor, mask: Tensor | None, causal: bool, scale: float | None
) -> Tensor:
    """Return softmax(scale · q kᵀ + mask), of the last axis; 0 where a query sees no key."""
    scores = q @ k.mT * _scale(q, scale)  # (..., L, S)
    if mask is not None:
        scores = scores + mask
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    blind = (scores == -math.inf).all(-1, keepdim=True)
    return torch.softmax(scores, -1).masked_fill(blind, 0)


def _scale(q: Tensor, scale: float | None) -> float:
    return 1 / math.sqrt(q.shape[-1]) if scale is None else scale


def _dropped(weights: Tensor, p: float, seed: int) -> Tensor:
    """Return the weights, or their gradients, after dropout."""
    if p == 0:
        return weights
    kept = kept_places(weights.numel(), p, seed, weights.device).view(weights.shape)
    return torch.where(kept, weights / (1 - p), 0.0)


def _weights(
    q: Tensor, k: Tensor, mask: Tensor | None = None, *, causal: bool = False,
    scale: float | None = None, p: float = 0.0, seed: int = 0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """y = dropout(softmax(scale · q kᵀ + mask)), scale being 1/√E if None.

    The mask is broadcast to (..., L, S). With ``causal`` query i sees keys 0 to i alone. A weight
    is dropped with probability p: see scratchnet.ops.dropout.
    """
    soft = _softmax(q, k, mask, causal, scale)
    dropped = _dropped(soft, p, seed)
    return dropped.clone() if dropped is soft else dropped, soft


def _weights_backward(
    grad_y: Tensor, soft: Tensor, q: Tensor, k: Tensor, mask: Tensor | None, *, causal: bool,
    scale: float | None, p: float, seed: int, needs: Needs,
) -> Gradients:  # fmt: skip
    """With P the softmax and G its gradient, that of the scores is S = P ∘ (G − Σ_s P ∘ G):
    ∂L/∂q = scale · S k;  ∂L/∂k = scale · Sᵀ q;  ∂L/∂mask = S, summed where it was broadcast.
    """
    grad = _dropped(grad_y, p, seed)
    grad = soft * (grad - (grad * soft).sum(-1, keepdim=True))
    factor = _scale(q, scale)
    return (
        grad @ k * factor if needs[0] else None,
        grad.mT @ q * factor if needs[1] else None,
        grad.clone().sum_to_size(mask.shape) if mask is not None and needs[2] else None,
    )


def _attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False,
    scale: float | None = None, p: float = 0.0, seed: int = 0,
) -> tuple[Tensor, None]:  # fmt: skip
    """y = dropout(softmax(scale · q kᵀ + mask)) v; arguments as those of ``attention_weights``."""
    weights, _ = _weights(q, k, mask, causal=causal, scale=scale, p=p, seed=seed)
    return weights @ v, None


def _attention_backward(
    grad_y: Tensor, kept: None, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *,
    needs: Needs, causal: bool, scale: float | None, p: float, seed: int,
) -> Gradients:  # fmt: skip
    """With W the weights: ∂L/∂v = Wᵀ ∂L/∂y;  ∂L/∂W = ∂L/∂y vᵀ, and from there as for the weights.

    The weights are computed again: keeping them would take memory of L · S.
    """
    options = {"causal": causal, "scale": scale, "p": p, "seed": seed}
    weights, soft = _weights(q, k, mask, **options)  # type: ignore[arg-type]
    grad_q, grad_k, grad_mask = _weights_backward(
        grad_y @ v.mT, soft, q, k, mask, **options, needs=(needs[0], needs[1], needs[3])  # type: ignore[arg-type]
    )  # fmt: skip
    return grad_q, grad_k, weights.mT @ grad_y if needs[2] else None, grad_mask


def _weights_check(
    q: Tensor, k: Tensor, mask: Tensor | None, *, causal: bool, scale: float | None, p: float,
    seed: int,
) -> Shape:  # fmt: skip
    if q.dim() < 2 or q.dim() != k.dim() or q.shape[:-2] != k.shape[:-2]:
        raise ShapeError(
            "attention expects q (..., L, E) and k (..., S, E) with the same leading axes, got "
            f"{tuple(q.shape)} and {tuple(k.shape)}"
        )
    if q.shape[-1] != k.shape[-1] or 0 in (q.shape[-1], k.shape[-2]):
        raise ShapeError(
            "attention expects q and k of one width, and at least one key, got "
            f"{tuple(q.shape)} and {tuple(k.shape)}"
        )
    shape = (*q.shape[:-1], k.shape[-2])
    if mask is not None:
        trailing = shape[len(shape) - mask.dim() :]
        if mask.dim() > len(shape) or any(
            m not in (1, s) for m, s in zip(mask.shape, trailing, strict=True)
        ):
            raise ShapeError(
                f"attention expects a mask that can be broadcast to {shape}, got "
                f"{tuple(mask.shape)}"
            )
    if not 0 <= p < 1:
        raise ArgumentError(f"attention expects p from 0 to less than 1, got {p}")
    return shape


def _attention_check(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool, scale: float | None,
    p: float, seed: int,
) -> Shape:  # fmt: skip
    _weights_check(q, k, mask, causal=causal, scale=scale, p=p, seed=seed)
    if v.shape[:-1] != k.shape[:-1] or v.shape[-1] == 0:
        raise ShapeError(
            f"attention expects v (..., S, E') with the axes of k, {tuple(k.shape[:-1])}, got "
            f"{tuple(v.shape)}"
        )
    return *q.shape[:-1], v.shape[-1]


def _shapes(
    lead: Shape, queries: int, keys: int, width: int, value_width: int | None = None
) -> tuple[Shape, ...]:
    """Return those of q and k, and of v if it has a width."""
    q, k = (*lead, queries, width), (*lead, keys, width)
    return (q, k) if value_width is None else (q, k, (*lead, keys, value_width))


def _cases(values: int | None) -> list[Case]:
    """Return the grid; with values of this width, or for the weights alone."""

    def case(lead: Shape, sizes: tuple[int, int, int], mask: Shape | None = None,
             layout: str = "contiguous", few: bool = False, **options: object) -> Case:  # fmt: skip
        shapes = (*_shapes(lead, *sizes, values), mask)
        return Case(shapes, options, layout=layout, few=few)

    last: tuple[Shape, ...] = () if values is None else ((2, 5, 3),)
    return [
        case((0, 2), (3, 3, 4)),
        case((), (1, 2, 1), few=True),
        case((3,), (5, 7, 3), few=True),
        case((2, 3), (7, 7, 4), causal=True, few=True),
        case((2, 3), (5, 9, 6), (2, 1, 1, 9), few=True),
        case((2, 3), (5, 9, 6), (5, 9), scale=0.3, causal=True),
        case((2, 2), (9, 11, 5), p=0.4, seed=2**33 + 3, few=True),
        *(case((2, 3), (7, 5, 4), None, layout, causal=True) for layout in LAYOUTS),
        case((2,), (67, 131, 19), causal=True),
        case((1,), (131, 70, 33), (1, 70), p=0.1, seed=9),
        Case(((2, 5, 3), (3, 5, 3), *last), error="leading axes"),
        Case(((2, 5, 3), (2, 5, 4), *last), error="one width"),
        Case(((2, 5, 3), (2, 5, 3), *last, (4, 5)), error="broadcast to (2, 5, 5)"),
        Case(((2, 5, 3), (2, 5, 3), *last), {"p": 1.0}, error="p from 0"),
    ]


def _attention_cases() -> list[Case]:
    return [
        *_cases(6),
        Case(((2, 5, 3), (2, 5, 3), (2, 4, 3)), error="with the axes of k"),
    ]


attention_weights = Op(
    "attention_weights", forward=_weights, backward=_weights_backward, check=_weights_check,
    cases=lambda: _cases(None), reads=("q", "k"),
    twin="scratchnet.testing.oracle.attention_weights",
)  # fmt: skip
attention = Op(
    "attention", forward=_attention, backward=_attention_backward, check=_attention_check,
    cases=_attention_cases, twin="scratchnet.testing.oracle.attention",
)  # fmt: skip


# -- in C++ ----------------------------------------------------------------------------------------


def _split(tensor: Tensor) -> Tensor:
    """Return a view (N, H, rows, E) whose last axis has no gaps; a copy where there is none."""
    if tensor.dim() != 4:
        tensor = tensor.reshape(-1, 1, *tensor.shape[-2:])
    return tensor if tensor.stride(-1) == 1 or tensor.shape[-1] == 1 else tensor.contiguous()


def _new(like: Tensor, width: int) -> Tensor:
    """Return a new (N, H, rows, width), with the heads of a row side by side if ``like`` has."""
    n, heads, rows, _ = like.shape
    if like.stride(1) < like.stride(2):
        return like.new_empty(n, rows, heads, width).transpose(1, 2)
    return like.new_empty(n, heads, rows, width)


def _mask(mask: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """Return a view (N, H, L, S) of the mask."""
    if mask is None:
        return None
    return _split_mask(mask.expand(*q.shape[:-1], k.shape[-2]))


def _split_mask(mask: Tensor) -> Tensor:
    return mask if mask.dim() == 4 else mask.reshape(-1, 1, *mask.shape[-2:])


def _forward_in_cpp(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False,
    scale: float | None = None, p: float = 0.0, seed: int = 0,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
    """Kept are the output and, of each row of scores, the logarithm of the sum of exponentials."""
    queries, keys, values = _split(q), _split(k), _split(v)
    y = _new(queries, v.shape[-1])
    sums = queries.new_empty(queries.shape[:-1])
    extension().attention_forward(
        queries, keys, values, _mask(mask, q, k), y, sums, causal, _scale(q, scale),
        round(p * 2**32), seed, 1 / (1 - p),
    )  # fmt: skip
    return y.view(q.shape[:-1] + v.shape[-1:]) if q.dim() != 4 else y, (y, sums)


def _backward_in_cpp(
    grad_y: Tensor, kept: tuple[Tensor, Tensor], q: Tensor, k: Tensor, v: Tensor,
    mask: Tensor | None, *, causal: bool, scale: float | None, p: float, seed: int, needs: Needs,
) -> Gradients:  # fmt: skip
    y, sums = kept
    grads: list[Tensor | None] = [None, None, None]
    if any(needs[:3]):
        queries, keys, values = _split(q), _split(k), _split(v)
        made = [_new(t, t.shape[-1]) for t in (queries, keys, values)]
        extension().attention_backward(
            _split(grad_y), queries, keys, values, _mask(mask, q, k), y, sums, *made, causal,
            _scale(q, scale), round(p * 2**32), seed, 1 / (1 - p),
        )  # fmt: skip
        grads = [
            (grad if like.dim() == 4 else grad.reshape(like.shape)) if needed else None
            for grad, like, needed in zip(made, (q, k, v), needs[:3], strict=True)
        ]
    grad_mask = None
    if mask is not None and needs[3]:  # as large as all weights anyway
        only = (False, False, False, True)
        grad_mask = _attention_backward(
            grad_y, None, q, k, v, mask, needs=only, causal=causal, scale=scale, p=p, seed=seed
        )[3]
    return *grads, grad_mask


attention.implement(
    "cpp", forward=_forward_in_cpp, backward=_backward_in_cpp, supports=supports, how=how
)
