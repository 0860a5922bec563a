"""TransposeConv2d against autograd and finite differences, over the shared grid and drawn cases."""

from __future__ import annotations

import pytest
import torch
from against_autograd import assert_equals_autograd, tensors
from drawn import drawn
from hypothesis import given

import scratchnet
from scratchnet.ops.convolution_cases import CONVOLUTIONS, TRANSPOSED, Case
from scratchnet.testing import strategies
from scratchnet.testing.gradients import gradcheck


def transposed(case: Case, dtype: torch.dtype) -> scratchnet.TransposeConv2d:
    return scratchnet.TransposeConv2d(
        case.c,
        case.o,
        case.kernel,
        bias=case.bias,
        output_padding=case.output_padding,
        **case.geometry,
        dtype=dtype,
        generator=torch.Generator().manual_seed(3),
    )


def size(case: Case) -> tuple[int, ...]:
    """(H_out, W_out) as torch.nn.ConvTranspose2d documents it."""
    return tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for n, s, p, d, k, extra in zip(
            (case.h, case.w),
            case.stride,
            case.padding,
            case.dilation,
            case.kernel,
            case.output_padding,
            strict=True,
        )
    )


def check(case: Case) -> None:
    for dtype in (torch.float32, torch.float64):
        x, grad_y = tensors(case, dtype, (case.n, case.o, *size(case)))
        layer = transposed(case, dtype)
        assert_equals_autograd(layer, x, grad_y)
    gradcheck(layer, x)


@pytest.mark.parametrize(
    "case", [c for c in CONVOLUTIONS if min(size(c)) >= 1] + TRANSPOSED, ids=str
)
def test_grid(case: Case, backend: str) -> None:
    check(case)


@drawn
@given(case=strategies.convolutions(transposed=True))
def test_drawn(case: Case, backend: str) -> None:
    check(case)


def test_it_is_the_adjoint_of_the_convolution_with_its_weight(backend: str) -> None:
    """⟨A x, g⟩ = ⟨x, Aᵀ g⟩."""
    convolution = scratchnet.Conv2d(3, 4, (3, 2), stride=2, padding=1, bias=False)
    adjoint = scratchnet.TransposeConv2d(4, 3, (3, 2), stride=2, padding=1, bias=False)
    for layer in (convolution, adjoint):
        layer.to(dtype=torch.float64)
    adjoint.load_state_dict(convolution.state_dict())
    x = torch.randn(2, 3, 9, 6, dtype=torch.float64)
    y = convolution(x)
    g = torch.randn_like(y)
    torch.testing.assert_close((y * g).sum(), (x * adjoint(g)).sum())


@pytest.mark.parametrize("output_padding", [2, (0, 3), (2, 0)])
def test_output_padding_beyond_stride_and_dilation(output_padding: object) -> None:
    with pytest.raises(scratchnet.errors.ArgumentError, match="output_padding smaller than"):
        scratchnet.TransposeConv2d(3, 4, 3, stride=2, output_padding=output_padding)


def test_padding_that_leaves_nothing(backend: str) -> None:
    layer = scratchnet.TransposeConv2d(3, 4, 3, padding=3)
    with pytest.raises(scratchnet.errors.ShapeError, match="a 2x9 input would give a -2x5 output"):
        layer(torch.zeros(1, 3, 2, 9))


def test_initial_values_are_torchs_range() -> None:
    """torch.nn.ConvTranspose2d: k = groups / (out_channels · K_h · K_w)."""
    layer = scratchnet.TransposeConv2d(64, 32, (3, 5), groups=2)
    bound = (2 / (32 * 3 * 5)) ** 0.5
    assert layer.weight.shape == (64, 16, 3, 5)
    assert 0.95 * bound < layer.weight.abs().max() <= bound
    assert layer.bias.abs().max() <= bound
