"""Module: parameters and their gradients, modes, copies, states."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from zoo import WITH_PARAMETERS, ZOO

import scratchnet
from scratchnet.errors import OrderError, ScratchnetError, ShapeError, TypeMismatch

trainable = pytest.mark.parametrize("name", WITH_PARAMETERS)


def network() -> scratchnet.Sequential:
    return scratchnet.Sequential(
        scratchnet.Conv2d(3, 4, 3, 2, 1),
        scratchnet.ReLU(),
        scratchnet.Residual(scratchnet.Sequential(scratchnet.Conv2d(4, 4, 3, padding=1))),
        scratchnet.Upsampling(4, 3, 3, padding=1),
        scratchnet.Sigmoid(),
    )


def step(model: scratchnet.Module, x: torch.Tensor) -> torch.Tensor:
    y = model.forward(x)
    return model.backward(torch.ones_like(y))


def same_objects(first: list, second: list) -> bool:
    return len(first) == len(second) and all(
        a is b and c is d for (a, c), (b, d) in zip(first, second, strict=True)
    )


@trainable
def test_param_is_flat_and_always_the_same_objects(name: str, backend: str) -> None:
    layer, x = ZOO[name].make(), ZOO[name].x()
    before = layer.param()
    assert isinstance(before, list)
    for value, grad in before:
        assert value.shape == grad.shape
        assert value.dtype == grad.dtype
        assert (grad == 0).all()
        assert value.data_ptr() != grad.data_ptr()
    step(layer, x)
    layer.zero_grad()
    layer.load_state_dict({k: v.clone() for k, v in layer.state_dict().items()})
    layer.eval().train()
    layer.to(dtype=torch.float64)
    step(layer, x.double())
    assert same_objects(layer.param(), before)
    assert {value.dtype for value, _ in before} == {torch.float64}
    assert {grad.dtype for _, grad in before} == {torch.float64}


@trainable
def test_gradients_add_up_until_they_are_zeroed_in_place(name: str, backend: str) -> None:
    layer, x = ZOO[name].make(), ZOO[name].x()
    grads = [grad for _, grad in layer.param()]
    first_x, second_x = x, ZOO[name].x(seed=1)
    step(layer, first_x)
    first = [grad.clone() for grad in grads]
    layer.zero_grad()
    assert all((grad == 0).all() for grad in grads)
    step(layer, second_x)
    second = [grad.clone() for grad in grads]
    layer.zero_grad()
    step(layer, first_x)
    step(layer, second_x)
    for grad, a, b in zip(grads, first, second, strict=True):
        assert grad.abs().sum() > 0
        torch.testing.assert_close(grad, a + b)


def test_what_has_no_parameters_has_an_empty_list() -> None:
    for module in (scratchnet.ReLU(), scratchnet.MSE(), scratchnet.NearestUpsampling(2)):
        assert module.param() == []
        assert module.state_dict() == {}
        module.zero_grad()


def test_no_bias_is_no_parameter() -> None:
    layer = scratchnet.Conv2d(2, 3, 3, bias=False)
    assert layer.bias is None
    assert layer.grad_bias is None
    assert [name for name, _, _ in layer.named_param()] == ["weight"]


def test_names_are_torchs() -> None:
    assert [name for name, _, _ in network().named_param()] == [
        "0.weight",
        "0.bias",
        "2.body.0.weight",
        "2.body.0.bias",
        "3.weight",
        "3.bias",
    ]


@trainable
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_equal_and_independent(name: str, copied: object, backend: str) -> None:
    layer, x = ZOO[name].make(), ZOO[name].x()
    step(layer, x)
    twin = copied(layer)
    assert repr(twin) == repr(layer)
    for (value, grad), (kept, kept_grad) in zip(twin.param(), layer.param(), strict=True):
        assert torch.equal(value, kept)
        assert torch.equal(grad, kept_grad)
    assert torch.equal(twin(x), layer(x))
    values = [value.clone() for value, _ in layer.param()]
    sgd = scratchnet.SGD(twin.param(), 0.1)
    step(twin, x)
    sgd.step()
    assert not torch.equal(twin(x), layer(x))
    for (value, _), kept in zip(layer.param(), values, strict=True):
        assert torch.equal(value, kept)


def test_copies_leave_the_last_batch_behind() -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    small = len(pickle.dumps(layer))
    y = layer(torch.zeros(8, 2, 64, 64))
    assert len(pickle.dumps(layer)) < small + 500
    with pytest.raises(OrderError, match="before forward"):
        copy.deepcopy(layer).backward(torch.zeros_like(y))
    layer.backward(torch.zeros_like(y))  # the original keeps it


def test_a_state_goes_round_and_shares_no_memory() -> None:
    first, second = network(), network()
    state = first.state_dict()
    second.load_state_dict(state)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(first(x), second(x))
    for value, _ in first.param():
        value.zero_()
    assert all(value.abs().sum() > 0 for value, _ in second.param())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("0.bias"), ScratchnetError, r"missing \['0.bias'\], unexpected nothing"),
        (lambda s: s.update(x=torch.zeros(1)), ScratchnetError, r"unexpected \['x'\]"),
        (
            lambda s: s.update({"3.bias": torch.zeros(4)}),
            ShapeError,
            r"3.bias expects the shape \(3,\), got \(4,\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(
    change: object, error: type, message: str
) -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = {k: torch.zeros_like(v) for k, v in before.items()}
    change(state)
    with pytest.raises(error, match=message):
        model.load_state_dict(state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_state_of_another_dtype_is_converted() -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    layer.load_state_dict({k: v.double() + 1 for k, v in layer.state_dict().items()})
    assert layer.weight.dtype == torch.float32
    assert layer.weight.min() > 0


def test_modes_reach_every_child() -> None:
    model = network()
    y = model(torch.rand(1, 3, 8, 8))
    model.eval()
    for child in (model, model[2], model[2].body, model[2].body[0]):
        assert child.training is False
    with pytest.raises(OrderError):
        model.backward(torch.zeros_like(y))
    assert model.train() is model
    assert model[2].body[0].training is True


def test_optimizers_stay_attached_through_a_change_of_dtype() -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    sgd = scratchnet.SGD(layer.param(), 1.0)
    layer.to(dtype=torch.float64)
    before = layer.weight.clone()
    step(layer, torch.randn(1, 2, 5, 5, dtype=torch.float64))
    sgd.step()
    assert torch.equal(layer.weight, before - layer.grad_weight)


def test_a_change_of_dtype_forgets_the_last_batch() -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    y = layer(torch.zeros(1, 2, 5, 5))
    with pytest.raises(OrderError):
        layer.to(dtype=torch.float64).backward(y.double())


def test_only_floating_point_dtypes() -> None:
    with pytest.raises(TypeMismatch, match=r"floating-point dtype .* got torch.int64"):
        scratchnet.ReLU().to(dtype=torch.int64)


def test_the_base_class_says_what_is_missing() -> None:
    class Empty(scratchnet.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty does not define forward\(\)"):
        Empty()(torch.zeros(1))
    with pytest.raises(NotImplementedError, match=r"Empty does not define backward\(\)"):
        Empty().backward(torch.zeros(1))
