"""Layers that run as one graph: which do, and that nothing but the speed changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import scratchnet
from scratchnet import (
    GELU,
    Concat,
    Conv2d,
    Hardtanh,
    LeakyReLU,
    ReLU,
    ReLU6,
    Sequential,
    Sigmoid,
    Upsampling,
)
from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import ShapeError, TypeMismatch
from scratchnet.ops.graph import graph
from scratchnet.testing.closeness import assert_close, assert_same_bits
from scratchnet.testing.tensors import normal, whole

Named = list[tuple[str, Tensor]]


@pytest.fixture(params=["one interpreter", "auto"])
def fusing(request: pytest.FixtureRequest) -> Iterator[None]:
    """A backend that runs graphs, by the reference's interpreter; and what `auto` has here."""
    if request.param == "auto":
        yield
        return
    backend = Backend("interpreter")
    backend.implement(graph)
    with scratchnet.use_backend(backend):
        yield


def calls(model: scratchnet.Module, x: Tensor) -> list[str]:
    with dispatch.trace() as found:
        model(x)
    return [op for op, _ in found]


def only_graphs() -> Backend:
    backend = Backend("interpreter")
    backend.implement(graph)
    return backend


def step(model: scratchnet.Module, x: Tensor, grad: Tensor | None = None) -> Named:
    model.zero_grad()
    y = model(x)
    grad_x = model.backward(torch.ones_like(y) if grad is None else grad)
    grads = [(f"gradient of {name}", g.clone()) for name, _, g in model.named_param()]
    return [("output", y), ("gradient of the input", grad_x), *grads]


def unet() -> scratchnet.Module:
    return scratchnet.models.unet(channels=5, deep=6, generator=torch.Generator().manual_seed(0))


