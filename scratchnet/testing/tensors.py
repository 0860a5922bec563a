"""Seeded test tensors, in every memory layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scratchnet.ops.op import LAYOUTS


def generator(seed: int) -> torch.Generator:
    """Return a new generator, so that torch's global one is left alone."""
    return torch.Generator().manual_seed(seed)


def normal(shape: Sequence[int], dtype: torch.dtype, seed: int) -> Tensor:
    """Return standard normal numbers that use all the digits of ``dtype``."""
    return torch.randn(tuple(shape), generator=generator(seed), dtype=torch.float64).to(dtype)


def whole(shape: Sequence[int], dtype: torch.dtype, seed: int, most: int = 3) -> Tensor:
    """Return whole numbers in [-most, most].

    Their products and sums are exact in float32 up to 2²⁴, so that every correct backend gives the
    same bits, in whatever order it adds.
    """
    return torch.randint(-most, most + 1, tuple(shape), generator=generator(seed)).to(dtype)


def below(shape: Sequence[int], top: int, seed: int) -> Tensor:
    """Return whole numbers from 0 to top - 1, as int64: indices."""
    return torch.randint(top, tuple(shape), generator=generator(seed))


def laid_out(tensor: Tensor, layout: str) -> Tensor:
    """Return a 4-D tensor equal to ``tensor`` that lies in memory as one of LAYOUTS says.

    ``expanded`` repeats the first image without copying it, so only the shape is kept.
    """
    if layout == "contiguous":
        return tensor.contiguous()
    if layout == "channels_last":
        return tensor.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        return tensor.mT.contiguous().mT
    if layout == "expanded":
        return tensor[:1].expand_as(tensor)
    if layout == "sliced":  # gaps after each row and column, filled with what must not be read
        n, c, h, w = tensor.shape
        room = tensor.new_full((n, c + 1, 2 * h, 3 * w), float("nan"))
        view = room[:, :c, ::2, 1::3]
        view.copy_(tensor)
        return view
    if layout == "offset":  # starts in the middle of a vector register's alignment
        flat = tensor.new_empty(tensor.numel() + 1)
        view = flat[1:].view(tensor.shape)
        view.copy_(tensor)
        return view
    raise ValueError(f"layout is expected to be one of {LAYOUTS}, got {layout!r}")


def shares_memory(a: Tensor, b: Tensor) -> bool:
    """Whether writing to one of the two could change the other."""
    return bool(a.numel()) and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
