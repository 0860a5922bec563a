"""Memory that a step needs, and memory that malloc keeps."""

from __future__ import annotations

import resource

import pytest
import torch

import scratchnet
from scratchnet.bench import keeps_memory
from scratchnet.bench.memory import Order, measure


def test_memory_is_what_the_batch_needs_beyond_one_picture() -> None:
    arguments = {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1}
    order = Order("scratchnet reference", 16, 1, "Conv2d", arguments, (8, 64, 64))
    columns = 16 * 72 * 64 * 64 * 4  # of the unfolded input, in bytes
    assert columns < measure(order) < 10 * columns


def test_a_plugin_found_here_is_found_by_the_process_that_measures() -> None:
    with pytest.raises(scratchnet.ScratchnetError, match=r"could not be measured: .*no layer 'x'"):
        measure(Order("scratchnet", 2, 1, "x"))
    path = "mutants.layers:AveragingUpsampling"
    assert measure(Order("scratchnet", 2, 1, path, {"scale_factor": 2}, (1, 4, 4))) >= 0


def test_malloc_keeps_its_memory_inside_the_block_alone() -> None:
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(3):
            torch.empty(16_000_000).fill_(1)  # 64 MB, more than malloc keeps by itself
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    pages = 64_000_000 // resource.getpagesize()
    with keeps_memory() as kept:
        faults()
        inside = faults()
    assert inside < pages if kept else True
    if kept:
        assert faults() > 2 * inside + 100
