"""Winograd's F(2x2, 3x3): where it is used, that it is exact and accurate, whatever the shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

import scratchnet
from scratchnet import _C
from scratchnet.backends import cpp, dispatch
from scratchnet.ops.conv import conv2d
from scratchnet.testing.tensors import normal

PADDED = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


@pytest.fixture(autouse=True)
def _on_cpp() -> Iterator[None]:
    """Whatever backend the rest of the suite runs on."""
    with scratchnet.use_backend("cpp"):
        yield


def whole(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).to(dtype)


def all_of(
    make: Any, x: tuple[int, ...], out: int, dtype: torch.dtype, winograd: bool, **conv: Any
) -> list[Tensor]:
    """Return the output and all gradients."""
    with patch.object(cpp, "_winograd_gain", lambda *shape: 2.0 if winograd else 0.0):
        inputs = make(x, dtype, 1), make((out, x[1], 3, 3), dtype, 2), make((out,), dtype, 3)
        y, back = dispatch.run(conv2d, *inputs, **{**PADDED, **conv})
        return [y, *back(make(tuple(y.shape), dtype, 4))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("x", "out", "padding"),
    [
        ((1, 1, 1, 1), 1, (1, 1)),
        ((0, 16, 4, 4), 16, (1, 1)),
        ((1, 16, 3, 3), 80, (0, 0)),  # one tile, and one pixel of it
        ((2, 17, 7, 5), 33, (1, 1)),  # no channels, rows or columns that fill anything
        ((3, 64, 9, 13), 48, (0, 2)),
        ((2, 130, 6, 6), 24, (3, 4)),  # results that see nothing but padding
        ((9, 20, 2, 1), 100, (1, 1)),
        ((2, 3, 40, 36), 70, (1, 1)),  # several blocks of tiles, tasks and channels
        ((2, 70, 40, 36), 3, (1, 1)),
    ],
)
def test_whole_numbers_are_the_sums_over_taps(
    x: tuple[int, ...], out: int, padding: tuple[int, int], dtype: torch.dtype
) -> None:
    sums = all_of(whole, x, out, dtype, False, padding=padding)
    for ours, expected in zip(
        all_of(whole, x, out, dtype, True, padding=padding), sums, strict=True
    ):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_errors_are_about_those_of_torch(dtype: torch.dtype) -> None:
    """The largest one of each result against float64 (in float64: against exact fractions of it),
    torch's in that memory layout which makes it larger.
    """
    shape, out = (2, 64, 28, 28), 64
    exact = all_of(normal, shape, out, dtype, True)
    leaves = [normal(s, dtype, i) for i, s in enumerate([shape, (out, 64, 3, 3), (out,)], start=1)]
    grad_y = normal(tuple(exact[0].shape), dtype, 4)

    def by_torch(of: torch.dtype, layout: torch.memory_format) -> list[Tensor]:
        given = [t.to(of).requires_grad_() for t in leaves]
        given[0] = given[0].detach().contiguous(memory_format=layout).requires_grad_()
        y = torch.nn.functional.conv2d(*given, padding=1)
        return [y.detach(), *torch.autograd.grad(y, given, grad_y.to(of))]

    if dtype == torch.float64:
        for ours, value in zip(exact, by_torch(dtype, torch.contiguous_format), strict=True):
            torch.testing.assert_close(ours, value, rtol=1e-12, atol=1e-11)
        return
    truth = by_torch(torch.float64, torch.contiguous_format)
    layouts = [by_torch(dtype, m) for m in (torch.contiguous_format, torch.channels_last)]
    for ours, value, *theirs in zip(exact, truth, *layouts, strict=True):
        error, *torchs = ((r.double() - value).abs().max() for r in (ours, *theirs))
        assert error <= 1.5 * max(torchs), f"{error:.3g}, torch's are {torchs}"


@pytest.mark.parametrize("shape", [(2, 32, 33, 29), (5, 48, 8, 7)])
def test_neither_threads_nor_the_batch_change_a_bit(shape: tuple[int, ...]) -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            results.append(all_of(normal, shape, 40, torch.float32, True))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    x, weight = normal(shape, torch.float32, 1), normal((40, shape[1], 3, 3), torch.float32, 2)
    bias = normal((40,), torch.float32, 3)
    with patch.object(cpp, "_winograd_gain", lambda *shape: 2.0):
        alone, _ = dispatch.run(conv2d, x[-1:], weight, bias, **PADDED)
    assert torch.equal(alone, results[0][0][-1:])


def test_a_result_depends_on_nothing_but_its_nine_pixels() -> None:
    """Although the 16 pixels of a tile are transformed together: no NaN and no large number of a
    neighbour is there to be rounded away.
    """
    weight = normal((32, 32, 3, 3), torch.float32, 1)
    for value in (float("nan"), 1e30):
        x = torch.zeros(1, 32, 8, 8)
        for row in range(8):
            x[0, 0, row, 5] = value
        y, _ = dispatch.run(conv2d, x, weight, **PADDED)
        assert not y[..., :4].any()
        assert not y[..., 7:].any()


@pytest.mark.parametrize(
    ("x", "weight", "conv", "used"),
    [
        ((1, 32, 32, 32), (32, 32, 3, 3), {}, True),
        ((1, 32, 32, 32), (32, 32, 3, 3), {"padding": (0, 0)}, True),
        ((1, 256, 7, 7), (256, 256, 3, 3), {}, True),
        ((1, 3, 32, 32), (32, 3, 3, 3), {}, False),  # vectors would be empty
        ((1, 32, 32, 32), (3, 32, 3, 3), {}, False),
        ((1, 64, 3, 3), (64, 64, 3, 3), {}, False),  # tiles would be
        ((1, 32, 32, 32), (32, 32, 3, 3), {"stride": (1, 2)}, False),
        ((1, 32, 32, 32), (32, 32, 3, 3), {"dilation": (2, 1)}, False),
        ((1, 32, 32, 32), (32, 32, 3, 5), {}, False),
        ((1, 32, 32, 32), (32, 16, 3, 3), {"groups": 2}, False),
    ],
)
def test_explain_says_where_it_is_used(
    x: tuple[int, ...], weight: tuple[int, ...], conv: dict[str, Any], used: bool
) -> None:
    call = torch.ones(x), torch.ones(weight)
    said = scratchnet.explain("conv2d", *call, **{**PADDED, **conv}).reasons["cpp"]
    assert ("Winograd" in said) == used


def test_the_kernel_refuses_what_it_cannot_do() -> None:
    x = torch.ones(1, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    y = torch.empty(1, 16, 4, 4).contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="winograd: expected a kernel of 3x3 with stride 1"):
        _C.conv2d_forward(x, torch.ones(16, 16, 3, 3), None, y, (2, 2), (1, 1), (1, 1), 1, True)
