from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from crowded import little_room
from PIL import Image, ImageCms

from scratchnet.data.images import load_image
from scratchnet.errors import DataError, ScratchnetError
from scratchnet.io.imagefile import ImageData, check_suffix, read_image, write_image


def pixels(channels: int, dtype: type = np.uint8, height: int = 11, width: int = 7) -> np.ndarray:
    rng = np.random.default_rng(channels)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("dtype", "suffix"), [(np.uint8, ".png"), (np.uint16, ".png"), (np.uint8, ".tif")]
)
def test_pixels_come_back_as_they_were(
    tmp_path: Path, channels: int, dtype: type, suffix: str
) -> None:
    before = pixels(channels, dtype)
    write_image(tmp_path / f"a{suffix}", ImageData(before))
    after = read_image(tmp_path / f"a{suffix}").pixels
    assert after.dtype == dtype
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bits_come_back_from_tiff(tmp_path: Path, channels: int) -> None:
    before = pixels(channels, np.uint16)
    write_image(tmp_path / "a.tiff", ImageData(before))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tiff").pixels, before)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_tiff_of_other_programs(
    tmp_path: Path, byteorder: str, compression: str | None
) -> None:
    before = pixels(3, np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", before, photometric="rgb", byteorder=byteorder, compression=compression
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, before)


def test_16_bit_tiff_in_separate_planes_is_refused(tmp_path: Path) -> None:
    planes = pixels(3, np.uint16).transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(DataError, match=r"a\.tif stores its channels in separate planes"):
        read_image(tmp_path / "a.tif")


def test_interlaced_16_bit_png(tmp_path: Path) -> None:
    before = pixels(3, np.uint16, 9, 10)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    raw = b""
    for top, left, down, right in [*passes, (1, 0, 2, 1)]:
        for row in before[top::down, left::right].astype(">u2"):
            raw += b"\0" + row.tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 10, 9, 16, 2, 0, 0, 1)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, before)


def test_16_bit_png_is_what_other_readers_understand(tmp_path: Path) -> None:
    before = pixels(1, np.uint16)
    write_image(tmp_path / "grey.png", ImageData(before))
    with Image.open(tmp_path / "grey.png") as image:
        np.testing.assert_array_equal(np.asarray(image), before[..., 0])
    before = pixels(4, np.uint16)
    write_image(tmp_path / "rgba.png", ImageData(before))
    with Image.open(tmp_path / "rgba.png") as image:
        image.load()  # checks the checksums
        np.testing.assert_array_equal(np.asarray(image), before >> 8)


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4), ("CMYK", 3)],
)
def test_what_becomes_of_pillows_modes(tmp_path: Path, mode: str, channels: int) -> None:
    source = Image.fromarray(pixels(3)).convert(mode)
    source.save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    assert image.pixels.shape == (11, 7, channels)
    assert image.pixels.dtype == np.uint8
    wanted = source.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])
    np.testing.assert_array_equal(image.pixels, np.asarray(wanted).reshape(11, 7, channels))


