"""Noisy targets against clean ones: the same network, trained on both, for each noise model.

    python docs/experiments/targets.py -o OUT

Trains the quick preset's network on the built-in photographs, twice for each noise model: the
second image of a pair is once another noisy draw and once the clean image. Everything else is
the same: first weights, noisy inputs, order of the batches. Writes a table (OUT/targets.md), a
sheet of images (OUT/targets.png), all numbers (OUT/targets.json) and the networks' weights.
Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import study
import torch
from torch import Tensor

from scratchnet import Module, psnr
from scratchnet.data import NoisyPairs, builtin, parse_noise, to_float, to_uint8
from scratchnet.data.noise import Impulse
from scratchnet.data.photographs import PHOTOGRAPHS
from scratchnet.denoise.evaluation import score_method, score_noisy
from scratchnet.io.files import write_text
from scratchnet.report.figures import sheet
from scratchnet.training import checkpoint
from scratchnet.training.config import TrainConfig, preset
from scratchnet.training.runs import make_trainer
from scratchnet.training.trainer import Callback

NOISES = ("subpixel", "gaussian:25", "poisson:30", "impulse:0.2")
TARGETS = ("noisy", "clean")

# The detail on the sheet: photograph, place in it (top, left), side of its noisy image.
PHOTOGRAPH, PLACE, SIDE = "astronaut", (20, 130), 96
DARK, BRIGHT = 32, 224


def mean_undone(noise: str, image: Tensor) -> Tensor:
    """Undo what the mean of the noise does to a image in 0..1.

    With impulse noise a pixel is black or white with probability p, else what it was: its mean is
    (1 − p) c + p / 2. The means of the others are the clean c but for the clipping.
    """
    model = parse_noise(noise)
    if isinstance(model, Impulse):
        image = (image - model.probability / 2) / (1 - model.probability)
    return image.clamp(0, 1)


def mean_of_noise(data: NoisyPairs) -> list[float]:
    """Mean of noisy − clean in grey levels, over pixels that are dark, and bright, when clean."""
    clean = data.val_target.float()
    noise = data.val_noisy.float() - clean
    return [float(noise[where].mean()) for where in (clean < DARK, clean >= BRIGHT)]


def train(config: TrainConfig, target: str, weights: Path, progress: Callback) -> dict[str, Any]:
    assert config.n_train is not None
    assert config.n_val is not None
    data = builtin(
        config.noise, config.n_train, config.n_val, config.size, config.seed,
        clean_targets=target == "clean",
    )  # fmt: skip
    trainer = make_trainer(config, data, [progress])
    trainer.fit()
    model = trainer.model.eval()
    checkpoint.save(model, weights, name=config.model, args=config.model_args)

    def undone(noisy: Tensor) -> Tensor:
        return mean_undone(config.noise, model.forward(to_float(noisy)))

    return {
        "psnr": [epoch.val_psnr for epoch in trainer.history],
        "undone": score_method(undone, data.val_noisy, data.val_target).psnr,
        "input": score_noisy(data).psnr,
        "mean": mean_of_noise(data),
    }


def run_name(noise: str, target: str, seed: int) -> str:
    return f"{noise}, {target} targets, seed {seed}"


def weights_file(folder: Path, noise: str, target: str, seed: int) -> Path:
    return folder / f"{noise.replace(':', '-')}-{target}-{seed}.safetensors"


def table(notebook: study.Notebook, seeds: int) -> str:
    def figure(noise: str, target: str, key: str) -> str:
        found = [notebook[run_name(noise, target, seed)][key] for seed in range(seeds)]
        values = [value[-1] if isinstance(value, list) else value for value in found]
        spread = f" ± {statistics.stdev(values):.2f}" if seeds > 1 else ""
        return f"{statistics.fmean(values):.2f}{spread}"

    rows = []
    for noise in NOISES:
        first = notebook[run_name(noise, "noisy", 0)]
        dark, bright = (f"{value:+.1f}" for value in first["mean"])
        undone = figure(noise, "noisy", "undone") if noise.startswith("impulse") else "–"
        noisy, clean = (figure(noise, target, "psnr") for target in TARGETS)
        rows.append([f"`{noise}`", dark, bright, f"{first['input']:.2f}", noisy, undone, clean])
    head = ["noise", "mean, dark", "mean, bright", "noisy input"]
    head += ["noisy targets", "… mean undone", "clean targets"]
    return study.markdown(head, rows)


def draw(path: Path, folder: Path) -> None:
    """A detail of a photograph that training never saw, under each noise."""
    photograph = next(p for p in PHOTOGRAPHS if p.name == PHOTOGRAPH)
    whole = torch.from_numpy(photograph.load().copy()).permute(2, 0, 1)[None]
    names = ["noisy", *(f"trained on\n{target} targets" for target in TARGETS), "clean"]
    rows: list[tuple[str, list[Any], list[str]]] = [(name, [], []) for name in names]
    for noise in NOISES:
        model, (top, left) = parse_noise(noise), PLACE
        original = whole[..., top : top + 2 * SIDE, left : left + 2 * SIDE]
        if model.scale == 1:  # the same detail for all: half as large, as subpixel noise makes it
            original = parse_noise("subpixel").clean(original)
        clean = model.clean(original)
        noisy = model.sample(original, torch.Generator().manual_seed(0))
        shown = [noisy]
        for target in TARGETS:
            network = checkpoint.load(weights_file(folder, noise, target, 0))
            shown.append(_denoised(network, noisy))
        labels = [f"{psnr(image, clean):.1f} dB" for image in shown]
        labels = [f"{noise}, {labels[0]}", *labels[1:], ""]
        for row, image, text in zip(rows, [*shown, clean], labels, strict=True):
            row[1].append(image[0].permute(1, 2, 0).numpy())
            row[2].append(text)
    sheet(path, rows, cell=2 * SIDE)


def _denoised(network: Module, noisy: Tensor) -> Tensor:
    return to_uint8(network.forward(to_float(noisy)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--out", required=True, type=Path, help="folder for the results")
    parser.add_argument("--epochs", type=int, help="default: the quick preset's")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0, 1, ...: of everything")
    parser.add_argument("--n-train", type=int, help="pairs; default: the quick preset's")
    parser.add_argument("--n-val", type=int, help="validation images; default: the preset's")
    parser.add_argument("--threads", type=int, help="default: torch's")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    base = preset("quick").with_options(
        epochs=arguments.epochs, n_train=arguments.n_train, n_val=arguments.n_val
    )
    assert base.n_train is not None
    settings = {"n_train": base.n_train, "n_val": base.n_val, "epochs": base.epochs}
    notebook = study.Notebook(arguments.out / "targets.json", settings)
    runs = {
        run_name(noise, target, seed): (noise, target, seed)
        for seed in range(arguments.seeds)
        for noise in NOISES
        for target in TARGETS
    }

    def train_one(name: str, progress: Callback) -> dict[str, Any]:
        noise, target, seed = runs[name]
        weights = weights_file(arguments.out, noise, target, seed)
        return train(base.replace(noise=noise, seed=seed), target, weights, progress)

    study.carry_out(runs, notebook, base.n_train * base.epochs, train_one)
    write_text(arguments.out / "targets.md", table(notebook, arguments.seeds))
    draw(arguments.out / "targets.png", arguments.out)
    print(f"in {arguments.out}: targets.md, targets.png, targets.json, the networks' weights")


if __name__ == "__main__":
    study.guarded(main)
