"""Single convolutions, forward and backward, against torch's own in its better layout.

python benchmarks/convolutions.py --threads 2 --rounds 20
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
from common import interleave, machine, table, tune_malloc

import scratchnet

# name: (N, C, O, K, stride, padding, dilation, groups, H, W)
SHAPES = {
    "64->64 3x3, 56x56": (8, 64, 64, 3, 1, 1, 1, 1, 56, 56),
    "64->64 1x1, 56x56": (8, 64, 64, 1, 1, 0, 1, 1, 56, 56),
    "64->128 3x3 stride 2, 56x56": (8, 64, 128, 3, 2, 1, 1, 1, 56, 56),
    "32->32 5x5, 28x28": (8, 32, 32, 5, 1, 2, 1, 1, 28, 28),
    "64->64 3x3 dilation 2, 28x28": (8, 64, 64, 3, 1, 2, 2, 1, 28, 28),
    "16->16 3x3, 32x32, batch 40": (40, 16, 16, 3, 1, 1, 1, 1, 32, 32),
    "3->64 7x7 stride 2, 112x112, batch 4": (4, 3, 64, 7, 2, 3, 1, 1, 112, 112),
    "8->24 3x3, 64x64": (8, 8, 24, 3, 1, 1, 1, 1, 64, 64),
    "24->3 3x3, 64x64": (8, 24, 3, 3, 1, 1, 1, 1, 64, 64),
    "128->512 1x1, 14x14": (8, 128, 512, 1, 1, 0, 1, 1, 14, 14),
    "256->256 3x3, 14x14": (8, 256, 256, 3, 1, 1, 1, 1, 14, 14),
    "512->512 3x3, 7x7": (8, 512, 512, 3, 1, 1, 1, 1, 7, 7),
    "32->32 3x3 depthwise, 56x56": (8, 32, 32, 3, 1, 1, 1, 32, 56, 56),
    "7->13 3x3, 31x45": (8, 7, 13, 3, 1, 1, 1, 1, 31, 45),
}


def competitors(shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    n, c, o, k, s, p, d, groups, h, w = shape
    x, weight = torch.randn(n, c, h, w, dtype=dtype), torch.randn(o, c // groups, k, k, dtype=dtype)
    bias = torch.randn(o, dtype=dtype)
    grad_y = torch.randn_like(torch.conv2d(x, weight, bias, s, p, d, groups))
    geometry = {"stride": (s, s), "padding": (p, p), "dilation": (d, d), "groups": groups}
    backend = scratchnet.backends.get("cpp")
    last = [t.contiguous(memory_format=torch.channels_last) for t in (x, weight, grad_y)]

    def ours() -> None:
        backend.conv2d_forward(last[0], weight, bias, **geometry)
        backend.conv2d_backward(last[2], last[0], weight, **geometry)

    def torchs(x: torch.Tensor, weight: torch.Tensor, grad_y: torch.Tensor) -> Callable[[], object]:
        where = ((s, s), (p, p), (d, d), False, (0, 0), groups)

        def run() -> None:
            torch.ops.aten.convolution(x, weight, bias, *where)
            torch.ops.aten.convolution_backward(grad_y, x, weight, [o], *where, (True, True, True))

        return run

    return {"ours": ours, "contiguous": torchs(x, weight, grad_y), "channels_last": torchs(*last)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--double", action="store_true", help="float64")
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtype = torch.float64 if arguments.double else torch.float32
    rows, least, medians = [], [], []
    for name, shape in SHAPES.items():
        if arguments.only not in name:
            continue
        t = interleave(competitors(shape, dtype), rounds=arguments.rounds, warmup=2)
        rivals = (t["contiguous"], t["channels_last"])
        least.append(min(r.least for r in rivals) / t["ours"].least)
        medians.append(min(r.median for r in rivals) / t["ours"].median)
        times = [f"{1e3 * t[key].least:.2f}" for key in ("ours", "contiguous", "channels_last")]
        rows.append([name, *times, f"{least[-1]:.2f}", f"{medians[-1]:.2f}"])
    print(f"{machine()}\nforward and backward, {arguments.threads} threads, {dtype}, ", end="")
    print(f"{arguments.rounds} interleaved rounds; least ms; ratios to torch's better layout\n")
    headers = ["", "scratchnet", "torch", "torch channels_last", "of least", "of median"]
    print(table(headers, rows))

    def mean(ratios: list[float]) -> float:
        return math.exp(sum(map(math.log, ratios)) / len(ratios))

    print(f"\ngeometric mean: {mean(least):.2f} of least, {mean(medians):.2f} of median;", end=" ")
    print(f"worst: {min(least):.2f} of least, {min(medians):.2f} of median")


if __name__ == "__main__":
    tune_malloc()
    main()
