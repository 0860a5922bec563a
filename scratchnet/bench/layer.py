"""The cases of one layer, built in or a plugin's: forward and backward, and forward alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchnet import backends as registry
from scratchnet.backends import dispatch
from scratchnet.bench.contest import Case, Contestant, Outcome, our_name, setting
from scratchnet.bench.contestants import Both, by_autograd, by_hand, forward, laid_out, on
from scratchnet.errors import ScratchnetError
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
        name: as the user gave it.
        layer: in training mode; contestants take copies.
        x: the input.
        grad_y: a gradient of the output.
    """

    name: str
    layer: Module
    x: Tensor
    grad_y: Tensor

    @property
    def shape(self) -> str:
        """The input's, in words."""
        return "x".join(map(str, self.x.shape))

    def first(self, batch: int) -> tuple[Tensor, Tensor]:
        """Input and gradient of so many images."""
        return (self.x[:batch], self.grad_y[:batch]) if self.x.dim() else (self.x, self.grad_y)

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self.x) if self.x.dim() else 1

    def __str__(self) -> str:
        return " ".join(f"{self.layer!r} on {self.shape}".split())


def subjects(
    name: str,
    arguments: Mapping[str, Any] | None,
    shapes: Sequence[Sequence[int]],
    dtype: torch.dtype = torch.float32,
) -> list[Subject]:
    """Return the layer called ``name`` with each of its inputs.

    Args:
        name: of the layer, or ``"package.module:Class"``.
        arguments: of its constructor; if None those of its own ``example()``, or typical ones.
        shapes: of the inputs; if empty one of 16 images of 64x64 where the layer takes it, else
            that of the example.
        dtype: of layer and inputs.

    Raises:
        ArgumentError: the layer needs arguments, or does not take these.
        ShapeError: it does not take such an input.
        PluginError: there is no such layer, or it cannot be loaded.
    """
    found = example(name, _TYPICAL.get(name) if arguments is None else arguments, shapes)
    layer = found.factory().to(dtype=dtype)
    inputs = [x.to(dtype) for x in found.inputs]
    if not shapes:
        inputs = [_enlarged(layer, inputs[0])]
    made = []
    for x in inputs:
        grad_y = normal(deepcopy(layer).forward(x).shape, dtype, 9)
        made.append(Subject(name, layer, x, grad_y))
    return made


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
    with dispatch.trace() as calls:
        _ours(subject, dispatch.AUTO, True, subject.images).run()
    used = {backend for _, backend in calls}
    known = registry.names() if used else []
    if "kernel" in used:  # of the layer's own, which leaves the work to others on any named backend
        known = ["reference"]
    return [dispatch.AUTO, *(name for name in known if used != {name} and _available(name))]


def _available(name: str) -> bool:
    try:
        return registry.get(name).available() is True
    except ScratchnetError:
        return False


def _ours(subject: Subject, backend: str, backward: bool, batch: int) -> Contestant:
    """The layer, forward and backward, gradients of parameters adding up; or forward alone."""
    layer, x, grad_y = deepcopy(subject.layer).train(backward), *subject.first(batch)
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
    x, grad_y = (laid_out(t.clone(), channels_last) for t in subject.first(batch))
    if not backward:
        return forward(net, x)
    names, theirs = [n for n, _, _ in subject.layer.named_param()], dict(net.named_parameters())
    if set(names) != set(theirs):  # then in order
        theirs = dict(zip(names, theirs.values(), strict=True))
    leaves = {INPUT: x, **{name: theirs[name] for name in names}}
    return by_autograd(lambda x, *_: net(x), leaves, grad_y)


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
    dtype = subject.x.dtype
    return [
        Case(
            SECTION,
            f"{what}, {subject.shape}, {setting(threads, dtype)}",
            threads,
            dtype,
            contestants(subject, backends, backward=backward),
            partial(_exact, subject, backward),
            subject.images,
        )
        for backward, what in ((True, "forward and backward"), (False, "forward in eval mode"))
    ]


def _exact(subject: Subject, backward: bool) -> Outcome:
    """In float64, by the twin and autograd, or by the layer itself on `reference`."""
    wide = Subject(
        subject.name,
        deepcopy(subject.layer).to(dtype=torch.float64),
        subject.x.double(),
        subject.grad_y.double(),
    )
    made = contestants(wide, ["reference"], backward=backward)
    return made[TWIN if TWIN in made else our_name("reference")](subject.images).outcome()
