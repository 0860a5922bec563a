"""Installs small distributions for real: a module and a dist-info folder on sys.path."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import scratchnet

LAYER = """
import scratchnet

class Layer(scratchnet.Module):
    def forward(self, x):
        self.save()
        return x * {factor}

    def backward(self, grad_y):
        self.saved
        return grad_y * {factor}
"""

BACKEND = """
from scratchnet.backends.reference import ReferenceBackend

class Backend(ReferenceBackend):
    name = {name!r}
    priority = {priority}

    def available(self):
        return {available!r}
"""


class Site:
    """A folder on sys.path, as site-packages is one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.syspath_prepend(str(folder))

    def install(
        self,
        distribution: str,
        source: str,
        *,
        layers: dict[str, str] | None = None,
        backends: dict[str, str] | None = None,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
    ) -> str:
        """Write a distribution with one module; return the module's name.

        ``layers`` and ``backends`` give the entry points: {name: object in the module};
        ``requires`` what it depends on.
        """
        module = distribution.replace("-", "_")
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
            + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        )
        lines = []
        for group, points in (("layers", layers), ("backends", backends)):
            lines.append(f"[scratchnet.{group}]")
            lines += [f"{name} = {module}:{target}" for name, target in (points or {}).items()]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        refresh()
        return module


def refresh() -> None:
    """Make the registries look again."""
    importlib.invalidate_caches()
    scratchnet.layers.registry.refresh()
    scratchnet.backends.registry.refresh()


def forget(folder: Path) -> None:
    """Drop what was imported from ``folder``."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "") or "").startswith(str(folder)):
            del sys.modules[name]
