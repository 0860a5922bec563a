"""Multi-head attention against torch's with every kind of mask, and memory that stays linear."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import scratchnet
from scratchnet import from_torch, to_torch
from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.attention import attention
from scratchnet.testing.tensors import normal

BATCH, QUERIES, KEYS, WIDTH, HEADS = 2, 4, 5, 6, 2
LATER = torch.ones(QUERIES, KEYS, dtype=torch.bool).triu(1)
PADDING = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])
MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "padding": {"key_padding_mask": PADDING},
    "numbers for padding": {"key_padding_mask": normal(PADDING.shape, torch.float64, 5)},
    "causal": {"attn_mask": LATER, "is_causal": True},
    "both": {"attn_mask": LATER, "key_padding_mask": PADDING},
    "numbers": {"attn_mask": normal((QUERIES, KEYS), torch.float64, 6)},
    "for each head": {"attn_mask": normal((BATCH * HEADS, QUERIES, KEYS), torch.float64, 7) > 0.5},
    "weights of each head": {"average_attn_weights": False},
    "no weights": {"need_weights": False, "key_padding_mask": PADDING},
}


def run_both(theirs: nn.Module, inputs: list[torch.Tensor], options: dict[str, Any]) -> None:
    """Outputs, weights and all gradients of torch's module and of what it becomes are equal."""
    ours = from_torch(theirs)
    leaves = [x.clone().requires_grad_() for x in inputs]
    expected, weights = theirs(*leaves, **options)
    grad = normal(expected.shape, torch.float64, 8)
    total = (expected * grad).sum()
    y, own_weights = ours(*inputs, **options)
    given = [grad]
    if weights is not None:
        given.append(normal(weights.shape, torch.float64, 9))
        total = total + (weights * given[1]).sum()
        torch.testing.assert_close(own_weights, weights.detach())
    total.backward()
    torch.testing.assert_close(y, expected.detach())
    for found, leaf in zip(ours.backward(*given), leaves, strict=True):
        torch.testing.assert_close(found, leaf.grad)
    for name, _, found in ours.named_param():
        torch.testing.assert_close(found, theirs.get_parameter(name).grad)
    assert to_torch(ours).state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masks", MASKS)
def test_equals_torchs(masks: str, batch_first: bool, backend: str) -> None:
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first).double()
    inputs = [normal((BATCH, n, WIDTH), torch.float64, n) for n in (QUERIES, KEYS, KEYS)]
    if not batch_first:
        inputs = [x.transpose(0, 1) for x in inputs]
    run_both(theirs, inputs, MASKS[masks])


@pytest.mark.parametrize("bias", [False, True])
def test_other_widths_of_key_and_value(bias: bool) -> None:
    theirs = nn.MultiheadAttention(WIDTH, HEADS, bias=bias, kdim=3, vdim=7).double()
    widths = {QUERIES: WIDTH, KEYS: 3}
    inputs = [normal((n, BATCH, w), torch.float64, n) for n, w in widths.items()]
    run_both(theirs, [*inputs, normal((KEYS, BATCH, 7), torch.float64, 1)], {})


def test_without_a_batch() -> None:
    theirs = nn.MultiheadAttention(WIDTH, HEADS).double()
    inputs = [normal((n, WIDTH), torch.float64, n) for n in (QUERIES, KEYS, KEYS)]
    run_both(theirs, inputs, {"key_padding_mask": PADDING[0]})


def test_a_query_alone_is_key_and_value_too(backend: str) -> None:
    layer = scratchnet.MultiheadAttention(WIDTH, HEADS, dtype=torch.float64)
    x, grad = (normal((QUERIES, BATCH, WIDTH), torch.float64, i) for i in (1, 2))
    y, _ = layer(x, x, x, need_weights=False, is_causal=True)
    expected = sum(layer.backward(grad))
    weights = layer.grad_in_proj_weight.clone()
    layer.zero_grad()
    alone, _ = layer(x, need_weights=False, attn_mask=LATER[:, :QUERIES])
    torch.testing.assert_close(alone, y)
    torch.testing.assert_close(layer.backward(grad), expected)
    torch.testing.assert_close(layer.grad_in_proj_weight, weights)


