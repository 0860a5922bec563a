"""TIFF stacks, and TIFF images of values that Pillow cannot hold: read and written image by image.

Decoding and encoding is tifffile's.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scratchnet.errors import DataError
from scratchnet.io.files import atomic
from scratchnet.io.imagefile import MAX_PIXELS

Values = npt.NDArray[Any]

_SUFFIXES = (".tif", ".tiff")
_LARGE = 2**32 - 2**25  # bytes that a classic TIFF file can address, less what describes them


class Stack:
    """The images of one TIFF or BigTIFF file, of one size and dtype.

    Attributes:
        path: the file.
        images: how many there are.
        shape: of each: (H, W, C), with C = 1 for grey.
        dtype: of their values.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self._file = path, file
        self._pages = [page for page in file.pages if not page.is_reduced]
        first = self._pages[0]
        self.images, self.dtype = len(self._pages), first.dtype
        self.shape = _as_image(first, np.empty(first.shape, np.uint8)).shape
        self.description: str = first.description
        for number, page in enumerate(self._pages, start=1):
            if page.shape != first.shape or page.dtype != first.dtype:
                raise DataError(
                    f"{path}: expected images of one size and dtype, got {first.shape} "
                    f"{first.dtype} and, image {number}, {page.shape} {page.dtype}: save them in "
                    "files of their own"
                )

    def __iter__(self) -> Iterator[Values]:
        """Yield one image (H, W, C) after the other; one is in memory at a time."""
        for number, page in enumerate(self._pages, start=1):
            try:
                yield _as_image(page, page.asarray())
            except (OSError, ValueError, RuntimeError) as error:
                raise DataError(
                    f"{self.path}: image {number} of {self.images} cannot be read ({error})"
                ) from error

    def write(self, path: str | Path, images: Iterator[Values]) -> None:
        """Write images like these to a TIFF file, atomically, with the description (OME metadata,
        say) that this file has.

        Raises:
            DataError: ``path`` does not end in .tif or .tiff.
        """
        import tifffile

        path = Path(path)
        if path.suffix.lower() not in _SUFFIXES:
            raise DataError(
                f"{path}: {self.images} images of {self.dtype} fit into a TIFF file only: name a "
                ".tif file"
            )
        size = self.images * int(np.prod(self.shape)) * self.dtype.itemsize
        colours = self.shape[2]
        with atomic(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=size > _LARGE) as to:
            for number, image in enumerate(images):
                to.write(
                    image if colours > 1 else image[..., 0],
                    photometric="rgb" if colours > 2 else "minisblack",
                    planarconfig="contig" if colours > 1 else None,
                    extrasamples=["unassalpha"] if colours in (2, 4) else None,
                    compression="zlib",
                    predictor=self.dtype.kind != "f",
                    description=self.description.encode() if number == 0 else None,
                    metadata=None,
                )


@contextmanager
def open_stack(path: str | Path) -> Iterator[Stack | None]:
    """Open a TIFF file that holds several images, or one of floating-point, signed or more than
    16-bit values; None for every other file, which :mod:`scratchnet.io.imagefile` reads.

    Raises:
        DataError: the images differ in size or dtype, or use a palette.
    """
    import tifffile

    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        yield None
        return
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata conventions of microscopes
        try:
            file = tifffile.TiffFile(path)
        except Exception:  # damage comes as anything; imagefile says what is wrong
            yield None
            return
        with file:
            first: Any = file.pages[0] if len(file.pages) else None
            deep = first is not None and first.dtype not in (None, np.dtype("u1"), np.dtype("u2"))
            if first is None or (len(file.pages) == 1 and (not deep or first.dtype == bool)):
                yield None
                return
            if first.imagewidth * first.imagelength > MAX_PIXELS:
                raise DataError(
                    f"{path} claims to be {first.imagewidth}x{first.imagelength}, more than "
                    f"{MAX_PIXELS:,} pixels: cut it into parts"
                )
            if first.photometric == tifffile.PHOTOMETRIC.PALETTE or first.dtype is None:
                raise DataError(
                    f"{path}: the images of a stack are expected to be grey or RGB: save those "
                    "that you mean in files of their own"
                )
            yield Stack(path, file)


def _as_image(page: Any, values: Values) -> Values:
    """Return a page's values as (H, W, C)."""
    if values.ndim == 2:
        return values[..., None]
    if values.ndim == 3 and page.planarconfig == 2:
        values = np.moveaxis(values, 0, -1)
    if values.ndim != 3 or not 1 <= values.shape[2] <= 4:
        raise DataError(
            f"expected images (H, W) or (H, W, C) of up to 4 channels, got {values.shape}: save "
            "the channels in files of their own"
        )
    return values


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from logging what is no error here."""
    logger = logging.getLogger("tifffile")
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled
