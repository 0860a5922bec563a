"""Picture files in and out: 8 or 16 bits a channel, grey or RGB, with or without alpha.

Pillow does the decoding and encoding. What it has no pixel format for, 16 bits in several channels,
is read through it byte by byte, and written by tifffile or, for PNG, by the few lines that the
format needs.
"""

from __future__ import annotations

import struct
import sys
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from scratchnet.errors import DataError
from scratchnet.files import atomic

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_BITS, _PLANAR = 258, 284  # TIFF tags: BitsPerSample, PlanarConfiguration

_PASSED_ON = ("exif", "icc_profile", "dpi")
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_deflate"},
}


@dataclass
class ImageData:
    """A decoded picture.

    Attributes:
        pixels: (H, W, C), uint8 or uint16; C is 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        info: what travels with it unseen: ``exif`` (with its orientation), ``icc_profile``,
            ``dpi``.
    """

    pixels: Pixels
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Colour channels, without alpha: 1 or 3."""
        return 1 if self.pixels.shape[2] <= 2 else 3


def read_image(path: str | Path) -> ImageData:
    """Decode a picture as it is stored: not turned upright, its bits and channels kept.

    Palettes become RGB, 1-bit pictures 8-bit grey, CMYK and other colour spaces RGB.

    Raises:
        DataError: if the file is missing, no picture, an animation, or holds floating-point pixels.
    """
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None  # huge pictures are welcome here: they are the user's own files
    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1 and image.format != "MPO":  # an MPO is a photo with a preview attached
                raise DataError(
                    f"{path} holds {frames} pictures: save the one you mean in a file of its own"
                )
            info = {key: image.info[key] for key in _PASSED_ON if key in image.info}
            if image.mode == "CMYK":
                info.pop("icc_profile", None)  # describes the CMYK values, not the RGB ones
            return ImageData(_pixels(image, path), info)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as a picture ({_first_line(error)})") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def write_image(path: str | Path, image: ImageData) -> None:
    """Encode a picture in the format that the file's ending names, atomically.

    Raises:
        DataError: if the ending is unknown or its format cannot hold such pixels; the message names
            one that can.
    """
    path = Path(path)
    format_ = check_suffix(path)
    pixels = image.pixels
    channels, bits = pixels.shape[2], pixels.dtype.itemsize * 8
    what = f"{bits}-bit {('grey', 'grey with alpha', 'RGB', 'RGB with alpha')[channels - 1]}"
    with atomic(path) as temporary:
        try:
            if bits == 16 and channels > 1:
                _write_16_bit(temporary, image, format_)
                return
            plain = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
            options = _SAVE_OPTIONS.get(format_, {})
            if format_ == "TIFF":
                options = options | {k: v for k, v in image.info.items() if k != "exif"}
            else:
                options = options | image.info
            plain.save(temporary, format=format_, **options)
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DataError(
                f"{path}: {format_} cannot hold a {what} picture; name a .png or .tif file instead"
            ) from error


def check_suffix(path: str | Path) -> str:
    """The name of the format that the ending of ``path`` stands for.

    Raises:
        DataError: if no format that can be written has this ending.
    """
    suffix = Path(path).suffix.lower()
    format_ = Image.registered_extensions().get(suffix)
    if format_ is None or format_ not in Image.SAVE:
        raise DataError(
            f"{path}: {suffix or 'a name without an ending'} is no picture format that can be "
            "written; use .png, .tif, .jpg or .webp"
        )
    return format_


def _pixels(image: Image.Image, path: str | Path) -> Pixels:
    deep = _deep_pixels(image)
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


def _deep_pixels(image: Image.Image) -> npt.NDArray[np.uint16] | None:
    """The pixels of a picture with 16 bits in several channels, or None if it is another kind.

    Pillow decodes such files but keeps only each value's high byte. Told that the bytes come in the
    other order, it
    keeps the low byte: decoding twice gives both.
    """
    tiles = getattr(image, "tile", [])
    arguments = {t.args[0] if isinstance(t.args, tuple) and t.args else t.args for t in tiles}
    raw = arguments.pop() if len(arguments) == 1 else None
    if not isinstance(image, ImageFile.ImageFile) or not isinstance(raw, str):
        return None
    native = "L" if sys.byteorder == "little" else "B"
    layout, _, order = raw.partition(";16")
    if order == "N":
        order = native
    if layout == "LA" and order == "B":
        # All four bytes of a pixel at once, as if they were four channels.
        return np.ascontiguousarray(_decode_as(image, "RGBA")).view(">u2").astype(np.uint16)
    if layout not in ("RGB", "RGBA") or order not in ("L", "B"):
        return None
    other = {"L": "B", "B": "L"}[order]
    low = _decode_as(image, f"{layout};16{other}").astype(np.uint16)
    low += _decode_as(image, f"{layout};16{order}").astype(np.uint16) << 8
    return low


def _decode_as(image: ImageFile.ImageFile, raw: str) -> npt.NDArray[np.uint8]:
    with Image.open(image.filename) as again:
        again.tile = [
            t._replace(args=(raw, *t.args[1:]) if isinstance(t.args, tuple) else raw)
            for t in again.tile
        ]
        return np.array(again)


def _write_16_bit(path: Path, image: ImageData, format_: str) -> None:
    if format_ == "PNG":
        path.write_bytes(_png_16_bit(image))
    elif format_ == "TIFF":
        import tifffile

        channels = image.pixels.shape[2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata conventions of microscopes
            tifffile.imwrite(
                path,
                image.pixels,
                photometric="rgb" if channels > 2 else "minisblack",
                planarconfig="contig",
                extrasamples=["unassalpha"] if channels in (2, 4) else None,
                compression="zlib",
                predictor=True,
                metadata=None,
                iccprofile=image.info.get("icc_profile"),
                resolution=image.info.get("dpi"),
                resolutionunit="INCH" if "dpi" in image.info else None,
            )
    else:
        raise ValueError(format_)


def _png_16_bit(image: ImageData) -> bytes:
    """A 16-bit PNG (W3C, third edition, sections 5 and 9), every row filtered by "Up"."""
    height, width, channels = image.pixels.shape
    rows = np.ascontiguousarray(image.pixels.astype(">u2")).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]  # modulo 256, as uint8 does

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    out = b"\x89PNG\r\n\x1a\n"
    out += chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    if profile := image.info.get("icc_profile"):
        out += chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if dpi := image.info.get("dpi"):
        per_metre = [round(float(value) / 0.0254) for value in dpi]
        out += chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
    if exif := image.info.get("exif"):
        out += chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return out + chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6)) + chunk(b"IEND", b"")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
