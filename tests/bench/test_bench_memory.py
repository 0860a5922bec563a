"""Memory that a step needs, and memory that malloc keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import scratchnet
from scratchnet.bench import Bench, Plan
from scratchnet.bench.memory import keeps_memory, measure


def needed(plan: Plan) -> int:
    """Bytes of the first contestant's forward and backward of a layer."""
    (case,) = Bench(replace(plan, threads=[1])).memory.values()
    name, make = next(iter(case.contestants.items()))
    return measure(name, make, case.images, case.threads).needed


def test_memory_is_what_the_batch_needs_beyond_one_image() -> None:
    arguments = {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1}
    shape = (16, 8, 64, 64)
    columns = 16 * 72 * 64 * 64 * 4  # of the unfolded input, in bytes
    plan = Plan(layer="Conv2d", arguments=arguments, inputs=[shape], backends=["reference"])
    assert columns < needed(plan) < 10 * columns


def test_a_plugin_found_here_is_found_by_the_process_that_measures() -> None:
    plan = Plan(
        layer="mutants.layers:AveragingUpsampling",
        arguments={"scale_factor": 2},
        inputs=[(2, 1, 4, 4)],
    )
    assert needed(plan) >= 0


def test_a_layer_that_only_this_process_knows_cannot_be_measured() -> None:
    class Local(scratchnet.ReLU):
        """Has no place in a module."""

    scratchnet.layers.register("local", Local)
    try:
        with pytest.raises(scratchnet.ScratchnetError, match=r"memory of scratchnet could not .*"):
            needed(Plan(layer="local", inputs=[(2, 1, 4, 4)]))
    finally:
        scratchnet.layers.unregister("local")


def test_malloc_keeps_its_memory_inside_the_block_alone() -> None:
    def given_back() -> int:
        ballast = torch.ones(16_000_000)  # 64 MB, more than malloc keeps by itself
        most = resident()
        del ballast
        return most - resident()

    with keeps_memory() as kept:
        inside = given_back() if kept else 0
    if kept:
        assert inside < 4_000_000
        assert given_back() > 60_000_000


def resident() -> int:
    """The memory that this process has now, in bytes."""
    (line,) = (s for s in Path("/proc/self/status").read_text().splitlines() if "VmRSS:" in s)
    return int(line.split()[1]) * 1024
