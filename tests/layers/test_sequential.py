"""Sequential, and the training step that the project promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import scratchnet
from scratchnet.errors import TypeMismatch
from scratchnet.testing.gradients import gradcheck
from scratchnet.testing.twins import torch_twin


def test_the_complete_training_step_equals_torchs(backend: str) -> None:
    """Twelve steps of forward, MSE, backward and SGD, in float64, beside torch.nn and autograd."""
    generator = torch.Generator().manual_seed(0)
    model = scratchnet.Sequential(
        scratchnet.Conv2d(3, 8, 3, 2, 1, generator=generator),
        scratchnet.ReLU(),
        scratchnet.TransposeConv2d(8, 8, 3, 1, 1, generator=generator),
        scratchnet.ReLU(),
        scratchnet.Upsampling(8, 3, 3, 2, padding=1, generator=generator),
        scratchnet.Sigmoid(),
    ).to(dtype=torch.float64)
    twin = nn.Sequential(*(torch_twin(layer) for layer in model)).double()
    sgd = scratchnet.SGD(model.param(), 0.5, momentum=0.9, weight_decay=1e-3)
    peer = torch.optim.SGD(twin.parameters(), 0.5, momentum=0.9, weight_decay=1e-3)
    mse = scratchnet.MSE()
    losses = []
    for _ in range(12):
        x = torch.rand(4, 3, 8, 6, generator=generator, dtype=torch.float64)
        y = torch.rand(4, 3, 8, 6, generator=generator, dtype=torch.float64)

        out = model.forward(x)
        loss = mse.forward(out, y)
        model.zero_grad()
        model.backward(mse.backward())
        sgd.step()

        peer.zero_grad()
        expected = nn.functional.mse_loss(twin(x), y)
        expected.backward()
        peer.step()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        losses.append(loss.item())
    for (value, _), parameter in zip(model.param(), twin.parameters(), strict=True):
        torch.testing.assert_close(value, parameter.detach(), rtol=1e-10, atol=1e-12)
    assert len(set(losses)) == len(losses)


def test_the_chain_rule(backend: str) -> None:
    model = scratchnet.Sequential(
        scratchnet.Conv2d(2, 3, 3, 2, 1),
        scratchnet.Sigmoid(),
        scratchnet.Sequential(scratchnet.NearestUpsampling(2), scratchnet.Conv2d(3, 1, (1, 2))),
    )
    gradcheck(model, torch.randn(2, 2, 5, 6))


def test_the_papers_network_on_both_sides_of_its_gradient(backend: str) -> None:
    # A fixed draw: now and then a ReLU is so near its kink that a difference steps over it.
    generator = torch.Generator().manual_seed(0)
    model = scratchnet.models.noise2noise(generator=generator)
    gradcheck(model, torch.rand(1, 3, 8, 4, generator=generator))


@pytest.mark.parametrize("name", ["noise2noise", "residual", "unet", "batch of none", "unlinked"])
def test_the_parameters_alone_get_the_same_gradients(name: str, backend: str) -> None:
    """The first layer may then leave out the gradient of the input, which nobody asked for."""
    made = {
        "batch of none": scratchnet.models.noise2noise,
        "unlinked": lambda: scratchnet.Sequential(
            scratchnet.ReLU(), scratchnet.Conv2d(3, 2, 3), scratchnet.NearestUpsampling(2)
        ),
    }
    model = made.get(name, lambda: scratchnet.models.build(name))()
    y = model.forward(torch.rand(0 if name == "batch of none" else 3, 3, 12, 8))
    cotangent = torch.randn(y.shape)
    model.backward(cotangent)
    expected = [grad.clone() for _, grad in model.param()]
    model.zero_grad()
    model.backward_parameters(cotangent)
    assert all(torch.equal(g, e) for (_, g), e in zip(model.param(), expected, strict=True))


def test_a_new_backward_is_not_gone_round() -> None:
    class Loud(scratchnet.Sequential):
        def backward(self, *grad_outputs: torch.Tensor) -> torch.Tensor:
            heard.append(grad_outputs)
            return super().backward(*grad_outputs)

    heard: list[tuple[torch.Tensor, ...]] = []
    model = Loud(scratchnet.ReLU())
    model.backward_parameters(model.forward(torch.ones(2)))
    assert len(heard) == 1


def test_none_is_the_identity() -> None:
    x = torch.randn(2, 3)
    model = scratchnet.Sequential()
    assert torch.equal(model(x), x)
    assert torch.equal(model.backward(x), x)
    model.backward_parameters(x)
    assert model.param() == []
    assert repr(model) == "Sequential()"


def test_it_is_a_sequence() -> None:
    layers = [scratchnet.Conv2d(3, 3, 1), scratchnet.ReLU(), scratchnet.Sigmoid()]
    model = scratchnet.Sequential(*layers)
    assert len(model) == 3
    assert list(model) == layers
    assert model[0] is layers[0]
    assert model[-1] is layers[-1]
    part = model[1:]
    assert isinstance(part, scratchnet.Sequential)
    assert list(part) == layers[1:]


def test_a_slice_shares_its_layers() -> None:
    model = scratchnet.Sequential(scratchnet.Conv2d(3, 3, 1), scratchnet.ReLU())
    assert model[:1].param()[0][0] is model.param()[0][0]


def test_the_same_layer_state_as_torch() -> None:
    model = scratchnet.Sequential(scratchnet.Conv2d(3, 4, 3), scratchnet.ReLU())
    twin = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    twin.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 5, 5)
    torch.testing.assert_close(model(x), twin(x).detach())


def test_the_representation_names_every_layer() -> None:
    model = scratchnet.Sequential(
        scratchnet.ReLU(), scratchnet.Sequential(scratchnet.NearestUpsampling(2))
    )
    assert repr(model).splitlines() == [
        "Sequential(",
        "  (0): ReLU()",
        "  (1): Sequential(",
        "    (0): NearestUpsampling(scale_factor=(2, 2))",
        "  )",
        ")",
    ]


@pytest.mark.parametrize(("given", "position"), [([[scratchnet.ReLU()]], 0), ("r", 0)])
def test_something_that_is_no_module(given: object, position: int) -> None:
    with pytest.raises(TypeMismatch, match=f"at position {position}; pass the layers as separate"):
        scratchnet.Sequential(*given)
