"""Optimizers: they change parameters in place, from the gradients in the parameters' buffers."""

from __future__ import annotations

from scratchnet.optim.adam import Adam
from scratchnet.optim.base import Optimizer, Params
from scratchnet.optim.muon import Muon, orthogonalized
from scratchnet.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Muon", "Optimizer", "Params", "orthogonalized"]
