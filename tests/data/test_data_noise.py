from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scratchnet.data import parse_noise
from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch

SPECS = ["subpixel", "gaussian:25", "gaussian:5-50", "poisson:30.5", "impulse:0.1"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_original(n: int, h: int, w: int, seed: int = 0) -> Tensor:
    return torch.randint(256, (n, 3, h, w), generator=generator(seed), dtype=torch.uint8)


def flat(value: int, side: int = 128) -> Tensor:
    return torch.full((2, 3, side, side), value, dtype=torch.uint8)


@pytest.mark.parametrize("spec", SPECS)
def test_a_model_prints_as_the_specification_that_makes_it(spec: str) -> None:
    assert str(parse_noise(spec)) == spec
    assert parse_noise(str(parse_noise(spec))) == parse_noise(spec)


@given(
    st.sampled_from(["gaussian", "poisson"]),
    st.floats(min_value=1e-6, max_value=1e12, allow_nan=False),
)
def test_every_parameter_survives_the_round_trip(name: str, value: float) -> None:
    model = parse_noise(f"{name}:{value!r}")
    assert parse_noise(str(model)) == model


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "speckle:3",
        "subpixel:2",
        "gaussian",
        "gaussian:",
        "gaussian:loud",
        "gaussian:-1",
        "gaussian:nan",
        "gaussian:inf",
        "gaussian:25:3",
        "gaussian:50-5",
        "gaussian:5-",
        "gaussian:1-2-3",
        "poisson:0",
        "poisson:-3",
        "impulse:1.5",
        "impulse:-0.1",
        "impulse:nan",
    ],
)
def test_a_bad_specification_names_the_models_and_their_syntax(spec: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        parse_noise(spec)
    message = str(raised.value)
    assert "\n" not in message
    for known in ("subpixel", "gaussian:SIGMA", "poisson:PEAK", "impulse:P"):
        assert known in message


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize(("n", "h", "w"), [(0, 4, 4), (1, 1, 1), (2, 5, 3), (1, 7, 1)])
def test_shapes_and_dtypes(spec: str, n: int, h: int, w: int) -> None:
    model = parse_noise(spec)
    original = random_original(n, h * model.scale, w * model.scale)
    before = original.clone()
    for image in (model.clean(original), model.sample(original, generator())):
        assert image.shape == (n, 3, h, w)
        assert image.dtype == torch.uint8
    assert torch.equal(original, before)


@pytest.mark.parametrize("spec", SPECS)
def test_the_generator_alone_decides_the_draw(spec: str) -> None:
    model, original = parse_noise(spec), random_original(3, 8, 8)
    first = generator(5)
    a, b = model.sample(original, first), model.sample(original, first)
    assert torch.equal(a, model.sample(original, generator(5)))
    assert not torch.equal(a, b)
    assert not torch.equal(a, model.sample(original, generator(6)))


@pytest.mark.parametrize("spec", SPECS)
def test_memory_layout_does_not_change_the_draw(spec: str) -> None:
    model, original = parse_noise(spec), random_original(2, 6, 10)
    last = original.to(memory_format=torch.channels_last)
    strided = original.repeat_interleave(2, dim=3)[..., ::2]
    expected = model.sample(original, generator())
    for same in (last, strided):
        assert torch.equal(model.sample(same, generator()), expected)
        assert torch.equal(model.clean(same), model.clean(original))


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_no_batch_of_images_is_refused(spec: str) -> None:
    model = parse_noise(spec)
    with pytest.raises(TypeMismatch, match=r"uint8.*float32"):
        model.clean(torch.zeros(1, 3, 4, 4))
    with pytest.raises(TypeMismatch, match="list"):
        model.sample([[0]], generator())  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"\(3, 4, 4\)"):
        model.sample(torch.zeros(3, 4, 4, dtype=torch.uint8), generator())


def test_subpixel_refuses_half_cells() -> None:
    with pytest.raises(ShapeError, match=r"multiples of 2.*\(1, 3, 4, 5\)"):
        parse_noise("subpixel").clean(random_original(1, 4, 5))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_subpixel_takes_one_pixel_of_the_cell_in_all_channels(
    n: int, h: int, w: int, seed: int
) -> None:
    original = random_original(n, 2 * h, 2 * w, seed)
    noisy = parse_noise("subpixel").sample(original, generator(seed))
    for y in range(h):
        for x in range(w):
            cell = original[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].flatten(2)  # (n, 3, 4)
            same_in_all_channels = (cell == noisy[:, :, y, x, None]).all(dim=1)  # (n, 4)
            assert same_in_all_channels.any(dim=1).all()


