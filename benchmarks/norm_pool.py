"""Normalisation and pooling against torch eager: forward and backward, in turns, in one process.

    OMP_NUM_THREADS=2 python benchmarks/norm_pool.py [ROUNDS]

Prints for each layer the median time here (of the better layout) and torch's (of its better
layout), and their ratio.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

import scratchnet
from scratchnet.interop import to_torch

CASES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("BatchNorm2d", {"num_features": 64}, (16, 64, 56, 56)),
    ("LayerNorm", {"normalized_shape": 768}, (1024, 768)),
    ("RMSNorm", {"normalized_shape": 768}, (1024, 768)),
    ("GroupNorm", {"num_groups": 8, "num_channels": 64}, (16, 64, 32, 32)),
    ("InstanceNorm2d", {"num_features": 64, "affine": True}, (16, 64, 32, 32)),
    ("MaxPool2d", {"kernel_size": 3, "stride": 2, "padding": 1}, (16, 64, 112, 112)),
    ("MaxPool2d", {"kernel_size": 2}, (16, 64, 112, 112)),
    ("AvgPool2d", {"kernel_size": 2}, (16, 64, 112, 112)),
    ("AdaptiveAvgPool2d", {"output_size": 1}, (16, 512, 14, 14)),
    ("AdaptiveAvgPool2d", {"output_size": 7}, (16, 512, 14, 14)),
    ("ReflectionPad2d", {"padding": 1}, (16, 64, 56, 56)),
]


def ours(layer: scratchnet.Module, x: torch.Tensor, grad: torch.Tensor) -> Callable[[], object]:
    def step() -> object:
        layer.forward(x)
        return layer.backward(grad)

    return step


def theirs(module: torch.nn.Module, x: torch.Tensor, grad: torch.Tensor) -> Callable[[], object]:
    leaf = x.detach().requires_grad_()
    inputs = [leaf, *module.parameters()]

    def step() -> object:
        return torch.autograd.grad(module(leaf), inputs, grad)

    return step


def main(rounds: int) -> None:
    ratios = []
    for name, arguments, shape in CASES:
        layer = scratchnet.build(name, **arguments)
        twin = to_torch(layer)
        x = torch.randn(shape)
        grad = torch.randn_like(layer(x))
        steps = {}
        last = torch.channels_last if x.dim() == 4 else torch.contiguous_format
        for layout in {"contiguous": torch.contiguous_format, "channels_last": last}.items():
            own = [t.contiguous(memory_format=layout[1]) for t in (x, grad)]
            steps["ours", layout[0]] = ours(layer, *own)
            steps["torch", layout[0]] = theirs(twin, *own)
        times: dict[tuple[str, str], list[float]] = {key: [] for key in steps}
        for i in range(rounds + 2):
            for key, step in steps.items():
                begin = time.perf_counter()
                step()
                if i >= 2:
                    times[key].append(time.perf_counter() - begin)
        ms = {key: 1e3 * statistics.median(values) for key, values in times.items()}
        best = {
            who: min((t, layout) for (w, layout), t in ms.items() if w == who)
            for who in ("ours", "torch")
        }
        ratios.append(best["torch"][0] / best["ours"][0])
        each = "  ".join(f"{who} {layout} {t:.2f} ms" for (who, layout), t in ms.items())
        print(f"{name} {arguments} on {shape}: {ratios[-1]:.2f} x ({each})", flush=True)
    print(f"geometric mean {statistics.geometric_mean(ratios):.2f} x, least {min(ratios):.2f} x")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
