"""The compiled kernels, called with the addresses of tensors: a backend for depthwise convolutions.

A backend that does one kind of call and says so: dispatch chooses it, explains it, and compares it
with the reference (SCRATCHNET_VERIFY=1) as it does any other. For a kernel of an operation that no
backend has, see scratchnet.backends.kernel.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from scratchnet.backends.arguments import check_conv2d, check_conv2d_backward
from scratchnet.backends.reference import ReferenceBackend
from torch import Tensor

from scratchnet.backends.base import Grads, Needs, Pair, Verdict

SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
# Below so many numbers a thread takes longer to start than to work.
WORTH_THREADS = 200_000


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library; None if this package was installed without a compiler."""
    found = find_spec("scratchnet_depthwise._kernels")
    return ctypes.CDLL(found.origin) if found and found.origin else None


class DepthwiseKernels(ReferenceBackend):
    """The reference, with one kernel a channel in C++; and for those convolutions alone."""

    name: ClassVar[str] = "depthwise"
    priority: ClassVar[int] = 200

    def available(self) -> Verdict:
        """True if the kernels were compiled."""
        return True if library() else "its kernels were not compiled: is there a C++ compiler?"

    def supports(self, op: str, *args: Any, **kwargs: Any) -> Verdict:
        """True for convolutions with one channel a group, not dilated, on the CPU."""
        if op not in ("conv2d_forward", "conv2d_backward"):
            return "runs depthwise convolutions only"
        x, weight = args[:2] if op == "conv2d_forward" else args[1:3]
        if x.device.type != "cpu" or x.dtype not in SUFFIX:
            return f"computes on the CPU in float32 and float64, not in {x.dtype} on {x.device}"
        if weight.shape[:2] != (kwargs["groups"], 1) or kwargs["dilation"] != (1, 1):
            return "runs convolutions with one channel a group only, without dilation"
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
        """See Backend.conv2d_forward."""
        size = check_conv2d(x, weight, bias, stride, padding, dilation, groups)
        x, weight = x.contiguous(), weight.contiguous()
        bias = None if bias is None else bias.contiguous()
        y = x.new_empty(size)
        _call("forward", [x, weight, bias, y], _shape(x, weight, y, stride, padding))
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
        """See Backend.conv2d_backward; all three gradients come out of one pass."""
        check_conv2d_backward(grad_y, x, weight, stride, padding, dilation, groups)
        grad_y, x, weight = grad_y.contiguous(), x.contiguous(), weight.contiguous()
        n, c = x.shape[:2]
        grad_x = torch.empty_like(x)
        grad_weight = x.new_empty(n, *weight.shape)  # by image
        grad_bias = x.new_empty(n, c)
        tensors = [grad_y, x, weight, grad_x, grad_weight, grad_bias]
        _call("backward", tensors, _shape(x, weight, grad_y, stride, padding))
        grads = grad_x, grad_weight.sum(0), grad_bias.sum(0)
        return (
            grads[0] if needs[0] else None,
            grads[1] if needs[1] else None,
            grads[2] if needs[2] else None,
        )


def _shape(x: Tensor, weight: Tensor, y: Tensor, stride: Pair, padding: Pair) -> Any:
    """Return the kernels' struct Shape: eleven 64-bit numbers."""
    sizes = [*x.shape[1:], *weight.shape[2:], *stride, *padding, *y.shape[2:]]
    return (ctypes.c_int64 * len(sizes))(*sizes)


def _call(name: str, tensors: list[Tensor | None], shape: Any) -> None:
    """Run a kernel on all planes, shared among as many threads as torch has been told to use."""
    x = next(tensor for tensor in tensors if tensor is not None)
    function = getattr(library(), f"{name}_{SUFFIX[x.dtype]}")
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in tensors]
    planes = x.shape[0] * x.shape[1]

    def work(begin: int, end: int) -> None:
        function(*pointers, shape, ctypes.c_int64(begin), ctypes.c_int64(end))

    threads = min(torch.get_num_threads(), planes) if x.numel() >= WORTH_THREADS else 1
    if threads <= 1:
        work(0, planes)
        return
    bounds = [planes * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bounds[:-1], bounds[1:]))
