"""Torch's settings that hold for a whole process or thread: to read, to set, and to put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic mode": (
        torch.get_deterministic_debug_mode,
        torch.set_deterministic_debug_mode,
    ),
    "autocast": (
        lambda: torch.is_autocast_enabled("cpu"),
        lambda on: torch.set_autocast_enabled("cpu", on),
    ),
    "float32 precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
}

# Two states, so that what a layer sets differs from one of them.
STATES: tuple[dict[str, Any], ...] = (
    {
        "grad mode": True,
        "default dtype": torch.float32,
        "number of threads": 3,
        "deterministic mode": 0,
    },
    {
        "grad mode": False,
        "default dtype": torch.float64,
        "number of threads": 2,
        "deterministic mode": 1,  # warn only
    },
)


def current_settings() -> dict[str, Any]:
    """Return {name: value} of all settings."""
    return {name: read() for name, (read, _) in _SETTINGS.items()}


@contextmanager
def torch_settings(settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Change settings inside a ``with`` block; what it leaves changed is put back afterwards."""
    before = current_settings()
    try:
        for name, value in (settings or {}).items():
            _SETTINGS[name][1](value)
        yield
    finally:
        for name, value in current_settings().items():
            if value != before[name]:
                _SETTINGS[name][1](before[name])
