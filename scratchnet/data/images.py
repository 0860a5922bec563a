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
        DataError: The file cannot be decoded.
    """
    try:
        with opened(path) as stored:
            image = ImageOps.exif_transpose(stored)
            if image.mode.startswith(
                "I"
            ):  # 16 bits a pixel; Pillow's own conversion would clip it at 255
                grey = np.asarray(image, dtype=np.float64) / 257
                image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
            # By way of RGBA: Pillow warns when a palette's transparency is dropped in one step.
            return np.asarray(image.convert("RGBA").convert("RGB"))
    except DataError as error:
        raise DataError(f"{error}; repair or remove it") from error


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
