"""The error that the runtime cross-check raises when a result differs from the reference's."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import registry
from scratchnet.backends.base import Backend
from scratchnet.errors import BackendError, PluginError
from scratchnet.ops.op import Needs, Op
from scratchnet.verify.callfile import SavedCall
from scratchnet.verify.tolerance import Bound


class VerificationError(BackendError):
    """A backend's result differs from the reference's.

    Attributes:
        path: the file that holds the call.
    """

    path: Path


def fail(
    op: Op,
    backend: Backend,
    what: str,
    fault: str,
    tensors: Sequence[Tensor | None],
    options: dict[str, Any],
    grad_ys: Sequence[Tensor] = (),
    needs: Needs | None = None,
) -> None:
    """Save the call and raise.

    Args:
        op, backend: which operation was run, and by which backend.
        what: the result that differs, e.g. "grad_x".
        fault: how, in words.
        tensors, options: of the call.
        grad_ys, needs: of its backward, if it was that.

    Raises:
        VerificationError: always.
    """
    threads = torch.get_num_threads()
    given = dict(zip(op.names(len(tensors)), tensors, strict=True))
    of_y = {f"grad_y.{i}": grad for i, grad in enumerate(grad_ys)}
    named = {name: t for name, t in {**of_y, **given}.items() if t is not None}
    call = SavedCall(op.name, _where_found(backend), named, options, len(tensors), needs, threads)
    path = call.write()
    arguments = ", ".join(
        f"{name} {tuple(t.shape)} strides {t.stride()} {t.dtype}" for name, t in named.items()
    )
    error = VerificationError(
        f"{what} of {op.name} on backend {backend.name!r} differs from the reference's: {fault}; "
        f"arguments: {arguments}; {options}; {threads} threads; "
        f"to reproduce: scratchnet check --replay {shlex.quote(str(path))}"
    )
    error.path = path
    raise error


def _where_found(backend: Backend) -> str:
    """Return what finds the backend again in another process: its name, or its class's path."""
    try:
        known = registry.get(backend.name)
    except PluginError:  # nothing is registered under that name
        known = None
    kind = type(backend)
    if kind is Backend or type(known) is kind:
        return backend.name
    return f"{kind.__module__}:{kind.__qualname__}"


def difference(actual: Any, bound: Bound) -> str:
    """Return the worst difference in words, "" if all elements are within their bounds.

    Where a bound is infinite or not a number, the numbers have left the dtype's range, and nothing
    is compared.
    """
    expected, allowed = bound.value, bound.allowed
    if not isinstance(actual, Tensor) or actual.shape != expected.shape:
        return f"expected the shape {tuple(expected.shape)}, got {getattr(actual, 'shape', actual)}"
    if actual.dtype != bound.dtype:
        return f"expected {bound.dtype}, got {actual.dtype}"
    wide = actual.double()
    same = (wide == expected) | (wide.isnan() & expected.isnan())
    wrong = ~same & ~((wide - expected).abs() <= allowed) & allowed.isfinite()
    if not wrong.any():
        return ""
    gap = (wide - expected).abs().nan_to_num(nan=torch.inf)
    excess = torch.where(wrong, (gap / allowed).nan_to_num(nan=torch.inf), -1.0)
    worst = torch.unravel_index(excess.argmax(), excess.shape)
    return (
        f"{int(wrong.sum())} of {wrong.numel()} elements, the worst at "
        f"{[int(i) for i in worst]}: expected {float(expected[worst])!r}, "
        f"got {float(wide[worst])!r}, {float(gap[worst]):.2e} apart where "
        f"{float(allowed[worst]):.2e} is allowed"
    )
