"""Pooling and element-wise functions of the extension against torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scratchnet import _C

# shape of x, kernel_size, stride, padding, dilation, ceil_mode
CASES = [
    ((2, 3, 7, 9), (2, 2), (2, 2), (0, 0), (1, 1), True),
    ((2, 17, 7, 9), (3, 2), (2, 1), (1, 1), (2, 1), False),
    ((1, 33, 5, 5), (3, 3), (2, 2), (1, 1), (1, 1), True),
    ((3, 1, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False),
]
DTYPES = [torch.float32, torch.float64]


def whole(shape: tuple[int, ...] | torch.Size, dtype: torch.dtype, seed: int) -> Tensor:
    """Few different values, so that there are ties."""
    x = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


def last(like: Tensor) -> Tensor:
    return torch.empty_like(like, memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_max_pooling(case: tuple, dtype: torch.dtype) -> None:
    shape, *geometry, ceil_mode = case
    x = whole(shape, dtype, 1).requires_grad_()
    expected, places = F.max_pool2d(x, *geometry, ceil_mode, return_indices=True)
    y, grad_x = last(expected), last(x)
    indices = last(places).to(torch.int32 if dtype == torch.float32 else torch.int64)
    _C.max_pool2d_forward(x, y, indices, *geometry)
    assert torch.equal(y, expected)
    assert torch.equal(indices.long(), places)
    grad_y = whole(y.shape, dtype, 2)
    _C.max_pool2d_backward(grad_y, indices, grad_x, *geometry)
    assert torch.equal(grad_x, torch.autograd.grad(expected, x, grad_y)[0])


@pytest.mark.parametrize("divisor", [None, 3])
@pytest.mark.parametrize("counts_padding", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_average_pooling(
    case: tuple, dtype: torch.dtype, counts_padding: bool, divisor: int | None
) -> None:
    shape, *geometry, _, ceil_mode = case
    x = whole(shape, dtype, 3).requires_grad_()
    expected = F.avg_pool2d(x, *geometry, ceil_mode, counts_padding, divisor)
    y, grad_x = last(expected), last(x)
    _C.avg_pool2d_forward(x, y, *geometry, counts_padding, divisor)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
    grad_y = whole(y.shape, dtype, 4)
    _C.avg_pool2d_backward(grad_y, grad_x, *geometry, counts_padding, divisor)
    (grad,) = torch.autograd.grad(expected, x, grad_y)
    torch.testing.assert_close(grad_x, grad, rtol=1e-6, atol=1e-6)


def test_the_maximum_with_nan_is_nan() -> None:
    x = torch.tensor([[[[float("nan"), 1.0, 2.0, -float("inf")], [2.0, float("nan"), 0.0, 1.0]]]])
    y, indices = torch.empty(1, 1, 1, 2), torch.empty(1, 1, 1, 2, dtype=torch.int32)
    _C.max_pool2d_forward(x, y, indices, (2, 2), (2, 2), (0, 0), (1, 1))
    expected, places = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(y.isnan(), expected.isnan())
    assert torch.equal(indices.long(), places)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (1, 7), (100_003,), (3, 5, 7, 9)])
def test_element_wise_functions(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(5)
    x, grad_y = (torch.randn(shape, dtype=dtype, generator=generator) * 4 for _ in range(2))
    y, grad_x = torch.empty_like(x), torch.empty_like(x)
    _C.elementwise_forward("relu", x, y)
    assert torch.equal(y, x.relu())
    _C.elementwise_backward("relu", grad_y, y, grad_x)
    assert torch.equal(grad_x, grad_y * (x > 0))
    _C.elementwise_forward("sigmoid", x, y)
    torch.testing.assert_close(y, x.sigmoid())
    _C.elementwise_backward("sigmoid", grad_y, y, grad_x)
    torch.testing.assert_close(grad_x, grad_y * y * (1 - y))


def test_any_layout_without_gaps_is_read() -> None:
    x = torch.randn(2, 3, 4, 5).permute(3, 0, 2, 1)
    y = torch.empty_like(x)
    _C.elementwise_forward("relu", x, y)
    assert torch.equal(y, x.relu())


def test_what_does_not_fit_is_refused() -> None:
    x, y, indices = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2).int()
    two, one, none = (2, 2), (1, 1), (0, 0)
    kernel = torch.zeros(1, 1, 3, 3)
    other = torch.zeros(1, 4, 4, 1).transpose(1, 3)[..., ::2]
    for wrong in (
        lambda: _C.max_pool2d_backward(y, indices, x, two, (4, 4), none, one),
        lambda: _C.max_pool2d_backward(y, indices.long(), x, two, two, none, one),
        lambda: _C.adaptive_avg_pool2d_forward(x, kernel[:, :, :0]),
        lambda: _C.max_pool2d_forward(x, y, indices, two, (0, 2), none, one),
        lambda: _C.max_pool2d_forward(x, y, indices, two, two, none, (1, 0)),
        lambda: _C.max_pool2d_forward(x, y, indices, two, (4, 4), none, one),
        lambda: _C.max_pool2d_forward(x, y, indices, two, two, (2, 2), one),
        lambda: _C.max_pool2d_forward(x, y, indices.double(), two, two, none, one),
        lambda: _C.avg_pool2d_forward(x, y, two, two, none, True, 0),
        lambda: _C.conv2d_forward(x, kernel, None, y, (0, 1), none, one, 1),
        lambda: _C.conv2d_forward(x, kernel, None, y, one, none, (0, 1), 1),
        lambda: _C.conv2d_forward(x, kernel, None, y, one, one, one, 1),
        lambda: _C.conv2d_forward(x, kernel, None, y.double(), one, none, one, 1),
        lambda: _C.conv2d_forward(x, kernel, y, y, one, none, one, 1),
        lambda: _C.conv2d_input_grad(y, kernel, x[:, :, :3], one, none, one, 1),
        lambda: _C.conv2d_weight_grad(y, x, kernel[:, :, :2], None, one, none, one, 1),
        lambda: _C.conv2d_weight_grad(y, x, None, None, one, none, one, 1),
        lambda: _C.upsample_nearest_forward(y, x, (2, 1)),
        lambda: _C.upsample_nearest_backward(x, y, none),
        lambda: _C.elementwise_forward("relu", other, other),
        lambda: _C.elementwise_forward("relu", x, y),
        lambda: _C.elementwise_forward("relu", x, x.half()),
        lambda: _C.elementwise_forward("relu", x, x.to_sparse()),
        lambda: _C.elementwise_forward("relu", x, x.to("meta")),
        lambda: _C.elementwise_forward("relu", torch._neg_view(x), x),
        lambda: _C.elementwise_forward("relu", indices, indices),
    ):
        with pytest.raises(ValueError, match=r"expected|sees no pixel|do not fit|negates"):
            wrong()
    with pytest.raises(TypeError):
        _C.elementwise_forward("relu", x, 5)
