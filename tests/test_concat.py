"""Concat against autograd and finite differences, and the U-Net that is built with it."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchnet
from scratchnet import models
from scratchnet.interop import TorchConcat, to_torch
from scratchnet.ops.op import LAYOUTS
from scratchnet.testing.gradients import gradcheck
from scratchnet.testing.tensors import generator, laid_out, normal
from scratchnet.testing.twins import autograd


def concat(c: int, o: int, dtype: torch.dtype) -> scratchnet.Concat:
    conv = scratchnet.Conv2d(c, o, 3, padding=1, generator=generator(3), dtype=dtype)
    return scratchnet.Concat(scratchnet.Sequential(conv, scratchnet.Sigmoid()))


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(
    n=st.integers(0, 3),
    c=st.integers(1, 5),
    o=st.integers(1, 5),
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    layout=st.sampled_from(LAYOUTS),
)
def test_equals_autograd(
    n: int, c: int, o: int, h: int, w: int, dtype: torch.dtype, layout: str
) -> None:
    layer = concat(c, o, dtype)
    x = laid_out(normal((n, c, h, w), dtype, 1), layout)
    grad_y = laid_out(normal((n, c + o, h, w), dtype, 2), layout)
    y, grad_x = layer(x), layer.backward(grad_y)

    twin = autograd(to_torch(layer), [x], layer, [grad_y])
    (expected_y,), (expected_grad_x,), expected_grads = twin.outputs, twin.inputs, twin.parameters
    torch.testing.assert_close(y, expected_y)
    torch.testing.assert_close(grad_x, expected_grad_x)
    for name, _, grad in layer.named_param():
        torch.testing.assert_close(grad, expected_grads[name])
    gradcheck(layer, x)


def test_puts_the_input_first_and_counts_it_twice() -> None:
    layer = scratchnet.Concat(scratchnet.Sequential())
    x, grad_y = torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([3.0, 4.0, 50.0, 60.0]).view(4, 1, 1)
    assert layer(x).flatten().tolist() == [1, 2, 1, 2]
    assert layer.backward(grad_y).flatten().tolist() == [53, 64]


def test_inputs_are_left_alone() -> None:
    layer = scratchnet.Concat(scratchnet.Sequential())
    x, grad_y = torch.ones(1, 2, 3, 3), torch.ones(1, 4, 3, 3)
    layer(x).zero_()
    layer.backward(grad_y).zero_()
    assert torch.equal(x, torch.ones(1, 2, 3, 3))
    assert torch.equal(grad_y, torch.ones(1, 4, 3, 3))


def test_the_bodys_parameters_are_its_own() -> None:
    layer = concat(2, 3, torch.float32)
    assert [name for name, _, _ in layer.named_param()] == ["body.0.weight", "body.0.bias"]
    assert set(layer.state_dict()) == set(TorchConcat(to_torch(layer.body)).state_dict())
    assert type(layer)(**layer.config()).body is layer.body


def test_a_body_that_changes_the_size() -> None:
    layer = scratchnet.Concat(scratchnet.Conv2d(2, 2, 3))
    with pytest.raises(scratchnet.errors.ShapeError, match=r"\(1, 2, 5, 5\).*\(1, 2, 3, 3\)"):
        layer(torch.zeros(1, 2, 5, 5))


@pytest.mark.parametrize("shape", [(), (3,), (3, 3), (1, 1, 1, 3, 3)])
def test_wrong_ranks(shape: tuple[int, ...]) -> None:
    with pytest.raises(scratchnet.errors.ShapeError, match="expects"):
        scratchnet.Concat(scratchnet.Sequential())(torch.zeros(shape))


def test_a_gradient_of_the_wrong_shape() -> None:
    layer = scratchnet.Concat(scratchnet.Sequential())
    layer(torch.zeros(1, 2, 3, 3))
    with pytest.raises(scratchnet.errors.ShapeError, match=r"\(1, 4, 3, 3\); got \(1, 2, 3, 3\)"):
        layer.backward(torch.zeros(1, 2, 3, 3))


def test_backward_needs_a_forward_in_training_mode() -> None:
    layer = scratchnet.Concat(scratchnet.Sequential())
    with pytest.raises(scratchnet.errors.OrderError, match="before forward"):
        layer.backward(torch.zeros(1, 4, 3, 3))
    layer.eval()(torch.zeros(1, 2, 3, 3))
    with pytest.raises(scratchnet.errors.OrderError, match="eval mode"):
        layer.backward(torch.zeros(1, 4, 3, 3))


def test_the_unet_is_differentiated_like_its_torch_twin() -> None:
    model = models.build("unet", channels=4, deep=6, generator=generator(0))
    model.to(dtype=torch.float64)
    x, grad_y = normal((2, 3, 8, 12), torch.float64, 1), normal((2, 3, 8, 12), torch.float64, 2)
    twin = to_torch(copy.deepcopy(model))
    leaf = x.clone().requires_grad_()
    y = twin(leaf)
    y.backward(grad_y)

    torch.testing.assert_close(model(x), y.detach())
    torch.testing.assert_close(model.backward(grad_y), leaf.grad)
    for (_, grad), parameter in zip(model.param(), twin.parameters(), strict=True):
        torch.testing.assert_close(grad, parameter.grad)


def test_the_unet_is_the_one_described() -> None:
    model = models.build("unet")
    weights = [value.shape for name, value, _ in model.named_param() if name.endswith("weight")]
    assert len(weights) == 7
    assert {shape[0] for shape in weights} == {3, 32, 64}
    x = torch.rand(1, 3, 16, 20)
    for value, _ in model.param():
        value.zero_()
    assert torch.equal(model(x), x)  # without a correction the image comes back
