"""Every activation passes the conformance checks beside its counterpart in torch.nn."""

import pytest
import scratchnet_activations as activations
import torch
from torch import nn

import scratchnet
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.testing import check_layer

IMAGES = torch.randn(2, 4, 7, 5, generator=torch.Generator().manual_seed(0))
VECTORS = 10 * torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
TWINS = {
    "LeakyReLU": [{}, {"negative_slope": 0.3}],
    "PReLU": [{}, {"init": 0.1}, {"num_parameters": 4, "init": 0.3}],
    "SiLU": [{}],
    "GELU": [{}],
    "Softplus": [{}, {"beta": 2.0, "threshold": 5.0}],
    "Tanh": [{}],
}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, kwargs) for name, options in TWINS.items() for kwargs in options]
)
def test_conforms(name: str, arguments: dict) -> None:
    kind = getattr(activations, name)
    check_layer(lambda: kind(**arguments), [IMAGES, VECTORS], twin=getattr(nn, name)(**arguments))


@pytest.mark.parametrize("name", TWINS)
def test_far_out_as_torch(name: str) -> None:
    x = torch.tensor([[-1e4, -100.0, -0.0, 0.0, 100.0, 1e4]])
    y = getattr(activations, name)()(x)
    torch.testing.assert_close(y, getattr(nn, name)()(x).detach())
    assert y.isfinite().all()


def test_each_is_registered_and_trains() -> None:
    for name in TWINS:
        assert scratchnet.layers.get(name) is getattr(activations, name)
        assert scratchnet.layers.info(name).distribution == "scratchnet-activations"
    model = scratchnet.Sequential(
        scratchnet.Conv2d(4, 4, 3, padding=1), scratchnet.build("PReLU", 4)
    )
    sgd, mse = scratchnet.SGD(model.param(), 0.1), scratchnet.MSE()
    losses = []
    for _ in range(30):
        losses.append(mse.forward(model.forward(IMAGES), IMAGES).item())
        model.zero_grad()
        model.backward(mse.backward())
        sgd.step()
    assert losses[-1] < losses[0] / 2
    assert (model[1].weight != 0.25).all()


def test_mistakes() -> None:
    with pytest.raises(ArgumentError, match="beta > 0, got 0"):
        activations.Softplus(beta=0)
    with pytest.raises(ArgumentError, match="num_parameters of at least 1, got 0"):
        activations.PReLU(0)
    with pytest.raises(ShapeError, match=r"expects \(N, 3, \.\.\.\), got \(2, 4, 7, 5\)"):
        activations.PReLU(3)(IMAGES)
