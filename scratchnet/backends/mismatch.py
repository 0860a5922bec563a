"""What the runtime cross-check says of a result that differs from the reference's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from scratchnet.backends import registry
from scratchnet.backends.callfile import SavedCall
from scratchnet.errors import BackendError, PluginError


class Named(Protocol):
    """A backend, or a plugin's kernel."""

    @property
    def name(self) -> str:
        """What messages call it."""


class VerificationError(BackendError):
    """A backend's result differs from the reference's.

    Attributes:
        path: the file that holds the call.
    """

    path: Path


def fail(
    backend: Named,
    op: str,
    what: str,
    fault: str,
    tensors: Mapping[str, Tensor],
    options: dict[str, Any],
) -> None:
    """Save the call and raise.

    Raises:
        VerificationError: always.
    """
    threads = torch.get_num_threads()
    path = SavedCall(op, _where_found(backend), dict(tensors), options, threads).write()
    arguments = ", ".join(
        f"{name} {tuple(t.shape)} strides {t.stride()} {t.dtype}" for name, t in tensors.items()
    )
    error = VerificationError(
        f"{what} of {op} on backend {backend.name!r} differs from the reference's: {fault}; "
        f"arguments: {arguments}; {options}; {threads} threads; "
        f"to reproduce: scratchnet check --replay {shlex.quote(str(path))}"
    )
    error.path = path
    raise error


def _where_found(backend: Named) -> str:
    """Return what finds the backend again in another process: its name, or its class's path."""
    kind = type(backend)
    try:
        known = type(registry.get(backend.name)) is kind
    except PluginError:  # nothing is registered under that name
        known = False
    return backend.name if known else f"{kind.__module__}:{kind.__qualname__}"


def difference(actual: Any, expected: Tensor, allowed: Tensor) -> str:
    """Return the worst difference in words, "" if all are within ``allowed``.

    Where that is infinite or not a number, the numbers have left the dtype's range, and nothing is
    compared.
    """
    if not isinstance(actual, Tensor) or actual.shape != expected.shape:
        return f"expected the shape {tuple(expected.shape)}, got {getattr(actual, 'shape', actual)}"
    if actual.dtype != expected.dtype:
        return f"expected {expected.dtype}, got {actual.dtype}"
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    wrong = ~same & ~((actual - expected).abs() <= allowed) & allowed.isfinite()
    if not wrong.any():
        return ""
    excess = torch.where(wrong, (actual - expected).abs().nan_to_num(nan=torch.inf), -1.0)
    worst = torch.unravel_index(excess.argmax(), excess.shape)
    return (
        f"{int(wrong.sum())} of {wrong.numel()} elements, the worst at "
        f"{[int(i) for i in worst]}: expected {float(expected[worst]):.9g}, "
        f"got {float(actual[worst]):.9g} (allowed: {float(allowed[worst]):.1e})"
    )
