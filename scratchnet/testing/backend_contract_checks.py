"""Checks of a backend as a bag of pure functions that says what it supports."""

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
from scratchnet.testing.operations import Call, Operation
from scratchnet.testing.tensors import normal, whole


def pure(backend: Backend, operation: Operation) -> str:
    """Inputs are not written to, and outputs share no memory with them or with each other."""
    for call in calls(backend, operation, operation.some, DTYPES, normal):
        before = [tensor.clone() for tensor in call.tensors]
        outputs = call.outputs(backend)
        for i, (tensor, kept) in enumerate(zip(call.tensors, before, strict=True)):
            assert_same_bits(tensor, kept, f"{call}: its tensor argument {i} was written to")
        memory = {tensor.untyped_storage().data_ptr() for tensor in call.tensors}
        for what, output in outputs:
            if output.numel() and output.untyped_storage().data_ptr() in memory:
                raise ConformanceError(f"{what} shares memory with an input, or another output")
            memory.add(output.untyped_storage().data_ptr())
            if output.requires_grad:
                raise ConformanceError(f"{what} is part of an autograd graph")
    return ""


def needs(backend: Backend, operation: Operation) -> str:
    """Each mask gives just those gradients, from what it may read; the rest is None."""
    for call in calls(backend, operation, operation.some, (torch.float64,), whole):
        full = [value for _, value in call.outputs(backend)]
        for number in range(8):
            needs = (bool(number & 1), bool(number & 2), bool(number & 4))
            masked = call.with_needs(needs)
            grads = masked.run(backend)
            if not isinstance(grads, tuple) or len(grads) != 3:
                raise ConformanceError(f"{masked}: expected three gradients, got {grads!r}")
            for name, wanted, grad, expected in zip(
                ("grad_x", "grad_weight", "grad_bias"), needs, grads, full, strict=True
            ):
                if wanted:
                    assert_same_bits(grad, expected, f"{name} of {masked}")
                elif grad is not None:
                    raise ConformanceError(f"{name} of {masked}: expected None, got a tensor")
    return ""


def supports(backend: Backend, operation: Operation) -> str:
    """`supports` says True or a line why not, and where it says True the call runs and is right."""
    refused = 0
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        for call in operation.calls(operation.few, (dtype,), whole):
            verdict = _verdict(backend, call)
            if verdict is not True:
                refused += 1
                continue
            wide = call.in_dtype(torch.float64).outputs(reference_for(backend))
            for (what, actual), (_, expected) in zip(call.outputs(backend), wide, strict=True):
                rtol = tolerance(dtype, call.terms)
                assert_close(actual, expected.to(dtype), f"{what}, {dtype}", rtol=rtol)
    for dtype in DTYPES:
        call = next(iter(operation.calls(operation.few, (dtype,), whole)))
        if _verdict(backend, call) is not True:
            raise ConformanceError(f"{dtype} is not supported: {_verdict(backend, call)}")
    return f"{refused} refused with a reason" if refused else ""


def _verdict(backend: Backend, call: Call) -> object:
    verdict: object = call.ask(backend)
    if verdict is not True and not (isinstance(verdict, str) and verdict and "\n" not in verdict):
        raise ConformanceError(
            f"supports({call}) is expected to return True or one line saying why not, "
            f"got {verdict!r}"
        )
    return verdict


def errors(backend: Backend, operation: Operation) -> str:
    """Arguments that do not fit each other raise, and are not read beyond their ends."""
    count = 0
    for what, call in operation.malformed():
        try:
            call.run(backend)
        except Exception as error:
            if not str(error):
                raise ConformanceError(f"{call} with {what} raised an empty message") from error
            count += 1
        else:
            raise ConformanceError(f"{call} with {what} was not refused")
    return f"{count} refused"
