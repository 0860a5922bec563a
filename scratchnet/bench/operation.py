"""The cases of one operation, forward and backward, on each backend and by torch; and of single
convolutions.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from scratchnet import backends, ops
from scratchnet.backends import dispatch
from scratchnet.bench import contest
from scratchnet.bench.contest import Contestant, Outcome, our_name, setting
from scratchnet.bench.contestants import Both, by_autograd, by_hand, laid_out
from scratchnet.bench.machine import availability
from scratchnet.errors import ArgumentError
from scratchnet.ops.op import Case, Op
from scratchnet.testing.calls import Call, call
from scratchnet.testing.tensors import normal

SECTION = "op"
TORCH, TORCH_LAST = "torch", "torch channels_last"


def cases(
    name: str, options: Mapping[str, Any] | None, shapes: Sequence[Sequence[int]]
) -> list[Case]:
    """Return calls of an operation: one on tensors of these shapes, or the two largest ones that it
    is tested on.

    Raises:
        ScratchnetError: there is no such operation, or it does not take these.
    """
    op = ops.get(name)
    if shapes:
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in (options or {}).items()}
        made = [Case(tuple(map(tuple, shapes)), op.prepare(plain))]
        call(op, made[0], torch.float32, normal)
        return made
    if options:
        raise ArgumentError(f"op {name}: options go with --input, a shape for each tensor")
    valid = [case for case in op.cases() if not case.error]
    return sorted(valid, key=lambda c: sum(torch.Size(s).numel() for s in c.shapes if s))[-2:]


def backends_of(op: Op) -> list[str]:
    """Return "auto" and the available backends that implement the operation."""
    own = (b for b in backends.names() if availability(b) is True)
    return [dispatch.AUTO, *(b for b in own if backends.get(b).implementation(op) is not None)]


def measure(
    section: str, op: Op, case: Case, threads: int, dtype: torch.dtype, *, on: Sequence[str],
    title: str = "",
) -> contest.Case:  # fmt: skip
    """One call, forward and backward, on each backend, and by torch in both memory formats."""
    make: dict[str, Callable[[int], Contestant]] = {
        our_name(name): partial(_ours, op, case, dtype, name) for name in on
    }
    if op.twin is not None:
        make[TORCH] = partial(_torchs, op, case, dtype, False)
        make[TORCH_LAST] = partial(_torchs, op, case, dtype, True)
    title = title or f"{op.name} forward and backward, {case}, {setting(threads, dtype)}"
    images = (case.shapes[0] or (1,))[0]

    def exact() -> Outcome:
        return _ours(op, case, dtype, "reference", images, wide=True).outcome()

    return contest.Case(section, title, threads, dtype, make, exact, images)


def _ours(
    op: Op, case: Case, dtype: torch.dtype, backend: str, images: int, *, wide: bool = False
) -> Contestant:
    """Through dispatch, as a layer does, in channels_last memory format; ``wide`` in float64."""
    made = _call(op, case, dtype, True)
    made = made.each(torch.Tensor.double) if wide else made
    named = None if backend == dispatch.AUTO else backend

    def run() -> Both:
        y, back = dispatch.run(op, *made.tensors, backend=named, **made.options)
        grads = back(*made.grad_ys, needs=made.needs) if made.grad_ys else ()
        return y, [grad for grad, needed in zip(grads, made.needs, strict=False) if needed]

    return by_hand(run, [n for n, needed in zip(made.names, made.needs, strict=True) if needed])


def _torchs(op: Op, case: Case, dtype: torch.dtype, last: bool, images: int) -> Contestant:
    made, twin = _call(op, case, dtype, last), pkgutil.resolve_name(str(op.twin))
    tensors = zip(made.names, made.tensors, strict=True)
    leaves = {
        name: t
        for name, t in tensors
        if t is not None and t.is_floating_point() and name not in op.constants
    }
    compute = partial(twin, *made.tensors, **made.options)
    return by_autograd(compute, leaves if made.grad_ys else {}, made.grad_ys)


def _call(op: Op, case: Case, dtype: torch.dtype, channels_last: bool) -> Call:
    return call(op, case, dtype, normal).each(lambda tensor: laid_out(tensor, channels_last))


def _conv2d(
    n: int, c: int, o: int, k: int, h: int, *, w: int | None = None, groups: int = 1, **same: int
) -> Case:
    """A convolution with bias, of square images and with the same options down and across."""
    options = {"stride": 1, "padding": 0, "dilation": 1} | same
    pairs = {name: (value, value) for name, value in options.items()}
    shapes = ((n, c, h, w or h), (o, c // groups, k, k), (o,))
    return Case(shapes, {**pairs, "groups": groups})


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
) -> list[contest.Case]:
    """The cases of SHAPES whose name contains ``only``."""
    op = ops.get("conv2d")
    return [
        measure(section, op, case, threads, dtype, on=backends, title=name)
        for name, case in SHAPES.items()
        if only in name
    ]
