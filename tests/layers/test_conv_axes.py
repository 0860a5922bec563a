"""Convolutions of sequences and volumes, their transposes, and every way to pad, beside torch.nn's
with the same arguments.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import scratchnet
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.interop import from_torch, to_torch
from scratchnet.testing.closeness import assert_close
from scratchnet.testing.tensors import normal
from scratchnet.testing.twins import autograd
from scratchnet.verify.tolerance import tolerance

LINE, PLANE, VOLUME = (2, 4, 13), (2, 4, 9, 7), (2, 4, 5, 6, 4)
MODES = ["zeros", "reflect", "replicate", "circular"]

# In torch's own order: in, out, kernel, stride, padding, dilation, groups, bias, padding_mode.
DIRECT: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Conv1d", (4, 6, 3), {}, LINE),
    ("Conv1d", (4, 6, 3, 2, 1, 2, 2, False), {}, LINE),
    ("Conv1d", (4, 8, (5,)), {"stride": (3,), "padding": (4,), "groups": 4}, LINE),
    ("Conv1d", (4, 6, 4), {"padding": "same", "dilation": 3}, LINE),
    ("Conv1d", (4, 6, 3), {"padding": "valid", "padding_mode": "circular"}, LINE),
    *(("Conv1d", (4, 6, 3), {"padding": 2, "padding_mode": m}, LINE) for m in MODES),
    ("Conv2d", (4, 6, (2, 5)), {"padding": "same", "dilation": (3, 1)}, PLANE),
    ("Conv2d", (4, 6, (3, 4)), {"padding": "same", "padding_mode": "reflect"}, PLANE),
    *(("Conv2d", (4, 6, 3, (2, 1), (1, 2), 1, 2, True, m), {}, PLANE) for m in MODES),
    ("Conv3d", (4, 6, 3), {"padding": 1}, VOLUME),
    ("Conv3d", (4, 6, (3, 2, 1), (2, 1, 3), (2, 1, 0), (1, 2, 1), 2, False), {}, VOLUME),
    ("Conv3d", (4, 6, (2, 3, 2)), {"padding": "same", "groups": 2}, VOLUME),
    ("Conv3d", (4, 4, (3, 1, 2)), {"padding": "same", "padding_mode": "replicate"}, VOLUME),
]
# in, out, kernel, stride, padding, output_padding, groups, bias, dilation
TRANSPOSED: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("ConvTranspose1d", (4, 6, 3), {}, LINE),
    ("ConvTranspose1d", (4, 6, 3, 2, 1, 1, 2, False, 2), {}, LINE),
    ("ConvTranspose1d", (4, 6, 2), {"stride": 1, "dilation": 4, "output_padding": 3}, LINE),
    ("ConvTranspose2d", (4, 6, 4, 2, 1), {}, PLANE),
    ("ConvTranspose3d", (4, 6, 2, 2), {}, VOLUME),
    ("ConvTranspose3d", (4, 6, (3, 2, 1), (2, 1, 3), (1, 0, 0), (1, 0, 2), 2), {}, VOLUME),
    ("ConvTranspose3d", (4, 2, 2), {"dilation": (3, 1, 1), "output_padding": (2, 0, 0)}, VOLUME),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("name", "arguments", "options", "shape"), DIRECT + TRANSPOSED)
def test_equals_torch(
    name: str, arguments: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...],
    backend: str,
) -> None:  # fmt: skip
    torch.manual_seed(1)
    layer = scratchnet.build(name, *arguments, **options)
    torch.manual_seed(1)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    assert list(layer.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():  # the same draws, too
        assert torch.equal(layer.state_dict()[key], value)
    layer.to(dtype=torch.float64)

    x = normal(shape, torch.float64, 0)
    y = layer(x)
    grad_y = normal(y.shape, torch.float64, 1)
    expected = autograd(theirs, [x], layer, [grad_y])
    rtol = tolerance(torch.float64, terms=grad_y.numel())
    assert_close(y, expected.outputs[0], "output", rtol=rtol)
    assert_close(layer.backward(grad_y), expected.inputs[0], "gradient of x", rtol=rtol)
    for key, _, grad in layer.named_param():
        assert_close(grad, expected.parameters[key], f"gradient of {key}", rtol=rtol)

    one = layer(x[0])  # without a batch axis
    assert torch.equal(one, layer(x[:1])[0])
    assert layer.backward(torch.ones_like(one)).shape == x.shape[1:]
    again = from_torch(to_torch(layer))
    assert repr(again) == repr(layer)
    assert torch.equal(again(x), y)


@pytest.mark.parametrize(
    ("name", "shape", "sizes"),
    [
        ("ConvTranspose1d", LINE, [(26,), (27,), (2, 6, 27)]),
        ("ConvTranspose2d", PLANE, [(18, 14), (19, 15), (18, 15)]),
        ("ConvTranspose3d", VOLUME, [(11, 12, 9)]),
    ],
)
def test_output_size(name: str, shape: tuple, sizes: list[tuple], backend: str) -> None:
    """As torch's: what the constructor says of output_padding no longer counts."""
    layer = scratchnet.build(name, 4, 6, 4, 2, 1, dtype=torch.float64)
    theirs = to_torch(layer)
    x = normal(shape, torch.float64, 0)
    for size in sizes:
        leaf = x.clone().requires_grad_()
        expected = theirs(leaf, size)
        y = layer(x, output_size=size)
        torch.testing.assert_close(y, expected.detach())
        assert torch.equal(layer(x, size), y)
        grad_y = normal(y.shape, torch.float64, 1)
        (grad_x,) = torch.autograd.grad(expected, leaf, grad_y)
        torch.testing.assert_close(layer.backward(grad_y), grad_x)
        single = size[-len(shape) + 2 :]
        assert layer(x[0], output_size=single).shape == y.shape[1:]


