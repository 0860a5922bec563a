"""Networks on both sides of torch.nn: equal outputs, equal gradients, and honest refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from rightlayers import BatchNorm, Dropout, Embedding, SumAndProduct
from torch import Tensor, nn

import scratchnet
from scratchnet import models
from scratchnet.interop import TorchConcat, TorchResidual, as_autograd, from_torch, to_torch
from scratchnet.testing.closeness import assert_close, tolerance
from scratchnet.testing.tensors import generator, normal


def conv(c: int, o: int, *args: Any, **kwargs: Any) -> scratchnet.Conv2d:
    return scratchnet.Conv2d(c, o, *args, generator=generator(c + o), **kwargs)


def assert_equal_networks(ours: scratchnet.Module, theirs: nn.Module, x: Tensor) -> None:
    """Output, gradient of the input and gradients of the parameters, in order, are equal."""
    leaf = x.clone().requires_grad_()
    y = theirs(leaf)
    grad_y = normal(y.shape, x.dtype, 5)
    theirs.zero_grad()
    y.backward(grad_y)
    torch.testing.assert_close(ours.forward(x), y.detach())
    ours.zero_grad()
    torch.testing.assert_close(ours.backward(grad_y), leaf.grad)
    rtol = tolerance(x.dtype, terms=grad_y.numel())  # each is a sum over images and pixels
    for (_, grad), parameter in zip(ours.param(), theirs.parameters(), strict=True):
        assert parameter.grad is not None
        assert_close(grad, parameter.grad, "a parameter's gradient", rtol=rtol)


OURS = {
    "conv": lambda: conv(3, 4, (3, 2), stride=(1, 2), padding=(2, 1), dilation=2),
    "groups": lambda: conv(3, 6, 3, groups=3, bias=False),
    "uneven": lambda: conv(3, 4, (2, 5), padding="same", padding_mode="reflect"),
    "transposed": lambda: scratchnet.TransposeConv2d(3, 4, 3, 2, 1, (1, 0), dilation=(1, 2)),
    "nearest": lambda: scratchnet.Upsample(scale_factor=(2, 3)),
    "bicubic": lambda: scratchnet.Upsample((5, 14), mode="bicubic", align_corners=True),
    "bilinear": lambda: scratchnet.UpsamplingBilinear2d(scale_factor=1.5),
    "unshuffle": lambda: scratchnet.PixelUnshuffle(2),
    "channels": lambda: scratchnet.ChannelShuffle(3),
    "upsampling": lambda: scratchnet.Upsampling(3, 4, 3, (3, 2), 2, 1, bias=False),
    "relu": lambda: scratchnet.ReLU(),
    "sigmoid": lambda: scratchnet.Sigmoid(),
    "nothing": lambda: scratchnet.Sequential(),
    "residual": lambda: scratchnet.Residual(conv(3, 3, 3, padding=1)),
    "concat": lambda: scratchnet.Concat(scratchnet.Sequential(conv(3, 2, 1), scratchnet.ReLU())),
    "noise2noise": lambda: models.noise2noise(generator=generator(0)),
    "unet": lambda: models.unet(channels=5, deep=7, generator=generator(0)),
    "nested": lambda: scratchnet.Sequential(
        scratchnet.Sequential(conv(3, 4, 1)),
        scratchnet.Sequential(scratchnet.Upsampling(4, 2, 3, padding=1)),
    ),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OURS)
def test_there_and_back(name: str, dtype: torch.dtype) -> None:
    ours = OURS[name]().to(dtype=dtype)
    theirs = to_torch(ours)
    x = normal((2, 3, 8, 12), dtype, 1)
    assert_equal_networks(ours, theirs, x)
    back = from_torch(theirs)
    assert repr(back) == repr(ours)
    assert_equal_networks(back, theirs, x)


@pytest.mark.parametrize("name", ["conv", "unet"])
def test_weights_are_copied(name: str) -> None:
    ours = OURS[name]()
    theirs = to_torch(ours)
    back = from_torch(theirs)
    before = [value.clone() for value, _ in ours.param()]
    for parameter in theirs.parameters():
        parameter.data.zero_()
    for changed in (ours, back):
        assert all(map(torch.equal, (value for value, _ in changed.param()), before))


def test_converting_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    from_torch(to_torch(models.noise2noise(generator=generator(0))))
    assert torch.equal(torch.get_rng_state(), before)


def test_modes_are_kept() -> None:
    theirs = to_torch(models.noise2noise().eval())
    assert not any(module.training for module in theirs.modules())
    assert from_torch(theirs).training is False
    assert from_torch(theirs.train()).training is True


def test_state_dicts_have_the_same_keys() -> None:
    ours = scratchnet.Sequential(conv(3, 4, 3), scratchnet.ReLU(), OURS["transposed"]())
    assert to_torch(ours).state_dict().keys() == ours.state_dict().keys()


def test_the_loss() -> None:
    prediction, target = (
        normal((2, 3, 4, 5), torch.float64, 1),
        normal((2, 3, 4, 5), torch.float64, 2),
    )
    ours = scratchnet.MSE()
    expected = to_torch(ours)(prediction, target)
    torch.testing.assert_close(ours(prediction, target), expected)
    torch.testing.assert_close(from_torch(nn.MSELoss())(prediction, target), expected)
    assert repr(from_torch(to_torch(scratchnet.MSE("sum")))) == "MSE(reduction='sum')"


TORCH = {
    "same": (lambda: nn.Conv2d(3, 4, (3, 5), padding="same", dilation=(2, 1)), "padding='same'"),
    "valid": (lambda: nn.Conv2d(3, 4, 3, padding="valid"), "padding='valid'"),
    "inplace": (lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)), "ReLU()"),
    "exact": (lambda: nn.Upsample(scale_factor=3, mode="nearest-exact"), "mode='nearest-exact'"),
    "UpsamplingNearest2d": (lambda: nn.UpsamplingNearest2d(size=(3, 8)), "UpsamplingNearest2d("),
    "nearest of a layer": (lambda: to_torch(scratchnet.NearestUpsampling((2, 3))), "Upsample("),
    "identity": (lambda: nn.Sequential(nn.Identity(), nn.Conv2d(3, 1, 1)), "Identity()"),
    "merged": (
        lambda: nn.Sequential(nn.Sigmoid(), nn.Upsample(scale_factor=2), nn.Conv2d(3, 4, 3)),
        "(1): Upsampling(",
    ),
    "merged with padding": (
        lambda: nn.Sequential(
            nn.UpsamplingNearest2d(scale_factor=2), nn.Conv2d(3, 4, 3, padding="same")
        ),
        "Upsampling(",
    ),
    "not merged with a mirror": (
        lambda: nn.Sequential(
            nn.Upsample(scale_factor=2), nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
        ),
        "(0): Upsample(",
    ),
    "not merged": (
        lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(3, 6, 3, groups=3)),
        "(0): Upsample(",
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_from_torch(name: str) -> None:
    make, shown = TORCH[name]
    theirs = make().double()
    ours = from_torch(theirs)
    assert shown in repr(ours)
    assert_equal_networks(ours, theirs, normal((2, 3, 7, 6), torch.float64, 1))


class Own(nn.Conv2d):
    """A subclass, which may compute anything."""


def hooked() -> nn.Module:
    module = nn.ReLU()
    module.register_forward_hook(lambda module, args, output: output + 1)
    return module


UNSUPPORTED = {
    "BatchNorm3d": lambda: nn.BatchNorm3d(3),
    "Own": lambda: Own(3, 3, 1),
    "ParametrizedConv2d": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 3, 1)),
    "mode to be one of": lambda: nn.Upsample(scale_factor=2, mode="area"),
    "it has hooks": hooked,
}


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_each_unsupported_module_or_argument(reason: str) -> None:
    with pytest.raises(scratchnet.errors.ArgumentError) as caught:
        from_torch(UNSUPPORTED[reason]())
    assert reason in str(caught.value)
    assert "the module itself" in str(caught.value)


def test_one_error_names_all_unsupported_modules() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm3d(4),
        nn.Sequential(nn.ReLU(), nn.Dropout3d()),
        TorchResidual(nn.Upsample(scale_factor=1, mode="area")),
        TorchConcat(nn.Sequential(nn.CrossMapLRN2d(2))),
    )
    with pytest.raises(scratchnet.errors.ArgumentError) as caught:
        from_torch(model)
    message = str(caught.value)
    for place in (
        "1 (BatchNorm3d)",
        "2.1 (Dropout3d)",
        "3.body (Upsample): Upsample expects mode",
        "4.body.0 (CrossMapLRN2d)",
    ):
        assert place in message
    assert "0 (Conv2d)" not in message
    assert re.search(r"known are .*Conv2d, .*ReLU", message)


def test_shared_parameters_stay_shared() -> None:
    layer, other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    other.weight = layer.weight
    theirs = nn.Sequential(layer, nn.ReLU(), layer, other)
    ours = from_torch(theirs)
    assert ours[0] is ours[2]
    assert ours[3].weight is ours[0].weight
    assert_equal_networks(ours, theirs, normal((1, 3, 4, 4), torch.float32, 1))


def test_repeated_modules_without_parameters_are_fine() -> None:
    relu = nn.ReLU()
    theirs = nn.Sequential(relu, nn.Conv2d(3, 3, 1), relu)
    assert_equal_networks(from_torch(theirs), theirs, normal((1, 3, 4, 4), torch.float32, 1))


class Plugin(scratchnet.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        self.save(x)
        return x**3

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (x,) = self.saved
        return 3 * x**2 * grad_outputs[0]


def test_to_torch_names_what_it_does_not_know() -> None:
    model = scratchnet.Sequential(Plugin(), scratchnet.Residual(scratchnet.Sequential(Plugin())))
    with pytest.raises(scratchnet.errors.ArgumentError) as caught:
        to_torch(model)
    assert "0 (Plugin); 1.body.0 (Plugin)" in str(caught.value)
    assert "as_autograd" in str(caught.value)


@pytest.mark.parametrize("convert", [to_torch, from_torch, as_autograd])
def test_not_a_module(convert: Any) -> None:
    with pytest.raises(scratchnet.errors.TypeMismatch, match="got int"):
        convert(3)


# -- as_autograd -----------------------------------------------------------------------------------

LAYERS = {**OURS, "plugin": Plugin}


@pytest.mark.parametrize("name", LAYERS)
def test_autograd_calls_the_hand_written_backward(name: str) -> None:
    layer = LAYERS[name]().to(dtype=torch.float64)
    wrapped = as_autograd(layer)
    x = normal((1, 3, 4, 4), torch.float64, 1).requires_grad_()
    y = wrapped(x)
    y.square().sum().backward()
    torch.testing.assert_close(layer.forward(x), y.detach())
    torch.testing.assert_close(layer.backward(2 * y), x.grad)
    torch.testing.assert_close(
        [g for _, g in layer.param()], [p.grad for p in wrapped.parameters()]
    )


def test_functional_call_uses_the_parameters_it_is_given() -> None:
    layer = conv(3, 2, 3)
    x, weight = normal((1, 3, 5, 5), torch.float32, 1), normal((2, 3, 3, 3), torch.float32, 2)
    y = torch.func.functional_call(as_autograd(layer), {"weight": weight}, (x,))
    torch.testing.assert_close(y, nn.functional.conv2d(x, weight, layer.bias))


def test_gradcheck_of_the_input() -> None:
    wrapped = as_autograd(conv(2, 3, 3, stride=2, dtype=torch.float64))
    x = normal((1, 2, 5, 5), torch.float64, 1).requires_grad_()
    assert torch.autograd.gradcheck(wrapped, (x,))


def test_training_with_torchs_optimizer_trains_the_layer() -> None:
    layer = conv(3, 3, 3, padding=1)
    model = nn.Sequential(as_autograd(layer), nn.Tanh(), nn.Conv2d(3, 1, 1))
    reference = nn.Sequential(to_torch(layer), nn.Tanh(), nn.Conv2d(3, 1, 1))
    reference[2].load_state_dict(model[2].state_dict())
    x = normal((2, 3, 6, 6), torch.float32, 1)
    for network in (model, reference):
        sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            sgd.zero_grad()
            network(x).square().mean().backward()
            sgd.step()
    torch.testing.assert_close(layer.state_dict(), dict(reference[0].state_dict()))
    assert not layer.grad_weight.any()  # gradients are autograd's here, not the layer's


def test_called_twice_before_going_back() -> None:
    layer = conv(3, 3, 3, padding=1, dtype=torch.float64)
    wrapped, theirs = as_autograd(layer), to_torch(layer)
    x = normal((1, 3, 5, 5), torch.float64, 1)
    for module in (wrapped, theirs):
        (module(module(x)) * module(2 * x)).sum().backward()
    for own, other in zip(wrapped.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_a_second_backward_through_a_kept_graph_adds_up() -> None:
    wrapped = as_autograd(conv(3, 3, 1))
    y = wrapped(torch.ones(1, 3, 2, 2)).sum()
    y.backward(retain_graph=True)
    first = [p.grad.clone() for p in wrapped.parameters()]
    y.backward()
    torch.testing.assert_close([p.grad for p in wrapped.parameters()], [2 * g for g in first])


def test_weights_changed_before_backward_are_noticed() -> None:
    wrapped = as_autograd(conv(3, 3, 1))
    y = wrapped(torch.ones(1, 3, 2, 2)).sum()
    with torch.no_grad():
        next(wrapped.parameters()).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_conversion_and_state_dicts_reach_the_layer() -> None:
    layer = models.noise2noise(generator=generator(0))
    wrapped = as_autograd(layer)
    assert wrapped.state_dict().keys() == layer.state_dict().keys()
    wrapped.double()
    assert layer[0].weight.dtype is torch.float64
    other = as_autograd(models.noise2noise(generator=generator(1)).to(dtype=torch.float64))
    wrapped.load_state_dict(other.state_dict())
    x = normal((1, 3, 8, 8), torch.float64, 1)
    torch.testing.assert_close(layer(x), other(x).detach(), rtol=0, atol=0)
    (wrapped(x).sum()).backward()
    assert all(p.grad.dtype is torch.float64 for p in wrapped.parameters())


def test_modes_reach_the_layer() -> None:
    layer = conv(3, 3, 1)
    wrapped = as_autograd(layer).eval()
    assert not layer.training
    wrapped.train()
    assert layer.training


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.unet(channels=4, deep=4),
        Plugin,
    ],
)
def test_gradients_in_eval_mode_are_those_of_what_is_computed_there(make: Any) -> None:
    layer = make().to(dtype=torch.float64)
    layer.eval()
    x = normal((1, 3, 4, 4), torch.float64, 1).requires_grad_()
    assert torch.autograd.gradcheck(as_autograd(layer), (x,), fast_mode=True)
    assert not layer.training
    layer.forward(x)  # and without autograd nothing is kept
    with pytest.raises(scratchnet.errors.OrderError, match="eval mode"):
        layer.backward(x)


def test_autocast_computes_in_the_dtype_of_the_parameters() -> None:
    layer = models.noise2noise(generator=generator(0))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), as_autograd(layer), nn.Conv2d(3, 1, 1))
    x = normal((1, 3, 8, 8), torch.float32, 1)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model[0](x)
        assert hidden.dtype == torch.bfloat16
        y = model[1](hidden)
        torch.testing.assert_close(y, layer.forward(hidden.float()))
        loss = model(x).float().square().mean()
        loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_second_derivatives_are_an_error_that_says_so() -> None:
    wrapped = as_autograd(scratchnet.Sigmoid())
    x = torch.ones(1, 1, 2, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(wrapped(x).square().sum(), x, create_graph=True)
    with pytest.raises(scratchnet.errors.ArgumentError, match=r"Sigmoid .* no second derivatives"):
        grad.sum().backward()


class Noisy(scratchnet.Module):
    """What the compiler must not notice: buffers that change, random numbers, two outputs."""

    stochastic = True

    def __init__(self) -> None:
        self.norm, self.drop, self.both = BatchNorm(3), Dropout(0.4), SumAndProduct()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        x = self.drop.forward(self.norm.forward(inputs[0]))
        return self.both.forward(x, inputs[1])

    def backward(self, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        of_x, of_other = self.both.backward(*grad_outputs)
        return self.norm.backward(self.drop.backward(of_x)), of_other


def test_compiled_it_is_one_opaque_operation() -> None:
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        layer = Noisy()
        model = as_autograd(layer)
        run: Any = lambda a, b, model=model: model(a * 2, b)  # noqa: E731
        if compiled:
            run = torch.compile(run, fullgraph=True, backend="aot_eager")
        a, b = (normal((2, 3, 4, 5), torch.float32, i).requires_grad_() for i in (1, 2))
        torch.manual_seed(1)
        first, second = run(a, b)
        (first * second).sum().backward()
        after = torch.rand(1)  # random numbers go on as if nothing had been drawn again
        parameters = [p.grad for p in model.parameters()]
        found = [first, second, a.grad, b.grad, *parameters, *layer.buffers(), after]
        with torch.no_grad():
            model.eval()
            found += run(a, b)
        results.append(found)
    torch.testing.assert_close(results[1], results[0])


def test_a_loss_has_torchs_own_counterpart() -> None:
    with pytest.raises(scratchnet.errors.TypeMismatch, match=r"nn\.MSELoss"):
        as_autograd(scratchnet.MSE())


def test_top_level_names() -> None:
    assert scratchnet.from_torch is from_torch
    assert scratchnet.to_torch is to_torch
    assert scratchnet.interop.as_autograd is as_autograd


class Norm(BatchNorm):
    """A layer of one's own that names its counterpart."""

    torch_names = ("torch.nn.BatchNorm3d",)

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.add_buffer("num_batches_tracked", torch.tensor(0))

    def config(self) -> dict[str, Any]:
        return {"num_features": self.channels}


