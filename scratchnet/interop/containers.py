"""Modules that torch.nn lacks, and what both directions say of what they cannot convert."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from scratchnet import layers
from scratchnet.errors import ArgumentError, PluginError
from scratchnet.layers import loss
from scratchnet.layers.module import Module
from scratchnet.registry import Registry


class TorchResidual(nn.Module):
    """y = x + body(x): what :class:`scratchnet.Residual` becomes; torch.nn has none."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return body(x) + x."""
        y: Tensor = self.body(x)
        return y + x


class TorchConcat(nn.Module):
    """y = [x, body(x)], along the channels: what :class:`scratchnet.Concat` becomes."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Return [x, body(x)]."""
        return torch.cat([x, self.body(x)], dim=-3)


class TorchSwiGLU(nn.Module):
    """y = silu(a)·b, where x = [a, b] along ``dim``: what :class:`scratchnet.SwiGLU` becomes."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """Return silu(a)·b."""
        a, b = x.chunk(2, self.dim)
        return nn.functional.silu(a) * b


def torch_class(name: str) -> Any:
    """Return the class of this name, such as ``"torch.nn.Conv2d"``."""
    package, _, kind = name.rpartition(".")
    return getattr(import_module(package), kind)


def counterparts() -> dict[type[nn.Module], type[Module]]:
    """Return {torch's class: the layer or loss that names it}, the project's own first, and one of
    the same name before all others.
    """
    found: dict[type[nn.Module], type[Module]] = {}
    for registry in (layers.registry, loss.registry):
        for name in sorted(registry.names(), key=lambda name: not _builtin(registry, name)):
            try:
                kind: Any = registry.get(name)
            except PluginError:  # a broken plugin is no concern of those who do not use it
                continue
            for torch_name in vars(kind).get("torch_names", ()):
                torchs = torch_class(torch_name)
                if torchs not in found or (name == torchs.__name__ and _builtin(registry, name)):
                    found[torchs] = kind
    return found


def _builtin(registry: Registry[Any], name: str) -> bool:
    try:
        return registry.info(name).builtin
    except PluginError:
        return False


def complain(function: str, problems: list[str], cure: str) -> None:
    """Raise one ArgumentError that names all the problems, if there are any."""
    if problems:
        raise ArgumentError(f"{function} has no counterpart for {'; '.join(problems)} ({cure})")
