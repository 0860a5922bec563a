"""scratchnet: a layer zoo on PyTorch tensors in which every gradient is written by hand, proven,
and fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scratchnet import backends, bench, data, interop, layers, models, ops, testing
    from scratchnet.backends.dispatch import set_backend, use_backend
    from scratchnet.backends.explain import explain
    from scratchnet.denoise.metrics import psnr, ssim
    from scratchnet.errors import ScratchnetError
    from scratchnet.interop import from_torch, to_torch
    from scratchnet.layers import build
    from scratchnet.layers.activation import (
        Hardshrink,
        Hardsigmoid,
        Hardswish,
        Hardtanh,
        LeakyReLU,
        ReLU,
        ReLU6,
        Softshrink,
        Threshold,
    )
    from scratchnet.layers.class_loss import (
        BCELoss,
        BCEWithLogitsLoss,
        CrossEntropyLoss,
        KLDivLoss,
        NLLLoss,
        SoftMarginLoss,
    )
    from scratchnet.layers.containers import Concat, Residual, Sequential
    from scratchnet.layers.conv import Conv1d, Conv2d, Conv3d
    from scratchnet.layers.conv_transposed import (
        ConvTranspose1d,
        ConvTranspose2d,
        ConvTranspose3d,
        TransposeConv2d,
    )
    from scratchnet.layers.distance_loss import (
        CosineEmbeddingLoss,
        HingeEmbeddingLoss,
        MarginRankingLoss,
        TripletMarginLoss,
    )
    from scratchnet.layers.fold import fold_batch_norm
    from scratchnet.layers.graph import Graph
    from scratchnet.layers.module import Module
    from scratchnet.layers.prelu import PReLU, RReLU
    from scratchnet.layers.regression_loss import (
        MSE,
        CharbonnierLoss,
        GaussianNLLLoss,
        HuberLoss,
        L1Loss,
        PoissonNLLLoss,
        SmoothL1Loss,
    )
    from scratchnet.layers.resampling import (
        ChannelShuffle,
        PixelShuffle,
        PixelUnshuffle,
        Upsample,
        UpsamplingBilinear2d,
        UpsamplingNearest2d,
    )
    from scratchnet.layers.smooth import (
        CELU,
        ELU,
        GELU,
        SELU,
        LogSigmoid,
        Mish,
        Sigmoid,
        SiLU,
        Softplus,
        Softsign,
        Tanh,
        Tanhshrink,
    )
    from scratchnet.layers.softmax import GLU, LogSoftmax, Softmax, Softmax2d, Softmin, SwiGLU
    from scratchnet.layers.upsampling import NearestUpsampling, Upsampling
    from scratchnet.models.summary import summary
    from scratchnet.optim import SGD, Adagrad, Adam, AdamW, Lion, Muon, NAdam, RMSprop
    from scratchnet.training.checkpoint import load, save

__version__ = "0.1.0"

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "MSE",
    "SELU",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "BCELoss",
    "BCEWithLogitsLoss",
    "ChannelShuffle",
    "CharbonnierLoss",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "Graph",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "LeakyReLU",
    "Lion",
    "LogSigmoid",
    "LogSoftmax",
    "MSELoss",
    "MarginRankingLoss",
    "Mish",
    "Module",
    "Muon",
    "NAdam",
    "NLLLoss",
    "NearestUpsampling",
    "PReLU",
    "PixelShuffle",
    "PixelUnshuffle",
    "PoissonNLLLoss",
    "RMSprop",
    "RReLU",
    "ReLU",
    "ReLU6",
    "Residual",
    "ScratchnetError",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "SwiGLU",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "TransposeConv2d",
    "TripletMarginLoss",
    "Upsample",
    "Upsampling",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "backends",
    "bench",
    "build",
    "data",
    "explain",
    "fold_batch_norm",
    "from_torch",
    "interop",
    "layers",
    "load",
    "models",
    "ops",
    "psnr",
    "save",
    "set_backend",
    "ssim",
    "summary",
    "testing",
    "to_torch",
    "use_backend",
]

# Everything is imported when it is first asked for: `scratchnet --help` need not wait for torch.
_HOMES = {
    "ScratchnetError": "errors",
    "explain": "backends.explain",
    "set_backend": "backends.dispatch",
    "use_backend": "backends.dispatch",
    "build": "layers",
    "ReLU": "layers.activation",
    "ReLU6": "layers.activation",
    "LeakyReLU": "layers.activation",
    "Hardtanh": "layers.activation",
    "Threshold": "layers.activation",
    "Hardshrink": "layers.activation",
    "Softshrink": "layers.activation",
    "Hardsigmoid": "layers.activation",
    "Hardswish": "layers.activation",
    "Sigmoid": "layers.smooth",
    "LogSigmoid": "layers.smooth",
    "Tanh": "layers.smooth",
    "Tanhshrink": "layers.smooth",
    "Softsign": "layers.smooth",
    "Softplus": "layers.smooth",
    "ELU": "layers.smooth",
    "CELU": "layers.smooth",
    "SELU": "layers.smooth",
    "SiLU": "layers.smooth",
    "Mish": "layers.smooth",
    "GELU": "layers.smooth",
    "PReLU": "layers.prelu",
    "RReLU": "layers.prelu",
    "Softmax": "layers.softmax",
    "LogSoftmax": "layers.softmax",
    "Softmin": "layers.softmax",
    "Softmax2d": "layers.softmax",
    "GLU": "layers.softmax",
    "SwiGLU": "layers.softmax",
    "Concat": "layers.containers",
    "Conv1d": "layers.conv",
    "Conv2d": "layers.conv",
    "Graph": "layers.graph",
    "Conv3d": "layers.conv",
    "ConvTranspose1d": "layers.conv_transposed",
    "ConvTranspose2d": "layers.conv_transposed",
    "ConvTranspose3d": "layers.conv_transposed",
    "TransposeConv2d": "layers.conv_transposed",
    "fold_batch_norm": "layers.fold",
    "Residual": "layers.containers",
    "ChannelShuffle": "layers.resampling",
    "PixelShuffle": "layers.resampling",
    "PixelUnshuffle": "layers.resampling",
    "Upsample": "layers.resampling",
    "UpsamplingBilinear2d": "layers.resampling",
    "UpsamplingNearest2d": "layers.resampling",
    "NearestUpsampling": "layers.upsampling",
    "Upsampling": "layers.upsampling",
    "BCELoss": "layers.class_loss",
    "BCEWithLogitsLoss": "layers.class_loss",
    "CrossEntropyLoss": "layers.class_loss",
    "KLDivLoss": "layers.class_loss",
    "NLLLoss": "layers.class_loss",
    "SoftMarginLoss": "layers.class_loss",
    "CosineEmbeddingLoss": "layers.distance_loss",
    "HingeEmbeddingLoss": "layers.distance_loss",
    "MarginRankingLoss": "layers.distance_loss",
    "TripletMarginLoss": "layers.distance_loss",
    "MSE": "layers.regression_loss",
    "MSELoss": "layers.regression_loss",
    "CharbonnierLoss": "layers.regression_loss",
    "GaussianNLLLoss": "layers.regression_loss",
    "HuberLoss": "layers.regression_loss",
    "L1Loss": "layers.regression_loss",
    "PoissonNLLLoss": "layers.regression_loss",
    "SmoothL1Loss": "layers.regression_loss",
    "Module": "layers.module",
    "SGD": "optim",
    "Adam": "optim",
    "Adagrad": "optim",
    "AdamW": "optim",
    "Lion": "optim",
    "NAdam": "optim",
    "RMSprop": "optim",
    "Muon": "optim",
    "Sequential": "layers.containers",
    "summary": "models.summary",
    "load": "training.checkpoint",
    "save": "training.checkpoint",
    "from_torch": "interop",
    "to_torch": "interop",
    "psnr": "denoise.metrics",
    "ssim": "denoise.metrics",
}
_MODULES = ("backends", "bench", "data", "interop", "layers", "models", "ops", "testing")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"scratchnet.{name}")
    if name in _HOMES:
        value = getattr(import_module(f"scratchnet.{_HOMES[name]}"), name)
    elif _is_built_in_layer(name):
        value = import_module("scratchnet.layers").get(name)
    else:
        raise AttributeError(f"module 'scratchnet' has no attribute {name!r}")
    globals()[name] = value  # so that the next access does not come here
    return value


def _is_built_in_layer(name: str) -> bool:
    """Whether pyproject.toml lists a layer of this name; other names are not looked for there."""
    if not name[:1].isupper():
        return False
    registry = import_module("scratchnet.layers").registry
    return name in registry.names() and registry.info(name).builtin


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
