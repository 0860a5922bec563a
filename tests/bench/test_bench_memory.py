"""Memory that a step needs, and memory that malloc keeps."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

import scratchnet
from scratchnet.bench import layer as one_layer
from scratchnet.bench.malloc import keeps_memory
from scratchnet.bench.memory import Order, measure


def layer(
    name: str,
    arguments: dict[str, object] | None,
    shape: tuple[int, ...],
    batch: int = 2,
    contestant: str = "scratchnet",
) -> Order:
    make = partial(one_layer.contestant, contestant, name, arguments, shape, torch.float32)
    return Order(contestant, make, batch, threads=1)


def test_memory_is_what_the_batch_needs_beyond_one_image() -> None:
    arguments = {"in_channels": 8, "out_channels": 8, "kernel_size": 3, "padding": 1}
    order = layer("Conv2d", arguments, (8, 64, 64), batch=16, contestant="scratchnet reference")
    columns = 16 * 72 * 64 * 64 * 4  # of the unfolded input, in bytes
    assert columns < measure(order).needed < 10 * columns


def test_a_plugin_found_here_is_found_by_the_process_that_measures() -> None:
    with pytest.raises(scratchnet.ScratchnetError, match=r"could not be measured: .*no layer 'x'"):
        measure(layer("x", None, ()))
    path = "mutants.layers:AveragingUpsampling"
    assert measure(layer(path, {"scale_factor": 2}, (1, 4, 4))).needed >= 0


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
