"""One operation, forward and backward, on each backend and by torch; and single convolutions.

:func:`run` is all that knows how a backend is called.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchnet import ops
from scratchnet.backends import dispatch
from scratchnet.bench.contest import Case, Contestant, Outcome, our_name
from scratchnet.bench.contestants import Both, by_autograd, by_hand, laid_out
from scratchnet.testing.tensors import normal

TORCH, TORCH_LAST = "torch", "torch channels_last"
Back = Callable[[Tensor], Sequence[Tensor | None]]
"""From the gradient of an output to those of an operation's tensors."""


@dataclass(frozen=True)
class Call:
    """An operation by name, on normal numbers of these shapes, the same each time, with options."""

    op: str
    shapes: Sequence[Sequence[int]]
    dtype: torch.dtype
    options: Mapping[str, Any] = field(default_factory=dict)


def run(call: Call, tensors: Sequence[Tensor], backend: str) -> tuple[Tensor, Back]:
    """Compute the output as a layer would, through dispatch; return it, and its backward."""
    named = None if backend == dispatch.AUTO else backend
    return dispatch.run(ops.get(call.op), *tensors, backend=named, **call.options)


def measure(section: str, title: str, call: Call, threads: int, *, backends: Sequence[str]) -> Case:
    """One call, forward and backward, on each backend, and by torch in both memory formats."""
    make: dict[str, Callable[[int], Contestant]] = {
        our_name(name): partial(_ours, call, name) for name in backends
    }
    if ops.get(call.op).twin is not None:
        make |= {TORCH: partial(_torchs, call, False), TORCH_LAST: partial(_torchs, call, True)}
    images = call.shapes[0][0]

    def exact() -> Outcome:
        return _ours(call, "reference", images, wide=True).outcome()

    return Case(section, title, threads, call.dtype, make, exact, images)


def _ours(call: Call, backend: str, images: int, *, wide: bool = False) -> Contestant:
    """By a backend, on tensors in channels_last memory format; ``wide`` in float64."""
    *tensors, grad_y = _tensors(call, images, True)
    if wide:
        *tensors, grad_y = (t.double() for t in (*tensors, grad_y))

    def forward_and_backward() -> Both:
        y, back = run(call, tensors, backend)
        return y, back(grad_y)

    return by_hand(forward_and_backward, ops.get(call.op).names(len(call.shapes)))


def _torchs(call: Call, channels_last: bool, images: int) -> Contestant:
    *tensors, grad_y = _tensors(call, images, channels_last)
    leaves = dict(zip(ops.get(call.op).names(len(call.shapes)), tensors, strict=True))
    twin = pkgutil.resolve_name(str(ops.get(call.op).twin))
    return by_autograd(partial(twin, **call.options), leaves, grad_y)


def _tensors(call: Call, images: int, channels_last: bool) -> list[Tensor]:
    """The operation's tensors and the gradient of its output, in this memory format."""
    first, *others = call.shapes
    shapes = [(images, *first[1:]), *others]
    tensors = [normal(shape, call.dtype, i) for i, shape in enumerate(shapes)]
    y, _ = run(call, tensors, "reference")
    tensors.append(normal(y.shape, call.dtype, len(tensors)))
    return [laid_out(tensor, channels_last) for tensor in tensors]


def _conv2d(
    n: int, c: int, o: int, k: int, h: int, *, w: int | None = None, groups: int = 1, **same: int
) -> Call:
    """A convolution with bias, of square images and with the same options down and across."""
    options = {"stride": 1, "padding": 0, "dilation": 1} | same
    pairs = {name: (value, value) for name, value in options.items()}
    shapes = [(n, c, h, w or h), (o, c // groups, k, k), (o,)]
    return Call("conv2d", shapes, torch.float32, {**pairs, "groups": groups})


# Shapes that networks are made of, and a few odd ones.
SHAPES = {
    "64->64 3x3, 56x56": _conv2d(8, 64, 64, 3, 56, padding=1),
    "64->64 1x1, 56x56": _conv2d(8, 64, 64, 1, 56),
    "64->128 3x3 stride 2, 56x56": _conv2d(8, 64, 128, 3, 56, stride=2, padding=1),
    "32->32 5x5, 28x28": _conv2d(8, 32, 32, 5, 28, padding=2),
    "64->64 3x3 dilation 2, 28x28": _conv2d(8, 64, 64, 3, 28, padding=2, dilation=2),
    "16->16 3x3, 32x32, batch 40": _conv2d(40, 16, 16, 3, 32, padding=1),
    "3->64 7x7 stride 2, 112x112, batch 4": _conv2d(4, 3, 64, 7, 112, stride=2, padding=3),
    "8->24 3x3, 64x64": _conv2d(8, 8, 24, 3, 64, padding=1),
    "24->3 3x3, 64x64": _conv2d(8, 24, 3, 3, 64, padding=1),
    "128->512 1x1, 14x14": _conv2d(8, 128, 512, 1, 14),
    "256->256 3x3, 14x14": _conv2d(8, 256, 256, 3, 14, padding=1),
    "512->512 3x3, 7x7": _conv2d(8, 512, 512, 3, 7, padding=1),
    "32->32 3x3 depthwise, 56x56": _conv2d(8, 32, 32, 3, 56, padding=1, groups=32),
    "7->13 3x3, 31x45": _conv2d(8, 7, 13, 3, 31, padding=1, w=45),
}


def convolutions(
    section: str, threads: int, dtype: torch.dtype, *, backends: Sequence[str], only: str = ""
) -> list[Case]:
    """The cases of SHAPES whose name contains ``only``."""
    return [
        measure(section, name, replace(call, dtype=dtype), threads, backends=backends)
        for name, call in SHAPES.items()
        if only in name
    ]
