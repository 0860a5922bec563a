"""Checks of a backend's numbers against the reference, and of backward against forward."""

from __future__ import annotations

import torch

from scratchnet.backends.base import Backend
from scratchnet.testing.backend_calls import DTYPES, calls, reference_for
from scratchnet.testing.closeness import (
    ConformanceError,
    assert_close,
    assert_same_bits,
    tolerance,
)
from scratchnet.testing.operations import Operation
from scratchnet.testing.tensors import normal, whole


def exact(backend: Backend, operation: Operation) -> str:
    """The same bits as the reference on whole numbers, over the grid."""
    reference, count = reference_for(backend), 0
    for call in calls(backend, operation, operation.grid, DTYPES, whole):
        for what, actual, expected in call.pairs(backend, reference):
            assert_same_bits(actual, expected, what)
            count += 1
    return f"{count} tensors"


def close(backend: Backend, operation: Operation) -> str:
    """Within rounding of the reference on random numbers, over the grid."""
    reference, worst = reference_for(backend), 0.0
    for call in calls(backend, operation, operation.grid, DTYPES, normal):
        rtol = tolerance(call.dtype, call.terms)
        scales = call.magnitudes().outputs(reference)
        for (what, actual, expected), (_, scale) in zip(
            call.pairs(backend, reference), scales, strict=True
        ):
            error = assert_close(actual, expected, what, rtol=rtol, scale=scale)
            worst = max(worst, error / torch.finfo(call.dtype).eps)
    return f"largest error {worst:.2g} ε of the terms"


def adjoint(backend: Backend, operation: Operation) -> str:
    """⟨A x, g⟩ = ⟨x, Aᵀ g⟩: backward is forward's adjoint, exactly, on whole numbers."""
    for call in calls(backend, operation, operation.some, (torch.float64,), whole):
        for what, left, right in call.adjoint(backend):
            if left != right:
                raise ConformanceError(
                    f"{what}: ⟨A·, g⟩ = {left:g}, but ⟨·, Aᵀ g⟩ = {right:g} (these whole numbers "
                    "must be equal)"
                )
    return ""


def empty(backend: Backend, operation: Operation) -> str:
    """An empty batch gives empty outputs, and zero gradients of the parameters."""
    for call in calls(backend, operation, operation.empty, DTYPES, normal):
        for what, actual, expected in call.pairs(backend, reference_for(backend)):
            assert_same_bits(actual, expected, what)
    return ""
