"""Which backend runs a call, and why.

Strongest first: the ``backend=`` of the call or layer, ``use_backend`` of the surrounding block,
the environment variable SCRATCHNET_BACKEND, ``set_backend``, and else ``auto``.

A *name* is strict: that backend runs or raises. ``auto`` takes, of scratchnet's own backends that
are available, the one of highest priority that supports the call. ``auto+NAME`` lets the
third-party backend NAME take part as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from scratchnet.backends import registry, verify
from scratchnet.backends.base import Backend, Verdict
from scratchnet.errors import BackendError, PluginError, TypeMismatch

VARIABLE = "SCRATCHNET_BACKEND"
AUTO = "auto"

Choice = str | Backend

_in_block: ContextVar[Choice | None] = ContextVar("scratchnet_backend", default=None)
_trace: ContextVar[list[tuple[str, str]] | None] = ContextVar("scratchnet_trace", default=None)
_process_wide: Choice = AUTO
_candidates: dict[str, tuple[int, list[Backend]]] = {}


def resolve(op: str, *args: Any, backend: Choice | None = None, **kwargs: Any) -> Backend:
    """Return the backend that is to run ``op(*args, **kwargs)``.

    Args:
        op: a method of Backend, e.g. ``"conv2d_forward"``.
        args: its positional arguments.
        backend: what the call or the layer asks for; None leaves it to the other sources.
        kwargs: its keyword arguments.

    Raises:
        PluginError: the selected backend does not exist or cannot be loaded.
        BackendError: it is not available here, or does not support this call.
    """
    choice, source = selection(backend)
    chosen = _resolve(op, args, kwargs, choice, source)
    if verify.enabled():
        chosen = verify.verified(chosen)
    record(op, chosen.name)
    return chosen


def _resolve(
    op: str, args: tuple[Any, ...], kwargs: dict[str, Any], choice: Choice, source: str
) -> Backend:
    if not is_auto(choice):
        named = choice if isinstance(choice, Backend) else registry.get(choice)
        verdict = _verdict(named, op, args, kwargs)
        if verdict is not True:
            raise BackendError(
                f"backend {named.name!r} (chosen by {source}) cannot run {op}: {verdict}; "
                f"choose another, or {AUTO!r} for the best that can"
            )
        return named
    for candidate in _auto_candidates(str(choice)):
        if candidate.supports(op, *args, **kwargs) is True:
            return candidate
    raise BackendError(
        f"no backend of {choice!r} can run {op}: scratchnet.explain({op!r}, ...) says why"
    )


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


def is_auto(choice: Choice) -> bool:
    """Whether ``choice`` is "auto" or "auto+NAME...", not one backend."""
    return isinstance(choice, str) and choice.split("+")[0] == AUTO


def _auto_candidates(choice: str) -> list[Backend]:
    """Return the available backends that ``choice`` lets take part, the highest priority first."""
    generation, found = _candidates.get(choice, (-1, []))
    if generation != registry.generation:
        own = [name for name in registry.names() if registry.info(name).builtin]
        names = [*own, *choice.split("+")[1:]]
        backends = [registry.get(name) for name in dict.fromkeys(names)]
        found = sorted((b for b in backends if b.available() is True), key=lambda b: -b.priority)
        _candidates[choice] = registry.generation, found
    return found


def _verdict(backend: Backend, op: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Verdict:
    available = backend.available()
    return available if available is not True else backend.supports(op, *args, **kwargs)


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


def record(op: str, name: str) -> None:
    """Tell :func:`trace` that a call was resolved."""
    calls = _trace.get()
    if calls is not None:
        calls.append((op, name))


@dataclass(frozen=True)
class Explanation:
    """Which backend would run a call, and what keeps each other one from it; ``print`` it.

    Attributes:
        op: the operation.
        backend: the name of the backend that would run; None if the call would raise.
        source: what selected it.
        reasons: for every known backend, in words, why it would or would not run.
    """

    op: str
    backend: str | None
    source: str
    reasons: dict[str, str]

    def __str__(self) -> str:
        head = f"{self.op}: {self.backend or 'nothing can run this'} (chosen by {self.source})"
        width = max((len(name) for name in self.reasons), default=0)
        return "\n".join([head, *(f"  {n:<{width}}  {why}" for n, why in self.reasons.items())])


class Explains(Protocol):
    """What knows by itself what would run: a plugin's Kernel."""

    def explain(self, *args: Any, backend: Choice | None, **kwargs: Any) -> Explanation:
        """As :func:`explain`."""


def explain(
    op: str | Explains, *args: Any, backend: Choice | None = None, **kwargs: Any
) -> Explanation:
    """Say which backend would run ``op(*args, **kwargs)`` and why each other would not; runs
    nothing.

    Args:
        op: a method of Backend, e.g. ``"conv2d_forward"``, or a plugin's Kernel.
        args: its positional arguments.
        backend: as in the call.
        kwargs: its keyword arguments.
    """
    if not isinstance(op, str):
        return op.explain(*args, backend=backend, **kwargs)
    choice, source = selection(backend)
    running: Backend | None = None
    failure = ""
    try:
        running = _resolve(op, args, kwargs, choice, source)
    except (BackendError, PluginError) as error:
        failure = str(error)
    reasons = {}
    if not is_auto(choice) and running is None:
        reasons[str(choice)] = failure
    asked_for = str(choice).split("+")[1:] if is_auto(choice) else []
    for name in dict.fromkeys([*registry.names(), *asked_for]):
        try:
            candidate = registry.get(name)
            verdict = _verdict(candidate, op, args, kwargs)
        except PluginError as error:
            reasons[name] = str(error)
            continue
        if running is not None and candidate.name == running.name:
            reasons[name] = candidate.how(op, *args, **kwargs)
        elif verdict is not True:
            reasons[name] = verdict
        elif not is_auto(choice):
            reasons[name] = f"could run it, but {source} chose {choice!r}"
        elif candidate not in _auto_candidates(str(choice)):
            reasons[name] = f"could run it; third-party backends take part only in '{AUTO}+{name}'"
        else:
            reasons[name] = f"could run it, with a lower priority ({candidate.priority})"
    return Explanation(op, running.name if running else None, source, reasons)
