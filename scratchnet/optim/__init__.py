"""Optimizers: they change parameters in place, from the gradients in the parameters' buffers.

``registry`` knows them by name: classes of torch.optim.Optimizer, or functions that return one,
that are called with parameters and options. So ``"torch.optim:AdamW"`` is one, too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from scratchnet.optim.adam import Adam, AdamW, NAdam
from scratchnet.optim.base import FusedOptimizer, Optimizer, Params
from scratchnet.optim.clip import clip_grad_norm_, clip_grad_value_
from scratchnet.optim.lion import Lion
from scratchnet.optim.muon import Muon, orthogonalized
from scratchnet.optim.rmsprop import Adagrad, RMSprop
from scratchnet.optim.sgd import SGD
from scratchnet.registry import Registry, function

registry: Registry[Callable[..., torch.optim.Optimizer]] = Registry(
    "scratchnet.optimizers", kind="optimizer", prepare=function
)
names, get = registry.names, registry.get

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "FusedOptimizer",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "Params",
    "RMSprop",
    "clip_grad_norm_",
    "clip_grad_value_",
    "get",
    "names",
    "orthogonalized",
    "registry",
]
