"""Apply a network to an image of any size, tile by tile, as if in one piece.

Each tile is given with a margin of real image around it, as wide as the network looks; only what
the margin cannot have disturbed is kept. So the tiles fit together without a seam, and memory is
bounded by the tile, not the image.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from scratchnet.errors import ScratchnetError, ShapeError
from scratchnet.layers.module import Module

TILE = 256
"""Default side of a tile, in pixels, without its margin."""

_MULTIPLES = (1, 2, 4, 8, 16, 32)
_LARGEST_PROBE = 1024


@dataclass(frozen=True)
class Geometry:
    """What a network needs to know of its surroundings.

    Attributes:
        multiple: it keeps the size of images whose sides are multiples of this.
        margin: no output pixel depends on an input pixel farther away than this, vertically or
            horizontally; None if the network looks at the whole image.
    """

    multiple: int
    margin: int | None


def geometry(model: Module) -> Geometry:
    """Measure a network's size multiple and margin, by its own forward and backward.

    The margin is read off the backward pass: the gradient of one output pixel with respect to the
    input is zero wherever the network does not look. A copy of the network with small positive
    weights is used for it, so that no ReLU is shut and nothing cancels out.

    Args:
        model: a network from (N, 3, H, W) to the same shape; left as it is.

    Raises:
        ScratchnetError: if there is no size up to 32 whose multiples the network keeps.
    """
    probe = copy.deepcopy(model).to(dtype=torch.float64)
    for name, value, _ in probe.named_param():
        # Averaging keeps deep networks' values far from under- and overflow.
        value.fill_(0.0 if name.endswith("bias") else 1.0 / max(1, value[0].numel()))
    multiple = _multiple(probe)
    side = max(64, 8 * multiple)
    side -= side % multiple
    while side <= _LARGEST_PROBE:
        margin = _margin(probe, side, multiple)
        if margin is not None:
            return Geometry(multiple, margin)
        side *= 2
    return Geometry(multiple, None)


def tiled(
    apply: Callable[[Tensor], Tensor],
    read: Callable[[slice, slice], Tensor],
    write: Callable[[slice, slice, Tensor], None],
    size: tuple[int, int],
    *,
    form: Geometry,
    tile: int = TILE,
) -> Iterator[int]:
    """Run ``apply`` over an image in tiles, reading and writing through functions.

    Args:
        apply: maps (1, C, h, w) to (1, C, h, w), h and w multiples of ``form.multiple``.
        read: gives the input (1, C, h, w) at (rows, columns).
        write: takes the output (1, C, h, w) for (rows, columns).
        size: (H, W) of the image, multiples of ``form.multiple``.
        form: the network's :class:`Geometry`.
        tile: side of a tile without its margin; rounded up to the multiple.

    Returns:
        An iterator that does a tile at each ``next`` and yields how many pixels it was.
    """
    height, width = size
    m = form.multiple
    if form.margin is None:
        tile, margin = max(height, width), 0
    else:
        tile, margin = _up(max(tile, 1), m), _up(form.margin, m)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            bottom, right = min(top + tile, height), min(left + tile, width)
            y, x = max(top - margin, 0), max(left - margin, 0)
            rows = slice(y, min(bottom + margin, height))
            columns = slice(x, min(right + margin, width))
            out = apply(read(rows, columns))
            kept = out[..., top - y : bottom - y, left - x : right - x]
            write(slice(top, bottom), slice(left, right), kept)
            yield (bottom - top) * (right - left)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _multiple(probe: Module) -> int:
    probe.eval()
    for multiple in _MULTIPLES:
        # Rectangles of odd and even multiples: a network that only keeps 64 must not pass for one
        # that keeps 32.
        if all(_keeps(probe, multiple * h, multiple * w) for h, w in ((3, 4), (5, 3))):
            return multiple
    raise ScratchnetError(
        "the network does not keep the size of its input, whatever multiple of up to "
        f"{_MULTIPLES[-1]} the sides are: it cannot be applied to images"
    )


def _keeps(probe: Module, height: int, width: int) -> bool:
    x = torch.full((1, 3, height, width), 0.5, dtype=torch.float64)
    try:
        return bool(probe.forward(x).shape == x.shape)
    except ShapeError:  # too small for a kernel, or sizes that do not meet again at a skip
        return False


def _margin(probe: Module, side: int, multiple: int) -> int | None:
    """The margin as seen in a square of ``side``; None if the network may look farther."""
    probe.train()
    x = torch.full((1, 3, side, side), 0.5, dtype=torch.float64)
    y = probe.forward(x)
    centre = side // 2 - (side // 2) % multiple
    margin = 0
    # Within a cell of a strided network every pixel sees something else; the diagonal has all
    # offsets of both axes.
    for offset in range(multiple):
        grad_y = torch.zeros_like(y)
        row = column = centre + offset
        grad_y[..., row, column] = 1.0
        seen = probe.backward(grad_y).ne(0).any(dim=1)[0]
        for touched, position in ((seen.any(dim=1), row), (seen.any(dim=0), column)):
            where = touched.nonzero()
            if not len(where):
                continue
            first, last = int(where[0]), int(where[-1])
            if first == 0 or last == side - 1:
                return None
            margin = max(margin, position - first, last - position)
    return margin
