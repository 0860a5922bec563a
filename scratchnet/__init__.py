"""scratchnet: a layer zoo on PyTorch tensors in which every gradient is written by hand, proven,
and fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from scratchnet import backends, layers
from scratchnet.backends.dispatch import explain, set_backend, use_backend
from scratchnet.errors import ScratchnetError
from scratchnet.layers import build
from scratchnet.layers.activation import ReLU, Sigmoid
from scratchnet.layers.concat import Concat
from scratchnet.layers.conv import Conv2d, TransposeConv2d
from scratchnet.layers.residual import Residual
from scratchnet.layers.upsampling import NearestUpsampling, Upsampling
from scratchnet.loss import MSE
from scratchnet.module import Module
from scratchnet.optim import SGD, Adam
from scratchnet.sequential import Sequential

__version__ = "0.1.0"

__all__ = [
    "MSE",
    "SGD",
    "Adam",
    "Concat",
    "Conv2d",
    "Module",
    "NearestUpsampling",
    "ReLU",
    "Residual",
    "ScratchnetError",
    "Sequential",
    "Sigmoid",
    "TransposeConv2d",
    "Upsampling",
    "backends",
    "build",
    "explain",
    "layers",
    "set_backend",
    "use_backend",
]

# What is needed less often is imported when it is first asked for, so that `import scratchnet`
# stays quick.
_LAZY = {
    "load": "scratchnet.checkpoint",
    "save": "scratchnet.checkpoint",
    "from_torch": "scratchnet.interop",
    "to_torch": "scratchnet.interop",
    "psnr": "scratchnet.metrics",
    "ssim": "scratchnet.metrics",
}
_LAZY_MODULES = ("data", "models", "testing")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _LAZY_MODULES:
        return import_module(f"scratchnet.{name}")
    raise AttributeError(f"module 'scratchnet' has no attribute {name!r}")
