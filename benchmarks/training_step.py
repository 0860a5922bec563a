"""A training step of the paper's network: forward, MSE, backward of all parameters, SGD.

    python benchmarks/training_step.py --batch 40 --threads 2 --rounds 60 [--compile]
    python benchmarks/training_step.py --inference

Prints, for scratchnet and for torch in several ways of writing the same step, the least and the
median time, and their ratios to scratchnet's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import networks
import torch
import torch.nn as nn
from common import interleave, machine, sgemm_gflops, table, tune_malloc

import scratchnet

GFLOP_PER_PICTURE = (
    0.372 / 40
)  # multiply-adds of forward and backward with the better algebra, times two


def torch_step(
    net: nn.Module, x: torch.Tensor, y: torch.Tensor, *, channels_last: bool
) -> Callable[[], object]:
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
        x, y = (t.contiguous(memory_format=torch.channels_last) for t in (x, y))
    mse, optimizer = nn.MSELoss(), torch.optim.SGD(net.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        mse(net(x), y).backward()
        optimizer.step()

    return step


def scratchnet_step(x: torch.Tensor, y: torch.Tensor) -> Callable[[], object]:
    model, mse = scratchnet.models.noise2noise(), scratchnet.MSE()
    sgd = scratchnet.SGD(model.param(), lr=0.1)

    def step() -> None:
        mse.forward(model.forward(x), y)
        model.zero_grad()
        model.backward(mse.backward())
        sgd.step()

    return step


def inference(x: torch.Tensor) -> dict[str, Callable[[], object]]:
    model = scratchnet.models.noise2noise().eval()
    plain = networks.plain()
    last = networks.plain().to(memory_format=torch.channels_last)
    x_last = x.contiguous(memory_format=torch.channels_last)

    def without_grad(net: nn.Module, x: torch.Tensor) -> Callable[[], object]:
        def run() -> None:
            with torch.no_grad():
                net(x)

        return run

    return {
        "scratchnet": lambda: model.forward(x),
        "torch eager": without_grad(plain, x),
        "torch eager channels_last": without_grad(last, x_last),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--compile", action="store_true", help="also torch.compile, both layouts")
    parser.add_argument("--inference", action="store_true", help="the forward alone, no gradients")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    x, y = torch.rand(2, arguments.batch, 3, 32, 32)
    if arguments.inference:
        steps = inference(x)
    else:
        steps = {
            "scratchnet": scratchnet_step(x, y),
            "torch eager": torch_step(networks.plain(), x, y, channels_last=False),
            "torch eager channels_last": torch_step(networks.plain(), x, y, channels_last=True),
            "torch, better algebra, channels_last": torch_step(
                networks.boxed(), x, y, channels_last=True
            ),
        }
        if arguments.compile:
            for last in (False, True):
                net = torch.compile(networks.plain())
                name = f"torch.compile{' channels_last' if last else ''}"
                steps[name] = torch_step(net, x, y, channels_last=last)
    sgemm = sgemm_gflops()
    timings = interleave(steps, rounds=arguments.rounds)
    ours = timings["scratchnet"]
    rows = [
        [
            t.name,
            f"{t.least * 1e3:.2f}",
            f"{t.median * 1e3:.2f}",
            f"{t.least / ours.least:.2f}",
            f"{t.median / ours.median:.2f}",
        ]
        for t in timings.values()
    ]
    what = "inference" if arguments.inference else "training step"
    print(
        f"{machine()}\n{what}, batch {arguments.batch}, {arguments.threads} threads, float32, ",
        end="",
    )
    print(f"{arguments.rounds} interleaved rounds\n")
    print(table(["", "least ms", "median ms", "ratio of least", "ratio of median"], rows))
    if not arguments.inference:
        floor = GFLOP_PER_PICTURE * arguments.batch / sgemm
        print(f"\nsgemm {sgemm:.0f} GFLOP/s; least time / arithmetic at that speed:", end=" ")
        print(f"{ours.least / floor:.2f}, median {ours.median / floor:.2f}")


if __name__ == "__main__":
    tune_malloc()
    main()
