"""Every activation passes the conformance checks beside its formula, differentiated by autograd."""

import pytest
import scratchnet_activations as activations
import torch

import scratchnet
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.testing import check_layer

IMAGES = torch.randn(2, 4, 7, 5, generator=torch.Generator().manual_seed(0))
VECTORS = 2 * torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
ARGUMENTS = {
    "SquaredReLU": [{}],
    "Sine": [{"omega": 1.5}],
    "Snake": [{}, {"init": 2.0}, {"num_parameters": 4, "init": 0.3}],
}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, kwargs) for name, options in ARGUMENTS.items()
                            for kwargs in options]
)  # fmt: skip
def test_conforms(name: str, arguments: dict) -> None:
    kind = getattr(activations, name)
    twin = kind(**arguments).twin()
    check_layer(lambda: kind(**arguments), [IMAGES, VECTORS], twin=twin)


def test_each_is_registered_and_trains() -> None:
    for name in ARGUMENTS:
        assert scratchnet.layers.get(name) is getattr(activations, name)
        assert scratchnet.layers.info(name).distribution == "scratchnet-activations"
    model = scratchnet.Sequential(
        scratchnet.Conv2d(4, 4, 3, padding=1), scratchnet.build("Snake", 4)
    )
    sgd, mse = scratchnet.SGD(model.param(), 0.1), scratchnet.MSE()
    losses = []
    for _ in range(30):
        losses.append(mse.forward(model.forward(IMAGES), IMAGES).item())
        model.zero_grad()
        model.backward(mse.backward())
        sgd.step()
    assert losses[-1] < losses[0] / 2
    assert (model[1].weight != 0.5).all()


def test_mistakes() -> None:
    with pytest.raises(ArgumentError, match="omega > 0, got 0"):
        activations.Sine(omega=0)
    with pytest.raises(ArgumentError, match="num_parameters of at least 1, got 0"):
        activations.Snake(0)
    with pytest.raises(ArgumentError, match="init to be another number than 0"):
        activations.Snake(init=0)
    with pytest.raises(ShapeError, match=r"expects \(N, 3, \.\.\.\), got \(2, 4, 7, 5\)"):
        activations.Snake(3)(IMAGES)