def test_transparency_of_palettes_and_colour_keys_becomes_alpha(tmp_path: Path) -> None:
    red, blue = (255, 0, 0), (0, 0, 255)
    image = Image.new("RGB", (2, 1), red)
    image.putpixel((1, 0), blue)
    image.save(tmp_path / "key.png", transparency=blue)
    image.quantize(2).save(tmp_path / "palette.png", transparency=bytes([255, 0]))
    Image.fromarray(np.array([[9, 7]], np.uint8)).save(tmp_path / "grey.png", transparency=7)
    assert read_image(tmp_path / "key.png").pixels[0].tolist() == [[*red, 255], [*blue, 0]]
    assert sorted(read_image(tmp_path / "palette.png").pixels[0, :, 3].tolist()) == [0, 255]
    assert read_image(tmp_path / "grey.png").pixels[0].tolist() == [[9, 255], [7, 0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_exif_profile_and_resolution_travel_along(tmp_path: Path, dtype: type) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = tmp_path / "in.jpg"
    Image.fromarray(pixels(3)).save(source, exif=exif, icc_profile=profile, dpi=(300, 300))
    info = read_image(source).info
    write_image(tmp_path / "out.png", ImageData(pixels(3, dtype), info))
    with Image.open(tmp_path / "out.png") as image:
        assert image.getexif()[0x0112] == 6
        assert image.size == (7, 11)  # not turned: the orientation still says so
        assert image.info["icc_profile"] == profile
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    write_image(tmp_path / "out.tif", ImageData(pixels(3, dtype), info))
    with Image.open(tmp_path / "out.tif") as image:
        assert image.info["icc_profile"] == profile
        assert image.info["dpi"] == (300, 300)


def test_a_huge_image_is_no_bomb_and_the_limit_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (60, 60)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(tmp_path / "a.png").pixels.shape == (60, 60, 1)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_file_that_claims_too_many_pixels_is_refused_unread(tmp_path: Path) -> None:
    Image.new("1", (8, 8)).save(tmp_path / "small.bmp")
    claim = bytearray((tmp_path / "small.bmp").read_bytes())
    claim[18:26] = (100_000).to_bytes(4, "little") * 2
    (tmp_path / "bomb.bmp").write_bytes(claim)
    for read in (read_image, load_image):
        with pytest.raises(DataError, match=r"claims to be 100000x100000, more than 536,870,912"):
            read(tmp_path / "bomb.bmp")


def test_no_format_that_starts_a_program_is_read_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*arguments: object, **options: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.Popen", started)
    for name in ("a.png", "a.jpg", "a.eps"):
        (tmp_path / name).write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
        for read in (read_image, load_image):
            with pytest.raises(DataError, match="cannot be read as an image"):
                read(tmp_path / name)


@pytest.mark.parametrize(
    "error", [TypeError, MemoryError, struct.error, KeyError, ZeroDivisionError]
)
def test_whatever_a_decoder_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    Image.new("L", (6, 6)).save(tmp_path / "a.png")

    def fail(self: object) -> None:
        raise error("odd")

    monkeypatch.setattr(Image.Image, "load", fail)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp", "jp2", "ppm", "gif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_full_disk_leaves_the_image_that_was_there(
    tmp_path: Path, suffix: str, dtype: type
) -> None:
    if dtype is np.uint16 and suffix not in ("png", "tif"):
        return
    file = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(1).integers(0, 256, (80, 80, 3)).astype(dtype)
    write_image(file, ImageData(noise))
    before = file.read_bytes()
    with (
        little_room(3000),
        pytest.raises(ScratchnetError, match=r"cannot write .*: File too"),
    ):
        write_image(file, ImageData(noise[::-1].copy()))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_single_image_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    Image.fromarray(pixels(3, np.uint8, 50, 50)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    frames = [Image.fromarray(pixels(c)[..., 0]) for c in (1, 2, 3)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.zeros((3, 3), np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((3, 3), 70_000, np.int32)).save(tmp_path / "wide.tif")
    for name, message in {
        "text.png": "cannot be read as an image",
        "empty.png": "cannot be read as an image",
        "cut.png": "cannot be read as an image",
        "film.gif": "holds 3 images",
        "float.tif": "floating-point pixels",
        "wide.tif": "32-bit pixels",
        "missing.png": "there is no file",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "channels", "dtype", "what"),
    [
        ("a.jpg", 4, np.uint8, "JPEG cannot hold a 8-bit RGB with alpha"),
        ("a.jpg", 3, np.uint16, "JPEG cannot hold a 16-bit RGB image"),
        ("a.jpg", 1, np.uint16, "JPEG cannot hold a 16-bit grey"),
        ("a.webp", 3, np.uint16, "WEBP cannot hold a 16-bit RGB"),
    ],
)
def test_a_format_that_cannot_hold_it_names_one_that_can(
    tmp_path: Path, name: str, channels: int, dtype: type, what: str
) -> None:
    with pytest.raises(DataError, match=rf"{what}.*name a \.png or \.tif file"):
        write_image(tmp_path / name, ImageData(pixels(channels, dtype)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.pdf.doc", "a.svg"])
def test_endings_without_a_format(name: str) -> None:
    with pytest.raises(DataError, match=r"no image format that can be written; use \.png"):
        check_suffix(name)
