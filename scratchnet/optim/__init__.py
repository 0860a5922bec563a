"""Optimizers: they change parameters in place, from the gradients in the parameters' buffers.

``registry`` knows them by name: classes of torch.optim.Optimizer, or functions that return one,
that are called with parameters and options. So ``"torch.optim:AdamW"`` is one, too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from scratchnet.optim.adam import Adam
from scratchnet.optim.base import Optimizer, Params
from scratchnet.optim.muon import Muon, orthogonalized
from scratchnet.optim.sgd import SGD
from scratchnet.registry import Registry, function

registry: Registry[Callable[..., torch.optim.Optimizer]] = Registry(
    "scratchnet.optimizers", kind="optimizer", prepare=function
)
names, get = registry.names, registry.get

__all__ = [
    "SGD",
    "Adam",
    "Muon",
    "Optimizer",
    "Params",
    "get",
    "names",
    "orthogonalized",
    "registry",
]
