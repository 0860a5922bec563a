"""Installs small distributions for real: a module and a dist-info folder on sys.path."""

from __future__ import annotations

import importlib
import sys
import zipfile
from pathlib import Path

import pytest

from scratchnet.registry import Registry

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
from scratchnet import backends, ops

backend = backends.Backend({name!r}, priority={priority}, available=lambda: {available!r})
for name in ("conv2d", "upsample_nearest"):
    backend.implement(ops.get(name))
"""

OP = """
from scratchnet.ops.op import Case, Op

def forward(x, *, factor=2.0):
    return factor * x, None

def backward(grad_y, kept, x, *, factor, needs):
    return (factor * grad_y if needs[0] else None,)

def check(x, *, factor):
    return tuple(x.shape)

def cases():
    return [Case(((0, 3),)), Case(((2, 3),), few=True), Case(((5,),), {{"factor": 3.0}}, few=True)]

op = Op({name!r}, forward=forward, backward=backward, check=check, cases=cases, exact=True,
        reads=())
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
        **points: dict[str, str],
    ) -> str:
        """Write a distribution with one module; return the module's name.

        ``layers``, ``backends`` and others give the entry points: {name: object in the module};
        ``requires`` what it depends on.
        """
        points |= {"layers": layers or {}, "backends": backends or {}}
        files = _files(distribution, source, points, version, requires)
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        refresh()
        return _module(distribution)


def wheel(
    folder: Path,
    distribution: str,
    source: str,
    *,
    layers: dict[str, str] | None = None,
    backends: dict[str, str] | None = None,
    version: str = "1.0",
    requires: tuple[str, ...] = (),
) -> Path:
    """Write the same as a wheel, for pip to install; return its path."""
    points = {"layers": layers or {}, "backends": backends or {}}
    files = _files(distribution, source, points, version, requires)
    info = f"{_module(distribution)}-{version}.dist-info"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / f"{_module(distribution)}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _module(distribution: str) -> str:
    return distribution.replace("-", "_")


def _files(
    distribution: str,
    source: str,
    groups: dict[str, dict[str, str]],
    version: str,
    requires: tuple[str, ...],
) -> dict[str, str]:
    """Return what an installation of a distribution consists of, {path: content}."""
    module = _module(distribution)
    info = f"{module}-{version}.dist-info"
    points = []
    for group, names in groups.items():
        points.append(f"[scratchnet.{group}]")
        points += [f"{name} = {module}:{target}" for name, target in names.items()]
    return {
        f"{module}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        + "".join(f"Requires-Dist: {requirement}\n" for requirement in requires),
        f"{info}/entry_points.txt": "\n".join(points) + "\n",
    }


def refresh() -> None:
    """Make the registries look again."""
    importlib.invalidate_caches()
    for registry in Registry.all.values():
        registry.refresh()


def forget(folder: Path) -> None:
    """Drop what was imported from ``folder``."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "") or "").startswith(str(folder)):
            del sys.modules[name]
