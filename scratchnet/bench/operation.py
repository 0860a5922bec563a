"""One operation, forward and backward, on each backend and by torch: generic over operations.

:func:`run` is the only place here that knows how a backend is called.
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
from scratchnet.bench.networks import laid_out
from scratchnet.testing.tensors import normal

TORCH, TORCH_LAST = "torch", "torch channels_last"

Back = Callable[[Tensor], tuple[Tensor | None, ...]]
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

    def tensors(self, channels_last: bool = False) -> list[Tensor]:
        """Return the tensors, images and weights in this memory format."""
        made = [normal(shape, self.dtype, i) for i, shape in enumerate(self.shapes)]
        return [laid_out(t, channels_last) if t.dim() == 4 else t for t in made]


def run(call: Call, tensors: Sequence[Tensor], backend: str | None) -> tuple[Tensor, Back]:
    """Compute the output as a layer would, through dispatch; return it, and its backward."""
    y, back = dispatch.run(ops.get(call.op), *tensors, backend=backend, **call.options)
    return y, back


def torch_run(call: Call, tensors: Sequence[Tensor]) -> tuple[Tensor, Back]:
    """Compute the output by torch's function; return it, and its backward by autograd."""
    leaves = [t.detach().requires_grad_() for t in tensors]
    module, _, name = str(ops.get(call.op).twin).rpartition(".")
    y = getattr(import_module(module), name)(*leaves, **call.options)
    return y, lambda grad_y: torch.autograd.grad(y, leaves, grad_y)


def measure(section: str, title: str, call: Call, threads: int, *, backends: Sequence[str]) -> Case:
    """One call, forward and backward, on each backend, and by torch in both memory formats."""
    make: dict[str, Callable[[], Contestant]] = {
        our_name(name): partial(_contestant, call, _on(name), channels_last=True)
        for name in backends
    }
    if ops.get(call.op).twin is not None:
        make[TORCH] = partial(_contestant, call, torch_run, channels_last=False)
        make[TORCH_LAST] = partial(_contestant, call, torch_run, channels_last=True)
    return Case(
        section,
        title,
        threads,
        call.dtype,
        make,
        partial(_exact, call),
        images=call.shapes[0][0],
        work=30 / threads,
    )


def _on(name: str) -> Callable[[Call, Sequence[Tensor]], tuple[Tensor, Back]]:
    backend = None if name == dispatch.AUTO else name
    return lambda call, tensors: run(call, tensors, backend)


def _contestant(
    call: Call,
    how: Callable[[Call, Sequence[Tensor]], tuple[Tensor, Back]],
    *,
    channels_last: bool,
) -> Contestant:
    tensors = call.tensors(channels_last)
    y, _ = how(call, tensors)
    grad_y = normal(y.shape, call.dtype, len(tensors))
    grad_y = laid_out(grad_y, channels_last) if grad_y.dim() == 4 else grad_y

    def forward_and_backward() -> tuple[Tensor, tuple[Tensor | None, ...]]:
        y, back = how(call, tensors)
        return y, back(grad_y)

    def outcome() -> Outcome:
        y, grads = forward_and_backward()
        named = zip(ops.get(call.op).names(len(tensors)), grads, strict=True)
        return {"y": y.detach(), **{f"grad_{n}": grad for n, grad in named if grad is not None}}

    return Contestant(forward_and_backward, outcome)


def _exact(call: Call) -> Outcome:
    """By `reference`, in float64, from the very numbers that all the others get."""

    def wide(call: Call, tensors: Sequence[Tensor]) -> tuple[Tensor, Back]:
        y, back = run(call, [t.double() for t in tensors], "reference")
        return y, lambda grad_y: back(grad_y.double())

    return _contestant(call, wide, channels_last=False).outcome()
