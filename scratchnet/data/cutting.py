"""Small images cut out of photographs, at several scales and with a rule against empty ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from scratchnet.errors import ShapeError

Pixels = NDArray[np.uint8]
"""A decoded colour image, (H, W, 3), values 0-255."""

REDUCTIONS = (1, 2, 3, 4)
"""Cuts are made at full size and from averages over 2x2, 3x3 and 4x4 pixels, equally often."""

MIN_CONTRAST = 12.0
"""In grey levels: a cut with less standard deviation in every channel is nearly flat."""

_ATTEMPTS = 30


def cut(
    images: Sequence[Callable[[], Pixels]],
    n: int,
    size: int,
    generator: torch.Generator,
    *,
    mirror: bool = False,
) -> Tensor:
    """Cuts `n` squares at random places, evenly from all images, in random order.

    Every cut takes a scale out of `REDUCTIONS` at which its image still is `size` pixels wide
    and high. A nearly flat cut (see `MIN_CONTRAST`: sky, black space, blank paper) teaches
    nothing and makes validation look easy; it is drawn again, up to 30 times, and the one with
    most contrast is taken where an image has nothing better.

    Args:
        images: One function per image that loads it; called once, so that one image at a time
            is in memory. Of more than `n` images, a random `n` are used.
        n: How many squares to cut, 1 or more.
        size: Side of a square, in pixels.
        generator: Source of all randomness.
        mirror: Turn and mirror each square at random: eight times as many different ones.

    Returns:
        uint8, (n, 3, size, size).

    Raises:
        ShapeError: An image is smaller than `size`.
    """
    out = torch.empty((n, 3, size, size), dtype=torch.uint8)
    slots = torch.randperm(n, generator=generator)
    chosen = torch.randperm(len(images), generator=generator)[:n]
    for index, places in zip(chosen.tolist(), slots.tensor_split(len(chosen)), strict=True):
        scales = _scales(images[index](), size)
        for place in places.tolist():
            square = _cut_one(scales[_below(len(scales), generator)], size, generator)
            if mirror:
                square = np.rot90(square, _below(4, generator))
                square = square[:, :: 1 - 2 * _below(2, generator)]
            out[place] = torch.from_numpy(square.transpose(2, 0, 1).copy())
    return out


def _scales(image: Pixels, size: int) -> list[Pixels]:
    opened = Image.fromarray(image)
    scales = [np.asarray(opened.reduce(r)) for r in REDUCTIONS if min(opened.size) >= r * size]
    if not scales:
        raise ShapeError(
            f"cannot cut {size}x{size} pixels out of an image of {opened.width}x{opened.height}"
        )
    return scales


def _cut_one(image: Pixels, size: int, generator: torch.Generator) -> Pixels:
    height, width, _ = image.shape
    best, best_contrast = image[:size, :size], -1.0
    for _ in range(_ATTEMPTS):
        top, left = _below(height - size + 1, generator), _below(width - size + 1, generator)
        square = image[top : top + size, left : left + size]
        # One contiguous row a channel: a tenth of the time of the same over the image's own axes.
        channels = square.transpose(2, 0, 1).reshape(3, -1)
        contrast = float(channels.std(axis=1, dtype=np.float32).max())
        if contrast > best_contrast:
            best, best_contrast = square, contrast
        if contrast >= MIN_CONTRAST:
            break
    return best


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))
