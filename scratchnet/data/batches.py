"""Seeded batches, and conversion between 8-bit images and the 0..1 floats that a network sees."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, TypeMismatch


def batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """One epoch of shuffled index batches; the last one may be shorter.

    Args:
        n: Number of examples, 0 or more.
        batch_size: Examples per batch, 1 or more.
        generator: Source of the shuffle; it moves on, so that the next epoch has another order.

    Returns:
        An iterator of int64 tensors of shape (batch_size,), together every index 0..n-1 once.

    Raises:
        ArgumentError: `n` is negative or `batch_size` is below 1.
    """
    if n < 0 or batch_size < 1:
        raise ArgumentError(
            f"expected n >= 0 and batch_size >= 1, got n={n}, batch_size={batch_size}"
        )
    order = torch.randperm(n, generator=generator)
    return (order[i : i + batch_size] for i in range(0, n, batch_size))


def augmented(a: Tensor, b: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch of noisy pairs, exchanged, mirrored and turned at random: another that is as likely.

    Which of two noisy images is the input and which the target is a matter of chance, so every
    pair makes two; and photographs stay photographs when they are mirrored or turned, so each
    makes 8 (4 where they are not square, and are not turned on their side).

    Args:
        a: Inputs, (N, C, H, W).
        b: Targets of the same shape, with noise of the same kind.
        generator: Source of the choice, one for the whole batch; it moves on.

    Returns:
        Inputs and targets, contiguous.
    """
    exchange, mirror, upside_down, on_its_side = torch.randint(2, (4,), generator=generator).bool()
    if exchange:
        a, b = b, a
    sides = [side for side, flip in ((2, upside_down), (3, mirror)) if flip]
    turn = bool(on_its_side) and a.shape[2] == a.shape[3]

    def moved(images: Tensor) -> Tensor:
        images = images.flip(sides)
        return (images.transpose(2, 3) if turn else images).contiguous()

    return moved(a), moved(b)


def to_float(images: Tensor) -> Tensor:
    """8-bit images as float32 in 0..1, of the same shape.

    Raises:
        TypeMismatch: `images` is not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeMismatch(f"expected uint8 images (values 0-255), got {images.dtype}")
    return images.to(torch.float32).div_(255)


def to_uint8(images: Tensor) -> Tensor:
    """Floating-point images in 0..1 as uint8 of the same shape, rounded and clipped.

    Raises:
        TypeMismatch: `images` is not floating point.
    """
    if not images.is_floating_point():
        raise TypeMismatch(f"expected floating-point images (values 0..1), got {images.dtype}")
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)
