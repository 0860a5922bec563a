"""The one form in which every data source reaches training: pairs of noisy images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch


@dataclass(frozen=True, eq=False)
class NoisyPairs:
    """Noisy pairs to train on, and images to validate with: uint8 tensors, 3 channels, 0-255.

    With `val_is_clean`, `val_target` is the noise-free image and a PSNR against it means what
    it says. Without, there is no clean image to be had, and `val_target` is a second,
    independent noisy draw: the expected squared error against it is the one against the clean
    image *plus the noise's own variance* (for noise of mean zero), so that it ranks models in
    the right order, but the PSNR is far lower than against a clean image and has a ceiling that
    no denoiser passes. Say so wherever such a figure is shown.

    Attributes:
        noisy_a: (N, 3, H, W), one noisy draw of the training images.
        noisy_b: (N, 3, H, W), another, independent draw of the same images in the same order; or
            those images without noise, where a network is to learn from clean targets.
        val_noisy: (M, 3, H', W'), noisy validation images.
        val_target: (M, 3, H', W'), what to compare the denoised validation images with.
        val_is_clean: Whether `val_target` is noise-free.
        source: One line for people: where all this comes from.

    Raises:
        TypeMismatch: A field is not a uint8 tensor.
        ShapeError: A tensor is empty or not (N, 3, H, W), or the two of a pair differ in shape.
    """

    noisy_a: Tensor
    noisy_b: Tensor
    val_noisy: Tensor
    val_target: Tensor
    val_is_clean: bool
    source: str

    def __post_init__(self) -> None:
        check_pair(self.noisy_a, self.noisy_b, "noisy_a", "noisy_b")
        check_pair(self.val_noisy, self.val_target, "val_noisy", "val_target")


def check_pair(first: Tensor, second: Tensor, first_name: str, second_name: str) -> None:
    """Checks that two tensors can be pairs: uint8, (N, 3, H, W), equal in shape, not empty.

    Raises:
        TypeMismatch: One is not a uint8 tensor.
        ShapeError: One is empty or not (N, 3, H, W), or the shapes differ.
    """
    for name, value in ((first_name, first), (second_name, second)):
        if not isinstance(value, Tensor):
            raise TypeMismatch(
                f"{name}: expected a uint8 tensor (N, 3, H, W), got {type(value).__name__}"
            )
        if value.dtype != torch.uint8:
            raise TypeMismatch(f"{name}: expected uint8 (values 0-255), got {value.dtype}")
        if value.ndim != 4 or value.shape[1] != 3:
            raise ShapeError(f"{name}: expected shape (N, 3, H, W), got {tuple(value.shape)}")
        if value.layout is not torch.strided or value.is_meta:
            raise TypeMismatch(f"{name}: expected a dense tensor with values, got {value.layout}")
        if value.numel() > value.untyped_storage().nbytes():  # a small file may hold terabytes so
            raise ShapeError(
                f"{name}: {tuple(value.shape)} repeats fewer values in memory: save it with "
                ".contiguous()"
            )
        if value.numel() == 0:
            raise ShapeError(f"{name}: expected at least one image, got shape {tuple(value.shape)}")
    if first.shape != second.shape:
        raise ShapeError(
            f"{first_name} and {second_name} are pairs and must have the same shape, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )


def check_counts(**counts: int) -> None:
    """Checks that numbers of images and sizes are 1 or more.

    Raises:
        ArgumentError: One is not; the message names it.
    """
    for name, value in counts.items():
        if value < 1:
            raise ArgumentError(f"{name}: expected 1 or more, got {value}")
