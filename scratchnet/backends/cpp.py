"""The C++ backend: a thin shim over the compiled extension ``scratchnet._C``.

Float32 and float64 on the CPU. Any strides are accepted; results are in channels_last memory format
and are the same bits whatever the number of threads.
"""

from __future__ import annotations

import importlib
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratchnet.backends.arguments import check_conv2d, check_conv2d_backward, check_upsample
from scratchnet.backends.base import Backend, Grads, Needs, Pair, Verdict

BUILD_INFO = Path(__file__).parent.parent / "_build_info.json"


@cache
def build_info() -> dict[str, Any]:
    """What the build recorded: ``compiled``, ``reason``, ``torch``, ``compiler``, ``flags``, ...

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
    if info["torch"] != torch.__version__:
        return (
            f"the C++ extension was built for torch {info['torch']}, but {torch.__version__} is"
            " running: reinstall scratchnet, or that torch"
        )
    try:
        module = importlib.import_module("scratchnet._C")
    except ImportError as error:
        return f"the C++ extension cannot be loaded ({error}): reinstall scratchnet"
    try:
        module.isa()
    except RuntimeError as error:  # SCRATCHNET_ISA names one that is not there
        return str(error)
    return module


def _extension() -> Any:
    module = _load()
    if isinstance(module, str):
        raise RuntimeError(module)
    return module


class CppBackend(Backend):
    """Kernels in C++, chosen at run time for the processor's instruction set."""

    name: ClassVar[str] = "cpp"
    priority: ClassVar[int] = 100

    def available(self) -> Verdict:
        """True if the extension was built for this torch and loads, else what to do about it."""
        module = _load()
        return module if isinstance(module, str) else True

    def supports(self, op: str, *args: Any, **kwargs: Any) -> Verdict:
        """True if all tensors are on the CPU and of one dtype, float32 or float64."""
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        for tensor in tensors:
            if tensor.device.type != "cpu":
                return f"runs on the CPU only, and a tensor is on {tensor.device}"
            if tensor.dtype not in (torch.float32, torch.float64):
                return f"computes in float32 and float64 only, and a tensor is {tensor.dtype}"
            if tensor.layout != torch.strided:
                return f"reads dense (strided) tensors only, and one is {tensor.layout}"
        if len({tensor.dtype for tensor in tensors}) > 1:
            return "needs all tensors to have one dtype, and float32 and float64 are mixed"
        return True

    def conv2d_forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        """See :meth:`Backend.conv2d_forward`; the result is in channels_last."""
        check_conv2d(x, weight, bias, stride, padding, dilation, groups)
        y: Tensor = _extension().conv2d_forward(x, weight, bias, stride, padding, dilation, groups)
        return y

    def conv2d_backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        needs: Needs = (True, True, True),
    ) -> Grads:
        """See :meth:`Backend.conv2d_backward`; ``grad_x`` is in channels_last."""
        check_conv2d_backward(grad_y, x, weight, stride, padding, dilation, groups)
        grads: Grads = _extension().conv2d_backward(
            grad_y, x, weight, stride, padding, dilation, groups, needs
        )
        return grads

    def upsample_nearest_forward(self, x: Tensor, *, scale: Pair) -> Tensor:
        """See :meth:`Backend.upsample_nearest_forward`; the result is in channels_last."""
        check_upsample(x, scale)
        y: Tensor = _extension().upsample_nearest_forward(x, scale)
        return y

    def upsample_nearest_backward(self, grad_y: Tensor, *, scale: Pair) -> Tensor:
        """See :meth:`Backend.upsample_nearest_backward`; the result is in channels_last."""
        check_upsample(grad_y, scale, backward=True)
        grad_x: Tensor = _extension().upsample_nearest_backward(grad_y, scale)
        return grad_x
