"""What the benchmarks share: one tuned process, interleaved rounds, and the machine's facts."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

# glibc gives large blocks back to the system at every free and takes them again, zeroed page by
# page, at the next allocation: that would be measured instead of the arithmetic. The tuning helps
# all competitors.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}


def tune_malloc() -> None:
    """Start this script again with a tuned malloc, unless it already runs so."""
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | MALLOC)


def machine() -> str:
    """The processor, the cores to use, and the versions that matter; no names."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        model = names[0] if names else model
    import scratchnet

    cpp = scratchnet.backends.get("cpp")
    kernels = cpp.how("upsample_nearest_forward") if cpp.available() is True else cpp.available()
    return (
        f"{model}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release().split('-')[0]}\n"
        f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()}), "
        f"Python {platform.python_version()}, scratchnet {scratchnet.__version__}, cpp {kernels}"
    )


@dataclass
class Timing:
    """Seconds of each round."""

    name: str
    seconds: list[float]

    @property
    def least(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleave(
    functions: dict[str, Callable[[], object]], *, rounds: int, warmup: int = 5
) -> dict[str, Timing]:
    """Time the functions in turn, so that whatever disturbs the machine disturbs all alike."""
    for _ in range(warmup):
        for function in functions.values():
            function()
    timings = {name: Timing(name, []) for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            timings[name].seconds.append(time.perf_counter() - start)
    return timings


def sgemm_gflops(size: int = 1024) -> float:
    """The best of 20 single-precision matrix products, in GFLOP/s, at the present thread count."""
    a, b, c = torch.randn(3, size, size).unbind()
    timing = interleave({"mm": lambda: torch.mm(a, b, out=c)}, rounds=20)["mm"]
    return 2 * size**3 / timing.least / 1e9


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table, first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [headers, *rows]) for i in range(len(headers))]
    lines = []
    for first, *others in [headers, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
