"""ReLU and Sigmoid against torch, at the edges of the numbers and on every shape."""

from __future__ import annotations

import math

import pytest
import torch
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

import scratchnet
from scratchnet.ops.op import LAYOUTS
from scratchnet.testing.closeness import assert_close, assert_same_bits
from scratchnet.testing.gradients import gradcheck
from scratchnet.testing.tensors import laid_out, normal
from scratchnet.testing.twins import autograd

PAIRS = [(scratchnet.ReLU, torch.relu), (scratchnet.Sigmoid, torch.sigmoid)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("make", "function"), PAIRS)
def test_equals_autograd(make: type, function: object, dtype: torch.dtype, layout: str) -> None:
    x = laid_out(normal((3, 2, 7, 5), dtype, 0), layout)
    grad_y = laid_out(normal((3, 2, 7, 5), dtype, 1), layout)
    layer = make()
    y, grad_x = layer(x), layer.backward(grad_y)
    twin = autograd(function, [x], layer, [grad_y])
    (expected,), (expected_grad,) = twin.outputs, twin.inputs
    assert_close(y, expected, "output", rtol=torch.finfo(dtype).eps)
    assert_close(grad_x, expected_grad, "gradient", rtol=4 * torch.finfo(dtype).eps)
    gradcheck(layer, x)


@drawn
@given(shape=st.lists(st.integers(0, 6), min_size=0, max_size=5), seed=st.integers(0, 9))
@pytest.mark.parametrize(("make", "function"), PAIRS)
def test_any_shape(make: type, function: object, shape: list[int], seed: int) -> None:
    x, grad_y = normal(shape, torch.float64, seed), normal(shape, torch.float64, seed + 1)
    layer = make()
    y, grad_x = layer(x), layer.backward(grad_y)
    twin = autograd(function, [x], layer, [grad_y])
    (expected,), (expected_grad,) = twin.outputs, twin.inputs
    assert_close(y, expected, "output", rtol=1e-15)
    assert_close(grad_x, expected_grad, "gradient", rtol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sigmoid_far_out(dtype: torch.dtype) -> None:
    x = torch.tensor([-math.inf, -1e30, -1000, -100, 0, 100, 1000, 1e30, math.inf], dtype=dtype)
    layer = scratchnet.Sigmoid()
    y = layer(x)
    assert y.tolist()[4:] == [0.5, 1, 1, 1, 1]
    assert y.tolist()[:3] == [0, 0, 0]
    # not zero: e⁻¹⁰⁰ is a number in both formats
    assert float(y[3]) == pytest.approx(math.exp(-100), rel=1e-5)
    grad_x = layer.backward(torch.ones_like(x))
    assert grad_x.isfinite().all()
    assert grad_x[4] == 0.25
    assert float(grad_x[3]) == pytest.approx(math.exp(-100), rel=1e-5)


@pytest.mark.parametrize(("make", "function"), PAIRS)
def test_what_is_not_a_number_comes_out_as_in_torch(make: type, function: object) -> None:
    x = torch.tensor([math.nan, -math.inf, -1e-45, -0.0, 0.0, 1e-45, math.inf])
    layer = make()
    y, grad_x = layer(x), layer.backward(torch.full_like(x, 3.0))
    twin = autograd(function, [x], layer, [torch.full_like(x, 3.0)])
    (expected,), (expected_grad,) = twin.outputs, twin.inputs
    assert_same_bits(y, expected, "output")
    assert_same_bits(grad_x, expected_grad, "gradient")
