"""Which implementation runs a call of an operation, and why.

Strongest first: the ``backend=`` of the call or layer, ``use_backend`` of the surrounding block,
the environment variable SCRATCHNET_BACKEND, ``set_backend``, and else ``auto``.

A *name* is strict in what that backend implements: it runs or raises. An operation that it does not
implement at all runs on ``reference``. ``auto`` takes, of scratchnet's own backends that are
available, the one of highest priority that implements the operation and supports the call.
``auto+NAME`` lets the third-party backend NAME take part as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import Tensor

from scratchnet.backends import reference, registry
from scratchnet.backends.base import Backend
from scratchnet.errors import BackendError, OrderError, ShapeError, TypeMismatch
from scratchnet.ops.op import Implementation, Needs, Op, Verdict

VARIABLE = "SCRATCHNET_BACKEND"
VERIFY_VARIABLE = "SCRATCHNET_VERIFY"
AUTO = "auto"

Choice = str | Backend
_Any_tensor = TypeVar("_Any_tensor", Tensor, Tensor | None)

_in_block: ContextVar[Choice | None] = ContextVar("scratchnet_backend", default=None)
_trace: ContextVar[list[tuple[str, str]] | None] = ContextVar("scratchnet_trace", default=None)
# Where explain.py collects the calls that a layer makes: op, tensors, options, backend.
watched: ContextVar[list[tuple[Any, ...]] | None] = ContextVar("scratchnet_watched", default=None)
_process_wide: Choice = AUTO
_candidates: dict[str, tuple[int, list[Backend]]] = {}


def run(
    op: Op, *tensors: Tensor | None, backend: Choice | None = None, **options: Any
) -> tuple[Any, Back]:
    """Compute ``op`` forward, by the backend that is to run it.

    Args:
        op: the operation.
        tensors: its tensors; those that may be left out may be None.
        backend: what the call or the layer asks for; None leaves it to the other sources.
        options: the operation's.

    Returns:
        The output (a tuple if there are several), and what computes the gradients later.

    Raises:
        ScratchnetError: the arguments do not fit; as the operation's check raises it.
        PluginError: the selected backend does not exist or cannot be loaded.
        BackendError: it is not available here, or does not support this call.
    """
    tensors, options = op.bind(tensors, options)
    op.check(*tensors, **options)
    return _run(op, tensors, options, *resolve(op, tensors, options, backend))


def _run(
    op: Op,
    tensors: tuple[Tensor | None, ...],
    options: dict[str, Any],
    chosen: Backend,
    implementation: Implementation,
) -> tuple[Any, Back]:
    tensors = tuple(map(_as_it_looks, tensors))
    y, kept = implementation.forward(*tensors, **options)
    return y, Back(op, chosen.name, implementation, tensors, options, y, kept)


class Back:
    """The backward of one call: gradients by the implementation that ran its forward."""

    __slots__ = ("_kept", "_of_y", "_tensors", "_watched", "backend", "implementation", "op",
                 "options")  # fmt: skip

    def __init__(
        self,
        op: Op,
        backend: str,
        implementation: Implementation,
        tensors: tuple[Tensor | None, ...],
        options: dict[str, Any],
        y: Any,
        kept: Any,
    ) -> None:
        self.op, self.backend, self.implementation, self.options = (
            op,
            backend,
            implementation,
            options,
        )
        self._tensors, self._kept = op.kept_tensors(tensors), kept
        outputs = y if isinstance(y, tuple) else (y,)
        self._of_y = [(output.shape, output.dtype) for output in outputs]
        # What backward reads, and how often each was changed by now; inference tensors do not say.
        read = _tensors_in((*self._tensors, kept))
        self._watched = [(t, t._version, t.shape) for t in read if not t.is_inference()]

    def __call__(self, *grad_ys: Tensor, needs: Needs | None = None) -> tuple[Tensor | None, ...]:
        """Return one gradient for each tensor of the call, None where it is not needed.

        Args:
            grad_ys: the gradient of the loss with respect to each output, of its shape and dtype.
            needs: which gradients are needed; all (but of tensors that are None) by default.

        Raises:
            OrderError: a tensor that this needs was changed in place since the forward.
            ShapeError, TypeMismatch: a gradient is not like its output.
        """
        return self._run(grad_ys, needs)

    def add_to(
        self, into: Sequence[Tensor | None], *grad_ys: Tensor, needs: Needs
    ) -> tuple[Tensor | None, ...]:
        """As a call, but gradients are added to the buffers ``into``, one or None for each tensor;
        return the others.

        Raises:
            ShapeError, TypeMismatch: a buffer is not like its tensor; and as a call does.
        """
        names = self.op.names(len(into))
        for name, buffer, tensor in zip(names, into, self._tensors, strict=True):
            if buffer is not None:
                self._check_buffer(name, buffer, tensor)
        if self.implementation.accumulates and all(b is None or b.is_contiguous() for b in into):
            return self._run(grad_ys, needs, into=into)
        rest = []
        for buffer, grad in zip(into, self(*grad_ys, needs=needs), strict=True):
            if buffer is not None and grad is not None:
                buffer += grad
            rest.append(grad if buffer is None else None)
        return tuple(rest)

    def _check_buffer(self, name: str, buffer: Tensor, tensor: Tensor | None) -> None:
        """Raise unless ``buffer`` can take the gradient of ``tensor``, as one that somebody put in
        the place of a layer's need not.
        """
        what = f"the buffer for the gradient of {name} of {self.op.name}"
        cure = "set parameter and gradient together, by add_parameter"
        if tensor is None or buffer.shape != tensor.shape:
            wanted = "no buffer" if tensor is None else f"the shape {tuple(tensor.shape)}"
            raise ShapeError(f"{what}: expected {wanted}, got {tuple(buffer.shape)}; {cure}")
        if buffer.dtype != tensor.dtype or buffer.device != tensor.device:
            raise TypeMismatch(
                f"{what}: expected {tensor.dtype} on {tensor.device}, got {buffer.dtype} on "
                f"{buffer.device}; {cure}"
            )

    def _run(
        self, grad_ys: tuple[Tensor, ...], needs: Needs | None, **options: Any
    ) -> tuple[Tensor | None, ...]:
        op = self.op
        for grad, (shape, dtype) in zip(grad_ys, self._of_y, strict=True):
            if grad.shape != shape:
                raise ShapeError(
                    f"backward of {op.name} expects a gradient {tuple(shape)}, as the output is; "
                    f"got {tuple(grad.shape)}"
                )
            if grad.dtype != dtype:
                raise TypeMismatch(
                    f"backward of {op.name} expects a gradient in {dtype}, got {grad.dtype}"
                )
        for tensor, version, shape in self._watched:
            if tensor._version != version or tensor.shape != shape:
                raise OrderError(
                    f"a tensor of the shape {tuple(shape)} that backward of {op.name} reads "
                    "was changed in place after the forward, so the gradient would be wrong: "
                    "change a copy (clone() it first), or call backward before"
                )
        grad_ys = tuple(map(_as_it_looks, grad_ys))
        if needs is None:
            needs = tuple(tensor is not None for tensor in self._tensors)
        return self.implementation.backward(
            grad_ys[0] if len(grad_ys) == 1 else grad_ys,
            self._kept,
            *self._tensors,
            **self.options,
            **options,
            needs=needs,
        )

    @property
    def output(self) -> tuple[torch.Size, torch.dtype]:
        """Shape and dtype of the (first) output."""
        return self._of_y[0]


def _as_it_looks(tensor: _Any_tensor) -> _Any_tensor:
    """Return a tensor whose memory holds its values: torch has views that negate what is there."""
    return tensor.resolve_neg() if tensor is not None and tensor.is_neg() else tensor


def _tensors_in(values: Iterable[Any]) -> list[Tensor]:
    """Return the tensors among ``values``, and in tuples and lists of them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += _tensors_in(value)
    return found


