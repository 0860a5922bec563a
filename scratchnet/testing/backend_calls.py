"""The calls that a backend is checked on, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from scratchnet import backends
from scratchnet.backends.base import Backend
from scratchnet.testing.cases import Case
from scratchnet.testing.closeness import ConformanceError
from scratchnet.testing.operations import Call, Operation
from scratchnet.testing.oracle import TorchOracle

DTYPES = (torch.float32, torch.float64)


def reference_for(backend: Backend) -> Backend:
    """Return what to compare with: the reference, and for the reference itself torch's own."""
    reference = backends.get("reference")
    return TorchOracle() if type(backend) is type(reference) else reference


def calls(
    backend: Backend,
    operation: Operation,
    cases: list[Case],
    dtypes: tuple[torch.dtype, ...],
    values: Callable[..., Tensor],
) -> Iterator[Call]:
    """Yield the calls that the backend supports; at least one in two, or it is not complete."""
    supported = total = 0
    for call in operation.calls(cases, dtypes, values):
        total += 1
        if call.ask(backend) is True:
            supported += 1
            yield call
    if supported * 2 < total:
        raise ConformanceError(
            f"only {supported} of {total} calls of {operation.name} are supported: a backend is "
            "expected to do most of the grid"
        )
