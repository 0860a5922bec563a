"""Momentum, dampening, weight decay and Nesterov, each varied on the paper's network.

    python docs/experiments/optimizers.py [--data DIR] -o OUT

Trains the network once for each setting of SGD, with the same initial weights and the same batches
in the same order, and writes a table (OUT/optimizers.md), a figure (OUT/optimizers.png) and all
numbers (OUT/optimizers.json). Stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import study
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from scratchnet import MSE, Module
from scratchnet.cli.console import console
from scratchnet.data import NoisyPairs, to_float
from scratchnet.denoise.evaluation import score_noisy
from scratchnet.io.files import atomic, write_text
from scratchnet.optim import Params
from scratchnet.report.figures import MUTED
from scratchnet.training.config import TrainConfig, preset
from scratchnet.training.runs import make_trainer
from scratchnet.training.sources import load_data
from scratchnet.training.trainer import Callback, DivergedError, Epoch, Step, Trainer


def sgd(lr: float, momentum: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"lr": lr, "momentum": momentum, **more}


PLAIN = sgd(2.5)
GROUPS: dict[str, list[dict[str, Any]]] = {
    "Learning rate": [sgd(0.025), sgd(0.25), PLAIN, sgd(10.0)],
    "Momentum": [PLAIN, sgd(1.25, 0.5), sgd(0.25, 0.9), sgd(2.5, 0.5), sgd(2.5, 0.9)],
    "Dampening": [
        sgd(0.25, 0.9),
        sgd(0.25, 0.9, dampening=0.5),
        sgd(0.25, 0.9, dampening=0.9),
        sgd(2.5, 0.9, dampening=0.9),
    ],
    "Weight decay": [PLAIN, *(sgd(2.5, weight_decay=decay) for decay in (1e-5, 1e-4, 1e-3))],
    "Nesterov": [
        sgd(0.25, 0.9),
        sgd(0.25, 0.9, nesterov=True),
        sgd(2.5, 0.9),
        sgd(2.5, 0.9, nesterov=True),
    ],
}
_NAMES = {"lr": "lr", "momentum": "momentum", "dampening": "dampening", "weight_decay": "decay"}

CURVATURE_IMAGES, POWER_STEPS = 80, 40
LEAST_SHOWN = 15.0  # dB: the figure shows what is above, and names what is not


def label(changes: dict[str, Any]) -> str:
    words = [f"{_NAMES[key]} {changes[key]:g}" for key in _NAMES if changes.get(key)]
    return ", ".join(words + ["nesterov"] * changes.get("nesterov", False))


class Norms(Callback):
    """Lengths of the gradient at every step, over all parameters together, and of the weights."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.gradient: list[float] = []
        self.weights: list[float] = []

    def on_step(self, trainer: Trainer, step: Step) -> None:
        self.steps.append(float(flat([grad for _, grad in trainer.model.param()]).norm()))

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        self.gradient.append(statistics.fmean(self.steps[-trainer.steps_per_epoch :]))
        self.weights.append(float(flat([value for value, _ in trainer.model.param()]).norm()))


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def curvature(model: Module, data: NoisyPairs) -> float:
    """The eigenvalue of the loss's Hessian that is largest in size, by power iteration, in float64.

    A product with the Hessian is a difference of two gradients: H v ≈ (g(θ + εv) − g(θ − εv)) / 2ε.
    On a quadratic loss, plain gradient descent converges for lr < 2 / largest eigenvalue.
    """
    model = copy.deepcopy(model).to(dtype=torch.float64).train()
    noisy, target = (
        to_float(images[:CURVATURE_IMAGES]).double() for images in (data.noisy_a, data.noisy_b)
    )
    params, epsilon = model.param(), 1e-4
    start = flat([value for value, _ in params])
    direction = torch.randn(start.shape, generator=torch.Generator().manual_seed(0)).double()
    largest = 0.0
    for _ in range(POWER_STEPS):
        direction /= direction.norm()
        ahead = _gradient(model, params, start + epsilon * direction, noisy, target)
        behind = _gradient(model, params, start - epsilon * direction, noisy, target)
        product = (ahead - behind) / (2 * epsilon)
        if not product.any():  # dead units: the loss is flat here
            return 0.0
        largest, direction = float(direction @ product), product
    return largest


def limit(changes: dict[str, Any]) -> float:
    """The curvature up to which these settings converge on a quadratic loss, without noise.

    2 (1 + μ) / rate, with Nesterov that divided by 1 + 2 μ; the rate is lr · (1 − dampening).
    Source: Cohen et al., "Gradient Descent on Neural Networks Typically Occurs at the Edge of
    Stability" (2021).
    """
    rate, momentum = changes["lr"] * (1 - changes.get("dampening", 0.0)), changes["momentum"]
    ahead = 1 + 2 * momentum if changes.get("nesterov") else 1.0
    return float(2 * (1 + momentum) / (rate * ahead))


def _gradient(
    model: Module, params: Params, weights: Tensor, noisy: Tensor, target: Tensor
) -> Tensor:
    sizes = [value.numel() for value, _ in params]
    for (value, _), new in zip(params, weights.split(sizes), strict=True):
        value.copy_(new.view(value.shape))
    mse = MSE()
    mse.forward(model.forward(noisy), target)
    model.zero_grad()
    model.backward_parameters(mse.backward())
    return flat([grad for _, grad in params])