NETWORKS = {
    "paper": (lambda: scratchnet.models.noise2noise(generator=torch.Generator().manual_seed(0))),
    "residual": lambda: scratchnet.models.residual(
        channels=5, depth=3, generator=torch.Generator().manual_seed(0)
    ),
    "unet": unet,
    "concat first": lambda: Sequential(Concat(Conv2d(3, 2, 3, padding=1)), Conv2d(5, 3, 1)),
    "activations around": lambda: Sequential(ReLU(), Conv2d(3, 4, 3, groups=1), Sigmoid(), ReLU()),
    "derivatives taken from the input": lambda: Sequential(
        Conv2d(3, 4, 3), LeakyReLU(0.5), Hardtanh(-2, 2), Conv2d(4, 3, 1), GELU("tanh"), ReLU6()
    ),
    "nested": lambda: Sequential(Sequential(Conv2d(3, 4, 3, stride=2)), Sequential(ReLU())),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_network_is_one_call(name: str) -> None:
    model = NETWORKS[name]()
    with scratchnet.use_backend(only_graphs()):
        assert calls(model, torch.rand(2, 3, 8, 12)) == ["graph"]
        assert calls(model, torch.rand(3, 8, 12)) == ["graph"]


@pytest.mark.parametrize("shape", [(2, 3, 8, 12), (1, 3, 4, 4), (0, 3, 8, 8), (3, 8, 4)])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_results_are_those_of_the_layers(
    fusing: None, name: str, shape: tuple[int, ...]
) -> None:
    model = NETWORKS[name]()
    x = normal(shape, torch.float32, 1)
    fused = step(model, x)
    with scratchnet.use_backend("reference"):
        one_by_one = step(copy.deepcopy(model), x)
    for (what, actual), (_, expected) in zip(fused, one_by_one, strict=True):
        assert_close(actual, expected, what, rtol=1e-5)


@pytest.mark.parametrize("name", ["residual", "unet", "concat first", "nested"])
def test_whole_numbers_give_the_same_bits(fusing: None, name: str) -> None:
    model = NETWORKS[name]()
    for i, (value, _) in enumerate(model.param()):
        value.copy_(whole(value.shape, value.dtype, i, most=1))
    x, grad = (whole((2, 3, 8, 12), torch.float32, seed, most=1) for seed in (7, 8))
    grad = grad[:, :, : model(x).shape[2], : model(x).shape[3]]
    grad = grad.repeat(1, 2, 1, 1)[:, : model(x).shape[1]]
    fused = step(model, x, grad)
    with scratchnet.use_backend("reference"):
        one_by_one = step(copy.deepcopy(model), x, grad)
    for (what, actual), (_, expected) in zip(fused, one_by_one, strict=True):
        assert_same_bits(actual, expected, what)


def test_gradients_add_up_and_the_input_needs_none(fusing: None) -> None:
    model, x = unet(), torch.rand(2, 3, 8, 4)
    once = step(model, x)
    model.backward_parameters(torch.ones_like(model(x)))
    for (what, grad), (_, _, buffer) in zip(once[2:], model.named_param(), strict=True):
        assert_close(buffer, 2 * grad, what, rtol=1e-5)


def test_in_eval_mode_nothing_is_kept(fusing: None) -> None:
    model, x = unet(), torch.rand(2, 3, 8, 4)
    y = model(x)
    assert_close(model.eval()(x), y, "output in eval mode", rtol=1e-5)
    with pytest.raises(scratchnet.errors.OrderError, match="in eval mode"):
        model.backward(torch.ones_like(y))


def test_what_is_replaced_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Sequential(Conv2d(3, 4, 3), ReLU(), Conv2d(4, 4, 3), ReLU()), torch.rand(1, 3, 9, 9)
    with scratchnet.use_backend(only_graphs()):
        assert calls(model, x) == ["graph"]
        model[1].forward = lambda given: given * 2
        assert calls(model, x) == ["conv2d", "graph"]
        del model[1].forward
        assert calls(model, x) == ["graph"]
        with monkeypatch.context() as patch:
            patch.setattr(ReLU, "backward", lambda self, grad: grad)
            assert "graph" not in calls(model, x)
        assert calls(model, x) == ["graph"]


class Twice(ReLU):
    """A layer of one's own."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return 2 * super().forward(*inputs)


def test_what_changes_is_noticed() -> None:
    model, x = Sequential(Conv2d(3, 4, 3), ReLU(), Conv2d(4, 4, 3), ReLU()), torch.rand(1, 3, 9, 9)
    with scratchnet.use_backend(only_graphs()):
        assert calls(model, x) == ["graph"]
        model.modules[3] = Twice()
        assert calls(model, x) == ["graph", "relu"]
        model.modules[3] = Sigmoid()
        model[2].backend = "reference"
        assert calls(model, x) == ["graph", "conv2d", "sigmoid"]
        model[2].backend = None
        model[3].eval()
        model[2].eval()
        assert calls(model, x) == ["graph", "graph"]
        model.train()
        model.modules.append(Upsampling(4, 2, 3))
        assert calls(model, x) == ["graph"]
        wide = model(x).shape
        model[0].dilation = (2, 2)
        assert model(x).shape[-1] < wide[-1]
    with pytest.raises(AttributeError, match="padding"):
        model[0].padding = (1, 1)


def test_errors_are_the_layers_own(fusing: None) -> None:
    model = Sequential(Conv2d(3, 4, 3), ReLU(), Conv2d(4, 2, 5))
    with pytest.raises(ShapeError, match="Conv2d expects 3 channels"):
        model(torch.rand(1, 2, 9, 9))
    with pytest.raises(ShapeError, match="smaller than the kernel's 5x5"):
        model(torch.rand(1, 3, 5, 5))
    with pytest.raises(TypeMismatch, match=r"Conv2d expects torch.float32"):
        model(torch.rand(1, 3, 9, 9, dtype=torch.float64))
    model(torch.rand(1, 3, 9, 9))
    with pytest.raises(ShapeError, match=r"gradient of the output's shape, \(1, 2, 3, 3\)"):
        model.backward(torch.ones(1, 2, 3, 4))
    with pytest.raises(ShapeError, match="at least one channel and pixel"):
        model(torch.rand(1, 3, 0, 9))


def test_a_parameter_of_another_shape_than_in_the_call_before_is_noticed(fusing: None) -> None:
    model, x = Sequential(Conv2d(3, 4, 3), ReLU(), Conv2d(4, 2, 3)), torch.rand(1, 3, 9, 9)
    model(x)
    model[2].bias.data = torch.zeros(1)  # torch would broadcast it
    with pytest.raises(ShapeError, match="bias"):
        model(x)


def test_an_input_or_a_weight_changed_in_between_is_an_error(fusing: None) -> None:
    for change in (lambda model, x: x.mul_(2), lambda model, x: model[2].weight.add_(1)):
        model, x = Sequential(Conv2d(3, 4, 3), ReLU(), Conv2d(4, 2, 3)), torch.rand(1, 3, 9, 9)
        y = model(x)
        change(model, x)
        with pytest.raises(scratchnet.errors.OrderError, match="was changed in place"):
            model.backward(torch.ones_like(y))


def test_a_gradient_buffer_of_another_shape_is_an_error_and_not_written_beyond(
    fusing: None,
) -> None:
    model = Sequential(Conv2d(2, 3, 3, padding=1), ReLU(), Conv2d(3, 2, 3, padding=1))
    model[0].grad_weight = torch.zeros(1, 2, 3, 3)
    y = model(torch.rand(1, 2, 8, 8))
    with pytest.raises(scratchnet.errors.ShapeError, match="the buffer for the gradient"):
        model.backward(torch.ones_like(y))


def test_a_layer_in_two_places_gets_both_gradients(fusing: None) -> None:
    shared = Conv2d(3, 3, 3, padding=1)
    twice, apart = Sequential(shared, ReLU(), shared), None
    apart = Sequential(copy.deepcopy(shared), ReLU(), copy.deepcopy(shared))
    x = torch.rand(2, 3, 6, 5)
    fused = dict(step(twice, x))
    with scratchnet.use_backend("reference"):
        expected = dict(step(apart, x))
    sums = expected["gradient of 0.weight"] + expected["gradient of 2.weight"]
    assert_close(fused["gradient of 0.weight"], sums, "shared weight", rtol=1e-5)
    assert_close(fused["output"], expected["output"], "output", rtol=1e-5)
