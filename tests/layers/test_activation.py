"""Every activation against torch.nn: the kit, the edges of the numbers, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import scratchnet
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.interop import TorchSwiGLU, from_torch, to_torch
from scratchnet.testing import Check, layer_checks, parametrize_with_checks
from scratchnet.testing.closeness import assert_close
from scratchnet.testing.tensors import generator, normal
from scratchnet.testing.twins import autograd

# {name: the arguments of torch's documentation, and some off the defaults}
ELEMENT_WISE: dict[str, list[dict[str, Any]]] = {
    "ReLU": [{}],
    "ReLU6": [{}],
    "LeakyReLU": [{}, {"negative_slope": 0.2}],
    "Hardtanh": [{}, {"min_val": -2.0, "max_val": 0.5}],
    "Threshold": [{"threshold": 0.1, "value": 20.0}],
    "Hardshrink": [{}, {"lambd": 1.0}],
    "Softshrink": [{}, {"lambd": 0.0}],
    "Hardsigmoid": [{}],
    "Hardswish": [{}],
    "Sigmoid": [{}],
    "LogSigmoid": [{}],
    "Tanh": [{}],
    "Tanhshrink": [{}],
    "Softsign": [{}],
    "Softplus": [{}, {"beta": 2.0, "threshold": 1.0}],
    "ELU": [{}, {"alpha": 2.0}],
    "CELU": [{}, {"alpha": 2.0}],
    "SELU": [{}],
    "SiLU": [{}],
    "Mish": [{}],
    "GELU": [{}, {"approximate": "tanh"}],
    "RReLU": [{}, {"lower": 0.1, "upper": 0.3}],
}
OTHERS: dict[str, list[dict[str, Any]]] = {
    "PReLU": [{}, {"num_parameters": 4, "init": -0.5}],
    "Softmax": [{"dim": -1}],
    "LogSoftmax": [{"dim": -2}],
    "Softmin": [{"dim": 3}],
    "Softmax2d": [{}],
    "GLU": [{"dim": -3}],
    "SwiGLU": [{"dim": 1}],
}
ALL = [(name, one) for name, several in {**ELEMENT_WISE, **OTHERS}.items() for one in several]
IMAGES = normal((2, 4, 7, 5), torch.float32, 0)
both = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def ours(name: str, arguments: dict[str, Any]) -> scratchnet.Module:
    return getattr(scratchnet, name)(**arguments)


def theirs(name: str, arguments: dict[str, Any]) -> nn.Module:
    return TorchSwiGLU(**arguments) if name == "SwiGLU" else getattr(nn, name)(**arguments)


def checks() -> list[Check]:
    return [
        check
        for name, arguments in ALL
        if arguments and name != "Threshold"  # the others are in zoo.py
        for check in layer_checks(
            lambda name=name, arguments=arguments: ours(name, arguments),
            [3 * IMAGES],
            twin=theirs(name, arguments),
            name=f"{name}({arguments})",
        )
    ]


@parametrize_with_checks(checks())
def test_conforms(check: Check) -> None:
    check()


@pytest.mark.parametrize(("name", "arguments"), ALL)
def test_there_and_back(name: str, arguments: dict[str, Any]) -> None:
    layer = ours(name, arguments)
    module = to_torch(layer)
    assert repr(module) == repr(theirs(name, arguments))
    assert repr(from_torch(module)) == repr(layer)


@drawn
@given(shape=st.lists(st.integers(0, 6), min_size=0, max_size=5), seed=st.integers(0, 9))
@pytest.mark.parametrize("name", ["ReLU", "Sigmoid"])
def test_any_shape(name: str, shape: list[int], seed: int, backend: str) -> None:
    x, grad_y = normal(shape, torch.float64, seed), normal(shape, torch.float64, seed + 1)
    layer = ours(name, {})
    y, grad_x = layer(x), layer.backward(grad_y)
    twin = autograd(theirs(name, {}), [x], layer, [grad_y])
    (expected,), (expected_grad,) = twin.outputs, twin.inputs
    assert_close(y, expected, "output", rtol=1e-15)
    assert_close(grad_x, expected_grad, "gradient", rtol=1e-15)


# -- the edges of the numbers ----------------------------------------------------------------------

PLAIN = [(name, one) for name, several in ELEMENT_WISE.items() for one in several]
SPECIAL = [math.nan, -math.inf, -1e30, -1e4, -104.0, -88.5, -20.0, -3.0, -1e-30, -0.0,
           0.0, 1e-30, 3.0, 6.0, 20.0, 88.5, 104.0, 1e4, 1e30, math.inf]  # fmt: skip


@both
@pytest.mark.parametrize(("name", "arguments"), PLAIN)
def test_far_out_and_what_is_not_a_number(
    name: str, arguments: dict[str, Any], dtype: torch.dtype, backend: str
) -> None:
    """As torch in float64, rounded; a gradient may be a number where torch's is nan."""
    x = torch.tensor(SPECIAL, dtype=dtype)
    layer = ours(name, {"lower": 0.25, "upper": 0.25} if name == "RReLU" else arguments)
    y, grad_x = layer(x), layer.backward(torch.full_like(x, 3.0))
    wide = autograd(to_torch(layer), [x.double()], layer, [torch.full_like(x, 3.0).double()])
    eps = torch.finfo(torch.float32 if name == "Hardsigmoid" else dtype).eps  # see its twin()
    torch.testing.assert_close(
        y, wide.outputs[0].to(dtype), rtol=16 * eps, atol=8 * eps, equal_nan=True
    )
    known = ~wide.inputs[0].isnan() & ~x.isnan()
    torch.testing.assert_close(
        grad_x[known], wide.inputs[0].to(dtype)[known], rtol=16 * eps, atol=8 * eps
    )


