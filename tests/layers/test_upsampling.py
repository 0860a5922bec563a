"""NearestUpsampling and Upsampling against autograd, finite differences and numpy's repeat."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from against_autograd import assert_equals_autograd, tensors
from drawn import drawn
from hypothesis import given

import scratchnet
from scratchnet.ops.convolution_cases import CONVOLUTIONS, UPSAMPLED_CONVOLUTIONS, Case
from scratchnet.testing import strategies
from scratchnet.testing.gradients import gradcheck


def upsampling(case: Case, dtype: torch.dtype) -> scratchnet.Upsampling:
    return scratchnet.Upsampling(
        case.c,
        case.o,
        case.kernel,
        scale_factor=case.scale,
        stride=case.stride,
        padding=case.padding,
        dilation=case.dilation,
        bias=case.bias,
        dtype=dtype,
        generator=torch.Generator().manual_seed(3),
    )


def check(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        x, grad_y = tensors(case, dtype, case.y_shape)
        layer = upsampling(case, dtype)
        assert_equals_autograd(layer, x, grad_y)
        repeated = (case.n, case.c, case.h * case.scale[0], case.w * case.scale[1])
        nearest = scratchnet.NearestUpsampling(case.scale)
        assert_equals_autograd(nearest, *tensors(case, dtype, repeated))
    gradcheck(layer, x)
    gradcheck(nearest, x)


PLAIN = [case for case in CONVOLUTIONS[::12] if case.groups == 1]  # a scale of 1
SCALED = [case for case in UPSAMPLED_CONVOLUTIONS if case.groups == 1]


@pytest.mark.parametrize("case", SCALED + PLAIN, ids=str)
def test_grid(case: Case, backend: str) -> None:
    check(case)


@drawn
@given(case=strategies.convolutions(upsampled=True, groups=False))
def test_drawn(case: Case, backend: str) -> None:
    check(case)


@pytest.mark.parametrize("scale", [(1, 1), (2, 2), (3, 1), (2, 5)])
def test_nearest_repeats_and_its_backward_sums(scale: tuple[int, int], backend: str) -> None:
    x = torch.arange(24.0).view(1, 2, 3, 4)
    layer = scratchnet.NearestUpsampling(scale)
    repeated = x.numpy().repeat(scale[0], axis=2).repeat(scale[1], axis=3)
    np.testing.assert_array_equal(layer(x).numpy(), repeated)
    grad_x = layer.backward(torch.ones(repeated.shape))
    assert torch.equal(grad_x, torch.full_like(x, scale[0] * scale[1]))


@pytest.mark.parametrize("scale", [0, -1, 1.5, (2, 0), (2, 2, 2), "2", None, True])
@pytest.mark.parametrize(
    "make",
    [scratchnet.NearestUpsampling, lambda s: scratchnet.Upsampling(3, 4, 3, scale_factor=s)],
)
def test_wrong_scale(make: type, scale: object) -> None:
    if scale is True:
        scale = (True, 2)
    with pytest.raises(
        scratchnet.errors.ArgumentError, match="scale_factor to be an int or a pair"
    ):
        make(scale)


def test_arguments_in_the_order_of_the_course() -> None:
    layer = scratchnet.Upsampling(3, 4, 5, 2, 3, 1, 2)
    assert layer.config() == {
        "in_channels": 3,
        "out_channels": 4,
        "kernel_size": (5, 5),
        "scale_factor": (2, 2),
        "stride": (3, 3),
        "padding": (1, 1),
        "dilation": (2, 2),
        "bias": True,
    }


def test_a_kernel_larger_than_the_upsampled_image(backend: str) -> None:
    layer = scratchnet.Upsampling(3, 4, 7, scale_factor=2)
    with pytest.raises(scratchnet.errors.ShapeError, match="6x10, smaller than the kernel's 7x7"):
        layer(torch.zeros(1, 3, 3, 5))
