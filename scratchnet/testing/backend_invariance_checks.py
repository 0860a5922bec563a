"""Checks of what a backend's numbers must not depend on: memory layout, other runs, threads."""

from __future__ import annotations

from functools import partial

import torch

from scratchnet.backends.base import Backend
from scratchnet.testing.backend_calls import DTYPES, calls
from scratchnet.testing.cases import LAYOUTS
from scratchnet.testing.closeness import assert_close, assert_same_bits, tolerance
from scratchnet.testing.operations import Operation
from scratchnet.testing.tensors import normal, whole
from scratchnet.testing.threads import at_once, torch_threads


def layouts(backend: Backend, operation: Operation) -> str:
    """The same bits however each of the tensors lies in memory."""
    for case in operation.few:
        for call in calls(backend, operation, [case], DTYPES, whole):
            plain = call.contiguous()
            for position in plain.tensor_positions():
                for layout in LAYOUTS[1:]:
                    moved = plain.laid_out(position, layout)
                    expected = moved.contiguous().outputs(backend)
                    for (what, actual), (_, same) in zip(
                        moved.outputs(backend), expected, strict=True
                    ):
                        assert_same_bits(actual, same, what)
    return ""


def run_to_run(backend: Backend, operation: Operation) -> str:
    """The same bits each time."""
    for call in calls(backend, operation, operation.some, DTYPES, normal):
        first = call.outputs(backend)
        for _ in range(3):
            for (what, actual), (_, expected) in zip(call.outputs(backend), first, strict=True):
                assert_same_bits(actual, expected, f"{what}, second run against the first")
    return ""


def threads(backend: Backend, operation: Operation) -> str:
    """With 1, 2, 3 and 8 of torch's threads: the same on whole numbers, close on random ones."""
    for values in (whole, normal):
        for call in calls(backend, operation, operation.large, (torch.float32,), values):
            with torch_threads(1):
                single = call.outputs(backend)
            scales = call.magnitudes().outputs(backend)
            for threads in (2, 3, 8):
                for _ in range(2):
                    with torch_threads(threads):
                        several = call.outputs(backend)
                    for (what, actual), (_, expected), (_, scale) in zip(
                        several, single, scales, strict=True
                    ):
                        rtol = 0.0 if values is whole else tolerance(call.dtype, call.terms)
                        assert_close(
                            actual,
                            expected,
                            f"{what}, {threads} threads against 1",
                            rtol=rtol,
                            scale=scale,
                        )
    return ""


def concurrent(backend: Backend, operation: Operation) -> str:
    """Called from four Python threads at once, each call gets its own result."""
    chosen = list(calls(backend, operation, operation.some, (torch.float32,), whole))[:4]
    expected = [call.outputs(backend) for call in chosen]

    def work(i: int) -> None:
        for _ in range(10):
            for (what, actual), (_, same) in zip(
                chosen[i].outputs(backend), expected[i], strict=True
            ):
                assert_same_bits(actual, same, f"{what}, while other threads call, too")

    at_once([partial(work, i) for i in range(len(chosen))])
    return ""