Found = tuple[Backend, Implementation]


def fusing(
    op: Op, *tensors: Tensor | None, backend: Choice | None = None, **options: Any
) -> Found | None:
    """Return the backend that is selected, if it implements ``op`` and supports this call, with its
    implementation; else None, for callers that can do the same in another way. Errors as ``run``.
    """
    tensors, options = op.bind(tensors, options)
    op.check(*tensors, **options)
    choice, _ = selection(backend)
    if is_auto(choice):
        candidates = auto_candidates(str(choice))
    else:
        candidates = [choice if isinstance(choice, Backend) else registry.get(choice)]
    for candidate in candidates:
        found = candidate.implementation(op)
        if found is None or found is op.reference:
            continue
        if verdict_of(candidate, found, tensors, options) is True:
            return candidate, found
    return None


def run_on(
    found: Found,
    op: Op,
    *tensors: Tensor | None,
    backend: Choice | None = None,
    **options: Any,
) -> tuple[Any, Back]:
    """Compute a complete call that :func:`fusing` allowed, or one just like it; as ``run``."""
    candidate, implementation = found
    implementation = _chosen(op, tensors, options, backend, candidate, implementation)
    return _run(op, tensors, options, candidate, implementation)


def resolve(
    op: Op,
    tensors: Sequence[Tensor | None],
    options: dict[str, Any],
    backend: Choice | None = None,
) -> tuple[Backend, Implementation]:
    """Return what runs a call; arguments as ``op.bind`` returns them, errors as ``run``."""
    choice, source = selection(backend)
    chosen, implementation = choose(op, tensors, options, choice, source)
    return chosen, _chosen(op, tensors, options, backend, chosen, implementation)


def _chosen(
    op: Op,
    tensors: Sequence[Tensor | None],
    options: dict[str, Any],
    backend: Choice | None,
    chosen: Backend,
    implementation: Implementation,
) -> Implementation:
    """Tell trace and explain what was chosen; return it, or its checked form if that is asked."""
    calls = _trace.get()
    if calls is not None:
        calls.append((op.name, chosen.name))
    asked = watched.get()
    if asked is not None:
        asked.append((op, tuple(tensors), options, backend))
    if verifying() and implementation is not op.reference:
        # by name: verify imports this module, and is only loaded when it is used
        implementation = import_module("scratchnet.verify").checked(op, chosen, implementation)
    return implementation


