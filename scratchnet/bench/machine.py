"""What this installation is and runs on: for ``scratchnet info``, and beside measurements."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import torch

import scratchnet
from scratchnet import backends, layers, models, optim
from scratchnet.backends.dispatch import selection
from scratchnet.data import noise
from scratchnet.errors import PluginError
from scratchnet.layers import loss
from scratchnet.ops import extension
from scratchnet.optim import schedule
from scratchnet.registry import Registry
from scratchnet.training import checkpoint


def facts() -> dict[str, Any]:
    """Versions, machine, build record, backends, layers, networks: plain values, as in JSON."""
    build = build_record()
    return {
        "scratchnet": scratchnet.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": {"running": torch.__version__},
        "threads": torch.get_num_threads(),
        "cores": cores(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "build": build,
        "selected": dict(zip(("backend", "by"), map(str, selection()), strict=True)),
        "backends": _plugins(backends.registry, _available),
        "layers": _plugins(layers.registry, lambda name: True),
        **{
            kind: _plugins(registry, lambda name: True)
            for kind, registry in (
                ("losses", loss.registry),
                ("networks", models.registry),
                ("optimizers", optim.registry),
                ("schedules", schedule.registry),
                ("noise", noise.registry),
            )
        },
        "models": models.names(),
        "problems": [line for r in Registry.all.values() for line in r.problems()],
        "weights": sorted(checkpoint.shipped()),
    }


def machine() -> dict[str, Any]:
    """The facts, the processor, and how busy the machine was before."""
    kernels = extension.how() if extension.available() is True else extension.available()
    return {
        **facts(),
        "processor": processor(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "kernels": str(kernels).removeprefix("runs, "),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """What ``machine`` found, for a text."""
    busy = "" if found["load"] is None else f", load {found['load']} before"
    return [
        f"{found['processor']}, {found['cores']} cores, {found['system']}{busy}",
        f"torch {found['torch']['running']} ({found['instruction_set']}), "
        f"Python {found['python']}, scratchnet {found['scratchnet']}, "
        f"C++ kernels {found['kernels']}",
    ]


def cores() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's model, as the system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def sgemm_gflops(size: int = 1024, rounds: int = 20) -> float:
    """The best of some single-precision matrix products, in GFLOP/s, at the present threads."""
    a, b, c = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0)).unbind()
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mm(a, b, out=c)
        least = min(least, time.perf_counter() - start)
    return 2 * size**3 / least / 1e9


def build_record() -> dict[str, Any] | None:
    """What the build of the C++ kernels wrote down; None if nothing was built."""
    file = resources.files("scratchnet") / "_build_info.json"
    if not file.is_file():
        return None
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return record


def _available(name: str) -> bool | str:
    try:
        return backends.get(name).available()
    except PluginError as error:
        return str(error)


def _plugins(
    registry: Registry[Any], available: Callable[[str], bool | str]
) -> list[dict[str, Any]]:
    rows = []
    for name in registry.names():
        try:
            info = registry.info(name)
        except PluginError:
            continue  # claimed twice: among the problems
        shown = ("name", "distribution", "version", "builtin", "target")
        rows.append({**{k: getattr(info, k) for k in shown}, "available": available(name)})
    return rows
