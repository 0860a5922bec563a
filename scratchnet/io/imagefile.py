"""Reading and writing image files: 8 or 16 bits a channel, grey or RGB, with or without alpha.

Pillow does the decoding and encoding; :mod:`scratchnet.io.deepimage` what Pillow cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from scratchnet.errors import DataError
from scratchnet.io import deepimage
from scratchnet.io.files import write_bytes

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

READABLE = (
    "PNG", "JPEG", "MPO", "TIFF", "WEBP", "BMP", "DIB", "GIF", "PPM", "TGA", "JPEG2000", "AVIF",
)  # fmt: skip
"""Formats that are read, whatever a file's name ends in: Pillow decodes them by itself. For others,
such as PostScript, it starts a program on what is in the file."""
MAX_PIXELS = 2**29
"""Images of more are not read: a small file can claim any size. About 23,000 by 23,000."""

_BITS, _PLANAR = 258, 284  # TIFF tags: BitsPerSample, PlanarConfiguration

_PASSED_ON = ("exif", "icc_profile", "dpi")
_DEEP_ENCODERS = {"PNG": deepimage.png, "TIFF": deepimage.tiff}
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_deflate"},
}


@dataclass
class ImageData:
    """A decoded image.

    Attributes:
        pixels: (H, W, C), uint8 or uint16; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        info: its metadata: ``exif`` (with its orientation), ``icc_profile``,
            ``dpi``.
    """

    pixels: Pixels
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Colour channels, without alpha: 1 or 3."""
        return 1 if self.pixels.shape[2] <= 2 else 3


def read_image(path: str | Path) -> ImageData:
    """Decode an image as it is stored: not turned upright, its bits and channels kept.

    Palettes become RGB, 1-bit images 8-bit grey, CMYK and other colour spaces RGB.

    Raises:
        DataError: if the file is missing, no image, an animation, or holds floating-point pixels.
    """
    with opened(path) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":  # an MPO is a photo with a preview attached
            raise DataError(
                f"{path} holds {frames} images: save the one you mean in a file of its own"
            )
        info = {key: image.info[key] for key in _PASSED_ON if key in image.info}
        if image.mode == "CMYK":
            info.pop("icc_profile", None)  # describes the CMYK values, not the RGB ones
        return ImageData(_pixels(image, path), info)


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """An image file, open in a ``with`` block; what goes wrong in there is the file's fault.

    Raises:
        DataError: if the file is missing, damaged, of no format in :data:`READABLE`, or of more
            than :data:`MAX_PIXELS`.
    """
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # ours is higher, and an error that says what to do
    try:
        Image.init()
        with Image.open(path, formats=[name for name in READABLE if name in Image.OPEN]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{path} claims to be {image.width}x{image.height}, more than "
                    f"{MAX_PIXELS:,} pixels: cut it into parts"
                )
            yield image
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except DataError:
        raise
    except (Exception, MemoryError) as error:  # decoders let anything through
        raise DataError(f"{path} cannot be read as an image ({_first_line(error)})") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def write_image(path: str | Path, image: ImageData) -> None:
    """Encode an image in the format that the file's ending names, atomically.

    Raises:
        DataError: if the ending is unknown or its format cannot hold such pixels; the message names
            one that can.
    """
    path = Path(path)
    format_ = check_suffix(path)
    pixels = image.pixels
    channels, bits = pixels.shape[2], pixels.dtype.itemsize * 8
    what = f"{bits}-bit {('grey', 'grey with alpha', 'RGB', 'RGB with alpha')[channels - 1]}"
    try:
        encoded = _encoded(image, format_)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: {format_} cannot hold a {what} image; name a .png or .tif file instead"
        ) from error
    write_bytes(path, encoded)


def _encoded(image: ImageData, format_: str) -> bytes:
    pixels = image.pixels
    if pixels.dtype.itemsize == 2 and pixels.shape[2] > 1:
        return _DEEP_ENCODERS[format_](pixels.astype(np.uint16, copy=False), image.info)
    plain = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    options = _SAVE_OPTIONS.get(format_, {})
    if format_ == "TIFF":
        options = options | {k: v for k, v in image.info.items() if k != "exif"}
    else:
        options = options | image.info
    out = BytesIO()
    plain.save(out, format=format_, **options)
    return out.getvalue()


def check_suffix(path: str | Path) -> str:
    """The name of the format that the ending of ``path`` stands for.

    Raises:
        DataError: if no format that can be written has this ending.
    """
    suffix = Path(path).suffix.lower()
    format_ = Image.registered_extensions().get(suffix)
    if format_ is None or format_ not in Image.SAVE:
        raise DataError(
            f"{path}: {suffix or 'a name without an ending'} is no image format that can be "
            "written; use .png, .tif, .jpg or .webp"
        )
    return format_


def _pixels(image: Image.Image, path: str | Path) -> Pixels:
    deep = deepimage.deep_pixels(image)
    if deep is not None:
        return deep
    tags = getattr(image, "tag_v2", {})
    if image.mode != "L" and tags.get(_PLANAR) == 2 and max(tags.get(_BITS, (8,))) > 8:
        raise DataError(
            f"{path} stores its channels in separate planes of more than 8 bits: save it with "
            "interleaved channels, or as PNG"
        )
    mode = image.mode
    if mode == "F":
        raise DataError(
            f"{path} holds floating-point pixels: save it with 8 or 16 bits per channel first"
        )
    if mode.startswith(
        "I"
    ):  # 16-bit grey; "I" is 32 bits wide, but what PNG and PGM put there is 16
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DataError(
                f"{path} holds 32-bit pixels: save it with 8 or 16 bits per channel first"
            )
        return values.astype(np.uint16)[..., None]
    transparent = "transparency" in image.info
    if mode in ("1", "L", "LA", "La"):
        target = "LA" if transparent or mode in ("LA", "La") else "L"
    else:
        target = "RGBA" if transparent or mode in ("RGBA", "RGBa", "PA") else "RGB"
    values = np.asarray(image if mode == target else image.convert(target))
    return values[..., None] if values.ndim == 2 else values


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