def choose(
    op: Op, tensors: Sequence[Tensor | None], options: dict[str, Any], choice: Choice, source: str
) -> tuple[Backend, Implementation]:
    """Return what runs a call when ``choice`` is selected by ``source``; errors as ``run``."""
    if not is_auto(choice):
        named = choice if isinstance(choice, Backend) else registry.get(choice)
        implementation = named.implementation(op)
        available = named.available()
        if available is True and implementation is None:
            return reference, op.reference
        verdict = (
            available
            if implementation is None
            else verdict_of(named, implementation, tensors, options)
        )
        if implementation is None or verdict is not True:
            raise BackendError(
                f"backend {named.name!r} (chosen by {source}) cannot run {op.name}: {verdict}; "
                f"choose another, or {AUTO!r} for the best that can"
            )
        return named, implementation
    for candidate in auto_candidates(str(choice)):
        implementation = candidate.implementation(op)
        if implementation is None:
            continue
        if verdict_of(candidate, implementation, tensors, options) is True:
            return candidate, implementation
    return reference, op.reference


def verifying() -> bool:
    """Whether the environment asks for the runtime cross-check."""
    return os.environ.get(VERIFY_VARIABLE, "").lower() not in ("", "0", "false", "no", "off")


def selection(backend: Choice | None = None) -> tuple[Choice, str]:
    """Return what is selected, and by which source, in words."""
    if backend is not None:
        return backend, "backend= of the call or layer"
    in_block = _in_block.get()
    if in_block is not None:
        return in_block, "use_backend"
    variable = os.environ.get(VARIABLE)
    if variable:
        return variable, f"the environment variable {VARIABLE}"
    return _process_wide, "set_backend" if _process_wide != AUTO else "default"


def state(backend: Choice | None = None) -> tuple[Any, ...]:
    """Return what changes when another backend may be chosen for an equal call."""
    return selection(backend)[0], registry.generation


def is_auto(choice: Choice) -> bool:
    """Whether ``choice`` is "auto" or "auto+NAME...", not one backend."""
    return isinstance(choice, str) and choice.split("+")[0] == AUTO


def auto_candidates(choice: str) -> list[Backend]:
    """Return the available backends that ``choice`` lets take part, the highest priority first."""
    generation, found = _candidates.get(choice, (-1, []))
    if generation != registry.generation:
        available = (b for b in eligible(choice) if b.available() is True)
        found = sorted(available, key=lambda b: -b.priority)
        _candidates[choice] = registry.generation, found
    return found


def eligible(choice: str) -> list[Backend]:
    """Return the backends that ``choice`` lets take part: ours, and those it names."""
    own = [name for name in registry.names() if registry.info(name).builtin]
    return [registry.get(name) for name in dict.fromkeys([*own, *choice.split("+")[1:]])]


def verdict_of(
    backend: Backend,
    implementation: Implementation,
    tensors: Sequence[Tensor | None],
    options: dict[str, Any],
) -> Verdict:
    """Return whether a backend is available and supports a call, or why not."""
    available = available_as(backend, implementation)
    return available if available is not True else implementation.supports(*tensors, **options)


def available_as(backend: Backend, implementation: Implementation) -> Verdict:
    """Return whether a backend and what it has for an operation can run on this machine at all."""
    available = backend.available()
    return available if available is not True else implementation.available()


def _checked(choice: Choice) -> Choice:
    """Return ``choice`` if it names backends that exist and are available; else raise at once, not
    at first use.
    """
    if isinstance(choice, Backend):
        return choice
    if not isinstance(choice, str):
        raise TypeMismatch(f"expected a backend's name or a Backend, got {type(choice).__name__}")
    for name in choice.split("+")[1:] if is_auto(choice) else [choice]:
        available = registry.get(name).available()
        if available is not True:
            raise BackendError(f"backend {name!r} is not available: {available}")
    return choice


@contextmanager
def use_backend(backend: Choice) -> Iterator[None]:
    """Select a backend for the calls inside a ``with`` block, in this thread (and asyncio task)
    alone.

    Args:
        backend: a name, ``"auto"``, ``"auto+NAME"``, ``"package.module:Class"``, or a Backend
            object.

    Raises:
        PluginError: there is no such backend, or it cannot be loaded.
        BackendError: it is not available here.
    """
    token = _in_block.set(_checked(backend))
    try:
        yield
    finally:
        _in_block.reset(token)


def set_backend(backend: Choice) -> None:
    """Select a backend for the whole process; ``"auto"`` undoes it. Arguments and errors as
    ``use_backend``.
    """
    global _process_wide
    _process_wide = _checked(backend)


@contextmanager
def trace() -> Iterator[list[tuple[str, str]]]:
    """Collect (operation, backend's name) of the calls resolved inside a ``with`` block, in this
    thread.
    """
    calls: list[tuple[str, str]] = []
    token = _trace.set(calls)
    try:
        yield calls
    finally:
        _trace.reset(token)
