"""Module: parameters and their gradients, modes, copies, states."""

from __future__ import annotations

import copy
import pickle
import weakref

import pytest
import torch
from zoo import WITH_PARAMETERS, ZOO

import scratchnet
from scratchnet.errors import OrderError, ScratchnetError, ShapeError, TypeMismatch
from scratchnet.testing.gradients import gradcheck

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


# -- buffers and frozen parameters -----------------------------------------------------------------


class Shifted(scratchnet.Module):
    """y = w · x + s, with s a buffer, and a count of the forwards that is not saved."""

    def __init__(self) -> None:
        self.add_parameter("w", torch.tensor([2.0, 3.0]))
        self.add_buffer("s", torch.tensor([0.5, 0.25]))
        self.add_buffer("calls", torch.tensor(0), persistent=False)
        self.add_buffer("nothing", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.save(x)
        return self.w * x + self.s

    def backward(self, grad_y: torch.Tensor) -> torch.Tensor:
        (x,) = self.saved
        self.grad_w += (grad_y * x).sum(0)
        return grad_y * self.w


def test_buffers_belong_to_the_state_and_not_to_the_parameters() -> None:
    model = scratchnet.Sequential(Shifted(), Shifted())
    assert list(model.state_dict()) == ["0.w", "0.s", "1.w", "1.s"]
    assert [name for name, _ in model.named_buffers()] == ["0.s", "0.calls", "1.s", "1.calls"]
    assert [name for name, _, _ in model.named_param()] == ["0.w", "1.w"]
    assert len(list(model.buffers())) == 4
    fresh = scratchnet.Sequential(Shifted(), Shifted())
    model[1].s.fill_(7)
    model[0].s = torch.tensor([1.0, 2.0])  # another tensor, which is the buffer from now on
    fresh.load_state_dict(model.state_dict())
    x = torch.rand(3, 2)
    assert torch.equal(fresh(x), model(x))
    with pytest.raises(ScratchnetError, match=r"missing \['0.s'"):
        fresh.load_state_dict({name: value for name, value, _ in model.named_param()})


def test_buffers_follow_a_change_of_dtype_unless_they_count() -> None:
    layer = Shifted()
    held = layer.s
    layer.to(dtype=torch.float64)
    assert layer.s is held
    assert layer.s.dtype == torch.float64
    assert layer.calls.dtype == torch.int64
    assert copy.deepcopy(layer).s is not held


def test_a_state_shares_memory_and_is_of_plain_tensors() -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    state = layer.state_dict()
    assert {type(value) for value in state.values()} == {torch.Tensor}
    state["weight"].fill_(5)
    assert (layer.weight == 5).all()


@pytest.mark.parametrize("kind", [scratchnet.SGD, torch.optim.SGD, torch.optim.Adam])
def test_a_frozen_parameter_never_moves(kind: type) -> None:
    model = network()
    model[0].requires_grad_(False)
    model[3].weight.requires_grad = False
    frozen = [model[0].weight, model[0].bias, model[3].weight]
    assert not any(value.requires_grad for value in frozen)
    assert [name for name, _, _ in model.named_param()] == [
        "2.body.0.weight",
        "2.body.0.bias",
        "3.bias",
    ]
    assert len(list(model.parameters())) == len(model.state_dict()) == 6
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ours = kind is scratchnet.SGD
    optimizer = kind(model.param() if ours else model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        model.zero_grad()
        step(model, torch.rand(1, 3, 8, 8))
        optimizer.step()
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {"2.body.0.weight", "2.body.0.bias", "3.bias"}


def test_a_thawed_parameter_starts_from_a_gradient_of_zero() -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    layer.requires_grad_(False)
    step(layer, torch.rand(1, 2, 5, 5))
    assert layer.param() == []
    assert layer.weight.grad is None
    layer.requires_grad_()
    assert len(layer.param()) == 2
    assert layer.weight.grad is layer.grad_weight
    assert (layer.grad_weight == 0).all()
    frozen = copy.deepcopy(layer.requires_grad_(False))
    assert not any(value.requires_grad for value in pickle.loads(pickle.dumps(frozen)).parameters())


# -- what is written for torch.nn ------------------------------------------------------------------


@pytest.mark.parametrize("none", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
        lambda p: torch.optim.AdamW(p, 0.1),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, foreach=True),
    ],
)
def test_torchs_optimizers_schedules_and_clipping_work(make: object, none: bool) -> None:
    """Six steps beside torch.nn, to the bit in what surrounds the gradients."""
    model = network().to(dtype=torch.float64)
    twin = torch.nn.Sequential(*(scratchnet.to_torch(layer) for layer in model))
    pair = []
    for parameters in (model.parameters(), twin.parameters()):
        optimizer = make(parameters)
        pair.append((optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, 10)))
    held = [value.grad for value in model.parameters()]
    for seed in range(6):
        x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).double()
        for optimizer, _ in pair:
            optimizer.zero_grad(set_to_none=none)
        y = model.forward(x)
        model.backward(y)
        (twin(x).square().sum() / 2).backward()
        ours = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        theirs = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.3)
        torch.testing.assert_close(ours, theirs)
        for optimizer, schedule in pair:
            optimizer.step()
            schedule.step()
    assert all(a is b.grad for a, b in zip(held, model.parameters(), strict=True))
    for value, parameter in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(value.detach(), parameter.detach(), rtol=1e-9, atol=1e-11)