def test_a_layer_that_names_its_counterpart_goes_there_and_back() -> None:
    layer = Norm(3).to(dtype=torch.float64)
    layer.forward(normal((4, 3, 5, 5, 2), torch.float64, 0))
    theirs = to_torch(scratchnet.Sequential(layer, scratchnet.ReLU()))
    x = normal((4, 3, 5, 5, 2), torch.float64, 1)
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode).forward(x), theirs[0].train(mode)(x))
    scratchnet.layers.register("Norm", Norm)
    try:
        back = from_torch(theirs)
    finally:
        scratchnet.layers.unregister("Norm")
    assert type(back[0]) is Norm
    assert torch.equal(back[0].running_var, theirs[0].running_var)
    with pytest.raises(scratchnet.ScratchnetError, match=r"0 \(BatchNorm3d\)"):
        from_torch(theirs)


def test_frozen_parameters_and_shared_layers_stay_so() -> None:
    shared = conv(3, 3, 3, padding=1)
    ours = scratchnet.Sequential(shared, scratchnet.ReLU(), shared, OURS["upsampling"]())
    ours[3].requires_grad_(False)
    theirs = to_torch(ours)
    assert theirs[0] is theirs[2]
    assert [p.requires_grad for p in theirs.parameters()] == [True, True, False]
    back = from_torch(nn.Sequential(theirs[0], theirs[3]))
    assert [value.requires_grad for value in back.parameters()] == [True, True, False]


