from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from scratchnet.data import NoisyPairs, from_directory
from scratchnet.errors import DataError, ShapeError, TypeMismatch


def images(n: int = 2, c: int = 3, h: int = 4, w: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, c, h, w), generator=generator, dtype=torch.uint8)


def pairs(**changes: object) -> NoisyPairs:
    fields: dict[str, object] = {
        "noisy_a": images(),
        "noisy_b": images(),
        "val_noisy": images(),
        "val_target": images(),
    }
    return NoisyPairs(**(fields | changes), val_is_clean=True, source="test")  # type: ignore[arg-type]


def test_training_and_validation_may_differ_in_size() -> None:
    data = pairs(val_noisy=images(5, 3, 6, 8), val_target=images(5, 3, 6, 8))
    assert data.val_noisy.shape == (5, 3, 6, 8)


FIELDS = ["noisy_a", "noisy_b", "val_noisy", "val_target"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (images().float(), TypeMismatch, "uint8.*float32"),
        ([1, 2], TypeMismatch, "uint8 tensor.*list"),
        (None, TypeMismatch, "NoneType"),
        (images()[0], ShapeError, r"\(N, 3, H, W\).*\(3, 4, 4\)"),
        (images(c=1), ShapeError, r"\(N, 3, H, W\).*\(2, 1, 4, 4\)"),
        (images(n=0), ShapeError, r"at least one.*\(0, 3, 4, 4\)"),
        (images(h=5), ShapeError, r"same shape.*4, 4"),
    ],
)
def test_a_wrong_field_is_named(
    field: str, value: object, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        pairs(**{field: value})
    assert field in str(raised.value)


def test_fields_cannot_be_exchanged_afterwards() -> None:
    with pytest.raises(AttributeError):
        pairs().noisy_a = images()  # type: ignore[misc]


def write(path: Path, train: object, val: object) -> Path:
    torch.save(train, path / "train_data.pkl")
    torch.save(val, path / "val_data.pkl")
    return path


def test_from_directory_reads_what_torch_saved(tmp_path: Path) -> None:
    a, b, noisy, clean = (images(4, seed=s) for s in range(4))
    data = from_directory(write(tmp_path, (a, b), [noisy[:3], clean[:3]]))
    assert torch.equal(data.noisy_a, a)
    assert torch.equal(data.noisy_b, b)
    assert torch.equal(data.val_noisy, noisy[:3])
    assert torch.equal(data.val_target, clean[:3])
    assert data.val_is_clean
    assert str(tmp_path) in data.source
    assert "4 noisy pairs, 3 validation" in data.source


def test_from_directory_takes_text_for_a_path(tmp_path: Path) -> None:
    good = (images(), images())
    assert len(from_directory(str(write(tmp_path, good, good))).noisy_a) == 2


@pytest.mark.parametrize("file", ["train_data.pkl", "val_data.pkl"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    good = (images(), images())
    (write(tmp_path, good, good) / file).unlink()
    with pytest.raises(DataError, match=rf"{file} is missing: expected a tuple of two uint8"):
        from_directory(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        from_directory(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"no tensors here", b"PK\x03\x04 torn", b"\x80\x02"])
def test_a_garbled_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    good = (images(), images())
    (write(tmp_path, good, good) / "val_data.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"val_data.pkl cannot be read.*two uint8") as raised:
        from_directory(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    good = (images(20), images(20))
    file = write(tmp_path, good, good) / "train_data.pkl"
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"train_data.pkl cannot be read"):
        from_directory(tmp_path)


class Planted:
    """What a malicious file would hold: a call that unpickling performs."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.victim,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    good, victim = (images(), images()), tmp_path / "victim"
    write(tmp_path, good, Planted(victim))
    with pytest.raises(DataError, match=r"val_data.pkl cannot be read"):
        from_directory(tmp_path)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (images(), "Tensor"),
        ((images(), images(), images()), "tuple of length 3"),
        ({"a": 1, "b": 2}, "dict of length 2"),
        (7, "int"),
        ((images(), [1, 2]), "second tensor.*list"),
        ((images().float(), images()), "first tensor.*uint8.*float32"),
        ((images(2), images(3)), r"same shape.*\(2, 3, 4, 4\) and \(3, 3, 4, 4\)"),
        ((images(c=1), images(c=1)), r"\(N, 3, H, W\).*\(2, 1, 4, 4\)"),
        ((images(0), images(0)), "at least one image"),
    ],
)
def test_wrong_content_is_described(tmp_path: Path, content: object, says: str) -> None:
    write(tmp_path, content, (images(), images()))
    with pytest.raises(DataError, match=says) as raised:
        from_directory(tmp_path)
    assert "train_data.pkl" in str(raised.value)
    assert "\n" not in str(raised.value)
