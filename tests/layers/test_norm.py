"""Normalisation layers against torch's, argument by argument, and where numbers are large."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import scratchnet
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.interop import from_torch, to_torch
from scratchnet.testing.tensors import normal

IMAGES, SIGNALS, FEATURES = (3, 4, 7, 5), (3, 4, 9), (5, 4)
# name, arguments, shape
CASES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    *(
        (name, {"num_features": 4, **more}, shape)
        for name, shape in (
            ("BatchNorm2d", IMAGES),
            ("BatchNorm1d", SIGNALS),
            ("BatchNorm1d", FEATURES),
            ("InstanceNorm2d", IMAGES),
            ("InstanceNorm2d", IMAGES[1:]),
            ("InstanceNorm1d", SIGNALS),
            ("InstanceNorm1d", SIGNALS[1:]),
        )
        for more in (
            {},
            {"affine": True, "track_running_stats": True, "momentum": 0.3},
            {"affine": False, "eps": 1e-2},
            {"affine": True, "track_running_stats": False, "bias": False},
            {"momentum": None, "track_running_stats": True},
        )
    ),
    *(
        ("GroupNorm", {"num_groups": g, "num_channels": 4, **more}, shape)
        for g, more, shape in (
            (2, {}, IMAGES),
            (1, {"affine": False}, SIGNALS),
            (4, {"eps": 1e-2}, IMAGES),
            (2, {"bias": False}, FEATURES),
        )
    ),
    ("LayerNorm", {"normalized_shape": 5}, IMAGES),
    ("LayerNorm", {"normalized_shape": (7, 5), "eps": 1e-2}, IMAGES),
    ("LayerNorm", {"normalized_shape": [4, 7, 5], "elementwise_affine": False}, IMAGES),
    ("LayerNorm", {"normalized_shape": 9, "bias": False}, SIGNALS),
    ("RMSNorm", {"normalized_shape": 9}, SIGNALS),
    ("RMSNorm", {"normalized_shape": (7, 5), "eps": 1e-2}, IMAGES),
    ("RMSNorm", {"normalized_shape": (4,), "elementwise_affine": False}, FEATURES),
    ("LocalResponseNorm", {"size": 3, "alpha": 0.5, "beta": 0.6, "k": 2.0}, IMAGES),
    ("LocalResponseNorm", {"size": 2}, SIGNALS),
]


def with_own_values(layer: scratchnet.Module) -> scratchnet.Module:
    for i, value in enumerate(layer.parameters()):
        value.copy_(1 + 0.5 * normal(value.shape, value.dtype, i))
    return layer.to(dtype=torch.float64)


@pytest.mark.parametrize(("name", "arguments", "shape"), CASES)
def test_equals_torch(
    name: str, arguments: dict[str, Any], shape: tuple[int, ...], backend: str
) -> None:
    """Three steps in training and one in eval mode: outputs, gradients, buffers; there and back."""
    layer = with_own_values(scratchnet.build(name, **arguments))
    twin = to_torch(layer)
    assert type(twin).__name__ == name
    for seed in range(3):
        x, grad_y = (normal(shape, torch.float64, 10 * seed + i) for i in range(2))
        leaf = (3 * x + seed).requires_grad_()
        expected = twin(leaf)
        twin.zero_grad()
        expected.backward(grad_y)
        torch.testing.assert_close(layer(3 * x + seed), expected.detach())
        layer.zero_grad()
        torch.testing.assert_close(layer.backward(grad_y), leaf.grad)
        for (own, grad), theirs in zip(layer.param(), twin.parameters(), strict=True):
            torch.testing.assert_close(grad, theirs.grad)
            assert own.shape == theirs.shape
    assert list(layer.state_dict()) == list(twin.state_dict())
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[key], value)
    layer.eval(), twin.eval()
    x = normal(shape, torch.float64, 70)
    torch.testing.assert_close(layer(x), twin(x).detach())
    again = from_torch(twin)
    assert repr(again) == repr(layer)
    torch.testing.assert_close(again(x), layer(x))


def test_statistics_are_right_where_the_mean_is_large(backend: str) -> None:
    """Mean 10⁴ and deviation 1, of which float32 has three digits left behind the point."""
    x = (1e4 + normal((16, 4, 13, 11), torch.float64, 0)).float()
    grad_y = normal(x.shape, torch.float32, 1)
    for make in (
        lambda: scratchnet.build("BatchNorm2d", 4),
        lambda: scratchnet.build("GroupNorm", 2, 4),
        lambda: scratchnet.build("InstanceNorm2d", 4, affine=True),
        lambda: scratchnet.build("LayerNorm", (13, 11)),
    ):
        for last in (False, True):
            given = x.contiguous(memory_format=torch.channels_last) if last else x
            single, double = make(), make().to(dtype=torch.float64)
            y, expected = single(given), double(x.double())
            torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-5)
            grad_x = single.backward(grad_y)
            wanted = double.backward(grad_y.double())
            torch.testing.assert_close(grad_x.double(), wanted, rtol=0, atol=1e-5)
            for (_, own), (_, right) in zip(single.param(), double.param(), strict=True):
                torch.testing.assert_close(own.double(), right, rtol=1e-5, atol=1e-4)


def test_an_outlier_first_leaves_the_variance_right(backend: str) -> None:
    x = normal((8, 3, 5, 7), torch.float32, 0)
    x[0, :, 0, 0] = 1e4
    layer = scratchnet.build("BatchNorm2d", 3, momentum=1.0)
    layer(x)
    var = x.double().transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(layer.running_var.double(), var, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("BatchNorm2d", (3,), (1, 3, 1, 1)),
        ("BatchNorm1d", (3,), (1, 3)),
        ("InstanceNorm2d", (3,), (2, 3, 1, 1)),
        ("GroupNorm", (3, 3), (1, 3, 1)),
    ],
)
def test_one_value_is_refused_as_in_torch(
    name: str, arguments: tuple[int, ...], shape: tuple[int, ...], backend: str
) -> None:
    x = torch.ones(shape)
    with pytest.raises(ValueError, match="xpected more than 1"):
        getattr(torch.nn, name)(*arguments)(x)
    layer = scratchnet.build(name, *arguments)
    with pytest.raises(ShapeError, match="expects more than one value"):
        layer(x)
    if name.startswith("Batch"):
        assert layer.eval()(x).shape == shape


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("BatchNorm2d", (0,), "num_features to be an int of at least 1, got 0"),
        ("GroupNorm", (3, 4), "num_groups to divide num_channels, got 3 and 4"),
        ("LayerNorm", ((),), "at least one axis"),
        ("LayerNorm", ((3, 0),), "normalized_shape to be an int of at least 1, got 0"),
        ("LocalResponseNorm", (0,), "size to be an int of at least 1, got 0"),
    ],
)
def test_arguments_that_are_refused(name: str, arguments: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        scratchnet.build(name, *arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("BatchNorm2d", (3,), (2, 3, 4)),
        ("BatchNorm2d", (3,), (2, 4, 4, 4)),
        ("BatchNorm1d", (3,), (2, 3, 4, 4)),
        ("InstanceNorm1d", (3,), (2, 4, 4)),
        ("GroupNorm", (1, 3), (2, 4, 4)),
        ("LayerNorm", (3,), (2, 4)),
        ("RMSNorm", ((3, 2),), (2,)),
        ("LocalResponseNorm", (3,), (2, 4)),
    ],
)
def test_shapes_that_are_refused(name: str, arguments: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=f"{name} expects"):
        scratchnet.build(name, *arguments)(torch.ones(shape))


def images(dtype: torch.dtype) -> Tensor:
    return normal((2, 4, 7, 5), dtype, 3)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_folded_into_convolutions_it_gives_the_same(
    dtype: torch.dtype, tolerance: float, backend: str
) -> None:
    def block(*channels: int, **options: Any) -> list[scratchnet.Module]:
        conv = scratchnet.Conv2d(*channels, 3, padding=1, **options)
        return [conv, scratchnet.build("BatchNorm2d", channels[1])]

    shared = scratchnet.Sequential(*block(6, 6, groups=2), scratchnet.ReLU())
    model = scratchnet.Sequential(
        scratchnet.build("BatchNorm2d", 4),
        *block(4, 6, bias=False),
        scratchnet.ReLU(),
        scratchnet.Residual(scratchnet.Sequential(*block(6, 6), scratchnet.ReLU(), *block(6, 6))),
        shared,
        shared,
        scratchnet.Upsampling(6, 3, 3, padding=1),
        scratchnet.build("BatchNorm2d", 3),
        scratchnet.Conv2d(3, 2, 1),
        scratchnet.build("BatchNorm2d", 2, track_running_stats=False),
    ).to(dtype=dtype)
    for i, value in enumerate(model.parameters()):
        value.add_(0.1 * normal(value.shape, dtype, i))
    for _ in range(2):
        model(images(dtype))
    before = repr(model)
    folded = scratchnet.fold_batch_norm(model)
    assert repr(model) == before
    assert model.training
    assert repr(folded).count("BatchNorm2d") == 2
    model.eval()
    torch.testing.assert_close(
        folded(images(dtype)), model(images(dtype)), rtol=tolerance, atol=tolerance
    )


def test_folding_leaves_a_layer_alone_that_shares_its_weight() -> None:
    first, second = (scratchnet.Conv2d(4, 4, 3, padding=1) for _ in range(2))
    second.weight, second.grad_weight = first.weight, first.grad_weight
    norm = scratchnet.build("BatchNorm2d", 4)
    norm.running_var.fill_(9)
    model = scratchnet.Sequential(first, norm, scratchnet.ReLU(), second).eval()
    x = images(torch.float32)
    torch.testing.assert_close(scratchnet.fold_batch_norm(model)(x), model(x), rtol=1e-5, atol=1e-5)
