from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from scratchnet import data
from scratchnet.data import PHOTOGRAPHS, NoisyPairs, Photograph, builtin
from scratchnet.data.cutting import MIN_CONTRAST, Pixels, cut
from scratchnet.data.photographs import recolour
from scratchnet.errors import ArgumentError, DataError, ShapeError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tensors(pairs: NoisyPairs) -> list[torch.Tensor]:
    return [pairs.noisy_a, pairs.noisy_b, pairs.val_noisy, pairs.val_target]


@pytest.mark.parametrize("photograph", PHOTOGRAPHS, ids=lambda p: p.name)
def test_every_photograph_ships_and_says_whose_it_is(photograph: Photograph) -> None:
    image = photograph.load()
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert min(image.shape[:2]) >= 256
    assert photograph.licence in ("CC0", "public domain")
    assert photograph.origin


def test_no_photograph_serves_for_training_and_validation() -> None:
    train = {p.file for p in PHOTOGRAPHS if p.use == "train"}
    validation = {p.file for p in PHOTOGRAPHS if p.use == "validation"}
    assert len(train) >= 2
    assert len(validation) >= 2
    assert len(train) + len(validation) == len(PHOTOGRAPHS)


def test_a_photograph_that_is_missing_comes_with_the_cure() -> None:
    lost = Photograph("lost.png", "train", "CC0", "nobody")
    with pytest.raises(DataError, match=r"lost\.png is missing.*pip install .*scikit-image"):
        lost.load()


@pytest.mark.parametrize("noise", ["subpixel", "gaussian:25", "poisson:30", "impulse:0.1"])
def test_shapes_and_source(noise: str) -> None:
    pairs = builtin(noise, n_train=5, n_val=3, size=20)
    assert pairs.noisy_a.shape == pairs.noisy_b.shape == (5, 3, 20, 20)
    assert pairs.val_noisy.shape == pairs.val_target.shape == (3, 3, 20, 20)
    assert pairs.val_is_clean
    assert not torch.equal(pairs.noisy_a, pairs.noisy_b)
    assert noise in pairs.source
    assert "\n" not in pairs.source


def test_the_seed_decides_training_and_nothing_else_does() -> None:
    first, again, other = (builtin(n_train=8, n_val=4, size=16, seed=s) for s in (3, 3, 4))
    for x, y in zip(tensors(first), tensors(again), strict=True):
        assert torch.equal(x, y)
    assert not torch.equal(first.noisy_a, other.noisy_a)
    torch.manual_seed(99)
    assert torch.equal(builtin(n_train=8, n_val=4, size=16, seed=3).noisy_a, first.noisy_a)


def test_validation_is_the_same_for_all_seeds_and_training_counts() -> None:
    first = builtin(n_train=2, n_val=4, size=16, seed=3)
    other = builtin(n_train=9, n_val=4, size=16, seed=4)
    assert torch.equal(first.val_noisy, other.val_noisy)
    assert torch.equal(first.val_target, other.val_target)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    builtin(n_train=2, n_val=2, size=8)
    assert torch.equal(torch.rand(3), expected)


def test_the_two_draws_show_the_same_images() -> None:
    pairs = builtin("gaussian:5", n_train=30, n_val=1)
    error = pairs.noisy_a.double() - pairs.noisy_b.double()
    # Two draws differ by √2·σ in every image, different images by far more.
    assert error.std(dim=(1, 2, 3)).max() < 5 * 2**0.5 * 1.1


@pytest.mark.parametrize("noise", ["subpixel", "impulse:0.3"])
def test_clean_targets_are_those_images_without_noise(noise: str) -> None:
    noisy = builtin(noise, n_train=6, n_val=2, size=16)
    clean = builtin(noise, n_train=6, n_val=2, size=16, clean_targets=True)
    assert torch.equal(clean.noisy_a, noisy.noisy_a)
    assert torch.equal(clean.val_noisy, noisy.val_noisy)
    assert "clean targets" in clean.source
    if noise == "subpixel":  # a mean of the cell's pixels, each of which a noisy image may show
        distance = clean.noisy_b.double() - noisy.noisy_b.double()
        assert distance.mean().abs() < distance.abs().mean() / 4
    else:  # what neither draw replaced is the clean image
        same = (noisy.noisy_a == noisy.noisy_b).all(dim=1, keepdim=True).expand_as(noisy.noisy_a)
        kept = same & (noisy.noisy_a > 0) & (noisy.noisy_a < 255)
        assert torch.equal(clean.noisy_b[kept], noisy.noisy_a[kept])


