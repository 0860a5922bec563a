"""Conv2d against autograd and finite differences, over the shared grid and drawn cases."""

from __future__ import annotations

import pytest
import torch
from against_autograd import assert_equals_autograd, tensors
from hypothesis import HealthCheck, given, settings

import scratchnet
from scratchnet.ops.convolution_cases import CONVOLUTIONS, Case
from scratchnet.testing import strategies
from scratchnet.testing.gradients import gradcheck

drawn = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def conv(case: Case, dtype: torch.dtype) -> scratchnet.Conv2d:
    return scratchnet.Conv2d(
        case.c,
        case.o,
        case.kernel,
        bias=case.bias,
        **case.geometry,
        dtype=dtype,
        generator=torch.Generator().manual_seed(3),
    )


def check(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        x, grad_y = tensors(case, dtype, case.y_shape)
        layer = conv(case, dtype)
        assert_equals_autograd(layer, x, grad_y)
    gradcheck(layer, x)


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_grid(case: Case, backend: str) -> None:
    check(case)


@drawn
@given(case=strategies.convolutions())
def test_drawn(case: Case, backend: str) -> None:
    check(case)


def test_a_known_image(backend: str) -> None:
    """Worked by hand: a 2x3 kernel over a 3x4 image, stride 1, no padding."""
    layer = scratchnet.Conv2d(1, 1, (2, 3))
    layer.weight.copy_(torch.tensor([[[[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]]]]))
    layer.bias.fill_(10.0)
    x = torch.arange(12.0).view(1, 1, 3, 4)  # rows 0 1 2 3 / 4 5 6 7 / 8 9 10 11

    # y[0,0] = (0 - 2) + (2*4 + 5) + 10
    assert layer(x).tolist() == [[[[21.0, 24.0], [33.0, 36.0]]]]
    grad_x = layer.backward(torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))
    assert grad_x.tolist() == [[[[1, 0, -1, 0], [2, 1, 0, 0], [0, 0, 0, 0]]]]
    assert layer.grad_weight.tolist() == [[[[0, 1, 2], [4, 5, 6]]]]
    assert layer.grad_bias.tolist() == [1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 3), "in_channels to be an int of at least 1, got 0"),
        ((3, 4.0, 3), "out_channels to be an int of at least 1, got 4.0"),
        ((3, True, 3), "out_channels to be an int"),
        ((3, 4, 0), "kernel_size to be an int or a pair of them, at least 1; got 0"),
        ((3, 4, (3, 3, 3)), r"kernel_size .* got \(3, 3, 3\)"),
        ((3, 4, "33"), "kernel_size .* got '33'"),
        ((3, 4, 3, 0), "stride .* at least 1; got 0"),
        ((3, 4, 3, 1, -1), "padding .* at least 0; got -1"),
        ((3, 4, 3, 1, (1, -1)), r"padding .* got \(1, -1\)"),
        ((3, 4, 3, 1, 1, 0), "dilation .* at least 1; got 0"),
        ((3, 4, 3, 1, 1, 1, 2), "groups to divide .*groups=2, in_channels=3, out_channels=4"),
        ((3, 4, 3, 1, "full"), "padding to be whole numbers, 'valid' or 'same'; got 'full'"),
        ((3, 4, 3, 2, "same"), r"a stride of 1 where padding='same', got \(2, 2\)"),
        ((3, 4, 3, 1, 1, 1, 1, True, "mirror"), "padding_mode to be one of zeros, .* got 'mirror'"),
    ],
)
def test_wrong_arguments(arguments: tuple, message: str) -> None:
    with pytest.raises(scratchnet.errors.ArgumentError, match=f"Conv2d expects {message}"):
        scratchnet.Conv2d(*arguments)


def test_a_kernel_larger_than_the_image(backend: str) -> None:
    layer = scratchnet.Conv2d(3, 4, (3, 5), padding=1, dilation=2)
    message = "padded input is 7x8, smaller than the kernel's 5x9"
    with pytest.raises(scratchnet.errors.ShapeError, match=message):
        layer(torch.zeros(1, 3, 5, 6))


@pytest.mark.parametrize("groups", [1, 2])
def test_initial_values_are_uniform_and_seeded(groups: int) -> None:
    def make(seed: int) -> scratchnet.Conv2d:
        generator = torch.Generator().manual_seed(seed)
        return scratchnet.Conv2d(16, 256, (3, 5), groups=groups, generator=generator)

    layer = make(0)
    bound = (groups / (16 * 3 * 5)) ** 0.5
    for values in (layer.weight, layer.bias):
        assert -bound <= values.min() < -0.95 * bound
        assert 0.95 * bound < values.max() <= bound
    assert abs(layer.weight.mean()) < 0.02 * bound
    assert abs(layer.weight.std() - bound / 3**0.5) < 0.02 * bound

    assert torch.equal(make(0).weight, layer.weight)
    assert torch.equal(make(0).bias, layer.bias)
    assert not torch.equal(make(1).weight, layer.weight)


def test_the_global_generator_seeds_where_none_is_given() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = scratchnet.Conv2d(2, 3, 3).weight
        torch.manual_seed(5)
        assert torch.equal(scratchnet.Conv2d(2, 3, 3).weight, first)