def test_torchs_averaging_works() -> None:
    model = network()
    averaged = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    total = torch.zeros_like(model[0].weight)
    for i in range(3):
        model[0].weight.fill_(i + 1)
        total += model[0].weight
        averaged.update_parameters(model)
    torch.testing.assert_close(averaged.module[0].weight.detach(), total.detach() / 3)
    assert averaged(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)


def test_torchs_optimizer_given_pairs_says_so() -> None:
    optimizer = torch.optim.SGD(scratchnet.Conv2d(2, 3, 3).param(), 0.1)
    for call in (optimizer.zero_grad, optimizer.step):
        with pytest.raises(TypeMismatch, match=r"give torch.optim model.parameters\(\)"):
            call()


def test_parameters_and_gradients_are_ordinary_in_sums() -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    for tensor in (layer.weight, layer.grad_weight):
        assert type(tensor + 1) is type(tensor.clone()) is type(tensor.detach()) is torch.Tensor
    buffer = layer.grad_weight
    layer.grad_weight += 1
    assert layer.grad_weight is buffer is layer.weight.grad
    layer.weight.grad = None
    assert (buffer == 0).all()
    layer.weight.grad = torch.ones_like(buffer)
    assert (buffer == 1).all()
    layer.weight.data = layer.weight.data.to(memory_format=torch.channels_last)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert not (layer.weight * 2).requires_grad


# -- a module used several times in a pass ---------------------------------------------------------


