"""Draw the README's image: two photographs that training never saw, noisy, denoised and clean.

    python docs/hero.py

It uses the weights that come with the package and writes docs/images/hero.png.
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from skimage import data

from scratchnet import psnr
from scratchnet.data import parse_noise, to_float
from scratchnet.denoise.denoiser import Denoiser
from scratchnet.training import checkpoint

# The place of a detail in each photograph: top, left; the details are squares of SIDE pixels.
SIDE = 190
SCENES = {"astronaut": (data.astronaut, 20, 130), "coffee": (data.coffee, 95, 200)}
NOISE = "gaussian:25"
OUT = Path(__file__).parent / "images" / "hero.png"


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    denoiser = Denoiser(checkpoint.load(checkpoint.find_weights("residual")))
    figure = Figure(figsize=(9.6, 6.4), dpi=100)
    for row, (load, top, left) in enumerate(SCENES.values()):
        clean = torch.from_numpy(load().copy()).permute(2, 0, 1)[None]
        noisy = parse_noise(NOISE).sample(clean, generator)
        pixels = denoiser.pixels(noisy[0].permute(1, 2, 0).numpy())
        denoised = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        for column, (name, image) in enumerate(
            {"noisy": noisy, "denoised": denoised, "clean": clean}.items()
        ):
            axes = figure.add_axes((column / 3 + 0.004, 0.506 - row * 0.5, 0.325, 0.488))
            detail = image[0, :, top : top + SIDE, left : left + SIDE]
            axes.imshow(detail.permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_axis_off()
            quality = "" if name == "clean" else f", {_decibel(image, clean)}"
            axes.text(
                4, SIDE - 6, name + quality, color="white", fontsize=12, fontweight="bold",
                bbox={"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 3},
            )  # fmt: skip
    figure.savefig(OUT)


def _decibel(image: torch.Tensor, clean: torch.Tensor) -> str:
    return f"{float(psnr(to_float(image), to_float(clean))):.1f} dB"


if __name__ == "__main__":
    main()