def test_as_autograd_of_buffers_and_of_several_inputs_and_outputs() -> None:
    layer = BatchNorm(3).to(dtype=torch.float64)
    wrapped, twin = as_autograd(layer), nn.BatchNorm2d(3).double()
    assert {*wrapped.state_dict()} <= {*twin.state_dict()}
    for seed in range(3):
        x = normal((2, 3, 4, 4), torch.float64, seed)
        y, expected = wrapped(x), twin(x)
        torch.testing.assert_close(y, expected)
        y.square().sum().backward()
    torch.testing.assert_close(wrapped.eval()(x), twin.eval()(x))
    assert not torch.equal(layer.running_mean, torch.zeros(3, dtype=torch.float64))
    wrapped.float()
    assert layer.running_mean.dtype == torch.float32

    a, b = (normal((2, 3), torch.float64, i).requires_grad_() for i in (0, 1))
    total, product = as_autograd(SumAndProduct())(a, b)
    (total.sum() + 2 * product.sum()).backward()
    torch.testing.assert_close(a.grad, 1 + 2 * b.detach())
    torch.testing.assert_close(b.grad, 1 + 2 * a.detach())


def test_as_autograd_of_indices() -> None:
    layer = Embedding(5, 3)
    wrapped = as_autograd(layer)
    wrapped(torch.tensor([1, 1, 4])).sum().backward()
    assert wrapped.weight.grad[:, 0].tolist() == [0, 2, 0, 0, 1]
