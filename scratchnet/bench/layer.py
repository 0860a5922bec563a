"""The cases of one layer, built in or a plugin's: forward and backward, and forward alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchnet import backends
from scratchnet.backends import dispatch
from scratchnet.backends.dispatch import AUTO
from scratchnet.bench.contest import Case, Contestant, Outcome, our_name, setting
from scratchnet.bench.contestants import Both, by_autograd, by_hand, forward, laid_out, on
from scratchnet.bench.machine import availability
from scratchnet.errors import BackendError, ScratchnetError
from scratchnet.layers.module import Module
from scratchnet.testing.examples import example
from scratchnet.testing.tensors import normal
from scratchnet.testing.twins import module_twin

TWIN, TWIN_LAST = "torch.nn", "torch.nn channels_last"
SECTION, INPUT = "layer", "the input"
BATCH, SIDE = 16, 64
"""Of the input where nobody says another: the arithmetic is to count, and not the calls."""

_WIDE = {"in_channels": 32, "out_channels": 32, "kernel_size": 3, "padding": 1}
_TYPICAL: dict[str, dict[str, Any]] = {
    "Conv2d": _WIDE,
    "TransposeConv2d": {**_WIDE, "stride": 2, "output_padding": 1},
    "Upsampling": _WIDE,
    "NearestUpsampling": {"scale_factor": 2},
}


@dataclass(frozen=True)
class Subject:
    """A layer to be measured, with an input.

    Attributes:
        layer: in training mode; contestants take copies.
        x, grad_y: the input, and a gradient of the output.
    """

    layer: Module
    x: Tensor
    grad_y: Tensor

    @property
    def shape(self) -> str:
        """The input's, in words."""
        return "x".join(map(str, self.x.shape))

    def __str__(self) -> str:
        return " ".join(f"{self.layer!r} on {self.shape}".split())


def subjects(
    name: str,
    arguments: Mapping[str, Any] | None,
    shapes: Sequence[Sequence[int]],
    dtype: torch.dtype = torch.float32,
) -> list[Subject]:
    """Return a layer with each of its inputs.

    Args:
        name: of the layer, or ``"package.module:Class"``.
        arguments: of its constructor; if None those of its own ``example()``, or typical ones.
        shapes: of the inputs; if empty one of 16 images of 64x64 where the layer takes it, else
            that of the example.
        dtype: of layer and inputs.

    Raises:
        ScratchnetError: there is no such layer, or it does not take these arguments or inputs.
    """
    found = example(name, _TYPICAL.get(name) if arguments is None else arguments, shapes)
    layer = found.factory().to(dtype=dtype)
    inputs = [_in(x, dtype) for x in found.inputs if isinstance(x, Tensor)]
    if not inputs:
        raise ScratchnetError(f"bench measures layers of one input, and {name} takes several")
    if not shapes:
        inputs = [_enlarged(layer, inputs[0])]
    shapes = [deepcopy(layer).forward(x).shape for x in inputs]
    return [Subject(layer, x, normal(y, dtype, 9)) for x, y in zip(inputs, shapes, strict=True)]


def _in(x: Tensor, dtype: torch.dtype) -> Tensor:
    """An input in this dtype, unless it is whole numbers."""
    return x.to(dtype) if x.is_floating_point() else x


def _enlarged(layer: Module, x: Tensor) -> Tensor:
    """Return more and larger images than ``x`` where the layer takes them, else ``x``."""
    if x.dim() != 4:
        return x
    channels = getattr(layer, "in_channels", None)
    shape = (BATCH, channels if isinstance(channels, int) else x.shape[1], SIDE, SIDE)
    larger = normal(shape, x.dtype, 0)
    try:
        deepcopy(layer).forward(larger)
    except Exception:  # whatever it is, the layer's own example is left
        return x
    return larger


def backends_of(subject: Subject) -> list[str]:
    """Return "auto" and the other backends that make a difference for this layer here."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name in (AUTO, *(b for b in backends.names() if availability(b) is True)):
        with dispatch.trace() as calls, suppress(BackendError):  # who cannot run it says why later
            _ours(subject, name, True, 1).run()
        if calls not in found.values():
            found[name] = list(calls)
    return list(found)


def _ours(subject: Subject, backend: str, backward: bool, batch: int) -> Contestant:
    """The layer, forward and backward, gradients of parameters adding up; or forward alone."""
    layer = deepcopy(subject.layer).train(backward)
    x, grad_y = subject.x[:batch], subject.grad_y[:batch]
    if not backward:
        return forward(on(backend, layer.forward), x)

    def run() -> Both:
        y, grad_x = layer.forward(x), layer.backward(grad_y)
        return y, [grad_x, *(grad for _, grad in layer.param())]

    return by_hand(on(backend, run), [INPUT, *(name for name, _, _ in layer.named_param())])


def _torchs(subject: Subject, channels_last: bool, backward: bool, batch: int) -> Contestant:
    """The layer's twin, by autograd; or its forward alone, without gradients."""
    net = module_twin(subject.layer)
    assert net is not None, "only layers that have a twin come here"
    net.train(backward)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, grad_y = (laid_out(t[:batch].clone(), channels_last) for t in (subject.x, subject.grad_y))
    if not backward:
        return forward(net, x)
    own, theirs = [n for n, _, _ in subject.layer.named_param()], dict(net.named_parameters())
    order = own if set(own) == set(theirs) else list(theirs)
    leaves = {INPUT: x} if x.is_floating_point() else {}
    leaves |= {name: theirs[key] for name, key in zip(own, order, strict=True)}
    return by_autograd(partial(net, x), leaves, [grad_y])


def contestants(
    subject: Subject, backends: Sequence[str], *, backward: bool
) -> dict[str, Callable[[int], Contestant]]:
    """The layer on each backend, and torch's counterpart where there is one."""
    make: dict[str, Callable[[int], Contestant]] = {
        our_name(backend): partial(_ours, subject, backend, backward) for backend in backends
    }
    if module_twin(subject.layer) is not None:
        make[TWIN] = partial(_torchs, subject, False, backward)
        if subject.x.dim() == 4:
            make[TWIN_LAST] = partial(_torchs, subject, True, backward)
    return make


def cases(subject: Subject, threads: int, backends: Sequence[str]) -> list[Case]:
    """Forward and backward, and forward alone; each of ``backends`` makes a contestant."""
    dtype, made = subject.grad_y.dtype, []
    for backward, what in ((True, "forward and backward"), (False, "forward in eval mode")):
        title = f"{what}, {subject.shape}, {setting(threads, dtype)}"
        make = contestants(subject, backends, backward=backward)
        exact = partial(_exact, subject, backward)
        made.append(Case(SECTION, title, threads, dtype, make, exact, len(subject.x)))
    return made


def _exact(subject: Subject, backward: bool) -> Outcome:
    """In float64, by the twin and autograd, or by the layer itself on `reference`."""
    layer, dtype = deepcopy(subject.layer).to(dtype=torch.float64), torch.float64
    wide = Subject(layer, _in(subject.x, dtype), subject.grad_y.to(dtype))
    made = contestants(wide, ["reference"], backward=backward)
    return made[TWIN if TWIN in made else our_name("reference")](len(subject.x)).outcome()
