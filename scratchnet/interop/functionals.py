"""The functions of torch.nn.functional, and methods of tensors, that are modules of torch.nn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import nn

from scratchnet.errors import ArgumentError

_POOL = "kernel_size stride padding dilation ceil_mode return_indices"
_AVERAGE = "kernel_size stride padding ceil_mode count_include_pad"
_SOFTMAX = "dim _stacklevel dtype"

# {function: (class of torch.nn, the arguments behind the input, in the function's order)}.
_MODULES: dict[str, tuple[str, str]] = {
    "adaptive_avg_pool1d": ("AdaptiveAvgPool1d", "output_size"),
    "adaptive_avg_pool2d": ("AdaptiveAvgPool2d", "output_size"),
    "adaptive_max_pool1d": ("AdaptiveMaxPool1d", "output_size return_indices"),
    "adaptive_max_pool2d": ("AdaptiveMaxPool2d", "output_size return_indices"),
    "alpha_dropout": ("AlphaDropout", "p training inplace"),
    "avg_pool1d": ("AvgPool1d", _AVERAGE),
    "avg_pool2d": ("AvgPool2d", f"{_AVERAGE} divisor_override"),
    "celu": ("CELU", "alpha inplace"),
    "channel_shuffle": ("ChannelShuffle", "groups"),
    "dropout": ("Dropout", "p training inplace"),
    "dropout1d": ("Dropout1d", "p training inplace"),
    "dropout2d": ("Dropout2d", "p training inplace"),
    "elu": ("ELU", "alpha inplace"),
    "gelu": ("GELU", "approximate"),
    "glu": ("GLU", "dim"),
    "hardshrink": ("Hardshrink", "lambd"),
    "hardsigmoid": ("Hardsigmoid", "inplace"),
    "hardswish": ("Hardswish", "inplace"),
    "hardtanh": ("Hardtanh", "min_val max_val inplace"),
    "interpolate": ("Upsample", "size scale_factor mode align_corners"),
    "leaky_relu": ("LeakyReLU", "negative_slope inplace"),
    "local_response_norm": ("LocalResponseNorm", "size alpha beta k"),
    "log_softmax": ("LogSoftmax", _SOFTMAX),
    "logsigmoid": ("LogSigmoid", ""),
    "lp_pool1d": ("LPPool1d", "norm_type kernel_size stride ceil_mode"),
    "lp_pool2d": ("LPPool2d", "norm_type kernel_size stride ceil_mode"),
    "max_pool1d": ("MaxPool1d", _POOL),
    "max_pool2d": ("MaxPool2d", _POOL),
    "mish": ("Mish", "inplace"),
    "pixel_shuffle": ("PixelShuffle", "upscale_factor"),
    "pixel_unshuffle": ("PixelUnshuffle", "downscale_factor"),
    "relu": ("ReLU", "inplace"),
    "relu6": ("ReLU6", "inplace"),
    "selu": ("SELU", "inplace"),
    "sigmoid": ("Sigmoid", ""),
    "silu": ("SiLU", "inplace"),
    "softmax": ("Softmax", _SOFTMAX),
    "softmin": ("Softmin", _SOFTMAX),
    "softplus": ("Softplus", "beta threshold"),
    "softshrink": ("Softshrink", "lambd"),
    "softsign": ("Softsign", ""),
    "tanh": ("Tanh", ""),
    "tanhshrink": ("Tanhshrink", ""),
    "threshold": ("Threshold", "threshold value inplace"),
}


def name_of(target: Callable[..., Any] | str) -> str:
    """Return the name of a function or method as fx gives it, without marks of being in place."""
    name = target if isinstance(target, str) else target.__name__
    name = name.strip("_").removesuffix("_with_indices")
    return {"log_sigmoid": "logsigmoid"}.get(name, name)


def module_for(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> nn.Module | None:
    """Return the module of torch.nn that computes what this call of a function does; None if there
    is none.

    Args:
        name: of the function.
        args, kwargs: those of the call, without the input: constants.

    Raises:
        ArgumentError: an argument that the module does not have.
    """
    if name == "pad":
        return _padding(*args, **kwargs)
    if name not in _MODULES:
        return None
    kind, names = _MODULES[name]
    given = dict(zip(names.split(), args, strict=False)) | kwargs
    ignored = {k for k, v in given.items() if k.startswith("_") or k == "inplace" or v is None}
    training = bool(given.pop("training", name not in ("dropout1d", "dropout2d")))
    arguments = {k: v for k, v in given.items() if k not in ignored}
    try:
        return getattr(nn, kind)(**arguments).train(training)  # type: ignore[no-any-return]
    except TypeError as error:
        unknown = re.sub(r".*__init__\(\) ", "", str(error))
        raise ArgumentError(f"torch.nn.{kind} {unknown}") from error


def _padding(pad: Any, mode: str = "constant", value: float | None = None) -> nn.Module:
    name = {"constant": "Constant", "reflect": "Reflection", "replicate": "Replication",
            "circular": "Circular"}[mode]  # fmt: skip
    kind = f"{name}Pad{len(pad) // 2}d"
    if not hasattr(nn, kind):
        raise ArgumentError(f"there is no torch.nn.{kind}")
    arguments = (value or 0.0,) if mode == "constant" else ()
    return getattr(nn, kind)(tuple(pad), *arguments)  # type: ignore[no-any-return]
