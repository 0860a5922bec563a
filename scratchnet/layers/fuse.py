"""Fusion: layers that run as one operation, ``graph``, where the selected backend supports it.

Which layer is which stage stands in the tables below. Fusing changes no result beyond rounding:
what no backend can run as one runs layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

from scratchnet import ops
from scratchnet.backends import dispatch
from scratchnet.errors import ShapeError, TypeMismatch
from scratchnet.layers.checks import check_grad
from scratchnet.layers.module import Module
from scratchnet.ops.graph import Stage, Stages, graph

_watched: ContextVar[list[list[Module]] | None] = ContextVar("scratchnet_runs", default=None)


@contextmanager
def watching() -> Iterator[list[list[Module]]]:
    """Collect the layers of each run as one inside a ``with`` block, in this thread."""
    runs: list[list[Module]] = []
    token = _watched.set(runs)
    try:
        yield runs
    finally:
        _watched.reset(token)


_METHODS = ("forward", "backward", "forward_images", "backward_images")


@dataclass(frozen=True)
class _Tables:
    """What is fused.

    Attributes:
        stages: {layer: (layer) -> (its operation, the options)}.
        branches: {layer: (the operation that joins what its body returns to what it was given, and
            in which order)}.
        sequences: layers that run their modules one after the other.
        methods: those of every layer in the tables when they were made: one that has been
            replaced since, to try something out, is called, not bypassed.
    """

    stages: dict[type, Callable[[Any], tuple[str, dict[str, Any]]]]
    branches: dict[type, tuple[str, tuple[str, str]]]
    sequences: tuple[type, ...]
    methods: dict[type, tuple[Any, ...]]


@cache
def _tables() -> _Tables:
    # not at the top: containers fuse what they contain
    from scratchnet.layers import activation, smooth
    from scratchnet.layers.containers import Concat, Residual, Sequential
    from scratchnet.layers.conv import Conv2d
    from scratchnet.layers.upsampling import Upsampling

    element_wise = (
        *(activation.Hardshrink, activation.Hardsigmoid, activation.Hardswish),
        *(activation.Hardtanh, activation.LeakyReLU, activation.ReLU, activation.ReLU6),
        *(activation.Softshrink, activation.Threshold, smooth.CELU, smooth.ELU, smooth.GELU),
        *(smooth.LogSigmoid, smooth.Mish, smooth.SELU, smooth.SiLU, smooth.Sigmoid),
        *(smooth.Softplus, smooth.Softsign, smooth.Tanh, smooth.Tanhshrink),
    )
    stages: dict[type, Callable[[Any], tuple[str, dict[str, Any]]]] = {
        Conv2d: lambda layer: ("conv2d", layer.options),
        Upsampling: lambda layer: ("upsample_conv2d", layer.options),
        **{kind: lambda layer: (layer.op.name, layer.options) for kind in element_wise},
    }
    branches: dict[type, tuple[str, tuple[str, str]]] = {
        Residual: ("add", ("body", "input")),
        Concat: ("concat", ("input", "body")),
    }
    sequences = (Sequential,)
    kinds = (*stages, *branches, *sequences)
    return _Tables(stages, branches, sequences, {kind: _methods(kind) for kind in kinds})


def _methods(kind: type) -> tuple[Any, ...]:
    return tuple(getattr(kind, name, None) for name in _METHODS)


# What decides how a module is fused: it and every module inside it, each with its mode, the backend
# that it asks for (Ellipsis where it asks for none, as an activation), and its operation.
_Signature = tuple[tuple[Module, bool, Any, Any], ...]
_plans: WeakKeyDictionary[Module, tuple[list[_Signature | None], list[Any]]] = WeakKeyDictionary()


def parts(owner: Module, modules: Sequence[Module]) -> list[Module | Run]:
    """Return the modules, each stretch of them that may run as one replaced by a Run.

    Args:
        owner: the module that they belong to; the answer is kept for it until one of them changes.
        modules: to be run one after the other.
    """
    tables = _tables()
    written: dict[type, bool] = {}
    signatures = [_signature(module, tables, written) for module in modules]
    kept = _plans.get(owner)
    if kept is None or kept[0] != signatures:
        kept = _plans[owner] = signatures, _plan(modules, signatures, tables)
    return kept[1]


def whole(owner: Module, x: Tensor) -> tuple[Tensor, Any] | None:
    """Run a module with all that is inside it as one; None where that cannot be.

    Returns:
        As :meth:`Run.forward`.
    """
    (part,) = parts(owner, (owner,))
    return part.attempt(x) if isinstance(part, Run) else None


def _signature(module: Module, tables: _Tables, written: dict[type, bool]) -> _Signature | None:
    """Return what decides how a module is fused; None if it cannot be.

    Args:
        module: to be looked at.
        tables: what is fused.
        written: whether the methods of a class are what they were; filled as classes are met.
    """
    kind = type(module)
    if kind not in written:
        written[kind] = tables.methods.get(kind) == _methods(kind)
    if not written[kind] or not vars(module).keys().isdisjoint(_METHODS):
        return None
    if getattr(module, "pads_first", False):  # more than the operation of its stage
        return None
    asked = module.training, getattr(module, "backend", ...)
    if kind in tables.stages:
        return ((module, *asked, tables.stages[kind](module)),)
    found: list[tuple[Module, bool, Any, Any]] = [(module, *asked, None)]
    for _, child in module.named_children():
        of_child = _signature(child, tables, written)
        if of_child is None:
            return None
        found.extend(of_child)
    return tuple(found)


def _plan(
    modules: Sequence[Module], signatures: Sequence[_Signature | None], tables: _Tables
) -> list[Module | Run]:
    found: list[Module | Run] = []
    stretch: list[Module] = []
    asked: list[tuple[bool, Any]] = []  # mode and backend of all in the stretch

    def end() -> None:
        run = Run(stretch, tables) if stretch else None
        found.extend([run] if run is not None and run.pays else stretch)
        stretch.clear()
        asked.clear()

    for module, signature in zip(modules, signatures, strict=True):
        if signature is None or not _alike(wants := [(s[1], s[2]) for s in signature]):
            end()
            found.append(module)
            continue
        if not _alike([*asked, *wants]):
            end()
        stretch.append(module)
        asked.extend(wants)
    end()
    return found


def _alike(asked: Sequence[tuple[bool, Any]]) -> bool:
    """Whether all are in one mode and ask for one backend."""
    backends = [backend for _, backend in asked if backend is not ...]
    modes = {training for training, _ in asked}
    return len(modes) == 1 and all(backend is backends[0] for backend in backends)


class Run:
    """Modules that a backend may run as one.

    Args:
        modules: one after the other.
        tables: what is fused.
    """

    def __init__(self, modules: Sequence[Module], tables: _Tables) -> None:
        self.modules = tuple(modules)
        self.layers: list[Module] = []  # those that are stages
        stages: list[Stage] = []
        at = 0
        for module in modules:
            at = self._add(module, at, stages, tables)
        self.stages = Stages(stages)
        self.parameters = [
            (layer, name, f"grad_{name}")
            for layer, stage in self._own_stages()
            for name in ops.get(stage.op).tensors[len(stage.reads) :]
        ]
        self.backend = next((b.backend for b in self.layers if hasattr(b, "backend")), None)
        # Of the last call: the kinds of its tensors, and what ran it.
        self._found: tuple[list[Any], dispatch.Found | None] = ([], None)

    def _add(self, module: Module, at: int, stages: list[Stage], tables: _Tables) -> int:
        """Append the stages of a module that reads value ``at``; return the number of its value."""
        kind = type(module)
        if kind in tables.stages:
            op, options = tables.stages[kind](module)
            stages.append(Stage(op, (at,), tuple(options.items())))
            self.layers.append(module)
            return len(stages)
        given = at
        for _, child in module.named_children():
            at = self._add(child, at, stages, tables)
        if kind in tables.branches:
            op, order = tables.branches[kind]
            numbers = {"input": given, "body": at}
            stages.append(Stage(op, (numbers[order[0]], numbers[order[1]])))
            return len(stages)
        return at

    def _own_stages(self) -> Iterator[tuple[Module, Stage]]:
        """Yield each layer with its stage; those that join have none."""
        return zip(self.layers, (s for s in self.stages if len(s.reads) == 1), strict=True)

    @property
    def pays(self) -> bool:
        """Whether there is anything to gain: a convolution, and something before or behind it."""
        return len(self.stages) > 1 and bool(self.parameters)

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """Return the output of the modules for ``x``, and an object for their backward, with
        ``backward(grad)`` and ``backward_parameters(grad)``. Errors are the modules' own.
        """
        found = self.attempt(x)
        if found is None:
            for module in self.modules:
                x = module.forward(x)
            return x, _OneByOne(self.modules)
        return found

    def attempt(self, x: Tensor) -> tuple[Tensor, Any] | None:
        """As :meth:`forward`, but None where no backend runs all of it as one."""
        one_image = isinstance(x, Tensor) and x.dim() == 3
        found = self._fused(x.unsqueeze(0) if one_image else x)
        if found is None:
            return None
        y, back = found
        watched = _watched.get()
        if watched is not None:
            watched.append(self.layers)
        for layer in self.layers:
            layer._forget_earlier()  # what they keep would be of an earlier input
        y = y.squeeze(0) if one_image else y
        return y, _Fused(self, back, one_image) if self.modules[0].keeps else None

    def _fused(self, x: Tensor) -> tuple[Tensor, dispatch.Back] | None:
        parameters = [getattr(layer, name) for layer, name, _ in self.parameters]
        if not isinstance(x, Tensor) or x.dim() != 4 or 0 in x.shape[1:]:
            return None
        tensors = (x.detach(), *parameters)
        options = {"stages": self.stages, "keep": self.modules[0].keeps}
        kinds = [t if t is None else (t.shape, t.dtype, t.device, t.layout) for t in tensors]
        kinds.append(dispatch.state(self.backend))
        before, found = self._found
        if kinds != before:
            try:
                found = dispatch.fusing(graph, *tensors, backend=self.backend, **options)
            except (ShapeError, TypeMismatch):  # the module that it concerns says it better
                return None
            self._found = kinds, found
        if found is None:
            return None
        return dispatch.run_on(found, graph, *tensors, backend=self.backend, **options)


class _OneByOne:
    """The backward of modules that ran one after the other."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = modules

    def backward(self, grad: Tensor) -> Tensor:
        for module in reversed(self.modules):
            grad = module.backward(grad)
        return grad

    def backward_parameters(self, grad: Tensor) -> None:
        first, *others = self.modules
        for module in reversed(others):
            grad = module.backward(grad)
        first.backward_parameters(grad)


class _Fused:
    """The backward of modules that ran as one."""

    def __init__(self, run: Run, back: dispatch.Back, one_image: bool) -> None:
        self.run, self.back, self.one_image = run, back, one_image

    def backward(self, grad: Tensor) -> Tensor:
        grad_x = self._backward(grad, needs_input=True)
        assert grad_x is not None
        return grad_x.squeeze(0) if self.one_image else grad_x

    def backward_parameters(self, grad: Tensor) -> None:
        self._backward(grad, needs_input=False)

    def _backward(self, grad: Tensor, *, needs_input: bool) -> Tensor | None:
        if self.one_image and isinstance(grad, Tensor):
            grad = grad.unsqueeze(0)
        grad = check_grad(self.run.layers[-1], grad, *self.back.output)
        buffers = [getattr(layer, name) for layer, _, name in self.run.parameters]
        needs = (needs_input, *(buffer is not None for buffer in buffers))
        return self.back.add_to((None, *buffers), grad, needs=needs)[0]