@pytest.mark.parametrize("size", [(17, 14), (18, 16), (14,), (1, 2, 6, 18, 14)])
def test_an_output_size_that_cannot_be(size: tuple, backend: str) -> None:
    layer = scratchnet.ConvTranspose2d(4, 6, 4, 2, 1)
    says = r"an output_size between \(18, 14\) and \(19, 15\) for this input, got \("
    with pytest.raises(ShapeError, match=says):
        layer(torch.zeros(PLANE), output_size=size)


def test_a_transposed_convolution_pads_with_zeros_alone() -> None:
    with pytest.raises(ArgumentError, match="ConvTranspose1d expects padding_mode='zeros', got 'c"):
        scratchnet.ConvTranspose1d(3, 4, 3, padding_mode="circular")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: scratchnet.Conv1d(3, 4, (3, 3)), "kernel_size to be an int or a row of one"),
        (lambda: scratchnet.Conv3d(3, 4, 3, (1, 2)), "stride to be an int or 3 of them"),
        (lambda: scratchnet.Conv3d(3, 4, 3, padding_mode="edge"), "padding_mode to be one of"),
        (lambda: scratchnet.Conv1d(3, 4, 3, 2, "same"), r"stride of 1 where .* got \(2,\)"),
        (lambda: scratchnet.ConvTranspose3d(3, 4, 3, padding="same"), "padding to be an int or 3"),
    ],
)
def test_wrong_arguments(make: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "says"),
    [
        (lambda: scratchnet.Conv1d(3, 4, 3), (2, 3, 5, 5), r"expects \(N, 3, L\) or \(C, L\), got"),
        (lambda: scratchnet.Conv1d(3, 4, 3), (2, 4, 5), r"expects 3 channels \(N, 3, L\)"),
        (lambda: scratchnet.Conv3d(3, 4, 3), (2, 3, 5), r"expects \(N, 3, D, H, W\) or \(C, D, H"),
        (lambda: scratchnet.Conv3d(3, 4, 3), (2, 3, 2, 5, 5), "2x5x5, smaller than the kernel's 3"),
        (
            lambda: scratchnet.Conv2d(3, 4, 3, padding=4, padding_mode="reflect"),
            (2, 3, 4, 4),
            "3 places to copy from an axis of 4",
        ),
    ],
)
def test_wrong_inputs(layer: Any, shape: tuple, says: str, backend: str) -> None:
    with pytest.raises(ShapeError, match=says):
        layer()(torch.zeros(shape))


def test_a_convolution_that_pads_otherwise_is_no_stage_of_a_graph() -> None:
    """Between others, which run as one, it gives what it gives alone."""
    layers = [
        scratchnet.Conv2d(4, 4, 3, padding=1),
        scratchnet.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        scratchnet.Conv2d(4, 4, (2, 3), padding="same"),
        scratchnet.Conv2d(4, 4, 3, padding="same"),
        scratchnet.ReLU(),
    ]
    x = normal(PLANE, torch.float32, 0)
    y = x
    for layer in layers:
        y = layer(y)
    torch.testing.assert_close(scratchnet.Sequential(*layers)(x), y)


def test_a_sequence_is_not_copied_between_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one gives lies as the next one's kernels read it."""
    from scratchnet.ops.extension import channels_last

    layer = scratchnet.Conv1d(4, 6, 3, padding=1)
    with scratchnet.use_backend("cpp"):
        y = layer(normal(LINE, torch.float32, 0))
    assert channels_last(y.unsqueeze(2)).data_ptr() == y.data_ptr()
