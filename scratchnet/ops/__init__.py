"""The operations, and their registry: ``names()``, ``get(name)``, ``info(name)``, ``register``,
``unregister``.

What an operation computes stands here, in plain torch; scratchnet.backends decides which
implementation runs it.
"""

from __future__ import annotations

from typing import Any

from scratchnet.ops.op import API_VERSION, Op
from scratchnet.registry import Registry


def _prepare(obj: Any) -> Op:
    if not isinstance(obj, Op):
        raise TypeError(f"expected a scratchnet.ops.op.Op, got {obj!r}")
    return obj


registry: Registry[Op] = Registry(
    "scratchnet.ops", kind="op", api_version=API_VERSION, prepare=_prepare
)
names = registry.names
get = registry.get
info = registry.info
register = registry.register
unregister = registry.unregister

__all__ = ["Op", "get", "info", "names", "register", "registry", "unregister"]
