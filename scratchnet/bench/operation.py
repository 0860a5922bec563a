"""One operation, forward and backward, on each backend and by torch: generic over operations.

:func:`run`, :func:`tensor_names` and TWINS are all that knows how a backend is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.bench.contest import Case, Contestant, Outcome, our_name
from scratchnet.bench.contestants import Both, by_autograd, by_hand, laid_out
from scratchnet.testing.tensors import normal

TORCH, TORCH_LAST = "torch", "torch channels_last"
TWINS: dict[str, Callable[..., Tensor]] = {"conv2d": torch.nn.functional.conv2d}

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
    found = dispatch.resolve(f"{call.op}_forward", *tensors, backend=named, **call.options)
    y: Tensor = getattr(found, f"{call.op}_forward")(*tensors, **call.options)
    backward = getattr(found, f"{call.op}_backward")
    return y, lambda grad_y: backward(grad_y, *tensors[:2], **call.options)


def tensor_names(call: Call) -> list[str]:
    """Return what the operation's tensors are called."""
    parameters = inspect.signature(getattr(Backend, f"{call.op}_forward")).parameters
    return list(parameters)[1 : 1 + len(call.shapes)]  # without self


def measure(section: str, title: str, call: Call, threads: int, *, backends: Sequence[str]) -> Case:
    """One call, forward and backward, on each backend, and by torch in both memory formats."""
    make: dict[str, Callable[[int], Contestant]] = {
        our_name(name): partial(_ours, call, name) for name in backends
    }
    if call.op in TWINS:
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

    return by_hand(forward_and_backward, tensor_names(call))


def _torchs(call: Call, channels_last: bool, images: int) -> Contestant:
    *tensors, grad_y = _tensors(call, images, channels_last)
    leaves = dict(zip(tensor_names(call), tensors, strict=True))
    return by_autograd(partial(TWINS[call.op], **call.options), leaves, grad_y)


def _tensors(call: Call, images: int, channels_last: bool) -> list[Tensor]:
    """The operation's tensors and the gradient of its output, in this memory format."""
    first, *others = call.shapes
    shapes = [(images, *first[1:]), *others]
    tensors = [normal(shape, call.dtype, i) for i, shape in enumerate(shapes)]
    y, _ = run(call, tensors, "reference")
    tensors.append(normal(y.shape, call.dtype, len(tensors)))
    return [laid_out(tensor, channels_last) for tensor in tensors]
