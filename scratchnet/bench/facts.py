"""What this installation is and runs on: for ``scratchnet info`` and beside measurements."""

from __future__ import annotations

import json
import os
import platform
from importlib import resources
from typing import Any

import torch

import scratchnet
from scratchnet import backends, layers, models, optim
from scratchnet.backends.dispatch import selection
from scratchnet.data import noise
from scratchnet.errors import PluginError
from scratchnet.layers import loss
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
        "torch": {"running": torch.__version__, "built_for": (build or {}).get("torch")},
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "build": build,
        "selected": dict(zip(("backend", "by"), map(str, selection()), strict=True)),
        "backends": _plugins(backends.registry, _available),
        "layers": _plugins(layers.registry, lambda name: True),
        "models": models.names(),
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
        "problems": [line for r in Registry.all.values() for line in r.problems()],
        "weights": sorted(checkpoint.shipped()),
    }


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


def _plugins(registry: Registry[Any], available: Any) -> list[dict[str, Any]]:
    rows = []
    for name in registry.names():
        try:
            info = registry.info(name)
        except PluginError:
            continue  # claimed twice: among the problems
        rows.append(
            {
                "name": name,
                "distribution": info.distribution,
                "version": info.version,
                "builtin": info.builtin,
                "target": info.target,
                "available": available(name),
            }
        )
    return rows
