"""The registry of backends: ``names()``, ``get(name)``, ``info(name)``, ``register``,
``unregister``.
"""

from __future__ import annotations

from typing import Any

from scratchnet.backends.base import API_VERSION, Backend
from scratchnet.registry import Registry


def _prepare(obj: Any) -> Backend:
    backend = obj() if isinstance(obj, type) else obj
    if not isinstance(backend, Backend):
        raise TypeError(f"expected a scratchnet.backends.base.Backend, got {obj!r}")
    return backend


registry: Registry[Backend] = Registry(
    "scratchnet.backends", kind="backend", api_version=API_VERSION, prepare=_prepare
)
names = registry.names
get = registry.get
info = registry.info
register = registry.register
unregister = registry.unregister

reference = Backend("reference")

__all__ = ["Backend", "get", "info", "names", "reference", "register", "registry", "unregister"]