def test_subpixel_chooses_the_four_pixels_equally_often() -> None:
    position = torch.tensor([[10, 20], [30, 40]], dtype=torch.uint8).repeat(100, 100)
    noisy = parse_noise("subpixel").sample(position.expand(1, 3, 200, 200), generator())
    for value in (10, 20, 30, 40):
        assert (noisy == value).double().mean().item() == pytest.approx(0.25, abs=0.02)


def test_subpixel_clean_is_the_rounded_mean_by_hand() -> None:
    original = torch.tensor([[0, 255, 1, 2], [255, 255, 2, 2]], dtype=torch.uint8)
    clean = parse_noise("subpixel").clean(original.expand(1, 3, 2, 4))
    assert clean[0, 0].tolist() == [[191, 2]]  # 191.25 and 1.75


def test_the_mean_of_many_subpixel_draws_is_the_clean_image() -> None:
    model, original, draws = parse_noise("subpixel"), random_original(1, 16, 16), generator()
    mean = torch.stack([model.sample(original, draws) for _ in range(4000)]).double().mean(0)
    # A draw's standard deviation is at most 127.5, that of 4,000 draws' mean about 2.
    assert (mean - model.clean(original).double()).abs().max() < 9
    assert (mean - model.clean(original).double()).abs().mean() < 1.5


@pytest.mark.parametrize("spec", ["gaussian:10", "poisson:50", "impulse:0.2"])
def test_the_clean_image_of_the_others_is_the_original(spec: str) -> None:
    original = random_original(2, 5, 7)
    assert torch.equal(parse_noise(spec).clean(original), original)


def test_gaussian_standard_deviation_and_mean() -> None:
    noisy = parse_noise("gaussian:15").sample(flat(128), generator()).double()
    assert noisy.mean().item() == pytest.approx(128, abs=0.2)
    assert noisy.std().item() == pytest.approx(15, rel=0.02)
    # White: neither channels nor neighbours go together.
    flat_noise = (noisy - 128) / 15
    assert abs((flat_noise[:, 0] * flat_noise[:, 1]).mean().item()) < 0.03
    assert abs((flat_noise[..., 1:] * flat_noise[..., :-1]).mean().item()) < 0.03


def test_gaussian_is_clipped_and_does_not_wrap() -> None:
    assert parse_noise("gaussian:5").sample(flat(255), generator()).min() > 200
    assert parse_noise("gaussian:5").sample(flat(0), generator()).max() < 55


def test_gaussian_of_sigma_zero_changes_nothing() -> None:
    original = random_original(1, 9, 9)
    assert torch.equal(parse_noise("gaussian:0").sample(original, generator()), original)


@pytest.mark.parametrize(("value", "peak"), [(51, 100), (128, 100), (128, 1000)])
def test_poisson_variance_grows_with_the_light(value: int, peak: int) -> None:
    noisy = parse_noise(f"poisson:{peak}").sample(flat(value), generator()).double()
    assert noisy.mean().item() == pytest.approx(value, abs=0.5)
    # The count has variance value/255·peak, and one photon is 255/peak grey levels.
    assert noisy.var().item() == pytest.approx(value * 255 / peak, rel=0.04)


def test_poisson_leaves_black_black() -> None:
    assert parse_noise("poisson:30").sample(flat(0), generator()).max() == 0


def test_impulse_rate_and_values() -> None:
    noisy = parse_noise("impulse:0.3").sample(flat(100), generator())
    assert set(noisy.unique().tolist()) == {0, 100, 255}
    assert (noisy == 0).double().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (noisy == 255).double().mean().item() == pytest.approx(0.15, abs=0.01)
    assert torch.equal(noisy[:, 0], noisy[:, 1])
    assert torch.equal(noisy[:, 0], noisy[:, 2])


@pytest.mark.parametrize(("spec", "touched"), [("impulse:0", 0.0), ("impulse:1", 1.0)])
def test_impulse_at_its_limits(spec: str, touched: float) -> None:
    noisy = parse_noise(spec).sample(flat(100), generator())
    assert (noisy != 100).double().mean().item() == touched


def test_gaussian_with_a_range_draws_a_standard_deviation_for_each_image() -> None:
    original = torch.full((200, 3, 16, 16), 128, dtype=torch.uint8)
    noisy = parse_noise("gaussian:5-25").sample(original, generator())
    deviations = noisy.float().flatten(1).std(dim=1)
    assert 5 * 0.8 < deviations.min() < 7
    assert 23 < deviations.max() < 25 * 1.2
    assert abs(deviations.mean() - 15) < 1.5