def train(config: TrainConfig, data: NoisyPairs, progress: Callback) -> dict[str, Any]:
    norms = Norms()
    trainer = make_trainer(config, data, [norms, progress])
    at_start = curvature(trainer.model, data)
    with contextlib.suppress(DivergedError):  # the table says so
        trainer.fit()
    return {
        "psnr": [epoch.val_psnr for epoch in trainer.history],
        "first_gradient": norms.steps[0],
        "gradient": norms.gradient,
        "weights": norms.weights,
        "curvature": [at_start, curvature(trainer.model, data)],
    }


class Results:
    """The notebook's numbers, averaged over the seeds."""

    def __init__(self, notebook: study.Notebook, seeds: int, epochs: int) -> None:
        self.notebook, self.seeds, self.epochs = notebook, seeds, epochs

    def curve(self, changes: dict[str, Any], key: str = "psnr") -> list[float]:
        """One number an epoch; shorter if the training of a seed diverged."""
        curves = [self.notebook[run_name(changes, seed)][key] for seed in range(self.seeds)]
        return [statistics.fmean(values) for values in zip(*curves, strict=False)]

    def row(self, changes: dict[str, Any]) -> list[str]:
        psnr = self.curve(changes)
        if len(psnr) < self.epochs:
            return [label(changes), *["diverged"] * (len(self.head) - 1)]
        gradient = self.curve(changes, "gradient")[-1]
        weights, curved = self.curve(changes, "weights")[-1], self.curve(changes, "curvature")[-1]
        curved = round(curved, 2) + 0.0  # no minus zero
        figures = [f"{gradient:.3f}", f"{weights:.1f}", f"{curved:.2f}", f"{limit(changes):.2f}"]
        return [label(changes), *(f"{value:.2f}" for value in psnr), *figures]

    @property
    def head(self) -> list[str]:
        epochs = [f"epoch {i}" for i in range(1, self.epochs + 1)]
        return ["SGD", *epochs, "gradient", "weights", "curvature", "limit"]


def run_name(changes: dict[str, Any], seed: int) -> str:
    return f"{label(changes)}, seed {seed}"


def table(results: Results) -> str:
    rows = {label(changes): results.row(changes) for group in GROUPS.values() for changes in group}
    return study.markdown(results.head, rows.values())


def draw(path: Path, results: Results, noisy_psnr: float) -> None:
    figure = Figure(figsize=(13.5, 7.6), dpi=100, layout="constrained")
    panels = figure.subplots(2, 3, sharey=True)
    epochs = range(1, results.epochs + 1)
    everything = [results.curve(changes) for group in GROUPS.values() for changes in group]
    highest = max(value for curve in [*everything, [noisy_psnr]] for value in curve)
    for axes, (title, group) in zip(panels.flat, GROUPS.items(), strict=False):
        axes.axhline(noisy_psnr, color=MUTED, linewidth=1, linestyle=":")
        for changes, (colour, dash) in zip(group, study.LOOKS, strict=False):
            psnr = results.curve(changes)
            below = psnr and max(psnr) < LEAST_SHOWN
            axes.plot(
                epochs[: len(psnr)], psnr, color=colour, linestyle=dash, linewidth=2,
                marker="o", markersize=4,
                label=label(changes) + (f": stuck at {psnr[-1]:.1f} dB" if below else ""),
            )  # fmt: skip
        axes.set_ylim(bottom=min(LEAST_SHOWN, highest - 2), top=highest + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelleft=True)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
        study.dress(axes, title, "epoch", "validation PSNR (dB)")
    last = panels.flat[-1]
    last.axis("off")
    seeds = "seed 0" if results.seeds == 1 else f"mean of {results.seeds} seeds"
    note = f"the paper's network, batch 40, {seeds}\ndotted: the noisy input, {noisy_psnr:.2f} dB"
    last.text(
        0.02,
        0.95,
        note,
        transform=last.transAxes,
        va="top",
        color=MUTED,
        fontsize=11,
        linespacing=1.6,
    )
    with atomic(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", metavar="DIR", help="as for scratchnet train; default: the built-in photographs"
    )
    parser.add_argument("-o", "--out", required=True, type=Path, help="folder for the results")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0, 1, ...: of weights, batches")
    parser.add_argument("--n-train", type=int, help="so many of the pairs (default: all)")
    parser.add_argument("--n-val", type=int, help="so many validation images (default: all)")
    parser.add_argument("--threads", type=int, help="default: torch's")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    base = preset("paper").with_options(
        data=arguments.data, n_train=arguments.n_train, n_val=arguments.n_val
    )
    base = base.replace(epochs=arguments.epochs)
    with console().status("preparing images"):
        data = load_data(base)
    counts = {"n_train": len(data.noisy_a), "n_val": len(data.val_noisy), "epochs": base.epochs}
    settings = {"data": data.source, **counts}
    notebook = study.Notebook(arguments.out / "optimizers.json", settings)
    runs = {
        run_name(changes, seed): base.replace(seed=seed, **changes)
        for seed in range(arguments.seeds)
        for group in GROUPS.values()
        for changes in group
    }
    study.carry_out(
        runs,
        notebook,
        len(data.noisy_a) * base.epochs,
        lambda name, progress: train(runs[name], data, progress),
    )
    results = Results(notebook, arguments.seeds, base.epochs)
    write_text(arguments.out / "optimizers.md", table(results))
    draw(arguments.out / "optimizers.png", results, score_noisy(data).psnr)
    print(f"in {arguments.out}: optimizers.md, optimizers.png, optimizers.json")


if __name__ == "__main__":
    study.guarded(main)
