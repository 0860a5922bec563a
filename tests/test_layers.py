"""What holds for every layer: inputs of every kind, and one clear error for every wrong one."""

from __future__ import annotations

import pytest
import torch
from zoo import IMAGE_LAYERS, OTHERS, WITH_PARAMETERS, ZOO

import scratchnet
from scratchnet.errors import OrderError, ScratchnetError, ShapeError, TypeMismatch
from scratchnet.testing.twins import torch_twin

every = pytest.mark.parametrize("name", ZOO)


def one_line(error: pytest.ExceptionInfo[ScratchnetError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_every_built_in_layer_is_here() -> None:
    own = [n for n in scratchnet.layers.names() if scratchnet.layers.info(n).builtin]
    kinds = {type(specimen.make()) for specimen in ZOO.values()}
    assert {scratchnet.layers.get(n) for n in own if n not in OTHERS} == kinds


@pytest.mark.parametrize("name", IMAGE_LAYERS)
def test_one_image_without_a_batch_axis(name: str, backend: str) -> None:
    """As in torch: (C, H, W) is a batch of one, and so are its gradients."""
    specimen = ZOO[name]
    layer, x = specimen.make(), specimen.x()[0]
    y = layer(x)
    assert y.dim() == 3
    assert torch.equal(y, layer(x.unsqueeze(0)).squeeze(0))
    layer(x)
    grad_x = layer.backward(torch.ones_like(y))
    grads = [grad.clone() for _, grad in layer.param()]
    layer.zero_grad()
    layer(x.unsqueeze(0))
    assert torch.equal(grad_x, layer.backward(torch.ones_like(y).unsqueeze(0)).squeeze(0))
    for (_, grad), before in zip(layer.param(), grads, strict=True):
        assert torch.equal(grad, before)
    twin = torch_twin(layer)
    # nn.Upsample alone takes no image without a batch axis
    torch.testing.assert_close(y, twin(x.unsqueeze(0)).squeeze(0).detach())


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_empty_batch(name: str, dtype: torch.dtype, backend: str) -> None:
    """Shapes as ever, no gradient to add."""
    specimen = ZOO[name]
    layer = specimen.make().to(dtype=dtype)
    usual = layer(specimen.x(dtype))
    y = layer(specimen.x(dtype)[:0])
    assert y.shape == (0, *usual.shape[1:])
    assert y.dtype == dtype
    grad_x = layer.backward(torch.zeros_like(y))
    assert grad_x.shape == (0, *specimen.shape[1:])
    assert grad_x.dtype == dtype
    assert all((grad == 0).all() for _, grad in layer.param())


@every
def test_dtype_follows_the_input(name: str, backend: str) -> None:
    specimen = ZOO[name]
    for dtype in (torch.float32, torch.float64):
        layer = specimen.make().to(dtype=dtype)
        y = layer(specimen.x(dtype))
        assert y.dtype == dtype
        assert layer.backward(torch.ones_like(y)).dtype == dtype
        assert {grad.dtype for _, grad in layer.param()} <= {dtype}


@every
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([1.0], r"expects a torch.Tensor, got list"),
        (None, r"expects a torch.Tensor, got NoneType"),
        (torch.zeros(2, 4, 7, 5, dtype=torch.uint8), r"floating-point tensor, got torch.uint8"),
        (torch.zeros(2, 4, 7, 5, dtype=torch.bool), r"floating-point tensor, got torch.bool"),
        (torch.zeros(2, 4, 7, 5, dtype=torch.cfloat), r"floating-point tensor, got torch.complex"),
    ],
)
def test_not_a_floating_point_tensor(name: str, wrong: object, says: str) -> None:
    layer = ZOO[name].make()
    with pytest.raises(TypeMismatch, match=says) as error:
        layer(wrong)
    assert type(layer).__name__ in one_line(error)


@pytest.mark.parametrize("name", IMAGE_LAYERS)
@pytest.mark.parametrize("shape", [(), (5,), (4, 7), (1, 2, 4, 7, 5)])
def test_wrong_rank(name: str, shape: tuple[int, ...], backend: str) -> None:
    layer = ZOO[name].make()
    with pytest.raises(ShapeError, match=rf"or \(C, H, W\), got {len(shape)}-D") as error:
        layer(torch.zeros(shape))
    assert one_line(error).startswith(type(layer).__name__)


@pytest.mark.parametrize("name", [n for n in WITH_PARAMETERS if n in IMAGE_LAYERS])
@pytest.mark.parametrize("shape", [(2, 5, 7, 5), (2, 0, 7, 5), (3, 7, 5)])
def test_wrong_channels(name: str, shape: tuple[int, ...], backend: str) -> None:
    with pytest.raises(ShapeError, match=r"expects 4 channels \(N, 4, H, W\), got \(") as error:
        ZOO[name].make()(torch.zeros(shape))
    one_line(error)


