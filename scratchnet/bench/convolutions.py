"""The cases of single convolutions: shapes that networks are made of, and a few odd ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from scratchnet.bench.contest import Case
from scratchnet.bench.operation import Call, measure


def _call(
    n: int, c: int, o: int, k: int, h: int, *, w: int | None = None, groups: int = 1, **same: int
) -> Call:
    """A convolution with bias, of square images and with the same options down and across."""
    options = {"stride": 1, "padding": 0, "dilation": 1} | same
    pairs = {name: (value, value) for name, value in options.items()}
    shapes = [(n, c, h, w or h), (o, c // groups, k, k), (o,)]
    return Call("conv2d", shapes, torch.float32, {**pairs, "groups": groups})


SHAPES = {
    "64->64 3x3, 56x56": _call(8, 64, 64, 3, 56, padding=1),
    "64->64 1x1, 56x56": _call(8, 64, 64, 1, 56),
    "64->128 3x3 stride 2, 56x56": _call(8, 64, 128, 3, 56, stride=2, padding=1),
    "32->32 5x5, 28x28": _call(8, 32, 32, 5, 28, padding=2),
    "64->64 3x3 dilation 2, 28x28": _call(8, 64, 64, 3, 28, padding=2, dilation=2),
    "16->16 3x3, 32x32, batch 40": _call(40, 16, 16, 3, 32, padding=1),
    "3->64 7x7 stride 2, 112x112, batch 4": _call(4, 3, 64, 7, 112, stride=2, padding=3),
    "8->24 3x3, 64x64": _call(8, 8, 24, 3, 64, padding=1),
    "24->3 3x3, 64x64": _call(8, 24, 3, 3, 64, padding=1),
    "128->512 1x1, 14x14": _call(8, 128, 512, 1, 14),
    "256->256 3x3, 14x14": _call(8, 256, 256, 3, 14, padding=1),
    "512->512 3x3, 7x7": _call(8, 512, 512, 3, 7, padding=1),
    "32->32 3x3 depthwise, 56x56": _call(8, 32, 32, 3, 56, padding=1, groups=32),
    "7->13 3x3, 31x45": _call(8, 7, 13, 3, 31, padding=1, w=45),
}


def cases(
    section: str, threads: int, dtype: torch.dtype, *, backends: Sequence[str], only: str = ""
) -> list[Case]:
    """The shapes whose name contains ``only``."""
    return [
        measure(section, name, replace(call, dtype=dtype), threads, backends=backends)
        for name, call in SHAPES.items()
        if only in name
    ]
