"""Linear, Bilinear, Embedding, Dropout and the layers that reshape, beyond what the kit sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import scratchnet
from scratchnet import from_torch, to_torch
from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch
from scratchnet.ops.dropout import kept_places
from scratchnet.testing.tensors import normal
from scratchnet.testing.twins import autograd

HERE_AND_THERE: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Linear(5, 3), (2, 4, 5)),
    (lambda: nn.Linear(5, 3, bias=False), (5,)),
    (lambda: nn.Identity(54, unused=0.1), (2, 3)),
    (lambda: nn.Flatten(), (2, 3, 4, 5)),
    (lambda: nn.Flatten(0, 2), (2, 3, 4, 5)),
    (lambda: nn.Flatten(-3, -2), (2, 3, 4, 5)),
    (lambda: nn.Unflatten(1, (2, 5)), (3, 10, 2)),
    (lambda: nn.Unflatten(-1, torch.Size([2, -1])), (3, 10)),
]


@pytest.mark.parametrize(("make", "shape"), HERE_AND_THERE)
def test_equals_torchs_and_is_converted_both_ways(make: Any, shape: tuple[int, ...]) -> None:
    theirs = make().double()
    ours = from_torch(theirs)
    x = normal(shape, torch.float64, 1)
    y = ours(x)
    grad_y = normal(y.shape, torch.float64, 2)
    twin = autograd(to_torch(ours), [x], ours, [grad_y])
    torch.testing.assert_close(y, theirs(x).detach())
    torch.testing.assert_close(ours.backward(grad_y), twin.inputs[0])
    for name, _, grad in ours.named_param():
        torch.testing.assert_close(grad, twin.parameters[name])


def test_initial_values_are_distributed_as_torchs() -> None:
    linear, bilinear = scratchnet.Linear(100, 300), scratchnet.Bilinear(49, 3, 100)
    for value, bound in ((linear.weight, 0.1), (linear.bias, 0.1), (bilinear.weight, 1 / 7)):
        assert 0.9 * bound < value.abs().max() <= bound
    table = scratchnet.Embedding(100, 50, padding_idx=-1)
    assert not table.weight[99].any()
    assert abs(float(table.weight[:99].std()) - 1) < 0.05


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: scratchnet.Linear(0, 3), "in_features to be an int of at least 1, got 0"),
        (lambda: scratchnet.Bilinear(2, 3, True), "out_features to be an int of at least 1"),
        (lambda: scratchnet.Embedding(5, 3, 5), "one of 5 rows, got 5"),
        (lambda: scratchnet.Embedding(5, 3, max_norm=1.0), "max_norm: expected None, got 1.0"),
        (lambda: scratchnet.Embedding(5, 3, sparse=True), "sparse: expected False, got True"),
        (lambda: scratchnet.Embedding(5, 3, scale_grad_by_freq=True), "scale_grad_by_freq: exp"),
        (lambda: scratchnet.Dropout(1.5), "Dropout expects p from 0 to 1, got 1.5"),
        (lambda: scratchnet.Unflatten(1, (2, -1, -1)), "one of which may be -1"),
        (lambda: scratchnet.Unflatten("C", (2, 3)), "number of an axis, got 'C'"),
    ],
)
def test_arguments_that_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "says"),
    [
        (scratchnet.Linear(5, 3), (2, 4), r"expects \(\.\.\., 5\), got \(2, 4\)"),
        (scratchnet.Flatten(), (4,), r"axes 1 to -1, got 1-D \(4,\)"),
        (scratchnet.Flatten(2, 1), (2, 3, 4), "axes 2 to 1"),
        (scratchnet.Unflatten(1, (2, -1)), (2, 5), r"splits into \(2, -1\), got \(2, 5\)"),
        (scratchnet.Dropout2d(), (3, 4), r"Dropout2d expects 3-D or 4-D, got \(3, 4\)"),
        (scratchnet.Dropout1d(), (3, 4, 5, 6), "Dropout1d expects 2-D or 3-D"),
    ],
)
def test_shapes_that_are_refused(layer: scratchnet.Module, shape: Any, says: str) -> None:
    with pytest.raises(ShapeError, match=says):
        layer(torch.ones(shape))


def test_from_torch_refuses_what_an_embedding_lacks() -> None:
    with pytest.raises(ArgumentError, match="max_norm: expected None"):
        from_torch(nn.Embedding(5, 3, max_norm=1.0))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_the_row_of_padding_gets_no_gradient(dtype: torch.dtype, backend: str) -> None:
    theirs = nn.Embedding(6, 3, padding_idx=2)
    ours = from_torch(theirs)
    indices = torch.tensor([[1, 2], [2, 5]], dtype=dtype)
    y = theirs(indices)
    y.backward(torch.ones_like(y))
    torch.testing.assert_close(ours(indices), y.detach())
    ours.grad_weight.fill_(0.5)  # what was there before stays
    assert ours.backward(torch.ones_like(y)) is None
    torch.testing.assert_close(ours.grad_weight, theirs.weight.grad + 0.5)


@pytest.mark.parametrize("wrong", [-1, 6])
def test_an_index_that_is_no_row(wrong: int, backend: str) -> None:
    with pytest.raises(ArgumentError, match=f"indices from 0 to 5.*{wrong}"):
        scratchnet.Embedding(6, 3)(torch.tensor([1, wrong]))
    with pytest.raises(TypeMismatch, match=r"int64 or int32, got torch\.uint8"):
        scratchnet.Embedding(6, 3)(torch.tensor([1], dtype=torch.uint8))


def test_dropout_drops_as_many_as_it_says_and_keeps_the_mean(backend: str) -> None:
    x = torch.ones(500, 200)
    for p in (0.1, 0.5, 0.9):
        layer = scratchnet.Dropout(p, generator=torch.Generator().manual_seed(1))
        y = layer(x)
        assert abs(float((y == 0).float().mean()) - p) < 0.01
        assert abs(float(y.mean()) - 1) < 0.05
        assert torch.equal(layer.backward(x), y)
        assert not torch.equal(layer(x), y)
    assert torch.equal(scratchnet.Dropout(0.0)(x), x)
    assert not scratchnet.Dropout(1.0)(x).any()
    assert torch.equal(scratchnet.Dropout(0.5).eval()(x), x)


def test_alpha_dropout_keeps_mean_and_variance(backend: str) -> None:
    x = torch.nn.functional.selu(torch.randn(1000, 100, generator=torch.Generator().manual_seed(2)))
    y = scratchnet.AlphaDropout(0.3, generator=torch.Generator().manual_seed(3))(x)
    assert abs(float(y.mean() - x.mean())) < 0.02
    assert abs(float(y.var() / x.var()) - 1) < 0.03


@pytest.mark.parametrize("shape", [(40, 30, 3, 2), (500, 3, 2)])
def test_channels_are_dropped_whole(shape: tuple[int, ...], backend: str) -> None:
    y = scratchnet.Dropout2d(0.4, generator=torch.Generator().manual_seed(1))(torch.ones(shape))
    channels = y.flatten(0, -3).flatten(1)
    assert bool((channels == channels[:, :1]).all())
    assert 0.3 < float((channels[:, 0] == 0).float().mean()) < 0.5


def test_a_generator_of_ones_own_leaves_torchs_alone() -> None:
    x, before = torch.ones(50), torch.get_rng_state()
    first, again = (scratchnet.Dropout(generator=torch.Generator().manual_seed(7)) for _ in "ab")
    assert torch.equal(first(x), again(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_random_places_look_random() -> None:
    """Neighbours, and the same place under another seed, are independent; beyond 2³² too."""
    kept = torch.stack([kept_places(2**16, 0.5, seed) for seed in (0, 1, 2**32, 2**62)]).double()
    assert bool(((kept.mean(1) - 0.5).abs() < 0.01).all())
    assert float((torch.corrcoef(kept) - torch.eye(4)).abs().max()) < 0.02
    for lag in (1, 2, 3, 16, 64, 256, 1024):
        pairs = torch.stack([kept[0, lag:], kept[0, :-lag]])
        assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.02
