"""Pooling layers against torch's, argument by argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import scratchnet
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.interop import from_torch, to_torch
from scratchnet.testing.tensors import normal, whole

WINDOWS: list[dict[str, Any]] = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
]
CASES = [
    *((f"{n}Pool{d}d", w) for n in ("Max", "Avg") for d in (1, 2) for w in WINDOWS),
    *((f"MaxPool{d}d", {"kernel_size": 2, "stride": 1, "dilation": 3}) for d in (1, 2)),
    ("MaxPool2d", {"kernel_size": (2, 3), "stride": (2, 1), "dilation": (1, 2)}),
    *((f"AvgPool{d}d", {**WINDOWS[3], "count_include_pad": False}) for d in (1, 2)),
    ("AvgPool2d", {"kernel_size": (2, 3), "padding": (1, 0), "divisor_override": 4}),
    *((f"LPPool{d}d", {"norm_type": 2.0, "kernel_size": 2}) for d in (1, 2)),
    ("LPPool2d", {"norm_type": 4, "kernel_size": (2, 3), "stride": 2, "ceil_mode": True}),
    *((f"Adaptive{n}Pool{d}d", {"output_size": 3}) for n in ("Max", "Avg") for d in (1, 2)),
    *((f"Adaptive{n}Pool2d", {"output_size": (None, 9)}) for n in ("Max", "Avg")),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_equals_torch(name: str, arguments: dict[str, Any], backend: str) -> None:
    layer, twin = scratchnet.build(name, **arguments), getattr(torch.nn, name)(**arguments)
    shape = (2, 3, 11) if name.endswith("1d") else (2, 3, 7, 8)
    for x in (normal(shape, torch.float64, 0), normal(shape[1:], torch.float64, 1)):
        leaf = x.clone().requires_grad_()
        expected = twin(leaf)
        torch.testing.assert_close(layer(x), expected.detach())
        grad_y = normal(expected.shape, torch.float64, 2)
        (grad_x,) = torch.autograd.grad(expected, leaf, grad_y)
        torch.testing.assert_close(layer.backward(grad_y), grad_x)
    assert repr(from_torch(to_torch(layer))) == repr(layer)
    assert repr(from_torch(twin)) == repr(layer)


@pytest.mark.parametrize("shape", [(2, 3, 11), (3, 11), (2, 3, 7, 8), (3, 7, 8)])
@pytest.mark.parametrize("adaptive", [True, False])
def test_indices_are_torchs(shape: tuple[int, ...], adaptive: bool, backend: str) -> None:
    """Few different values, so that there are ties; and what is given for indices is not read."""
    x = whole(shape, torch.float32, 5)
    kind = f"{'Adaptive' * adaptive}MaxPool{'2d' if x.shape[-1] == 8 else '1d'}"
    given = (3,) if adaptive else (3, 2, 1)
    layer = scratchnet.build(kind, *given, return_indices=True)
    expected, places = getattr(torch.nn, kind)(*given, return_indices=True)(x)
    y, indices = layer(x)
    assert torch.equal(y, expected)
    assert torch.equal(indices, places)
    plain = scratchnet.build(kind, *given)
    plain(x)
    grad_y = normal(y.shape, torch.float32, 6)
    assert torch.equal(layer.backward(grad_y, None), plain.backward(grad_y))


def test_a_norm_of_zeros_has_the_gradient_zero(backend: str) -> None:
    x = torch.zeros(1, 1, 2, 4)
    x[..., 2:] = 1
    layer = scratchnet.build("LPPool2d", 2, 2)
    layer(x)
    assert layer.backward(torch.ones(1, 1, 1, 2)).tolist() == [[[[0, 0, 0.5, 0.5]] * 2]]


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("MaxPool2d", {"kernel_size": 0}, "kernel_size to be an int or a pair"),
        ("MaxPool1d", {"kernel_size": 3, "dilation": (1, 2)}, "dilation to be an int or a row of"),
        ("AvgPool2d", {"kernel_size": 2, "padding": 2}, "at most half the kernel"),
        ("AvgPool2d", {"kernel_size": 2, "divisor_override": 0}, "divisor_override that is not 0"),
        ("LPPool2d", {"norm_type": 0, "kernel_size": 2}, "norm_type above 0"),
        ("AdaptiveAvgPool2d", {"output_size": (1, 2, 3)}, "output_size to be an int or a pair"),
        ("AdaptiveMaxPool1d", {"output_size": 0}, "output_size to be an int or a row of one"),
    ],
)
def test_arguments_that_are_refused(name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        scratchnet.build(name, **arguments)


def test_an_image_smaller_than_the_kernel_is_refused(backend: str) -> None:
    with pytest.raises(ShapeError, match="smaller than the kernel"):
        scratchnet.build("AvgPool1d", 5)(torch.ones(1, 2, 4))
