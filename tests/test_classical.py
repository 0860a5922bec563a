from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from scratchnet.data import builtin, parse_noise
from scratchnet.denoise.classical import classical_denoisers, estimate_sigma
from scratchnet.denoise.metrics import psnr
from scratchnet.errors import ShapeError, TypeMismatch

DENOISERS = classical_denoisers()


def levels(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("name", DENOISERS)
def test_noise_of_photographs_goes_down(name: str) -> None:
    data = builtin("gaussian:25", n_train=1, n_val=20)
    denoised = DENOISERS[name](data.val_noisy)
    assert psnr(denoised, data.val_target) > psnr(data.val_noisy, data.val_target) + 3


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (1, 3, 1, 1), (2, 3, 5, 13), (1, 3, 1, 9)])
def test_shape_and_dtype_are_kept(name: str, shape: tuple[int, ...]) -> None:
    noisy = levels(*shape)
    before = noisy.clone()
    denoised = DENOISERS[name](noisy)
    assert denoised.shape == noisy.shape
    assert denoised.dtype == torch.uint8
    assert torch.equal(noisy, before)


@pytest.mark.parametrize("name", DENOISERS)
def test_images_of_a_batch_do_not_touch_each_other(name: str) -> None:
    noisy = levels(3, 3, 12, 10)
    alone = torch.cat([DENOISERS[name](image[None]) for image in noisy])
    assert torch.equal(DENOISERS[name](noisy), alone)
    last = noisy.to(memory_format=torch.channels_last)
    assert torch.equal(DENOISERS[name](last), alone)


@pytest.mark.parametrize("name", DENOISERS)
def test_a_flat_image_stays_as_it_is(name: str) -> None:
    flat = torch.full((1, 3, 16, 16), 77, dtype=torch.uint8)
    assert torch.equal(DENOISERS[name](flat), flat)


@pytest.mark.parametrize("name", DENOISERS)
def test_what_is_no_batch_of_images_is_refused(name: str) -> None:
    with pytest.raises(TypeMismatch, match=r"uint8.*float32"):
        DENOISERS[name](torch.zeros(1, 3, 8, 8))
    with pytest.raises(ShapeError, match=r"\(N, 3, H, W\), got \(3, 8, 8\)"):
        DENOISERS[name](levels(3, 8, 8))


@pytest.mark.parametrize("sigma", [5, 20])
def test_sigma_is_estimated_on_a_ramp(sigma: int) -> None:
    ramp = torch.linspace(60, 190, 128).to(torch.uint8).expand(1, 3, 128, 128)
    noisy = parse_noise(f"gaussian:{sigma}").sample(ramp, torch.Generator().manual_seed(0))
    image = noisy[0].permute(1, 2, 0).numpy().astype(np.float64)
    assert estimate_sigma(image) == pytest.approx(sigma, rel=0.08)