def test_dropout_leaves_the_mean(backend: str) -> None:
    layer = scratchnet.MultiheadAttention(8, 2, 0.5, generator=torch.Generator().manual_seed(0))
    x = normal((9, 300, 8), torch.float32, 0)
    mean = torch.stack([layer(x, need_weights=False)[0] for _ in range(20)]).mean(0)
    y, _ = layer.eval()(x)
    assert 0 < float((mean - y).norm() / y.norm()) < 0.4


def test_a_query_that_sees_no_key_gets_nothing(backend: str) -> None:
    q, k, v = (normal((1, 2, n, 4), torch.float64, n) for n in (3, 5, 5))
    mask = torch.zeros(3, 5, dtype=torch.float64)
    mask[1] = -torch.inf
    y, back = dispatch.run(attention, q, k, v, mask)
    grads = back(torch.ones_like(y), needs=(True, True, True, False))
    assert not y[:, :, 1].any()
    assert not grads[0][:, :, 1].any()
    assert all(bool(grad.isfinite().all()) for grad in grads[:3])


def test_heads_that_lie_side_by_side_are_read_and_written_in_place() -> None:
    packed = normal((2, 70, 3, 3, 8), torch.float32, 0)  # N, L, (q, k, v), H, E
    q, k, v = (packed[:, :, i].transpose(1, 2) for i in range(3))
    with scratchnet.use_backend("cpp"):
        y, back = dispatch.run(attention, q, k, v, causal=True)
        assert y.transpose(1, 2).is_contiguous()
        grads = back(torch.ones_like(y))
    expected, back = dispatch.run(attention, q, k, v, causal=True, backend="reference")
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(grads[:3], back(torch.ones_like(y))[:3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"num_heads": 4}, "num_heads to divide embed_dim, got 4 for 6"),
        ({"num_heads": 2, "add_bias_kv": True}, "neither add_bias_kv nor add_zero_attn"),
        ({"num_heads": 2, "add_zero_attn": True}, "neither add_bias_kv nor add_zero_attn"),
        ({"num_heads": 2, "dropout": 1.0}, "dropout from 0 to less than 1"),
    ],
)
def test_arguments_that_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        scratchnet.MultiheadAttention(6, **arguments)


def test_inputs_that_do_not_fit() -> None:
    layer = scratchnet.MultiheadAttention(6, 2)
    x = torch.ones(4, 2, 6)
    with pytest.raises(ArgumentError, match="key and value, or neither"):
        layer(x, x)
    with pytest.raises(ShapeError, match=r"expects \(L, N, 6\) or \(L, 6\), all with a batch"):
        layer(x, x[0], x[0])
    with pytest.raises(ShapeError, match=r"attn_mask \(4, 4\) or \(4, 4, 4\), got \(4,\)"):
        layer(x, attn_mask=torch.ones(4))
    with pytest.raises(ShapeError, match=r"key_padding_mask \(2, 4\) or \(4,\), got \(4, 2\)"):
        layer(x, key_padding_mask=torch.ones(4, 2))
    with pytest.raises(ArgumentError, match="even dim"):
        scratchnet.RoPE(5)
    with pytest.raises(ShapeError, match=r"\(\.\.\., T, 6\) with T up to 3, got \(4, 6\)"):
        scratchnet.RoPE(6, 3)(torch.ones(4, 6))


def test_rope_depends_on_the_distance_alone() -> None:
    rope = scratchnet.RoPE(8, base=100)
    q, k = (normal((8,), torch.float64, i).expand(9, 8) for i in (1, 2))
    products = rope(q) @ rope(k).T
    for distance in (-3, 0, 2):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))
