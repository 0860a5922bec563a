"""The layers, and their registry: ``names()``, ``get(name)``, ``info(name)``, ``register``,
``unregister``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scratchnet.layers.module import API_VERSION, Module
from scratchnet.registry import Registry


def _prepare(obj: Any) -> Callable[..., Module]:
    if not (isinstance(obj, type) and issubclass(obj, Module)):
        raise TypeError(f"expected a subclass of scratchnet.Module, got {obj!r}")
    return obj


registry: Registry[Callable[..., Module]] = Registry(
    "scratchnet.layers", kind="layer", api_version=API_VERSION, prepare=_prepare
)
names = registry.names
get = registry.get
info = registry.info
register = registry.register
unregister = registry.unregister


def build(name: str, *args: Any, **kwargs: Any) -> Module:
    """Make the layer called ``name`` (or ``"package.module:Class"``) with these constructor
    arguments.

    Raises:
        PluginError: there is no such layer, or it cannot be loaded.
    """
    return get(name)(*args, **kwargs)


__all__ = ["build", "get", "info", "names", "register", "registry", "unregister"]
