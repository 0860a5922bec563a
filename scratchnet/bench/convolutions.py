"""The cases of single convolutions: shapes that networks are made of, and a few odd ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from scratchnet.bench import operation
from scratchnet.bench.contest import Case
from scratchnet.bench.operation import Call


class Shape(NamedTuple):
    """Of a convolution, with square images unless ``width`` is given."""

    batch: int
    in_channels: int
    out_channels: int
    kernel: int
    height: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1
    width: int | None = None

    def call(self, dtype: torch.dtype) -> Call:
        """Return the convolution, with bias."""
        n, c, o, k, height = self[:5]
        shapes = [(n, c, height, self.width or height), (o, c // self.groups, k, k), (o,)]
        pairs = {name: (getattr(self, name),) * 2 for name in ("stride", "padding", "dilation")}
        return Call("conv2d", shapes, dtype, {**pairs, "groups": self.groups})


SHAPES = {
    "64->64 3x3, 56x56": Shape(8, 64, 64, 3, 56, padding=1),
    "64->64 1x1, 56x56": Shape(8, 64, 64, 1, 56),
    "64->128 3x3 stride 2, 56x56": Shape(8, 64, 128, 3, 56, stride=2, padding=1),
    "32->32 5x5, 28x28": Shape(8, 32, 32, 5, 28, padding=2),
    "64->64 3x3 dilation 2, 28x28": Shape(8, 64, 64, 3, 28, padding=2, dilation=2),
    "16->16 3x3, 32x32, batch 40": Shape(40, 16, 16, 3, 32, padding=1),
    "3->64 7x7 stride 2, 112x112, batch 4": Shape(4, 3, 64, 7, 112, stride=2, padding=3),
    "8->24 3x3, 64x64": Shape(8, 8, 24, 3, 64, padding=1),
    "24->3 3x3, 64x64": Shape(8, 24, 3, 3, 64, padding=1),
    "128->512 1x1, 14x14": Shape(8, 128, 512, 1, 14),
    "256->256 3x3, 14x14": Shape(8, 256, 256, 3, 14, padding=1),
    "512->512 3x3, 7x7": Shape(8, 512, 512, 3, 7, padding=1),
    "32->32 3x3 depthwise, 56x56": Shape(8, 32, 32, 3, 56, padding=1, groups=32),
    "7->13 3x3, 31x45": Shape(8, 7, 13, 3, 31, padding=1, width=45),
}


def cases(
    section: str, threads: int, dtype: torch.dtype, *, backends: Sequence[str], only: str = ""
) -> list[Case]:
    """The shapes whose name contains ``only``."""
    return [
        operation.measure(
            shape.call(dtype), threads, backends=backends, section=section, title=name
        )
        for name, shape in SHAPES.items()
        if only in name
    ]
