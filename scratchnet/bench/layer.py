"""The cases of one layer, built in or a plugin's: forward and backward, and forward alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scratchnet import backends as registry
from scratchnet.backends import dispatch
from scratchnet.bench.contest import (
    Case,
    Contestant,
    Outcome,
    backend_of,
    chosen,
    our_name,
    plural,
    short,
)
from scratchnet.bench.networks import laid_out
from scratchnet.errors import ScratchnetError
from scratchnet.layers.module import Module
from scratchnet.testing.examples import example
from scratchnet.testing.tensors import normal
from scratchnet.testing.twins import module_twin

TWIN, TWIN_LAST = "torch.nn", "torch.nn channels_last"
SECTION = "layer"
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
        _ours(subject, dispatch.AUTO, True).run()
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


def _ours(subject: Subject, backend: str, backward: bool) -> Contestant:
    """The layer, forward and backward, gradients of parameters adding up; or forward alone."""
    layer = deepcopy(subject.layer).train() if backward else deepcopy(subject.layer).eval()

    def run() -> tuple[Tensor, ...]:
        with chosen(backend):
            y = layer.forward(subject.x)
            return (y, layer.backward(subject.grad_y)) if backward else (y,)

    def outcome() -> Outcome:
        layer.zero_grad()
        found = dict(zip(("output", "gradient of the input"), run(), strict=False))
        named = layer.named_param() if backward else []
        return found | {f"gradient of {name}": grad.clone() for name, _, grad in named}

    return Contestant(run, outcome)


def _torchs(subject: Subject, channels_last: bool, backward: bool) -> Contestant:
    """The layer's twin, by autograd; or its forward alone, without gradients."""
    net = module_twin(subject.layer)
    assert net is not None, "only layers that have a twin come here"
    net.train(backward)
    x, grad_y = subject.x.detach().clone(), subject.grad_y
    if x.dim() == 4:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        net = net.to(memory_format=layout)  # type: ignore[call-overload]
        x = laid_out(x, channels_last)
    if grad_y.dim() == 4:
        grad_y = laid_out(grad_y, channels_last)
    x.requires_grad_(backward)

    def run() -> Tensor:
        with torch.set_grad_enabled(backward):
            x.grad = None
            y: Tensor = net(x)
            if backward:
                y.backward(grad_y)  # type: ignore[no-untyped-call]
            return y

    def outcome() -> Outcome:
        net.zero_grad()
        found = {"output": run().detach()}
        if backward:
            grads = {"the input": x.grad, **_gradients(net, subject.layer)}
            found |= {f"gradient of {k}": g.clone() for k, g in grads.items() if g is not None}
        return found

    return Contestant(run, outcome)


def _gradients(net: nn.Module, layer: Module) -> dict[str, Tensor | None]:
    """The twin's gradients by the layer's names; in order where the names differ."""
    names, theirs = [name for name, _, _ in layer.named_param()], dict(net.named_parameters())
    ordered = map(theirs.get, names) if set(names) == set(theirs) else theirs.values()
    return {n: None if p is None else p.grad for n, p in zip(names, ordered, strict=True)}


def contestants(
    subject: Subject, backends: Sequence[str], *, backward: bool
) -> dict[str, Callable[[], Contestant]]:
    """The layer on each backend, and torch's counterpart where there is one."""
    make: dict[str, Callable[[], Contestant]] = {
        our_name(backend): partial(_ours, subject, backend, backward) for backend in backends
    }
    if module_twin(subject.layer) is not None:
        make[TWIN] = partial(_torchs, subject, False, backward)
        if subject.x.dim() == 4:
            make[TWIN_LAST] = partial(_torchs, subject, True, backward)
    return make


def contestant(
    name: str,
    layer: str,
    arguments: Mapping[str, Any] | None,
    shape: Sequence[int],
    dtype: torch.dtype,
    batch: int,
) -> Contestant:
    """Return the contestant called ``name``, forward and backward, on a batch of a ``shape``."""
    (subject,) = subjects(layer, arguments, [(batch, *shape)] if shape else [], dtype)
    return contestants(subject, [backend_of(name)], backward=True)[name]()


def cases(subject: Subject, threads: int, backends: Sequence[str]) -> list[Case]:
    """Forward and backward, and forward alone.

    Args:
        subject: layer and input.
        threads: to compute with.
        backends: each makes a contestant.
    """
    dtype = subject.x.dtype
    where = f"{subject.shape}, {plural(threads, 'thread')}, {short(dtype)}"
    made = []
    for backward, what in ((True, "forward and backward"), (False, "forward in eval mode")):
        make = contestants(subject, backends, backward=backward)
        made.append(
            Case(
                SECTION,
                f"{what}, {where}",
                threads,
                dtype,
                make,
                partial(_exact, subject, backward),
                images=len(subject.x) if subject.x.dim() else 1,
                work=10.0 * len(make),
            )
        )
    return made


def _exact(subject: Subject, backward: bool) -> Outcome:
    """In float64, by the twin and autograd, or by the layer itself on `reference`."""
    wide = Subject(
        subject.name,
        deepcopy(subject.layer).to(dtype=torch.float64),
        subject.x.double(),
        subject.grad_y.double(),
    )
    last = contestants(wide, ["reference"], backward=backward)
    make = last[TWIN] if TWIN in last else last[our_name("reference")]
    return make().outcome()
