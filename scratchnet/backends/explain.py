"""Which implementation would run a call, and why the others would not."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from scratchnet import ops
from scratchnet.backends import registry
from scratchnet.backends.base import Backend
from scratchnet.backends.dispatch import (
    AUTO,
    Choice,
    auto_candidates,
    available_as,
    choose,
    eligible,
    is_auto,
    selection,
    use_backend,
    verdict_of,
    watched,
)
from scratchnet.errors import BackendError, PluginError, TypeMismatch
from scratchnet.ops.op import Op


@dataclass(frozen=True)
class Explanation:
    """Which backend would run a call, and why the others would not; ``print`` it.

    Attributes:
        op: the operation.
        backend: the name of the backend that would run; None if the call would raise.
        source: what selected it.
        reasons: for every known backend, in words, why it would or would not run.
        missing: of those that ``auto`` may use, the ones that implement the operation and cannot
            run on this machine, with the reason.
    """

    op: str
    backend: str | None
    source: str
    reasons: dict[str, str]
    missing: dict[str, str]

    def __str__(self) -> str:
        head = f"{self.op}: {self.backend or 'nothing can run this'} (chosen by {self.source})"
        width = max((len(name) for name in self.reasons), default=0)
        return "\n".join([head, *(f"  {n:<{width}}  {why}" for n, why in self.reasons.items())])


@dataclass(frozen=True)
class Explanations:
    """What runs each operation that a layer calls, in order; ``print`` it."""

    calls: tuple[Explanation, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.calls)) or "this layer calls no operation"


def explain(
    op: str | Op | Any, *tensors: Tensor | None, backend: Choice | None = None, **options: Any
) -> Explanation | Explanations:
    """Say which backend would run ``op(*tensors, **options)`` and why the others would not.

    Args:
        op: an operation or its name, e.g. ``"conv2d"``; or a layer, of which a copy is run once on
            the tensors, to see which operations it calls.
        tensors: the operation's tensors, or the layer's inputs.
        backend: as in the call.
        options: the operation's.

    Raises:
        PluginError: there is no such operation.
        ScratchnetError: the arguments do not fit; as the operation's check raises it.
    """
    if isinstance(op, str):
        op = ops.get(op)
    if not isinstance(op, Op):
        return _explain_layer(op, tensors, backend)
    tensors, options = op.bind(tensors, options)
    op.check(*tensors, **options)
    return _explain(op, tensors, options, backend)


def _explain_layer(
    layer: Any, inputs: tuple[Tensor | None, ...], backend: Choice | None
) -> Explanations:
    if not hasattr(layer, "forward"):
        raise TypeMismatch(
            f"explain expects an operation, its name, or a layer; got {type(layer).__name__}"
        )
    calls: list[tuple[Any, ...]] = []
    with nullcontext() if backend is None else use_backend(backend):
        token = watched.set(calls)
        try:
            copy.deepcopy(layer).eval().forward(*inputs)
        finally:
            watched.reset(token)
        return Explanations(tuple(_explain(*call) for call in calls))


def _explain(
    op: Op,
    tensors: tuple[Tensor | None, ...],
    options: dict[str, Any],
    backend: Choice | None,
) -> Explanation:
    choice, source = selection(backend)
    running: Backend | None = None
    reasons: dict[str, str] = {}
    try:
        running, _ = choose(op, tensors, options, choice, source)
    except (BackendError, PluginError) as error:
        if not is_auto(choice):
            reasons[choice if isinstance(choice, str) else choice.name] = str(error)
    asked_for = str(choice).split("+")[1:] if is_auto(choice) else []
    if isinstance(choice, str) and not is_auto(choice):
        asked_for = [choice]
    for name in dict.fromkeys([*registry.names(), *asked_for]):
        if name not in reasons:
            try:
                candidate = registry.get(name)
            except PluginError as error:
                reasons[name] = str(error)
                continue
            reasons[name] = _reason(candidate, op, tensors, options, running, choice, source)
    if running is not None and running.name not in reasons:  # an object that is not registered
        reasons[running.name] = _reason(running, op, tensors, options, running, choice, source)
    missing: dict[str, str] = {}
    for candidate in eligible(str(choice)) if running is not None and is_auto(choice) else []:
        implementation = candidate.implementation(op)
        verdict = True if implementation is None else available_as(candidate, implementation)
        if verdict is not True:
            missing[candidate.name] = verdict
    return Explanation(op.name, running.name if running else None, source, reasons, missing)


def _reason(
    candidate: Backend,
    op: Op,
    tensors: tuple[Tensor | None, ...],
    options: dict[str, Any],
    running: Backend | None,
    choice: Choice,
    source: str,
) -> str:
    """Return in words why ``candidate`` would or would not run the call."""
    implementation = candidate.implementation(op)
    if implementation is None:
        available = candidate.available()
        return f"does not implement {op.name}" if available is True else available
    verdict = verdict_of(candidate, implementation, tensors, options)
    if running is not None and candidate.name == running.name:
        return implementation.how(*tensors, **options)
    if verdict is not True:
        return verdict
    if not is_auto(choice):
        return f"could run it, but {source} chose {choice!r}"
    if candidate not in auto_candidates(str(choice)):
        return f"could run it; third-party backends take part only in '{AUTO}+{candidate.name}'"
    return f"could run it, with a lower priority ({candidate.priority})"
