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
from scratchnet.bench.contest import Case, Contestant, Outcome, chosen, our_name, plural, short
from scratchnet.compare import rivals
from scratchnet.errors import ScratchnetError
from scratchnet.layers.module import Module
from scratchnet.testing.examples import example
from scratchnet.testing.tensors import normal

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
        OurLayer(subject, dispatch.AUTO).run()
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


class OurLayer:
    """The layer, forward and backward; gradients of parameters add up.

    Args:
        subject: whose layer to copy.
        backend: to compute with.
    """

    def __init__(self, subject: Subject, backend: str) -> None:
        self.layer, self.backend = deepcopy(subject.layer).train(), backend
        self.x, self.grad_y = subject.x, subject.grad_y

    def run(self) -> None:
        """Forward and backward."""
        self._run()

    def outcome(self) -> Outcome:
        """Return output and gradients."""
        self.layer.zero_grad()
        y, grad_x = self._run()
        named = {f"gradient of {n}": grad.clone() for n, _, grad in self.layer.named_param()}
        return {"output": y, "gradient of the input": grad_x, **named}

    def _run(self) -> tuple[Tensor, Tensor]:
        with chosen(self.backend):
            return self.layer.forward(self.x), self.layer.backward(self.grad_y)


class OurForward:
    """The layer's forward in eval mode.

    Args:
        subject: whose layer to copy.
        backend: to compute with.
    """

    def __init__(self, subject: Subject, backend: str) -> None:
        self.layer, self.x, self.backend = deepcopy(subject.layer).eval(), subject.x, backend

    def run(self) -> None:
        """Forward."""
        with chosen(self.backend):
            self.layer.forward(self.x)

    def outcome(self) -> Outcome:
        """Return the output."""
        with chosen(self.backend):
            return {"output": self.layer.forward(self.x)}


def contestants(
    subject: Subject, backends: Sequence[str], *, backward: bool
) -> dict[str, Callable[[], Contestant]]:
    """The layer on each backend, and torch.nn's counterpart where there is one."""
    ours = OurLayer if backward else OurForward
    make: dict[str, Callable[[], Contestant]] = {
        our_name(backend): partial(ours, subject, backend) for backend in backends
    }
    for name, last in ((TWIN, False), (TWIN_LAST, True)):
        twin = partial(
            rivals.layer, subject.layer, subject.x, subject.grad_y,
            channels_last=last, backward=backward,
        )  # fmt: skip
        if rivals.has_twin(subject.layer) and (subject.x.dim() == 4 or not last):
            make[name] = twin
    return make


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
