"""By which algorithm the C++ backend does a convolution, whether it hands it over to torch's own,
and whether it should.

python benchmarks/handover.py --threads 2 --rounds 10

For shapes on both sides of the rules in scratchnet/backends/cpp.py: forward and backward by sums
over taps, by Winograd's algorithm where it applies, by torch's convolution called as the backend
calls it, and which of them the backend chooses. An error ends it where they differ: then there is
nothing to time.
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import time
from typing import Any
from unittest.mock import patch

import torch

from scratchnet.backends import cpp, dispatch
from scratchnet.backends.explain import explain
from scratchnet.bench.machine import lines, machine
from scratchnet.bench.memory import keeps_memory
from scratchnet.ops.conv import conv2d
from scratchnet.testing.closeness import assert_close

# (N, C, O, K, groups, H = W)
FEW_PIXELS = [
    *((n, 512, 512, 3, 1, 7) for n in (2, 8, 32)),
    *((n, 512, 512, 3, 1, 14) for n in (1, 8)),
    *((8, 256, o, 3, 1, 7) for o in (256, 512)),
    *((n, 256, 256, 3, 1, 14) for n in (1, 4, 8)),
    *((n, 1024, 1024, 1, 1, 7) for n in (8, 32)),
    (1, 128, 128, 3, 1, 14),
]
# In- and out-channels, and small images: where Winograd's algorithm begins to pay.
CHANNELS = [
    *((4, c, o, 3, 1, 32) for c, o in ((3, 32), (8, 8), (8, 32), (12, 12), (16, 16), (32, 32))),
    *((n, 64, 64, 3, 1, size) for n in (1, 16) for size in (3, 4, 5, 7, 8)),
    (8, 64, 64, 3, 1, 56), (8, 128, 128, 3, 1, 28),
]  # fmt: skip
GROUPS = [*((8, 64, 64, 3, g, 28) for g in (2, 4, 8, 16, 32)), (8, 6, 6, 3, 2, 28)]
DEPTHWISE = [
    (n, c, c, k, c, size)
    for n, c, k, size in (
        (1, 64, 3, 56), (8, 32, 3, 56), (8, 64, 3, 28), (8, 128, 3, 14), (8, 256, 3, 7),
        (8, 32, 5, 56), (8, 64, 5, 28), (8, 128, 5, 14),
    )
]  # fmt: skip

Step = tuple[torch.Tensor | None, ...]


def steps(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[dict[str, Any], str]:
    """The ways to compute one shape, and the name of the one that the backend chooses."""
    n, c, o, k, groups, size = shape
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    x, grad_y = (normal(n, channels, size, size) for channels in (c, o))
    x, grad_y = (t.contiguous(memory_format=torch.channels_last) for t in (x, grad_y))
    weight, bias = normal(o, c // groups, k, k), normal(o)
    geometry = ((1, 1), (k // 2, k // 2), (1, 1), groups)

    names = ("stride", "padding", "dilation", "groups")
    options = dict(zip(names, geometry, strict=True))

    def by(reason: str | None, gain: float = 0) -> Any:
        def step() -> Step:
            with (
                patch.object(cpp, "_better_at_torch", lambda *shape: reason),
                patch.object(cpp, "_winograd_gain", lambda *shape: gain),
            ):
                y, back = dispatch.run(conv2d, x, weight, bias, backend="cpp", **options)
                return (y, *back(grad_y))

        return step

    ways = {"taps": by(None), "torch": by("measured")}
    if k == 3 and groups == 1:
        ways["winograd"] = by(None, gain=2)
    said = str(explain(conv2d, x, weight, bias, **options))
    chosen = "torch" if "torch's own" in said else "winograd" if "Winograd" in said else "taps"
    return ways, chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--double", action="store_true", help="float64")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtype = torch.float64 if arguments.double else torch.float32
    print("$", shlex.join(["python", *sys.argv]))
    print(*lines(machine()), sep="\n")
    print(
        "\n N    C    O  K  groups  HxW    weights  pixels  taps ms  winograd ms  torch ms  chosen"
        "  best other / chosen"
    )
    with keeps_memory():
        for shape in [*CHANNELS, *FEW_PIXELS, *GROUPS, *DEPTHWISE]:
            n, c, o, k, groups, size = shape
            ways, chosen = steps(shape, dtype)
            for way in ways.values():
                for ours, torchs in zip(way(), ways["torch"](), strict=True):
                    assert_close(ours, torchs, str(shape), rtol=1000 * torch.finfo(dtype).eps)
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(arguments.rounds):
                for name, step in ways.items():
                    step()  # untimed: what somebody else left in the caches
                    start = time.perf_counter()
                    step()
                    seconds[name].append(time.perf_counter() - start)
            best = {name: 1e3 * min(found) for name, found in seconds.items()}
            other = min(found for name, found in best.items() if name != chosen)
            print(
                f"{n:2} {c:4} {o:4} {k:2} {groups:7} {size:2}x{size:<2} {o * c // groups * k * k:9}"
                f" {n * size * size:7} {best['taps']:8.2f} {best.get('winograd', math.nan):12.2f}"
                f" {best['torch']:9.2f}  {chosen:8} {other / best[chosen]:10.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
