"""Checks of what an implementation's numbers must not depend on: layout, other runs, threads."""

from __future__ import annotations

from functools import partial

import torch

from scratchnet.testing.calls import DTYPES, Subject
from scratchnet.testing.closeness import assert_same_bits, assert_within
from scratchnet.testing.tensors import normal, whole
from scratchnet.testing.threads import at_once, torch_threads


def layouts(s: Subject) -> str:
    """The same bits however each of the tensors lies in memory."""
    for plain in s.calls(s.few, DTYPES, whole):
        for moved in plain.each(torch.Tensor.contiguous, "contiguous").relaid():
            if s.implementation.supports(*moved.tensors, **moved.options) is not True:
                continue
            same = moved.each(torch.Tensor.contiguous)
            results = moved.results(s.implementation)
            if not s.op.exact(**moved.options):
                for (what, actual), bound in zip(results, moved.bounds(), strict=True):
                    assert_within(actual, bound, what)
                continue
            for (what, actual), (_, expected) in zip(
                results, same.results(s.implementation), strict=True
            ):
                assert_same_bits(actual, expected, what)
    return ""


def run_to_run(s: Subject) -> str:
    """The same bits each time."""
    for call in s.calls(s.some, DTYPES, normal):
        first = call.results(s.implementation)
        for _ in range(3):
            for (what, actual), (_, expected) in zip(
                call.results(s.implementation), first, strict=True
            ):
                assert_same_bits(actual, expected, f"{what}, second run against the first")
    return ""


def threads(s: Subject) -> str:
    """With 1, 2, 3 and 8 of torch's threads: the same on whole numbers, close on random ones."""
    for values in (whole, normal):
        for call in s.calls(s.large, (torch.float32,), values):
            with torch_threads(1):
                single = call.results(s.implementation)
            bounds = call.bounds()
            for threads in (2, 3, 8):
                for _ in range(2):
                    with torch_threads(threads):
                        several = call.results(s.implementation)
                    for (what, actual), (_, expected), bound in zip(
                        several, single, bounds, strict=True
                    ):
                        what = f"{what}, {threads} threads against 1"
                        if values is whole and s.op.exact(**call.options):
                            assert_same_bits(actual, expected, what)
                        else:
                            assert_within(actual, bound, what)
    return ""


def concurrent(s: Subject) -> str:
    """Called from four Python threads at once, each call gets its own result."""
    chosen = list(s.calls(s.some, (torch.float32,), whole))[:4]
    expected = [call.results(s.implementation) for call in chosen]

    def work(i: int) -> None:
        for _ in range(10):
            for (what, actual), (_, same) in zip(
                chosen[i].results(s.implementation), expected[i], strict=True
            ):
                assert_same_bits(actual, same, f"{what}, while other threads call, too")

    at_once([partial(work, i) for i in range(len(chosen))])
    return ""
