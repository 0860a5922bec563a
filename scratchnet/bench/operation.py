"""One operation, forward and backward, on each backend and by torch: generic over operations.

:func:`run` and :func:`twin` are all that knows how either is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
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
    """An operation and what it works on.

    Attributes:
        op: its name.
        shapes: of its tensors; they hold normal numbers, the same each time.
        dtype: of all.
        options: its keyword arguments.
    """

    op: str
    shapes: Sequence[Sequence[int]]
    dtype: torch.dtype
    options: Mapping[str, Any] = field(default_factory=dict)


def run(call: Call, tensors: Sequence[Tensor], backend: str) -> tuple[Tensor, Back]:
    """Compute the output as a layer would, through dispatch; return it, and its backward."""
    named = None if backend == dispatch.AUTO else backend
    return dispatch.run(ops.get(call.op), *tensors, backend=named, **call.options)


def twin(op: str) -> Callable[..., Tensor]:
    """Return torch's counterpart of an operation."""
    module, _, name = str(ops.get(op).twin).rpartition(".")
    function: Callable[..., Tensor] = getattr(import_module(module), name)
    return function


def measure(call: Call, threads: int, *, backends: Sequence[str], section: str, title: str) -> Case:
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
    return by_autograd(partial(twin(call.op), **call.options), leaves, grad_y)


def _tensors(call: Call, images: int, channels_last: bool) -> list[Tensor]:
    """The operation's tensors and the gradient of its output, in this memory format."""
    first, *others = call.shapes
    shapes = [(images, *first[1:]), *others]
    tensors = [normal(shape, call.dtype, i) for i, shape in enumerate(shapes)]
    y, _ = run(call, tensors, "reference")
    tensors.append(normal(y.shape, call.dtype, len(tensors)))
    return [laid_out(tensor, channels_last) for tensor in tensors]
