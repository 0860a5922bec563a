"""Image files: finding them in a folder, and decoding one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from scratchnet.data.cutting import Pixels
from scratchnet.errors import DataError
from scratchnet.io.imagefile import opened

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"]
)
"""Endings, in lower case, of the files that count as images."""


def find_images(folder: str | Path) -> list[Path]:
    """The image files of a folder and its sub-folders, sorted; hidden files are left out.

    Raises:
        DataError: `folder` is no directory, or there is no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of images, there is no such folder")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise DataError(f"{folder}: no images found (looked for {', '.join(sorted(SUFFIXES))})")
    return found


def load_image(path: str | Path) -> Pixels:
    """Decodes an image as upright 8-bit RGB; grey becomes three equal channels, alpha is dropped.

    Returns:
        uint8, (H, W, 3).

    Raises:
        DataError: The file cannot be decoded, or 8 bits would not hold what is in it: several
            images, floating-point values, or 16-bit values in the lower half of their range.
    """
    try:
        with opened(path) as stored:
            lost = _lost(stored)
            image = ImageOps.exif_transpose(stored)
            if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion would clip at 255
                grey = np.asarray(image, dtype=np.float64) / 257
                image = Image.fromarray(grey.round().astype(np.uint8))
            # By way of RGBA: Pillow warns when a palette's transparency is dropped in one step.
            pixels = np.asarray(image.convert("RGBA").convert("RGB"))
    except DataError as error:
        raise DataError(f"{error}; repair or remove it") from error
    if lost:
        raise DataError(f"{path} {lost}: save it with 8 bits a channel, scaled to use them all")
    return pixels


def _lost(image: Image.Image) -> str | None:
    """Say why little of an image would be left in 8 bits; None if that is not so."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # an MPO is a photo with a preview attached
        return f"holds {frames} images, and one a file is expected"
    if image.mode == "F":
        return "holds floating-point values, and training takes 8 bits a channel"
    if image.mode.startswith("I") and not 32768 <= (largest := np.asarray(image).max()) <= 65535:
        levels = int(largest) // 257 + 1
        return (
            f"holds values up to {largest}, and training takes 8 bits a channel, which stand for 0 "
            f"to 65535: {levels} grey levels would be left"
        )
    return None


def image_sizes(paths: list[Path]) -> list[tuple[int, int]]:
    """Width and height of image files, from their headers.

    Raises:
        DataError: Some are no images; the message names the first few.
    """
    sizes, unreadable = [], []
    for path in paths:
        try:
            with opened(path) as image:
                sizes.append(image.size)
        except DataError:
            unreadable.append(path)
    if unreadable:
        raise DataError(
            f"{len(unreadable)} files cannot be read as images; repair or remove "
            f"{first_few(unreadable)}"
        )
    return sizes


def first_few(items: list[Path], limit: int = 3) -> str:
    """The first `limit` paths for an error message, and how many more there are."""
    rest = len(items) - limit
    return ", ".join(str(item) for item in items[:limit]) + (
        f" and {rest} more" if rest > 0 else ""
    )
