from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from scratchnet import models
from scratchnet.data import to_float
from scratchnet.errors import ScratchnetError, ShapeError, TypeMismatch
from scratchnet.training import checkpoint
from scratchnet.training.course import Model


def test_the_course_in_five_lines() -> None:
    data = tiny.pairs(n=16)
    model = Model(seed=1)
    assert model.train(data.noisy_a, data.noisy_b, num_epochs=2) is None
    out = model.predict(data.val_noisy)
    assert out.shape == data.val_noisy.shape
    assert out.is_floating_point()
    assert out.min() >= 0
    assert out.max() <= 255


def test_training_is_the_papers() -> None:
    """Plain SGD at lr 2.5 on the scaled images, batches of 40, MSE."""
    data = tiny.pairs(n=12)
    model, twin = Model(), models.noise2noise().to(dtype=torch.float32)
    twin.load_state_dict(model.network.state_dict())
    model.train(data.noisy_a, data.noisy_b)
    loss_grad = 2 * (twin.forward(to_float(data.noisy_a)) - to_float(data.noisy_b))
    twin.backward(loss_grad / loss_grad.numel())
    for value, grad in twin.param():
        value -= 2.5 * grad
    for mine, theirs in zip(model.network.param(), twin.param(), strict=True):
        torch.testing.assert_close(mine[0], theirs[0], rtol=1e-4, atol=1e-5)


def test_float_and_uint8_images_are_the_same_images() -> None:
    data = tiny.pairs(n=8)
    first, second = Model(), Model()
    first.train(data.noisy_a, data.noisy_b)
    second.train(data.noisy_a.float(), data.noisy_b.double())
    assert torch.equal(first.predict(data.val_noisy), second.predict(data.val_noisy.double()))


def test_training_goes_on_where_it_stopped_and_prediction_does_not_disturb_it() -> None:
    data = tiny.pairs(n=8)
    once, twice = Model(), Model()
    once.train(data.noisy_a, data.noisy_b, num_epochs=2)
    twice.train(data.noisy_a, data.noisy_b)
    twice.predict(data.val_noisy)
    twice.train(data.noisy_a, data.noisy_b)
    assert torch.equal(once.predict(data.val_noisy), twice.predict(data.val_noisy))


@pytest.mark.parametrize("size", [(0, 8, 8), (1, 4, 4), (1, 512, 512), (2, 12, 300)])
def test_predict_takes_any_batch_of_sides_divisible_by_4(size: tuple[int, int, int]) -> None:
    n, height, width = size
    x = torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)
    model = Model()
    out = model.predict(x)
    assert out.shape == x.shape
    direct = model.network.forward(x / 255).clamp(0, 1) * 255
    torch.testing.assert_close(out, direct, rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (torch.zeros(1, 3, 30, 32), ShapeError, r"divisible by 4, got \(1, 3, 30, 32\); pad"),
        (torch.zeros(3, 32, 32), ShapeError, r"\(N, 3, H, W\)"),
        (torch.zeros(1, 1, 32, 32), ShapeError, r"\(N, 3, H, W\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.int64), TypeMismatch, "uint8 or floating point"),
        ([[1]], TypeMismatch, "expected a tensor"),
    ],
)
def test_other_input_gives_one_clear_error(
    bad: object, error: type[Exception], message: str
) -> None:
    model, good = Model(), torch.zeros(1, 3, 32, 32)
    for call in (
        lambda: model.predict(bad),
        lambda: model.train(bad, good),
        lambda: model.train(good, bad),
    ):
        with pytest.raises(error, match=message):
            call()


def test_training_on_nothing_or_on_no_pairs_is_refused() -> None:
    with pytest.raises(ScratchnetError, match="at least one image"):
        Model().train(torch.zeros(0, 3, 8, 8), torch.zeros(0, 3, 8, 8))
    with pytest.raises(ScratchnetError, match="same shape"):
        Model().train(torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_pretrained_weights_come_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = models.noise2noise(generator=torch.Generator().manual_seed(5))
    file = tmp_path / "noise2noise.safetensors"
    checkpoint.save(network, file, name="noise2noise")
    monkeypatch.setattr(checkpoint, "shipped", lambda: {"noise2noise": file})
    model = Model()
    model.load_pretrained_model()
    x = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(
        model.predict(x), network.forward(x / 255).clamp(0, 1) * 255, rtol=0, atol=1e-3
    )
