"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from scratchnet import backends
from scratchnet.bench.facts import facts


def machine() -> dict[str, Any]:
    """The facts of ``scratchnet info``, the processor, and how busy the machine was before."""
    cpp = backends.get("cpp")
    kernels = cpp.how("upsample_nearest_forward") if cpp.available() is True else cpp.available()
    return {
        **facts(),
        "processor": processor(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "kernels": str(kernels).removeprefix("runs, "),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def processor() -> str:
    """The processor's model, as the system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def lines(found: dict[str, Any]) -> list[str]:
    """What ``machine`` found, for a text."""
    busy = "" if found["load"] is None else f", load {found['load']} before"
    return [
        f"{found['processor']}, {found['cores']} cores, {found['system']}{busy}",
        f"torch {found['torch']['running']} ({found['instruction_set']}), "
        f"Python {found['python']}, scratchnet {found['scratchnet']}, "
        f"C++ kernels {found['kernels']}",
    ]


def sgemm_gflops(size: int = 1024, rounds: int = 20) -> float:
    """The best of some single-precision matrix products, in GFLOP/s, at the present threads."""
    a, b, c = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0)).unbind()
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mm(a, b, out=c)
        least = min(least, time.perf_counter() - start)
    return 2 * size**3 / least / 1e9
