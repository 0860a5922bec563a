"""Upsample in every mode, and the shuffles, beside torch.nn's with the same arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import scratchnet
from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.interop import from_torch, to_torch
from scratchnet.ops.interpolate import interpolate
from scratchnet.testing.tensors import normal

LINE, PLANE, VOLUME = (2, 3, 7), (2, 3, 7, 5), (2, 3, 4, 5, 3)
SHAPES = {"linear": LINE, "trilinear": VOLUME}
GEOMETRIES: list[dict[str, Any]] = [
    {"scale_factor": 2},
    {"scale_factor": 1.7},
    {"scale_factor": 0.6},
    {"scale_factor": 1.7, "recompute_scale_factor": True},
    {"size": 9},
]
UPSAMPLES: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    *(
        ({"mode": mode, "align_corners": align, **geometry}, SHAPES.get(mode, PLANE))
        for mode in ("linear", "bilinear", "bicubic", "trilinear")
        for align in (None, True)
        for geometry in GEOMETRIES
    ),
    *(
        ({"mode": mode, **geometry}, shape)
        for mode in ("nearest", "nearest-exact")
        for shape in (LINE, PLANE, VOLUME)
        for geometry in GEOMETRIES
    ),
    ({"mode": "bicubic", "size": (3, 11)}, PLANE),
    ({"mode": "trilinear", "scale_factor": (1.5, 2, 1)}, VOLUME),
]


def check(layer: scratchnet.Module, x: torch.Tensor) -> None:
    theirs = to_torch(layer)
    leaf = x.clone().requires_grad_()
    expected = theirs(leaf)
    y = layer(x)
    torch.testing.assert_close(y, expected.detach())
    grad_y = normal(y.shape, x.dtype, 1)
    (grad_x,) = torch.autograd.grad(expected, leaf, grad_y)
    torch.testing.assert_close(layer.backward(grad_y), grad_x)
    assert repr(from_torch(theirs)) == repr(layer)


@pytest.mark.parametrize(("options", "shape"), UPSAMPLES)
def test_upsample_equals_torch(options: dict[str, Any], shape: tuple, backend: str) -> None:
    check(scratchnet.Upsample(**options), normal(shape, torch.float64, 0))


def test_the_two_of_images(backend: str) -> None:
    for kind in (scratchnet.UpsamplingNearest2d, scratchnet.UpsamplingBilinear2d):
        for arguments in ((None, 2), (9,), ((5, 11),), (None, (1.5, 3))):
            check(kind(*arguments), normal(PLANE, torch.float64, 0))


def test_a_whole_factor_repeats_pixels() -> None:
    """By the operation that has a kernel of its own."""
    with dispatch.trace() as calls:
        scratchnet.Upsample(scale_factor=(2, 3))(torch.zeros(PLANE))
        scratchnet.Upsample(scale_factor=2)(torch.zeros(LINE))
    assert [op for op, _ in calls] == ["upsample_nearest", "interpolate"]


def test_a_constant_stays_one(backend: str) -> None:
    """The weights of an output sum to 1, and the gradient is theirs: it loses nothing."""
    for mode, scale in (("bilinear", 1.7), ("bicubic", 0.6), ("nearest", 1.3)):
        layer = scratchnet.Upsample(scale_factor=scale, mode=mode)
        y = layer(torch.full(PLANE, 2.5, dtype=torch.float64))
        torch.testing.assert_close(y, torch.full_like(y, 2.5))
        grad_x = layer.backward(torch.ones_like(y))
        torch.testing.assert_close(grad_x.sum(), torch.ones_like(y).sum())


def test_bilinear_between_two_pixels(backend: str) -> None:
    """By hand: places −1/4, 1/4, 3/4 and 5/4 of 0 and 4, and with corners 0, 1/3, 2/3 and 1."""
    x = torch.tensor([0.0, 4.0]).view(1, 1, 1, 2)
    layer = scratchnet.Upsample((1, 4), mode="bilinear")
    assert layer(x).flatten().tolist() == [0, 1, 3, 4]
    assert layer.backward(torch.ones(1, 1, 1, 4)).flatten().tolist() == [2, 2]
    corners = scratchnet.Upsample((1, 4), mode="bilinear", align_corners=True)
    torch.testing.assert_close(corners(x).flatten(), torch.tensor([0, 4 / 3, 8 / 3, 4]))


def test_the_nearest_pixel_of_every_size() -> None:
    """⌊i·n/m⌋ in whole numbers, also where i·n/m is whole but for the rounding of n/m."""
    for n in range(1, 40):
        for m in range(1, 60):
            x = torch.arange(n, dtype=torch.float64).view(1, 1, n)
            y, _ = interpolate.reference.forward(x, size=(m,))
            assert y.flatten().tolist() == [i * n // m for i in range(m)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "expects either size or scale_factor, got None and None"),
        ({"size": 3, "scale_factor": 2}, "expects either size or scale_factor, got 3 and 2"),
        ({"size": 3, "mode": "area"}, "mode to be one of nearest, .*; got 'area'"),
        ({"size": 3, "align_corners": False}, "mode='nearest' has no align_corners"),
        ({"size": 3, "recompute_scale_factor": True}, "expects a scale_factor where"),
        ({"size": 2.5}, "size to be an int above 0, or one for each axis; got 2.5"),
        ({"size": (1, 2, 3, 4)}, "size to be an int above 0, or one for each axis"),
        ({"scale_factor": 0}, "scale_factor to be a number above 0, or one for each axis; got 0"),
        ({"scale_factor": "2"}, "scale_factor to be a number above 0"),
    ],
)
def test_arguments_that_upsample_refuses(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=f"Upsample .*{says}"):
        scratchnet.Upsample(**arguments)


@pytest.mark.parametrize(
    ("layer", "shape", "says"),
    [
        (scratchnet.Upsample(2, mode="bilinear"), LINE, r"2 axes behind .*, got 3-D \(2, 3, 7\)"),
        (scratchnet.Upsample((2, 2)), LINE, "2 axes behind for mode='nearest' and 2 numbers"),
        (scratchnet.Upsample(scale_factor=0.1), PLANE, "size to be 2 numbers of at least 1"),
        (scratchnet.PixelShuffle(2), PLANE, r"upscale_factor² = 4 divides, got \(2, 3, 7, 5\)"),
        (scratchnet.PixelUnshuffle(2), PLANE, "downscale_factor = 2 divides, got"),
        (scratchnet.ChannelShuffle(2), PLANE, "groups = 2 divides, got"),
    ],
)
def test_inputs_that_do_not_fit(layer: Any, shape: tuple, says: str, backend: str) -> None:
    with pytest.raises(ShapeError if "at least" not in says else ArgumentError, match=says):
        layer(torch.zeros(shape))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (scratchnet.PixelShuffle(2), (2, 8, 3, 5)),
        (scratchnet.PixelShuffle(3), (18, 3, 2)),
        (scratchnet.PixelShuffle(1), (2, 3, 2, 2)),
        (scratchnet.PixelUnshuffle(2), (2, 3, 4, 6)),
        (scratchnet.PixelUnshuffle(3), (2, 1, 2, 6, 3)),
        (scratchnet.ChannelShuffle(2), (2, 6, 3, 5)),
        (scratchnet.ChannelShuffle(3), (2, 6, 5)),
    ],
)
def test_shuffles_equal_torch(layer: Any, shape: tuple, backend: str) -> None:
    check(layer, normal(shape, torch.float64, 0))
    # the gradient goes the way back
    x = normal(shape, torch.float32, 0)
    assert torch.equal(layer.backward(layer(x)), x)


@pytest.mark.parametrize("factor", [0, -1, 1.5, True, (2, 2)])
@pytest.mark.parametrize("name", ["PixelShuffle", "PixelUnshuffle", "ChannelShuffle"])
def test_wrong_factors(name: str, factor: Any) -> None:
    with pytest.raises(ArgumentError, match=f"{name} expects .* to be an int of at least 1"):
        scratchnet.build(name, factor)
