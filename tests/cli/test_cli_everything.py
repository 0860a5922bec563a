"""A distribution that brings one of every kind, and a run that names them all."""

from __future__ import annotations

import json
from pathlib import Path

from commandline import Cli
from installed import Site

import scratchnet

EVERYTHING = """
import torch
import scratchnet
from scratchnet.data.noise import NoiseModel
from scratchnet.layers.loss import Loss
from scratchnet.optim import Optimizer

class Signs(Optimizer):
    def __init__(self, params, lr=1e-3, weight_decay=0.0, shrink=1.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay, shrink=shrink)

    def update(self, value, grad, state, options):
        value.add_(grad.sign(), alpha=-options["lr"] * options["shrink"])

class Absolute(Loss):
    def forward(self, prediction, target):
        self.save(prediction - target)
        return self.reduced(self.saved[0].abs())

    def backward(self, *grad_outputs):
        (difference,) = self.saved
        return difference.sign() * self.grad_each(grad_outputs, difference)

def halving(step, total):
    return 0.5 ** step

def one(*, width=3, generator=None):
    return scratchnet.Residual(scratchnet.Conv2d(3, 3, width, padding=width // 2,
                                                 generator=generator))

class Stripes(NoiseModel):
    def __init__(self, strength=10.0):
        self.strength = strength

    def __str__(self):
        return f"stripes:{self.strength:g}"

    def _sample(self, original, generator):
        rows = torch.randn(*original.shape[:3], 1, generator=generator) * self.strength
        return (original + rows).round().clamp(0, 255).to(torch.uint8)
"""


def test_a_plugin_brings_one_of_every_kind_and_a_run_names_them(
    site: Site, tmp_path: Path, cli: Cli
) -> None:
    """Network, noise, loss, optimizer and schedule by entry point, from the command line."""
    site.install(
        "everything", EVERYTHING,
        optimizers={"signs": "Signs"}, losses={"absolute": "Absolute"},
        noise={"stripes": "Stripes"}, schedules={"halving": "halving"}, networks={"one": "one"},
    )  # fmt: skip
    out = tmp_path / "run"
    done = cli(
        "train", "--model", "one", "--model-arg", "width=5", "--noise", "stripes:20",
        "--loss", "absolute", "--optimizer", "signs", "--optimizer-arg", "shrink=0.5",
        "--schedule", "halving", "--epochs", 1, "--n-train", 8, "--n-val", 2, "--size", 16,
        "--out", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert scratchnet.load(out / "model.safetensors").body.kernel_size == (5, 5)
    assert cli("train", "--resume", "--out", out, "--epochs", 2).code == 0
    shown = json.loads(cli("info", "--json").out)
    for kind, name in (
        ("optimizers", "signs"), ("losses", "absolute"), ("schedules", "halving"),
        ("networks", "one"), ("noise", "stripes"),
    ):  # fmt: skip
        (row,) = [row for row in shown[kind] if row["name"] == name]
        assert (row["distribution"], row["builtin"]) == ("everything", False)
        assert len([row for row in shown[kind] if row["builtin"]]) >= 2
    wrong = cli("train", "--noise", "strips", "--out", tmp_path / "no")
    assert "or stripes of a plugin" in wrong.err