@pytest.mark.parametrize("name", [n for n in WITH_PARAMETERS if n in IMAGE_LAYERS])
def test_wrong_dtype(name: str, backend: str) -> None:
    specimen = ZOO[name]
    with pytest.raises(TypeMismatch, match=r"expects torch.float32, got torch.float64") as error:
        specimen.make()(specimen.x(torch.float64))
    assert "model.to(dtype=torch.float64)" in one_line(error)


@pytest.mark.parametrize("name", IMAGE_LAYERS)
@pytest.mark.parametrize("shape", [(2, 4, 0, 5), (2, 4, 7, 0), (2, 4, 0, 0)])
def test_images_without_pixels(name: str, shape: tuple[int, ...], backend: str) -> None:
    """An error, as in torch: only the batch may be empty."""
    layer = ZOO[name].make()
    with pytest.raises(ShapeError, match="at least one channel and pixel, got") as error:
        layer(torch.zeros(shape))
    one_line(error)


@every
def test_backward_before_forward(name: str) -> None:
    specimen = ZOO[name]
    layer = specimen.make()
    with pytest.raises(OrderError, match=r"\.backward was called before forward: call forward f"):
        layer.backward(torch.zeros(specimen.shape))


@every
def test_a_wrong_gradient(name: str, backend: str) -> None:
    specimen = ZOO[name]
    layer = specimen.make()
    y = layer(specimen.x())
    before = [grad.clone() for _, grad in layer.param()]
    with pytest.raises(ShapeError, match=r"gradient of the output's shape, \(2, ") as error:
        layer.backward(torch.zeros(*y.shape[:-1], y.shape[-1] + 1))
    one_line(error)
    with pytest.raises(TypeMismatch, match=r"expects torch.float32, got torch.float64"):
        layer.backward(torch.zeros_like(y).double())
    with pytest.raises(TypeMismatch, match=r"expects a torch.Tensor, got float"):
        layer.backward(1.0)
    for (_, grad), kept in zip(layer.param(), before, strict=True):
        assert torch.equal(grad, kept), "a refused gradient must not be added"


@every
def test_eval_keeps_nothing_and_gives_the_same(name: str, backend: str) -> None:
    specimen = ZOO[name]
    layer, x = specimen.make(), specimen.x()
    y = layer(x)
    assert layer.eval() is layer
    with pytest.raises(OrderError, match="in eval mode, which keeps nothing for it: call train"):
        layer.backward(torch.zeros_like(y))
    assert layer.eval_differs or torch.equal(layer(x), y)
    with pytest.raises(OrderError, match="in eval mode"):
        layer.backward(torch.zeros_like(y))
    assert layer.train() is layer
    layer(x)
    assert layer.backward(torch.zeros_like(y)).shape == x.shape


@every
def test_inputs_that_require_a_gradient_make_no_graph(name: str, backend: str) -> None:
    specimen = ZOO[name]
    x = specimen.x().requires_grad_()
    layer = specimen.make()
    y = layer(x * 2)
    assert not y.requires_grad
    grad_x = layer.backward(torch.ones_like(y).requires_grad_())
    assert not grad_x.requires_grad
    assert not any(grad.requires_grad for _, grad in layer.param())


class Names(dict):
    """What the package has under a name."""

    def __missing__(self, name: str) -> object:
        return getattr(scratchnet, name)


@every
def test_repr_evaluates_back(name: str) -> None:
    layer = ZOO[name].make()
    again = eval(repr(layer), {}, Names())
    assert type(again) is type(layer)
    assert repr(again) == repr(layer)
    rebuilt = type(layer)(**layer.config())
    assert repr(rebuilt) == repr(layer)
    assert [v.shape for v, _ in rebuilt.param()] == [v.shape for v, _ in layer.param()]


# torch.nn has no layer that is an Upsampling
@pytest.mark.parametrize("name", [n for n in WITH_PARAMETERS if n != "Upsampling"])
def test_the_state_loads_into_torch(name: str, backend: str) -> None:
    specimen = ZOO[name]
    layer, x = specimen.make(), specimen.x()
    twin = torch_twin(specimen.make())
    twin.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), twin(x).detach())


@every
def test_no_parameter_is_shared_between_two_layers_made_alike(name: str) -> None:
    first, second = ZOO[name].make(), ZOO[name].make()
    own = {t.data_ptr() for pair in first.param() for t in pair}
    assert not own & {t.data_ptr() for pair in second.param() for t in pair}