@both
def test_small_numbers_keep_their_digits(dtype: torch.dtype, backend: str) -> None:
    """Where a naive formula cancels: e^x - 1 at 0, 1 + e^x far left, Φ(x) far left."""
    x = torch.tensor([-1e-12, -1e-6, -1e-3], dtype=dtype)
    rtol = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(scratchnet.ELU()(x), torch.expm1(x), rtol=rtol, atol=0)
    torch.testing.assert_close(scratchnet.Tanh()(x), torch.tanh(x), rtol=rtol, atol=0)
    far = torch.tensor([-60.0, -30.0, -10.0], dtype=dtype)
    torch.testing.assert_close(scratchnet.Softplus()(far), torch.exp(far), rtol=1e-4, atol=0)
    torch.testing.assert_close(scratchnet.LogSigmoid()(-far), -torch.exp(far), rtol=1e-4, atol=0)
    left = torch.tensor([-12.0, -9.0, -6.0, -3.0], dtype=dtype)
    values = [x * math.erfc(-x / math.sqrt(2)) / 2 for x in left.tolist()]
    exact = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(
        scratchnet.GELU()(left).double(), exact, rtol=100 * torch.finfo(dtype).eps, atol=0
    )


@both
@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Softmin"])
def test_softmax_at_the_edges(name: str, dtype: torch.dtype, backend: str) -> None:
    """As torch, to the nan: of -∞ alone, of +∞, of differences that would overflow."""
    inf, nan = math.inf, math.nan
    rows = [[1e4, 1e4, -1e4], [-inf, 0.0, 1.0], [-inf] * 3, [inf, 0, 1], [nan, 0, 1], [3.0] * 3]
    x = torch.tensor(rows, dtype=dtype)
    grad_y = torch.tensor([1.0, 2.0, -3.0], dtype=dtype).expand_as(x)
    for dim, at, grad in ((1, x, grad_y), (0, x.mT, grad_y.mT)):
        layer, module = ours(name, {"dim": dim}), theirs(name, {"dim": dim})
        y, grad_x = layer(at), layer.backward(grad)
        twin = autograd(module, [at], layer, [grad])
        torch.testing.assert_close(y, twin.outputs[0], equal_nan=True)
        torch.testing.assert_close(grad_x, twin.inputs[0], equal_nan=True)


# -- what is particular ----------------------------------------------------------------------------


