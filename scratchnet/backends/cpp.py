"""The C++ backend: a thin shim over the compiled extension ``scratchnet._C``.

Float32 and float64 on the CPU. Any strides are accepted; results are in channels_last memory format
and are the same bits whatever the number of threads.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratchnet.backends.arguments import check_conv2d, check_conv2d_backward, check_upsample
from scratchnet.backends.base import Backend, Chain, Grads, Link, Needs, Pair, Verdict

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


def _extension() -> Any:
    module = _load()
    if isinstance(module, str):
        raise RuntimeError(module)
    return module


class CppChain(Chain):
    """Links planned for one size of image; results are in the memory format of the input."""

    def __init__(self, links: tuple[Link, ...], size: tuple[int, int, int], dtype: torch.dtype):
        stages: list[tuple[str, tuple[int], dict[str, Any]]] = []
        for link in links:
            options = asdict(link)
            activation = options.pop("activation")
            op = "conv2d" if link.scale is None else "upsample_conv2d"
            stages.append((op, (len(stages),), options))
            if activation != "none":
                stages.append((activation, (len(stages),), {}))
        self._graph = _extension().Graph(stages, size, dtype == torch.float64)

    def forward(
        self, x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], *, keep: bool
    ) -> tuple[Tensor, Any]:
        """See :meth:`Chain.forward`; kept are the hidden activations."""
        shape = (x.shape[0], *self._graph.output_size)
        y = torch.empty(shape, dtype=x.dtype, memory_format=_suggested_format(x))
        return y, self._graph.forward(x, _alternating(weights, biases), y, keep)

    def backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        y: Tensor,
        kept: Any,
        weights: Sequence[Tensor],
        grad_weights: Sequence[Tensor],
        grad_biases: Sequence[Tensor | None],
        *,
        needs_grad_x: bool = True,
    ) -> Tensor | None:
        """See :meth:`Chain.backward`."""
        grad_x = None
        if needs_grad_x:
            grad_x = torch.empty(x.shape, dtype=x.dtype, memory_format=_suggested_format(x))
        parameters = _alternating(weights, [None] * len(weights))
        grads = _alternating(grad_weights, grad_biases)
        self._graph.backward(x, y, grad_y, kept, parameters, grads, grad_x)
        return grad_x


def _alternating(weights: Sequence[Tensor], biases: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [tensor for pair in zip(weights, biases, strict=True) for tensor in pair]


# Planning takes about as long as a small image; 64 plans cover a network on several sizes.
_plan = lru_cache(maxsize=64)(CppChain)


class CppBackend(Backend):
    """Kernels in C++, chosen at run time for the processor's instruction set."""

    name: ClassVar[str] = "cpp"
    priority: ClassVar[int] = 100

    def available(self) -> Verdict:
        """True if the extension was built and loads, else what to do about it."""
        module = _load()
        return module if isinstance(module, str) else True

    def instruction_sets(self) -> list[str]:
        """Return those that this processor has, the best first; SCRATCHNET_ISA chooses another."""
        names: list[str] = _extension().instruction_sets()
        return names

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

    def how(self, op: str, *args: Any, **kwargs: Any) -> str:
        """Name the instruction set, or say why torch's own convolution runs."""
        if op in ("conv2d_forward", "conv2d_backward"):
            x, weight = args[:2] if op == "conv2d_forward" else args[1:3]
            reason = _left_to_torch(x, weight, kwargs["stride"], kwargs["groups"])
            if reason:
                return f"runs, by torch's own convolution: {reason}"
        return f"runs, with {_extension().isa()} instructions"

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
        shape = check_conv2d(x, weight, bias, stride, padding, dilation, groups)
        geometry = (stride, padding, dilation, groups)
        if _left_to_torch(x, weight, stride, groups) is not None:
            y = torch.conv2d(x, weight, bias, *geometry)
            return y.contiguous(memory_format=torch.channels_last)
        y = _empty(x, shape)
        _extension().conv2d_forward(_image(x), weight.contiguous(), _dense(bias), y, *geometry)
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
        geometry = (stride, padding, dilation, groups)
        if _left_to_torch(x, weight, stride, groups) is not None:
            found = torch.ops.aten.convolution_backward(
                grad_y, x, weight, weight.shape[:1], *geometry[:3], False, (0, 0), groups, needs
            )
            grad_x, grad_weight, grad_bias = (
                grad if need else None for grad, need in zip(found, needs, strict=True)
            )
            if grad_x is not None:
                grad_x = grad_x.contiguous(memory_format=torch.channels_last)
            return grad_x, grad_weight, grad_bias
        module, grad_y = _extension(), _image(grad_y)
        grad_x = grad_weight = grad_bias = None
        if needs[0]:
            grad_x = _empty(grad_y, x.shape)
            module.conv2d_input_grad(grad_y, weight.contiguous(), grad_x, *geometry)
        if needs[1] or needs[2]:
            grad_weight = grad_y.new_empty(weight.shape) if needs[1] else None
            grad_bias = grad_y.new_empty(weight.shape[0]) if needs[2] else None
            image = _image(x) if needs[1] else None
            module.conv2d_weight_grad(grad_y, image, grad_weight, grad_bias, *geometry)
        return grad_x, grad_weight, grad_bias

    def upsample_nearest_forward(self, x: Tensor, *, scale: Pair) -> Tensor:
        """See :meth:`Backend.upsample_nearest_forward`; the result is in channels_last."""
        check_upsample(x, scale)
        n, c, h, w = x.shape
        y = _empty(x, (n, c, h * scale[0], w * scale[1]))
        _extension().upsample_nearest_forward(_image(x), y, scale)
        return y

    def upsample_nearest_backward(self, grad_y: Tensor, *, scale: Pair) -> Tensor:
        """See :meth:`Backend.upsample_nearest_backward`; the result is in channels_last."""
        check_upsample(grad_y, scale, backward=True)
        n, c, h, w = grad_y.shape
        grad_x = _empty(grad_y, (n, c, h // scale[0], w // scale[1]))
        _extension().upsample_nearest_backward(_image(grad_y), grad_x, scale)
        return grad_x

    def upsample_conv2d_forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *, scale: Pair, **conv: Any
    ) -> Tensor:
        """See :meth:`Backend.upsample_conv2d_forward`; without stride the upsampled image is
        never made: docs/adr/0007-upsampling-algebra.md.
        """
        if _by_parts(x, weight, scale, conv):
            return super().upsample_conv2d_forward(x, weight, bias, scale=scale, **conv)
        check_upsample(x, scale)
        check_conv2d(_upsampled(x, scale), weight, bias, **conv)
        chain = _upsampling_chain(x, weight, scale, conv)
        return chain.forward(x, [weight.contiguous()], [_dense(bias)], keep=False)[0]

    def upsample_conv2d_backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        scale: Pair,
        needs: Needs = (True, True, True),
        **conv: Any,
    ) -> Grads:
        """See :meth:`Backend.upsample_conv2d_backward`."""
        if _by_parts(x, weight, scale, conv) or not needs[1]:
            return super().upsample_conv2d_backward(
                grad_y, x, weight, scale=scale, needs=needs, **conv
            )
        check_upsample(x, scale)
        check_conv2d_backward(grad_y, _upsampled(x, scale), weight, **conv)
        chain = _upsampling_chain(x, weight, scale, conv)
        grad_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        grad_bias = weight.new_zeros(weight.shape[0]) if needs[2] else None
        grad_x = chain.backward(
            grad_y,
            x,
            grad_y,
            None,  # one link has no hidden activations
            [weight.contiguous()],
            [grad_weight],
            [grad_bias],
            needs_grad_x=needs[0],
        )
        return grad_x, grad_weight, grad_bias

    def chain(self, x: Tensor, links: tuple[Link, ...]) -> Chain | None:
        """See :meth:`Backend.chain`; None if a link is not for these kernels."""
        height, width = x.shape[2:]
        for link in links:
            if link.scale is not None:
                if link.stride != (1, 1):
                    return None
                height, width = height * link.scale[0], width * link.scale[1]
            height, width = height // link.stride[0], width // link.stride[1]
            weights = link.out_channels * link.in_channels // link.groups
            weights *= link.kernel_size[0] * link.kernel_size[1]
            of_group = (link.in_channels // link.groups, link.out_channels // link.groups)
            pixels = x.shape[0] * height * width
            if _better_at_torch(x.dtype, link.groups, of_group, weights, pixels):
                return None
        return _plan(links, (x.shape[1], x.shape[2], x.shape[3]), x.dtype)


# Where torch's own convolution is faster; benchmarks/handover.py measures it.
_MANY_GROUPS, _FEWEST_PER_GROUP = 8, 8  # more of fewer channels leave most of a vector empty
_MANY_WEIGHTS, _FEW_PIXELS = 2**19, 1024  # take longer to bring into order than to use
_FEW_TAPS, _MANY_PIXELS = 9, 4096  # of a depthwise convolution: memory decides, not arithmetic


def _better_at_torch(
    dtype: torch.dtype, groups: int, of_group: Pair, weights: int, pixels: int
) -> str | None:
    """Return why torch's own convolution is faster here; None where ours is.

    Args:
        dtype: of all tensors; torch is never much faster in float64.
        groups: of the convolution.
        of_group: in- and out-channels of a group.
        weights: their number.
        pixels: of the output, in the whole batch, about.
    """
    if dtype != torch.float32:
        return None
    if groups > _MANY_GROUPS and of_group == (1, 1):
        if weights <= _FEW_TAPS * groups and pixels >= _MANY_PIXELS:
            return f"few taps of depthwise weights for {pixels} pixels are mostly traffic of memory"
        return None
    if groups > _MANY_GROUPS and min(of_group) < _FEWEST_PER_GROUP:
        return (
            f"{groups} groups of {min(of_group)} channels do not fill the vectors of these kernels"
        )
    if weights >= _MANY_WEIGHTS and 0 < pixels < _FEW_PIXELS:
        return f"{weights} weights for {pixels} pixels are not worth packing for these kernels"
    return None


def _left_to_torch(x: Tensor, weight: Tensor, stride: Pair, groups: int) -> str | None:
    of_group = (weight.shape[1], weight.shape[0] // groups)
    pixels = x.shape[0] * (x.shape[2] // stride[0]) * (x.shape[3] // stride[1])
    return _better_at_torch(x.dtype, groups, of_group, weight.numel(), pixels)


def _by_parts(x: Tensor, weight: Tensor, scale: Pair, conv: dict[str, Any]) -> bool:
    """Whether to upsample first, and then to convolve."""
    stride: Pair = conv["stride"]
    if stride != (1, 1):
        return True
    return _left_to_torch(_upsampled(x, scale), weight, stride, conv["groups"]) is not None


def _upsampling_chain(x: Tensor, weight: Tensor, scale: Pair, conv: dict[str, Any]) -> CppChain:
    kernel = (weight.shape[2], weight.shape[3])
    link = Link(x.shape[1], weight.shape[0], kernel, scale=scale, **conv)
    return _plan((link,), (x.shape[1], x.shape[2], x.shape[3]), x.dtype)


def _upsampled(x: Tensor, scale: Pair) -> Tensor:
    """Return something of the upsampled image's shape and dtype, without its memory."""
    n, c, h, w = x.shape
    return x.new_empty(()).expand(n, c, h * scale[0], w * scale[1])


def _image(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def _empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.empty(tuple(shape), dtype=like.dtype, memory_format=torch.channels_last)


def _suggested_format(x: Tensor) -> torch.memory_format:
    """channels_last where x is in it and in no other."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()