class Squares(scratchnet.Module):
    """y = x²: its gradient needs the input of that very use."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.save(x)
        return x * x

    def backward(self, grad_y: torch.Tensor) -> torch.Tensor:
        (x,) = self.saved
        return 2 * x * grad_y


class Recurrent(scratchnet.Module):
    """h ← tanh-free cell(h) for a number of steps: one layer, used again and again."""

    def __init__(self, cell: scratchnet.Module, steps: int) -> None:
        self.cell, self.steps = cell, steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(self.steps):
            x = self.cell.forward(x)
        return x

    def backward(self, grad: torch.Tensor) -> torch.Tensor:
        for _ in range(self.steps):
            grad = self.cell.backward(grad)
        return grad


def test_last_in_first_out_and_a_backward_may_be_repeated() -> None:
    model = Recurrent(Squares(), 3)
    x = torch.tensor([1.1, -0.7], dtype=torch.float64)
    y = model.forward(x)
    for _ in range(3):
        torch.testing.assert_close(model.backward(torch.ones_like(y)), 8 * x**7)
    gradcheck(model, x)


@pytest.mark.parametrize("activation", [True, False])
def test_a_layer_in_two_places_shares_its_weights(activation: bool, backend: str) -> None:
    """As in torch: listed once among the parameters, twice in the state, gradients add up."""
    conv = scratchnet.Conv2d(2, 2, 3, padding=1)
    between = [scratchnet.Sigmoid()] if activation else []
    model = scratchnet.Sequential(conv, *between, conv, scratchnet.ReLU()).to(dtype=torch.float64)
    shared = scratchnet.to_torch(conv)
    twin = torch.nn.Sequential(
        shared, *([torch.nn.Sigmoid()] if activation else []), shared, torch.nn.ReLU()
    )
    assert len(model.param()) == len(list(twin.parameters())) == 2
    assert list(model.state_dict()) == list(twin.state_dict())
    x = torch.randn(2, 2, 6, 5, dtype=torch.float64)
    y = model.forward(x)
    model.backward(torch.ones_like(y))
    twin(x).sum().backward()
    torch.testing.assert_close(conv.grad_weight.detach(), shared.weight.grad)
    torch.testing.assert_close(conv.grad_bias.detach(), shared.bias.grad)
    model.load_state_dict(twin.state_dict())
    gradcheck(model, x)


def test_forwards_without_backward_do_not_pile_up() -> None:
    model = Recurrent(Squares(), 3)
    inputs = []
    for _ in range(5):
        x = torch.rand(2)
        inputs.append(weakref.ref(x))
        model.forward(x)
    del x
    assert sum(x() is not None for x in inputs) == 1


def test_a_second_backward_after_two_separate_forwards_is_no_wrong_gradient() -> None:
    layer = Squares()
    first, second = torch.rand(2), torch.rand(2)
    layer.forward(first)
    layer.forward(second)
    assert torch.equal(layer.backward(torch.ones(2)), 2 * second)
    with pytest.raises(OrderError, match="within the forward of another module"):
        layer.backward(torch.ones(2))


def test_a_part_that_has_run_by_itself_is_no_wrong_gradient() -> None:
    model = scratchnet.Sequential(Squares(), scratchnet.Sigmoid())
    model.forward(torch.rand(2))
    model[0].forward(torch.rand(2))
    with pytest.raises(OrderError, match="Squares has run again since the forward of the module"):
        model.backward(torch.ones(2))


def test_a_failed_forward_leaves_no_record() -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    with pytest.raises(ShapeError):
        layer.forward(torch.zeros(1, 2, 1, 1))
    with pytest.raises(OrderError, match="before forward"):
        layer.backward(torch.zeros(1, 3, 1, 1))


@pytest.mark.parametrize("change", [lambda x: x.mul_(2), lambda x: x[0].zero_()])
def test_what_is_kept_must_not_be_changed(change: object, backend: str) -> None:
    layer = scratchnet.Conv2d(2, 3, 3)
    x = torch.rand(2, 2, 5, 5)
    y = layer.forward(x)
    change(x)
    with pytest.raises(OrderError, match=r"\(2, 2, 5, 5\) that .*changed in place"):
        layer.backward(torch.ones_like(y))
    relu = scratchnet.ReLU()
    change(relu.forward(x))
    with pytest.raises(OrderError, match=r"backward of relu reads"):
        relu.backward(torch.ones_like(x))


def test_inference_tensors_can_be_kept() -> None:
    with torch.inference_mode():
        x = torch.ones(2)
        layer = Squares()
        layer.forward(x)
        assert torch.equal(layer.backward(x), 2 * x)


class Difference(scratchnet.Module):
    """(a − b, a[i]): two floating-point inputs and one of indices, two outputs."""

    integer_inputs = True

    def forward(self, a: torch.Tensor, b: torch.Tensor, i: torch.Tensor) -> tuple:
        self.save(a.shape, i)
        return a - b, a[i]

    def backward(self, grad: torch.Tensor, grad_picked: torch.Tensor) -> tuple:
        shape, i = self.saved
        picked = torch.zeros(shape, dtype=grad.dtype).index_add_(0, i, grad_picked)
        return grad + picked, -grad, None


def test_several_inputs_and_outputs() -> None:
    class Doubles(scratchnet.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.cat([a, b])

        def backward(self, grad: torch.Tensor) -> tuple:
            return grad[:3], grad[3:]

    model = scratchnet.Sequential(Difference(), Doubles())
    a, b, i = torch.rand(3, 2), torch.rand(3, 2), torch.tensor([2, 2])
    assert model.forward(a, b, i).shape == (5, 2)
    grad_a, grad_b, grad_i = model.backward(torch.ones(5, 2))
    assert torch.equal(grad_a, torch.tensor([[1.0, 1], [1, 1], [3, 3]]))
    assert torch.equal(grad_b, -torch.ones(3, 2))
    assert grad_i is None
    model.zero_grad()
    model.forward(a, b, i)
    model.backward_parameters(torch.ones(5, 2))
