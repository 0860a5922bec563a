"""The compiled extension ``scratchnet._C``, if it is there."""

from __future__ import annotations

import importlib
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from scratchnet.ops.op import Verdict

BUILD_INFO = Path(__file__).parent.parent / "_build_info.json"


@cache
def build_info() -> dict[str, Any]:
    """What the build recorded: ``compiled``, ``reason``, ``compiler``, ``flags``, ...

    Empty if the package was never built (it runs from a source tree).
    """
    if not BUILD_INFO.exists():
        return {}
    info: dict[str, Any] = json.loads(BUILD_INFO.read_text())
    return info


@cache
def _load() -> ModuleType | str:
    """The extension, or why it cannot be used and what to do, in one line."""
    info = build_info()
    if not info:
        return "the C++ extension was never built: run `pip install -e .` in the source tree"
    if not info["compiled"]:
        return f"installed without the C++ extension ({info['reason']}): cure that and reinstall"
    try:
        module = importlib.import_module("scratchnet._C")
    except ImportError as error:
        return f"the C++ extension cannot be loaded ({error}): reinstall scratchnet"
    try:
        module.isa()
    except RuntimeError as error:  # SCRATCHNET_ISA names one that is not there
        return str(error)
    return module


def available() -> Verdict:
    """True if the extension was built and loads, else what to do about it, in one line."""
    module = _load()
    return module if isinstance(module, str) else True


def extension() -> Any:
    """Return the extension.

    Raises:
        RuntimeError: it is not available.
    """
    module = _load()
    if isinstance(module, str):
        raise RuntimeError(module)
    return module


def supports(*tensors: Tensor | None, **options: Any) -> Verdict:
    """True if all tensors are dense, on the CPU, and float32 or float64."""
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            return f"runs on the CPU only, and a tensor is on {tensor.device}"
        if tensor.dtype not in (torch.float32, torch.float64):
            return f"computes in float32 and float64 only, and a tensor is {tensor.dtype}"
        if tensor.layout != torch.strided:
            return f"reads dense (strided) tensors only, and one is {tensor.layout}"
    return True


def how(*tensors: Tensor | None, **options: Any) -> str:
    """Name the instruction set."""
    return f"runs, with {extension().isa()} instructions"


def channels_last(tensor: Tensor) -> Tensor:
    """Return the images (N, C, H, W) with the channels of a pixel side by side in memory."""
    return tensor.contiguous(memory_format=torch.channels_last)


def new_images(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return uninitialised images in channels_last, of the dtype of ``like``."""
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )
