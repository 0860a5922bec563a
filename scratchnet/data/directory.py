"""Noisy pairs from a directory of two tensor files, `train_data.pkl` and `val_data.pkl`."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from scratchnet.data.pairs import NoisyPairs, check_pair
from scratchnet.errors import DataError, ShapeError, TypeMismatch


def from_directory(path: str | Path) -> NoisyPairs:
    """Noisy pairs that were saved with `torch.save((first, second), file)`.

    Args:
        path: Directory with `train_data.pkl`, two noisy draws of the same images, and
            `val_data.pkl`, noisy and clean images: two uint8 tensors (N, 3, H, W) each.

    Raises:
        DataError: A file is missing, cannot be read, or does not hold two such tensors.
    """
    path = Path(path)
    noisy_a, noisy_b = _read_pair(path / "train_data.pkl", "noisy", "noisy")
    val_noisy, val_clean = _read_pair(path / "val_data.pkl", "noisy", "clean")
    source = f"{path}: {len(noisy_a)} noisy pairs, {len(val_noisy)} validation images"
    return NoisyPairs(noisy_a, noisy_b, val_noisy, val_clean, val_is_clean=True, source=source)


def _read_pair(file: Path, first: str, second: str) -> tuple[Tensor, Tensor]:
    expected = (
        f"a tuple of two uint8 tensors (N, 3, H, W), {first} and {second}, written by torch.save"
    )
    if not file.is_file():
        raise DataError(f"{file} is missing: expected {expected}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # torch.load lets pickle, zip, end-of-file and its own errors through
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch advises to load it all the same
            reason = "it holds something else than tensors, or is damaged"
        raise DataError(f"{file} cannot be read ({reason}): expected {expected}") from error
    if not isinstance(content, (tuple, list)) or len(content) != 2:
        came = (
            f"{type(content).__name__} of length {len(content)}"
            if hasattr(content, "__len__")
            else content
        )
        raise DataError(f"{file}: expected {expected}, got {came}")
    try:
        check_pair(content[0], content[1], "first tensor", "second tensor")
    except (TypeMismatch, ShapeError) as error:
        raise DataError(f"{file}: {error}") from error
    return content[0], content[1]
