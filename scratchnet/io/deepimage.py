"""Images with 16 bits in several channels, for which Pillow has no pixel format.

They are read through Pillow all the same, byte by byte, and written by tifffile or, for PNG, by the
few lines that the format needs.
"""

from __future__ import annotations

import struct
import sys
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

Pixels16 = npt.NDArray[np.uint16]


def deep_pixels(image: Image.Image) -> Pixels16 | None:
    """The pixels of an image with 16 bits in several channels, or None if it is another kind.

    Pillow decodes such files but keeps only each value's high byte. Told that the bytes come in the
    other order, it keeps the low byte: decoding twice gives both.
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
    with Image.open(image.filename, formats=[image.format or ""]) as again:
        again.tile = [
            t._replace(args=(raw, *t.args[1:]) if isinstance(t.args, tuple) else raw)
            for t in again.tile
        ]
        return np.array(again)


def png(pixels: Pixels16, info: dict[str, Any]) -> bytes:
    """(H, W, C) pixels, C from 1 to 4, as a PNG file with ``info``'s profile, EXIF and dpi.

    Source: W3C, Portable Network Graphics, third edition, sections 5 and 9; every row is filtered
    by "Up".
    """
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8).reshape(height, -1)
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
    if profile := info.get("icc_profile"):
        out += chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if dpi := info.get("dpi"):
        per_metre = [round(float(value) / 0.0254) for value in dpi]
        out += chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1))
    if exif := info.get("exif"):
        out += chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return out + chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6)) + chunk(b"IEND", b"")


def tiff(pixels: Pixels16, info: dict[str, Any]) -> bytes:
    """(H, W, C) pixels, C from 1 to 4, as a TIFF file with ``info``'s profile and dpi."""
    import tifffile

    channels, out = pixels.shape[2], BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata conventions of microscopes
        tifffile.imwrite(
            out,
            pixels,
            photometric="rgb" if channels > 2 else "minisblack",
            planarconfig="contig",
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
            compression="zlib",
            predictor=True,
            metadata=None,
            iccprofile=info.get("icc_profile"),
            resolution=info.get("dpi"),
            resolutionunit="INCH" if "dpi" in info else None,
        )
    return out.getvalue()
