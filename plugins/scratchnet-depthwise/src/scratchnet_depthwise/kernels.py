"""The compiled kernels, called with the addresses of tensors."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

Pair = tuple[int, int]

SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
# Below so many numbers a thread takes longer to start than to work.
WORTH_THREADS = 200_000


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library; None if this package was installed without a compiler."""
    found = find_spec("scratchnet_depthwise._kernels")
    return ctypes.CDLL(found.origin) if found and found.origin else None


def usable(x: Tensor) -> bool:
    """Whether the kernels can compute on ``x``: on the CPU, in float32 or float64."""
    return x.device.type == "cpu" and x.dtype in SUFFIX and library() is not None


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, y_size: Pair, stride: Pair, padding: Pair
) -> Tensor:
    """Return the convolution of x (N, C, H, W) with weight (C, 1, Kh, Kw), of height and width
    ``y_size``.
    """
    x, weight = x.contiguous(), weight.contiguous()
    y = x.new_empty(*x.shape[:2], *y_size)
    _call("forward", [x, weight, bias, y], _shape(x, weight, y_size, stride, padding))
    return y


def backward(
    grad_y: Tensor, x: Tensor, weight: Tensor, stride: Pair, padding: Pair
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias."""
    grad_y, x, weight = grad_y.contiguous(), x.contiguous(), weight.contiguous()
    n, c = x.shape[:2]
    grad_x = torch.empty_like(x)
    grad_weight = x.new_empty(n, *weight.shape)  # by picture
    grad_bias = x.new_empty(n, c)
    y_size = grad_y.shape[2], grad_y.shape[3]
    tensors = [grad_y, x, weight, grad_x, grad_weight, grad_bias]
    _call("backward", tensors, _shape(x, weight, y_size, stride, padding))
    return grad_x, grad_weight.sum(0), grad_bias.sum(0)


def _shape(x: Tensor, weight: Tensor, y_size: Pair, stride: Pair, padding: Pair) -> Any:
    """Return the kernels' struct Shape: eleven 64-bit numbers."""
    sizes = [*x.shape[1:], *weight.shape[2:], *stride, *padding, *y_size]
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
