"""The containers that torch.nn lacks, and what both directions say of what they cannot convert."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scratchnet.errors import ArgumentError


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


def names_of(known: dict[Any, Any]) -> str:
    """Return the names of the classes that a table is keyed by."""
    return ", ".join(kind.__name__ for kind in known)


def complain(function: str, problems: list[str], cure: str) -> None:
    """Raise one ArgumentError that names all the problems, if there are any."""
    if problems:
        raise ArgumentError(f"{function} has no counterpart for {'; '.join(problems)} ({cure})")
