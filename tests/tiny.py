"""Images and settings so small that a test can afford a whole training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from scratchnet.data import NoisyPairs
from scratchnet.training.config import TrainConfig


def clean_images(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth colour gradients, uint8 (n, 3, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)[None, :]
    slopes = torch.rand((n, 3, 2, 1, 1), generator=generator)
    planes = slopes[:, :, 0] * y + slopes[:, :, 1] * x
    return planes.mul(110).add(20).round().to(torch.uint8)


def noisy(clean: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(clean.shape, generator=generator) * 20
    return clean.float().add(noise).round().clamp(0, 255).to(torch.uint8)


def pairs(n: int = 24, n_val: int = 6, height: int = 16, width: int = 16) -> NoisyPairs:
    clean, val = clean_images(n, height, width), clean_images(n_val, height, width, seed=9)
    return NoisyPairs(
        noisy(clean, 1), noisy(clean, 2), noisy(val, 3), val, val_is_clean=True, source="gradients"
    )


def data_dir(path: Path, **sizes: int) -> Path:
    """A folder as `--data` expects it."""
    path.mkdir(exist_ok=True)
    data = pairs(**sizes)
    torch.save((data.noisy_a, data.noisy_b), path / "train_data.pkl")
    torch.save((data.val_noisy, data.val_target), path / "val_data.pkl")
    return path


def config(**changes: Any) -> TrainConfig:
    small = {
        "model_args": {"channels": 4, "depth": 2},
        "batch_size": 8,
        "epochs": 2,
        "n_train": 24,
        "n_val": 6,
        "size": 16,
        "lr": 0.01,
    }
    return TrainConfig().replace(**(small | changes))
