"""What the runtime cross-check says of a result that differs from the reference's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.callfile import SavedCall
from scratchnet.errors import BackendError


class VerificationError(BackendError):
    """A backend's result differs from the reference's.

    Attributes:
        path: the file that holds the call.
    """

    path: Path


def fail(
    backend: str,
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
    path = SavedCall(op, backend, dict(tensors), options).write()
    arguments = ", ".join(
        f"{name} {tuple(t.shape)} strides {t.stride()} {t.dtype}" for name, t in tensors.items()
    )
    error = VerificationError(
        f"{what} of {op} on backend {backend!r} differs from the reference's: {fault}; "
        f"arguments: {arguments}; {options}; to reproduce: scratchnet check --replay {path}"
    )
    error.path = path
    raise error


def largest(tensor: Tensor) -> Tensor:
    """Return the largest magnitude, in every element."""
    return tensor.abs().amax().expand(tensor.shape) if tensor.numel() else tensor


def difference(actual: Any, expected: Tensor, allowed: Tensor) -> str:
    """Return the worst difference in words, "" if all are within ``allowed``."""
    if not isinstance(actual, Tensor) or actual.shape != expected.shape:
        return f"expected the shape {tuple(expected.shape)}, got {getattr(actual, 'shape', actual)}"
    if actual.dtype != expected.dtype:
        return f"expected {expected.dtype}, got {actual.dtype}"
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    wrong = ~same & ~((actual - expected).abs() <= allowed)
    if not wrong.any():
        return ""
    excess = torch.where(wrong, (actual - expected).abs().nan_to_num(nan=torch.inf), -1.0)
    worst = torch.unravel_index(excess.argmax(), excess.shape)
    return (
        f"{int(wrong.sum())} of {wrong.numel()} elements, the worst at "
        f"{[int(i) for i in worst]}: expected {float(expected[worst]):.9g}, "
        f"got {float(actual[worst]):.9g}"
    )
