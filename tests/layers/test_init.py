"""Initial values: the numbers of torch.nn.init, bit for bit, from the same generator."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import scratchnet
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers import init

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("kaiming_uniform_", {}),
    ("kaiming_uniform_", {"a": 0.3, "mode": "fan_out"}),
    ("kaiming_normal_", {"nonlinearity": "relu"}),
    ("kaiming_normal_", {"nonlinearity": "selu", "mode": "fan_out"}),
    ("xavier_uniform_", {}),
    ("xavier_uniform_", {"gain": 5 / 3}),
    ("xavier_normal_", {"gain": 0.5}),
    ("orthogonal_", {}),
    ("orthogonal_", {"gain": 2.0}),
]


def drawn(module: Any, name: str, shape: tuple[int, ...], options: dict[str, Any]) -> torch.Tensor:
    tensor = torch.full(shape, 9.0)
    made = getattr(module, name)(tensor, **options, generator=torch.Generator().manual_seed(3))
    assert made is tensor
    return tensor


@pytest.mark.parametrize("shape", [(6, 4), (3, 8), (5, 2, 3, 2), (1, 1)])
@pytest.mark.parametrize(("name", "options"), CALLS)
def test_the_numbers_are_torchs(name: str, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    own, theirs = (drawn(m, name, shape, options) for m in (init, torch.nn.init))
    torch.testing.assert_close(own, theirs, rtol=1e-6, atol=1e-6)


def test_an_orthogonal_matrix() -> None:
    for shape in ((6, 4), (4, 6), (4, 2, 3)):
        matrix = drawn(init, "orthogonal_", shape, {"gain": 2.0}).flatten(1).double()
        product = matrix @ matrix.T if shape[0] <= matrix.shape[1] else matrix.T @ matrix
        torch.testing.assert_close(product, 4 * torch.eye(len(product)).double(), atol=1e-5, rtol=0)
    assert drawn(init, "orthogonal_", (0, 3), {}).shape == (0, 3)


def test_a_truncated_normal_distribution() -> None:
    options = {"mean": 0.5, "std": 2.0, "a": -1.0, "b": 3.0}
    values = drawn(init, "trunc_normal_", (40_000,), options).double()
    assert values.min() >= -1
    assert values.max() <= 3
    normal = torch.distributions.Normal(0.5, 2.0)
    low, high = (float(normal.cdf(torch.tensor(x))) for x in (-1.0, 3.0))
    for at in (0.0, 1.0, 2.0):
        expected = (float(normal.cdf(torch.tensor(at))) - low) / (high - low)
        assert float((values < at).double().mean()) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_are_torchs(name: str) -> None:
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.2) == pytest.approx(
        torch.nn.init.calculate_gain("leaky_relu", 0.2)
    )


def test_a_layers_weight_is_filled_where_it_lies() -> None:
    layer = scratchnet.Conv2d(3, 4, 3)
    weight, address = layer.weight, layer.weight.data_ptr()
    assert init.xavier_uniform_(layer.weight) is weight
    assert layer.weight.data_ptr() == address
    plain = torch.zeros(3, 3, requires_grad=True)
    init.trunc_normal_(plain)
    assert plain.is_leaf
    assert plain.grad_fn is None


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: init.xavier_normal_(torch.zeros(3)), ShapeError, "two dimensions or more"),
        (lambda: init.orthogonal_(torch.zeros(3)), ShapeError, "two dimensions or more"),
        (lambda: init.kaiming_normal_(torch.zeros(3, 2), mode="fan"), ArgumentError, "'fan_out'"),
        (
            lambda: init.kaiming_normal_(torch.zeros(3, 2), nonlinearity="gelu"),
            ArgumentError,
            "one of linear, sigmoid",
        ),
        (lambda: init.trunc_normal_(torch.zeros(3), a=1.0, b=1.0), ArgumentError, "a < b"),
        (lambda: init.trunc_normal_(torch.zeros(3), a=9.0, b=10.0), ArgumentError, "around the"),
    ],
)
def test_refused(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