def test_rrelu_draws_a_slope_for_each_element(backend: str) -> None:
    x = -torch.ones(50, 41)
    layer = scratchnet.RReLU(0.2, 0.6, generator=generator(3))
    before = torch.get_rng_state()
    slopes = -layer(x)
    assert torch.equal(torch.get_rng_state(), before), "it has a generator of its own"
    assert 0.2 <= slopes.min() < 0.21
    assert 0.59 < slopes.max() <= 0.6
    assert abs(slopes.mean() - 0.4) < 0.01
    assert torch.equal(layer.backward(3 * torch.ones_like(x)), 3 * slopes)
    assert not torch.equal(-layer(x), slopes)
    again = scratchnet.RReLU(0.2, 0.6, generator=generator(3))
    assert torch.equal(-again(x), slopes)
    torch.testing.assert_close(layer.eval()(x), 0.4 * x)


def test_the_slope_of_prelu_is_one_or_the_channels() -> None:
    assert scratchnet.PReLU(dtype=torch.float64).weight.dtype == torch.float64
    assert scratchnet.PReLU(3).weight.tolist() == [0.25] * 3
    with pytest.raises(ShapeError, match=r"one for each of the 4 channels of x.*got \(3,\)"):
        scratchnet.PReLU(3)(IMAGES)
    with pytest.raises(ArgumentError, match="num_parameters to be an int of at least 1, got 0"):
        scratchnet.PReLU(0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: scratchnet.Softplus(beta=0), "softplus expects beta to be another number than 0"),
        (lambda: scratchnet.CELU(0), "celu expects alpha to be another number than 0"),
        (lambda: scratchnet.Hardtanh(1, 1), "min_val < max_val, got 1 and 1"),
        (lambda: scratchnet.Softshrink(-1), "lambd of at least 0, got -1"),
        (lambda: scratchnet.LeakyReLU("x"), "negative_slope to be a number, got 'x'"),
        (lambda: scratchnet.RReLU(0.5, 0.1), "lower ≤ upper, got 0.5 and 0.1"),
        (lambda: scratchnet.GELU("erf"), "one of none, tanh, got 'erf'"),
        (lambda: scratchnet.Softmax(), "expects the axis, got dim=None.*dim=1 for the channels"),
        (lambda: scratchnet.Softmin(), "Softmin expects the axis"),
        (lambda: scratchnet.Softmax(4)(IMAGES), "softmax expects dim to be an axis of x"),
        (lambda: scratchnet.GLU(2)(IMAGES), r"halves dim=2 and expects it to be even, got \(2, 4"),
        (lambda: scratchnet.Softmax2d()(IMAGES[0, 0]), r"\(N, C, H, W\) or \(C, H, W\), got"),
    ],
)
def test_arguments_out_of_range(make: Any, says: str) -> None:
    with pytest.raises((ArgumentError, ShapeError), match=says):
        make()


IN_PLACE = ["ReLU", "ReLU6", "LeakyReLU", "Hardtanh", "Threshold", "Hardsigmoid", "Hardswish",
            "ELU", "CELU", "SELU", "SiLU", "Mish", "RReLU"]  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_is_refused_and_taken_over_as_what_it_computes(name: str) -> None:
    arguments = ELEMENT_WISE[name][0]
    with pytest.raises(ArgumentError, match=f"{name} expects inplace=False: layers never write"):
        ours(name, {**arguments, "inplace": True})
    module = theirs(name, {**arguments, "inplace": True})
    assert repr(from_torch(module)) == repr(ours(name, {**arguments, "inplace": False}))


def test_softmax2d_of_one_image() -> None:
    y = scratchnet.Softmax2d()(IMAGES[0])
    torch.testing.assert_close(y.sum(0), torch.ones(7, 5))


def test_which_half_is_the_gate() -> None:
    """Of GLU the second, of SwiGLU the first."""
    x: Tensor = torch.tensor([2.0, -50.0])
    assert abs(float(scratchnet.GLU()(x))) < 1e-20
    torch.testing.assert_close(scratchnet.SwiGLU()(x), torch.sigmoid(x[:1]) * 2 * -50)
