"""Parameters and gradient buffers that somebody has put others in the place of: no kernel may write
outside them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from scratchnet import _C, Conv2d, ReLU, Sequential, use_backend
from scratchnet.errors import ScratchnetError, ShapeError, TypeMismatch

X = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def chain() -> Sequential:
    return Sequential(Conv2d(2, 3, 3, padding=1), ReLU(), Conv2d(3, 2, 3, padding=1))


def alone() -> Sequential:
    return Sequential(Conv2d(2, 3, 3, padding=1))


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("grad_weight", torch.zeros(1, 2, 3, 3), ShapeError, r"\(3, 2, 3, 3\), got \(1, 2, 3, 3\)"),
        ("grad_weight", torch.zeros(0), ShapeError, r"got \(0,\)"),
        ("grad_bias", torch.zeros(1), ShapeError, r"expected the shape \(3,\), got \(1,\)"),
        ("grad_bias", torch.zeros(3, 1), ShapeError, r"got \(3, 1\)"),
        ("grad_weight", torch.zeros(3, 2, 3, 3).double(), TypeMismatch, "got torch.float64"),
        ("grad_weight", torch.zeros(3, 2, 3, 3, dtype=torch.int64), TypeMismatch, "torch.int64"),
        ("grad_weight", torch.zeros(3, 2, 3, 3, device="meta"), TypeMismatch, "on meta"),
    ],
)
def test_a_fused_chain_refuses_a_gradient_buffer_unlike_its_parameter(
    name: str, value: Tensor, error: type[ScratchnetError], message: str
) -> None:
    net = chain()
    setattr(net[0], name, value)
    with use_backend("cpp"):
        y = net.forward(X)
        with pytest.raises(error, match=message):
            net.backward(torch.ones_like(y))
    assert not any(grad.any() for _, grad in net.param() if grad is not value)


def test_a_buffer_of_other_strides_gets_the_same_gradient(backend: str) -> None:
    plain, other = chain(), chain()
    other.load_state_dict(plain.state_dict())
    other[0].grad_weight = torch.zeros(3, 3, 3, 2).permute(0, 3, 1, 2)
    for net in (plain, other):
        net.backward(torch.ones_like(net.forward(X)))
    torch.testing.assert_close(other[0].grad_weight, plain[0].grad_weight.as_subclass(Tensor))


@pytest.mark.parametrize("make", [chain, alone])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", torch.zeros(1, 2, 3, 3)),
        ("weight", torch.zeros(3, 2, 3)),
        ("weight", torch.zeros(3, 2, 0, 3)),
        ("weight", torch.zeros(3, 2, 3, 3).double()),
        ("weight", torch.zeros(3, 2, 3, 3, device="meta")),
        ("bias", torch.zeros(1)),
        ("bias", torch.zeros(3, 1)),
        ("bias", torch.zeros(3, dtype=torch.int64)),
        ("dilation", (0, 0)),
        ("dilation", (2**62, 2**62)),
        ("stride", (0, 1)),
        ("groups", 0),
    ],
)
def test_a_parameter_or_option_that_does_not_fit_is_an_error(
    backend: str, make: Callable[[], Sequential], name: str, value: object
) -> None:
    net = make()
    setattr(net[0], name, value)
    with pytest.raises(ScratchnetError):
        net.forward(X)


def test_a_weight_that_changes_its_size_after_the_forward_is_an_error(backend: str) -> None:
    net = chain()
    y = net.forward(X)
    net[0].weight.data = torch.zeros(1)
    with pytest.raises(ScratchnetError):
        net.backward(torch.ones_like(y))


def test_what_another_dtype_kept_is_refused_by_the_kernels() -> None:
    x = torch.rand(1, 2, 4, 4)
    stages = [("sigmoid", (0,), {}), ("sigmoid", (1,), {}), ("sigmoid", (2,), {})]
    single, double = (_C.Graph(stages, (2, 4, 4), is_double) for is_double in (False, True))
    kept = single.forward(x, [], torch.empty_like(x), True)
    x = x.double()
    with pytest.raises(ValueError, match="kept: expected what the forward"):
        double.backward(x, x, x, kept, [], [], torch.empty_like(x))
