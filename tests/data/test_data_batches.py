from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchnet.data import augmented, batches, to_float, to_uint8
from scratchnet.errors import ArgumentError, TypeMismatch


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 60), st.integers(0, 2**40))
def test_an_epoch_holds_every_index_once(n: int, batch_size: int, seed: int) -> None:
    parts = list(batches(n, batch_size, torch.Generator().manual_seed(seed)))
    assert sorted(i for part in parts for i in part.tolist()) == list(range(n))
    assert all(part.dtype == torch.int64 for part in parts)
    assert all(len(part) == batch_size for part in parts[:-1])
    assert len(parts) == -(-n // batch_size)


def epoch(generator: torch.Generator) -> list[int]:
    return torch.cat(list(batches(100, 7, generator))).tolist()


def test_order_is_the_seeds_and_changes_from_epoch_to_epoch() -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = epoch(generator), epoch(generator)
    again = torch.Generator().manual_seed(3)
    assert [epoch(again), epoch(again)] == [first, second]
    assert first != second
    assert epoch(torch.Generator().manual_seed(4)) != first


@pytest.mark.parametrize(("height", "width", "ways"), [(3, 3, 16), (2, 5, 8), (1, 2, 4), (1, 1, 2)])
def test_augmented_finds_every_way_to_look_at_a_pair(height: int, width: int, ways: int) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.arange(2 * 3 * height * width).reshape(2, 3, height, width)
    seen = set()
    for _ in range(300):
        x, y = augmented(a, a + 1000, generator)
        assert x.shape == y.shape == a.shape
        assert x.is_contiguous()
        assert y.is_contiguous()
        # Both went the same way, and every image and channel has kept its own pixels.
        assert torch.unique(y - x).tolist() in ([1000], [-1000])
        assert torch.equal(torch.minimum(x, y).flatten(2).sort().values, a.flatten(2))
        seen.add((tuple(x.flatten().tolist()), tuple(y.flatten().tolist())))
    assert len(seen) == ways


def test_augmented_is_its_generators() -> None:
    a, b = torch.rand(2, 4, 3, 8, 8)
    runs = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(7)
        runs.append([augmented(a, b, generator) for _ in range(5)])
    for (x, y), (again_x, again_y) in zip(*runs, strict=True):
        assert torch.equal(x, again_x)
        assert torch.equal(y, again_y)


@pytest.mark.parametrize(("n", "batch_size"), [(-1, 4), (4, 0), (4, -2)])
def test_bad_sizes_are_refused_at_the_call(n: int, batch_size: int) -> None:
    with pytest.raises(ArgumentError, match=f"n={n}, batch_size={batch_size}"):
        batches(n, batch_size, torch.Generator())


def test_all_grey_levels_survive_the_way_to_floats_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    floats = to_float(levels)
    assert floats.dtype == torch.float32
    assert floats.min() == 0
    assert floats.max() == 1
    assert torch.equal(to_uint8(floats), levels)
    assert torch.equal(to_uint8(floats.double()), levels)


def test_to_uint8_rounds_and_clips_and_leaves_its_input() -> None:
    values = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 0.999, 1.0, 7.0])
    before = values.clone()
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 255, 255, 255]
    assert torch.equal(values, before)


def test_empty_images_pass() -> None:
    empty = torch.empty(0, 3, 8, 8, dtype=torch.uint8)
    assert to_float(empty).shape == (0, 3, 8, 8)
    assert to_uint8(to_float(empty)).shape == (0, 3, 8, 8)


def test_the_wrong_dtype_is_refused() -> None:
    with pytest.raises(TypeMismatch, match=r"uint8.*float32"):
        to_float(torch.zeros(2))
    with pytest.raises(TypeMismatch, match=r"floating-point.*uint8"):
        to_uint8(torch.zeros(2, dtype=torch.uint8))
