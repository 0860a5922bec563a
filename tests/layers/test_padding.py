"""Padding layers against torch's, on either side of zero, and what they refuse."""

from __future__ import annotations

import pytest
import torch

import scratchnet
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.interop import from_torch, to_torch
from scratchnet.testing.tensors import normal

NAMES = ["ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad"]
ONE_D = [2, (3, 0), (-1, 4), (4, -2), (-2, -1)]
TWO_D = [1, (1, 2, 3, 0), (-1, 2, 1, -2), (3, -3, -1, 3)]
CASES = [(f"{n}1d", p, (2, 3, 8)) for n in NAMES for p in ONE_D]
CASES += [(f"{n}2d", p, (2, 3, 7, 8)) for n in NAMES for p in TWO_D]


@pytest.mark.parametrize(("name", "padding", "shape"), CASES)
def test_equals_torch(name: str, padding: int | tuple, shape: tuple, backend: str) -> None:
    value = (0.5,) if name.startswith("Constant") else ()
    layer = scratchnet.build(name, padding, *value)
    twin = getattr(torch.nn, name)(padding, *value)
    for x in (normal(shape, torch.float64, 0), normal(shape[1:], torch.float64, 1)):
        leaf = x.clone().requires_grad_()
        expected = twin(leaf)
        y = layer(x)
        assert torch.equal(y, expected.detach())
        grad_y = normal(y.shape, torch.float64, 2)
        (grad_x,) = torch.autograd.grad(expected, leaf, grad_y)
        torch.testing.assert_close(layer.backward(grad_y), grad_x)
    assert repr(from_torch(to_torch(layer))) == repr(layer)


@pytest.mark.parametrize(
    ("name", "padding", "says"),
    [
        ("ReflectionPad2d", (1, 8, 0, 0), "7 places to copy from an axis of 8"),
        ("CircularPad1d", (9, 0), "8 places to copy from an axis of 8"),
        ("CircularPad1d", (7, -2), "6 places to copy from an axis of 8"),
        ("ZeroPad2d", (-4, -4, 0, 0), "leaves nothing of an axis of 8"),
    ],
)
def test_too_much_is_refused(name: str, padding: tuple, says: str, backend: str) -> None:
    shape = (2, 3, 8) if name.endswith("1d") else (2, 3, 7, 8)
    with pytest.raises(ShapeError, match=says):
        scratchnet.build(name, padding)(torch.ones(shape))


@pytest.mark.parametrize("padding", [1.5, (1, 2, 3), (1, 2.0), "11"])
def test_a_padding_that_is_none(padding: object) -> None:
    with pytest.raises(ArgumentError, match=r"ZeroPad1d expects padding to be an int or 2 of them"):
        scratchnet.build("ZeroPad1d", padding)