def test_validation_is_not_degenerate() -> None:
    clean = builtin("gaussian:0", n_train=1, n_val=200).val_target.double()
    contrast = clean.flatten(2).std(dim=2).amax(dim=1)
    assert contrast.min() >= MIN_CONTRAST * 0.99
    assert contrast.median() > 40
    assert len(clean.flatten(1).unique(dim=0)) > 190


def test_a_noise_model_is_taken_as_well_as_its_name() -> None:
    by_name = builtin("gaussian:9", n_train=2, n_val=2, size=8)
    by_model = builtin(data.parse_noise("gaussian:9"), n_train=2, n_val=2, size=8)
    assert torch.equal(by_name.noisy_a, by_model.noisy_a)


@pytest.mark.parametrize("name", ["n_train", "n_val", "size"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name}.*1 or more, got 0"):
        builtin(**{name: 0})  # type: ignore[arg-type]


def test_a_size_beyond_the_photographs_is_refused() -> None:
    with pytest.raises(ShapeError, match="cannot cut 2000x2000 pixels"):
        builtin(n_train=1, n_val=1, size=1000)


def gradient(height: int, width: int, offset: int = 0) -> Pixels:
    ramp = np.arange(height * width, dtype=np.int64).reshape(height, width) * 7 + offset
    return np.stack([ramp % 256] * 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12])
def test_cuts_come_evenly_from_all_images(n: int) -> None:
    levels = [np.full((16, 16, 3), 40 * i, dtype=np.uint8) for i in range(5)]
    out = cut([lambda p=p: p for p in levels], n, 8, generator())  # type: ignore[misc]
    assert out.shape == (n, 3, 8, 8)
    counts = torch.bincount(out[:, 0, 0, 0].long() // 40, minlength=5)
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1


def test_images_are_loaded_once_and_no_more_than_needed() -> None:
    loaded: list[int] = []

    def loader(i: int) -> Pixels:
        loaded.append(i)
        return gradient(9, 9, i)

    cut([lambda i=i: loader(i) for i in range(10)], 4, 8, generator())  # type: ignore[misc]
    assert len(loaded) == len(set(loaded)) == 4


def test_a_cut_of_the_whole_image_is_the_image() -> None:
    image = gradient(8, 8)
    out = cut([lambda: image], 2, 8, generator())
    assert np.array_equal(out[0].permute(1, 2, 0).numpy(), image)
    assert torch.equal(out[0], out[1])


def test_mirroring_yields_all_eight_orientations() -> None:
    image = gradient(8, 8)
    out = cut([lambda: image], 200, 8, generator(), mirror=True)
    found = {square.numpy().tobytes() for square in out}
    turned = [np.rot90(image, k) for k in range(4)]
    expected = {p.transpose(2, 0, 1).tobytes() for t in turned for p in (t, t[:, ::-1])}
    assert found == expected
    assert len(expected) == 8


def test_flat_places_are_avoided_where_there_are_others() -> None:
    image = np.full((64, 64, 3), 200, dtype=np.uint8)
    image[:40, :40] = gradient(40, 40)
    out = cut([lambda: image], 40, 8, generator()).double()
    assert out.flatten(2).std(dim=2).amax(dim=1).min() > MIN_CONTRAST * 0.99


def test_cuts_are_made_at_several_scales() -> None:
    # Stripes of one pixel: at full size they are there, averaged over 2 or 4 pixels they are gone.
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    stripes[:32] //= 2
    out = cut([lambda: stripes], 60, 8, generator())
    full_size = (out[..., 1:].int() - out[..., :-1].int()).abs().amax(dim=(1, 2, 3)) >= 100
    assert 0 < full_size.sum() < 60


def test_a_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(ShapeError, match="cannot cut 9x9 pixels out of an image of 20x8"):
        cut([lambda: gradient(8, 20)], 1, 9, generator())


def test_recolouring_exchanges_and_darkens_the_channels_of_every_second_image() -> None:
    images = torch.randint(256, (400, 3, 4, 5), generator=generator(), dtype=torch.uint8)
    before = images.clone()
    out = recolour(images, generator(1))
    assert torch.equal(images, before)
    assert out.dtype == torch.uint8
    unchanged = (out == images).flatten(1).all(dim=1)
    assert 150 < unchanged.sum() < 250
    orders = set()
    for new, old in zip(out[~unchanged].float(), images[~unchanged].float(), strict=True):
        order = []
        for channel in new:
            # The one that it came from is proportional to it, up to rounding.
            gains = [float(channel.sum() / candidate.sum()) for candidate in old]
            errors = [
                float((channel - candidate * gain).abs().max())
                for candidate, gain in zip(old, gains, strict=True)
            ]
            order.append(errors.index(min(errors)))
            assert min(errors) < 1
            assert 0.49 < gains[order[-1]] < 1.01
        orders.add(tuple(order))
    assert orders == set(permutations(range(3)))
