"""Noisy pairs from folders of image files: clean ones to add noise to, or your own noisy pairs.

The held-out files and the validation images cut from them are the same for every seed: runs
with different seeds are measured on the same images, and no seed trains on what another one
validates with.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from scratchnet.data.cutting import Pixels, cut
from scratchnet.data.images import find_images, first_few, image_sizes, load_image
from scratchnet.data.noise import NoiseModel, parse_noise
from scratchnet.data.pairs import NoisyPairs, check_counts
from scratchnet.errors import ArgumentError, DataError

_T = TypeVar("_T")

_SPLIT_SEED = 1


def from_images(
    path: str | Path,
    noise: str | NoiseModel = "subpixel",
    n_train: int = 5000,
    n_val: int = 500,
    size: int = 32,
    seed: int = 0,
    val_fraction: float = 0.1,
) -> NoisyPairs:
    """Noisy pairs cut, at several scales, out of any folder of clean images; see `cutting.cut`.

    Validation comes from files that training never sees. A single image is divided instead: its
    right end (its lower end where it is higher than wide) is for validation.

    Args:
        path: Folder; its sub-folders are searched too. Images too small for one cut are left
            out, and counted in `source`.
        noise: A noise model or its specification, see `parse_noise`.
        n_train: Training pairs, 1 or more. They are turned and mirrored at random.
        n_val: Validation images, 1 or more; the same ones for every `seed`.
        size: Side of the noisy images, in pixels.
        seed: Decides which training images are cut, and their noise.
        val_fraction: Share of the files (or of a single image) held out for validation, between
            0 and 1.

    Raises:
        ArgumentError: Unknown noise, a count below 1, or `val_fraction` out of range.
        DataError: No such folder, no image in it, a file that is no image, or all of them too
            small.
    """
    model = parse_noise(noise) if isinstance(noise, str) else noise
    _check_arguments(n_train, n_val, size, val_fraction)
    side = size * model.scale
    files = find_images(path)
    usable = [f for f, wh in zip(files, image_sizes(files), strict=True) if min(wh) >= side]
    if not usable:
        raise DataError(
            f"{path}: none of the {len(files)} images is large enough; {model} noise at size "
            f"{size} needs {side}x{side} pixels: choose a smaller size or larger images"
        )
    train: list[Callable[[], Pixels]]
    validation: list[Callable[[], Pixels]]
    if len(usable) > 1:
        train_files, val_files = _hold_out(usable, val_fraction)
        train = [partial(load_image, file) for file in train_files]
        validation = [partial(load_image, file) for file in val_files]
        split = f"{len(train)} for training, {len(validation)} held out for validation"
    else:
        head, tail = _divide(load_image(usable[0]), side, val_fraction, usable[0])
        train, validation = [lambda: head], [lambda: tail]
        split = "divided into a training and a validation part"
    generator = torch.Generator().manual_seed(seed)
    val_generator = torch.Generator().manual_seed(_SPLIT_SEED)
    original = cut(train, n_train, side, generator, mirror=True)
    val_original = cut(validation, n_val, side, val_generator)
    left_out = _left_out(len(files) - len(usable))
    return NoisyPairs(
        noisy_a=model.sample(original, generator),
        noisy_b=model.sample(original, generator),
        val_noisy=model.sample(val_original, val_generator),
        val_target=model.clean(val_original),
        val_is_clean=True,
        source=(
            f"{path}, {model} noise: {n_train} noisy pairs and {n_val} validation images of "
            f"{size}x{size} from {len(usable)} images ({split}{left_out})"
        ),
    )


def from_noisy_folders(
    a: str | Path,
    b: str | Path,
    n_train: int = 5000,
    n_val: int = 500,
    size: int = 32,
    seed: int = 0,
    val_fraction: float = 0.1,
) -> NoisyPairs:
    """Your own noisy pairs: two folders, with two noisy images of a scene under the same name.

    Squares are cut at the same place in both, at full size (scaling would average the noise
    away), never the same place twice: few or small images give fewer squares than asked
    for, as `source` says. There is no clean image, so validation compares with the second
    noisy image of held-out pairs: see `NoisyPairs`.

    Args:
        a: Folder with the first images; its sub-folders are searched too.
        b: Folder with the second ones: the same relative paths and image sizes. Two at least.
        n_train: Training pairs at most, 1 or more.
        n_val: Validation pairs at most, 1 or more; the same ones for every `seed`.
        size: Side of the squares, in pixels.
        seed: Decides where training squares are cut.
        val_fraction: Share of the files held out for validation, between 0 and 1.

    Raises:
        ArgumentError: A count below 1, or `val_fraction` out of range.
        DataError: No such folder, file names or image sizes that do not match, a file that is
            no image, or fewer than two pairs that are large enough.
    """
    _check_arguments(n_train, n_val, size, val_fraction)
    a, b = Path(a), Path(b)
    names = _matching_names(a, b)
    sizes = image_sizes([a / name for name in names])
    sizes_b = image_sizes([b / name for name in names])
    differ = [n for n, wh, wh_b in zip(names, sizes, sizes_b, strict=True) if wh != wh_b]
    if differ:
        raise DataError(
            f"{a} and {b}: the two images of a pair differ in size: {first_few(differ)}"
        )
    usable = [name for name, wh in zip(names, sizes, strict=True) if min(wh) >= size]
    if len(usable) < 2:
        raise DataError(
            f"{a} and {b}: expected two or more pairs (one is held out for validation) of at "
            f"least {size}x{size} pixels, found {len(usable)} among {len(names)}"
        )
    train, validation = _hold_out(usable, val_fraction)
    noisy_a, noisy_b = _cut_pairs(a, b, train, n_train, size, seed)
    val_noisy, val_target = _cut_pairs(a, b, validation, n_val, size, _SPLIT_SEED)
    return NoisyPairs(
        noisy_a=noisy_a,
        noisy_b=noisy_b,
        val_noisy=val_noisy,
        val_target=val_target,
        val_is_clean=False,
        source=(
            f"{a} and {b}: {len(noisy_a)} noisy pairs of {size}x{size} from {len(train)} files, "
            f"{len(val_noisy)} validation pairs from {len(validation)} held-out files, no clean "
            f"images{_left_out(len(names) - len(usable))}"
        ),
    )


def _check_arguments(n_train: int, n_val: int, size: int, val_fraction: float) -> None:
    check_counts(n_train=n_train, n_val=n_val, size=size)
    if not 0 < val_fraction < 1:
        raise ArgumentError(f"val_fraction: expected a share between 0 and 1, got {val_fraction}")


def _left_out(too_small: int) -> str:
    return f"; {too_small} too small, left out" if too_small else ""


def _hold_out(items: list[_T], fraction: float) -> tuple[list[_T], list[_T]]:
    """Training and validation items, in random order; at least one of each."""
    shuffled = random.Random(_SPLIT_SEED).sample(items, len(items))
    held_out = min(max(1, round(fraction * len(items))), len(items) - 1)
    return shuffled[held_out:], shuffled[:held_out]


def _divide(image: Pixels, side: int, fraction: float, path: Path) -> tuple[Pixels, Pixels]:
    axis = 0 if image.shape[0] > image.shape[1] else 1
    length = image.shape[axis]
    if length < 2 * side:
        raise DataError(
            f"{path} is the only image and too small to divide: expected two images, or one of "
            f"at least {2 * side} pixels along one side, got {image.shape[1]}x{image.shape[0]}"
        )
    held_out = min(max(side, round(fraction * length)), length - side)
    head, tail = np.split(image, [length - held_out], axis=axis)
    return np.ascontiguousarray(head), np.ascontiguousarray(tail)


def _matching_names(a: Path, b: Path) -> list[Path]:
    names_a, names_b = (
        {file.relative_to(folder) for file in find_images(folder)} for folder in (a, b)
    )
    for here, there, missing in ((a, b, names_a - names_b), (b, a, names_b - names_a)):
        if missing:
            raise DataError(
                f"{len(missing)} images of {here} have no partner of the same name in {there}: "
                f"{first_few(sorted(missing))}"
            )
    return sorted(names_a)


def _cut_pairs(
    a: Path, b: Path, names: list[Path], n: int, size: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Up to `n` squares at the same places of both images, no place twice, from all files."""
    rng = random.Random(seed)
    names = rng.sample(names, min(n, len(names)))
    squares: list[tuple[Pixels, Pixels]] = []
    for i, name in enumerate(names):
        first, second = load_image(a / name), load_image(b / name)
        rows, columns = first.shape[0] - size + 1, first.shape[1] - size + 1
        share = (n - len(squares)) // (
            len(names) - i
        )  # what small images cannot give goes to the next ones
        for place in rng.sample(range(rows * columns), min(share, rows * columns)):
            top, left = divmod(place, columns)
            window = np.s_[top : top + size, left : left + size]
            squares.append((first[window].copy(), second[window].copy()))
    rng.shuffle(squares)
    first_all, second_all = (
        torch.from_numpy(np.stack(side)) for side in zip(*squares, strict=True)
    )
    return _channels_first(first_all), _channels_first(second_all)


def _channels_first(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).contiguous()  # (N, H, W, 3) -> (N, 3, H, W)
