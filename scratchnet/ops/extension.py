"""Compiled extensions: scratchnet's own, ``scratchnet._C``, and those of plugins."""

from __future__ import annotations

import importlib
import json
from functools import cached_property
from importlib import resources
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from scratchnet.ops.op import Verdict


class Extension:
    """The compiled module ``_C`` of a package, if it is there; call it to get the module.

    Args:
        package: whose; scratchnet's own, or a plugin's that scratchnet.scaffold.building compiled.
    """

    def __init__(self, package: str) -> None:
        self.package = package

    @cached_property
    def build_info(self) -> dict[str, Any]:
        """What the build recorded: ``compiled``, ``reason``, ``compiler``, ``flags``, ...

        Empty if the package was never built (it runs from a source tree).
        """
        file = resources.files(self.package) / "_build_info.json"
        if not file.is_file():
            return {}
        info: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return info

    @cached_property
    def _module(self) -> ModuleType | str:
        """The module, or why it cannot be used and what to do, in one line."""
        info, whose = self.build_info, f"the C++ extension of {self.package}"
        if not info:
            return f"{whose} was never built: run `pip install -e .` in the source tree"
        if not info["compiled"]:
            return f"{whose} was left out ({info['reason']}): cure that and reinstall"
        try:
            module = importlib.import_module(f"{self.package}._C")
        except ImportError as error:
            return f"{whose} cannot be loaded ({error}): reinstall {self.package}"
        try:
            module.isa()
        except RuntimeError as error:  # SCRATCHNET_ISA names one that is not there
            return str(error)
        return module

    def __call__(self) -> Any:
        """Return the module.

        Raises:
            RuntimeError: it is not available.
        """
        if isinstance(self._module, str):
            raise RuntimeError(self._module)
        return self._module

    def available(self) -> Verdict:
        """True if it was built and loads, else what to do about it, in one line."""
        return self._module if isinstance(self._module, str) else True

    def supports(self, *tensors: Tensor | None, **options: Any) -> Verdict:
        """True if all tensors are dense, on the CPU, and float32 or float64."""
        given = [tensor for tensor in tensors if tensor is not None]
        for tensor in given:
            if not tensor.is_floating_point():
                continue
            if tensor.device.type != "cpu":
                return f"runs on the CPU only, and a tensor is on {tensor.device}"
            if tensor.dtype not in (torch.float32, torch.float64):
                return f"computes in float32 and float64 only, and a tensor is {tensor.dtype}"
            break  # the others are like it: Op.check has seen to that
        for tensor in given:
            if tensor.layout is not torch.strided:
                return f"reads dense (strided) tensors only, and one is {tensor.layout}"
        return True

    def how(self, *tensors: Tensor | None, **options: Any) -> str:
        """Name the instruction set."""
        return f"runs, with {self().isa()} instructions"


extension = Extension("scratchnet")
supports, how = extension.supports, extension.how


def dense(tensor: Tensor) -> Tensor:
    """Return a tensor without gaps, for kernels that go through memory in order."""
    if tensor.is_contiguous() or tensor.dim() != 4:
        return tensor.contiguous()
    last = tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor if last else tensor.contiguous()


def laid_out_as(like: Tensor, tensor: Tensor) -> Tensor:
    """Return ``tensor`` with the strides of ``like``: the kernels go through memory in order."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like).copy_(tensor)


def channels_last(tensor: Tensor) -> Tensor:
    """Return the images (N, C, H, W) with the channels of a pixel side by side in memory."""
    return tensor.contiguous(memory_format=torch.channels_last)


def new_images(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return uninitialised images in channels_last, of the dtype of ``like``."""
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )
