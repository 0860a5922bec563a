from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scratchnet.data import find_images, from_images, from_noisy_folders, load_image
from scratchnet.errors import ArgumentError, DataError


def save(path: Path, height: int, width: int, seed: int = 0, low: int = 0, high: int = 256) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(low, high, (height, width, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images, two of them in sub-folders; image i has red values 20i .. 20i+19 only."""
    for i in range(10):
        where = tmp_path / "deep" / "er" if i < 2 else tmp_path
        save(where / f"{i}.png", 24 + i, 40 - i, seed=i, low=20 * i, high=20 * i + 20)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image either")
    return tmp_path


def owners(images: torch.Tensor) -> set[int]:
    """Which images of `folder` the cuts stem from."""
    return set((images.flatten(1).double().mean(dim=1) // 20).int().tolist())


def test_images_are_found_in_sub_folders_and_sorted(folder: Path) -> None:
    found = find_images(folder)
    assert [p.name for p in found] == [f"{i}.png" for i in [*range(2, 10), 0, 1]]


def test_held_out_files_are_never_trained_on(folder: Path) -> None:
    data = from_images(folder, "gaussian:0", n_train=60, n_val=20, size=8, val_fraction=0.3)
    assert len(owners(data.noisy_a)) == 7
    assert len(owners(data.val_target)) == 3
    assert not owners(data.noisy_a) & owners(data.val_target)
    assert data.val_is_clean
    assert "7 for training, 3 held out" in data.source


def test_other_seeds_keep_the_held_out_files_and_the_validation(folder: Path) -> None:
    first, again, other = (
        from_images(folder, n_train=20, n_val=6, size=8, seed=s) for s in (1, 1, 2)
    )
    assert torch.equal(first.noisy_a, again.noisy_a)
    assert torch.equal(first.noisy_b, again.noisy_b)
    assert not torch.equal(first.noisy_a, other.noisy_a)
    assert torch.equal(first.val_noisy, other.val_noisy)
    assert not owners(other.noisy_a) & owners(first.val_target)


@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
def test_both_sides_of_the_split_get_a_file(folder: Path, fraction: float) -> None:
    data = from_images(folder, n_train=3, n_val=3, size=8, val_fraction=fraction)
    assert len(data.noisy_a) == len(data.val_noisy) == 3


def test_small_images_are_left_out_and_counted(folder: Path) -> None:
    data = from_images(folder, "gaussian:5", n_train=4, n_val=2, size=28)
    assert "from 6 images" in data.source  # of i in 0..9, min(24 + i, 40 - i) >= 28 for 4..9
    assert "4 too small" in data.source


def test_images_that_are_all_too_small(folder: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 10 .*subpixel.*size 32 needs 64x64"):
        from_images(folder)


@pytest.mark.parametrize(("height", "width"), [(20, 50), (50, 20)])
def test_a_single_image_is_divided(tmp_path: Path, height: int, width: int) -> None:
    ramp = np.arange(0, 250, 5, dtype=np.uint8)  # tells how far along the longer side a pixel lies
    rows = ramp[:, None] if height > width else ramp[None, :]
    image = np.broadcast_to(rows[..., None], (height, width, 3))
    Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / "one.png")
    data = from_images(tmp_path, "gaussian:0", n_train=50, n_val=5, size=10, val_fraction=0.01)
    assert data.noisy_a.max() <= 5 * 39
    assert data.val_target.min() == 5 * 40
    assert "divided" in data.source


def test_a_single_image_too_small_to_divide(tmp_path: Path) -> None:
    save(tmp_path / "one.png", 20, 31)
    with pytest.raises(DataError, match=r"one.png is the only image.*at least 32 .*got 31x20"):
        from_images(tmp_path, "gaussian:5", size=16)


def test_unreadable_images_are_named(folder: Path) -> None:
    for name in "abcde":
        (folder / f"{name}.jpg").write_bytes(b"not a jpeg")
    with pytest.raises(DataError, match=r"5 files cannot be read.*a\.jpg.*b\.jpg.*c\.jpg and 2"):
        from_images(folder, size=8)


def test_a_torn_image_is_named(tmp_path: Path) -> None:
    save(tmp_path / "torn.png", 40, 40)
    file = tmp_path / "torn.png"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"torn.png cannot be read as an image"):
        load_image(file)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.*no such folder"):
        from_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no images found.*\.png"):
        from_images(tmp_path)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_out_of_range_is_refused(folder: Path, fraction: float) -> None:
    with pytest.raises(ArgumentError, match=r"val_fraction.*between 0 and 1"):
        from_images(folder, val_fraction=fraction)
    with pytest.raises(ArgumentError, match=r"val_fraction.*between 0 and 1"):
        from_noisy_folders(folder, folder, val_fraction=fraction)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "LA"])
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.new("RGB", (5, 4), "white").convert(mode).save(path)
    image = load_image(path)
    assert image.shape == (4, 5, 3)
    assert image.dtype == np.uint8
    assert image.min() == 255


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert load_image(tmp_path / "deep.png")[0, :, 1].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("counts", "up to 1197, .* 5 grey levels"),
        ("float", "floating-point"),
        ("stack", "2 images"),
    ],
)
def test_what_8_bits_do_not_hold_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "deep.tif"
    if kind == "stack":
        pages = [Image.new("L", (5, 4), i) for i in range(2)]
        pages[0].save(path, save_all=True, append_images=pages[1:])
    else:
        values = np.array([[79, 500], [1197, 80]])
        Image.fromarray(values.astype(np.float32 if kind == "float" else np.uint16)).save(path)
    with pytest.raises(DataError, match=rf"deep.tif holds .*{message}.*save it with 8 bits"):
        load_image(path)


def test_the_cameras_orientation_is_followed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.new("RGB", (8, 4)).save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").shape == (8, 4, 3)


@pytest.fixture
def noisy_folders(tmp_path: Path) -> tuple[Path, Path]:
    """Five pairs: the second image of a pair is the first one's negative."""
    a, b = tmp_path / "a", tmp_path / "b"
    for i in range(5):
        save(a / "sub" / f"{i}.png", 12 + i, 17, seed=i)
        first = np.asarray(Image.open(a / "sub" / f"{i}.png"))
        (b / "sub").mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - first).save(b / "sub" / f"{i}.png")
    return a, b


def test_noisy_pairs_are_cut_at_the_same_place(noisy_folders: tuple[Path, Path]) -> None:
    data = from_noisy_folders(*noisy_folders, n_train=30, n_val=5, size=8)
    assert data.noisy_a.shape == (30, 3, 8, 8)
    assert data.val_noisy.shape == (5, 3, 8, 8)
    assert torch.equal(255 - data.noisy_a, data.noisy_b)
    assert torch.equal(255 - data.val_noisy, data.val_target)
    assert not data.val_is_clean
    assert "no clean images" in data.source


def test_noisy_pairs_come_from_files_apart(noisy_folders: tuple[Path, Path]) -> None:
    data = from_noisy_folders(*noisy_folders, n_train=500, n_val=500, size=12, val_fraction=0.4)
    train = {x.numpy().tobytes() for x in data.noisy_a}
    validation = {x.numpy().tobytes() for x in data.val_noisy}
    assert not train & validation
    # Every place is cut once: (17 - 11) columns, 1 + i rows of image i, i from 0 to 4.
    assert len(train) == len(data.noisy_a)
    assert len(data.noisy_a) + len(data.val_noisy) == 6 * (1 + 2 + 3 + 4 + 5)


def test_noisy_pairs_follow_the_seed(noisy_folders: tuple[Path, Path]) -> None:
    first, again, other = (
        from_noisy_folders(*noisy_folders, n_train=9, n_val=3, size=8, seed=s) for s in (1, 1, 2)
    )
    assert torch.equal(first.noisy_b, again.noisy_b)
    assert not torch.equal(first.noisy_a, other.noisy_a)
    assert torch.equal(first.val_noisy, other.val_noisy)


def test_partners_that_are_missing_are_named(noisy_folders: tuple[Path, Path]) -> None:
    a, b = noisy_folders
    (b / "sub" / "3.png").unlink()
    with pytest.raises(DataError, match=r"1 images of .*a have no partner .*b: sub.3\.png"):
        from_noisy_folders(a, b)
    with pytest.raises(DataError, match=r"1 images of .*a have no partner .*b: sub.3\.png"):
        from_noisy_folders(b, a)


def test_partners_of_another_size_are_named(noisy_folders: tuple[Path, Path]) -> None:
    a, b = noisy_folders
    save(b / "sub" / "2.png", 30, 30)
    with pytest.raises(DataError, match=r"differ in size: sub.2\.png"):
        from_noisy_folders(a, b)


def test_noisy_pairs_that_are_too_small(noisy_folders: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match=r"two or more pairs.*16x16 pixels, found 1 among 5"):
        from_noisy_folders(*noisy_folders, size=16)
    data = from_noisy_folders(*noisy_folders, size=14)
    assert "2 too small" in data.source
