"""What this installation is and runs on: for ``scratchnet info``, and beside measurements."""

from __future__ import annotations

import os
import platform
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import scratchnet
from scratchnet import backends, layers, models, ops, optim
from scratchnet.backends.dispatch import selection
from scratchnet.data import noise
from scratchnet.errors import PluginError
from scratchnet.layers import loss
from scratchnet.ops.extension import extension
from scratchnet.optim import schedule
from scratchnet.registry import Registry
from scratchnet.training import checkpoint

_OTHERS: dict[str, Registry[Any]] = {
    "losses": loss.registry,
    "networks": models.registry,
    "optimizers": optim.registry,
    "schedules": schedule.registry,
    "noise": noise.registry,
}


def machine() -> dict[str, Any]:
    """Versions, machine and how busy it is, build record, backends, layers, networks: plain values,
    as in JSON.
    """
    kernels = extension.how() if extension.available() is True else extension.available()
    return {
        "scratchnet": scratchnet.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "processor": processor(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "torch": {"running": torch.__version__},
        "threads": torch.get_num_threads(),
        "cores": cores(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "kernels": str(kernels).removeprefix("runs, "),
        "build": extension.build_info or None,
        "selected": dict(zip(("backend", "by"), map(str, selection()), strict=True)),
        "backends": [
            {**r, "available": availability(r["name"])} for r in _plugins(backends.registry)
        ],
        "ops": [row | _implemented(row["name"]) for row in _plugins(ops.registry)],
        "layers": [{**row, "available": True} for row in _plugins(layers.registry)],
        "models": models.names(),
        **{kind: _plugins(found) for kind, found in _OTHERS.items()},
        "problems": [line for r in Registry.all.values() for line in r.problems()],
        "weights": sorted(checkpoint.shipped()),
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
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


def sgemm_gflops(size: int = 1024, rounds: int = 20) -> float:
    """The best of some single-precision matrix products, in GFLOP/s, at the present threads."""
    a, b, c = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0)).unbind()
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        torch.mm(a, b, out=c)
        least = min(least, time.perf_counter() - start)
    return 2 * size**3 / least / 1e9


def _implemented(name: str) -> dict[str, Any]:
    """How an operation is called, and the names of the backends that implement it."""
    try:
        op = ops.get(name)
    except PluginError as error:
        return {"available": str(error), "signature": name, "backends": []}
    found = []
    for backend in backends.names():
        own = backends.get(backend).implementation(op) if availability(backend) is True else None
        if own is not None and own.available() is True:
            found.append(backend)
    return {"signature": op.signature, "backends": found}


def availability(name: str) -> bool | str:
    """Whether the backend of this name is available, or why not."""
    try:
        return backends.get(name).available()
    except PluginError as error:
        return str(error)


def _plugins(found: Registry[Any]) -> list[dict[str, Any]]:
    shown = ("name", "distribution", "version", "builtin", "target")
    rows = []
    for name in found.names():
        with suppress(PluginError):  # claimed twice: among the problems
            info = found.info(name)
            rows.append({key: getattr(info, key) for key in shown})
    return rows
