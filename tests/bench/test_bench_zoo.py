"""`bench zoo`: every operation with a kernel, at a size that counts, equal before it is timed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from scratchnet import backends, ops
from scratchnet.bench import Bench, Plan, text, zoo
from scratchnet.bench.race import check


def test_every_operation_with_a_kernel_is_there() -> None:
    titles = [case.title for case in zoo.cases(1, torch.float32, ["auto"])]
    cpp = backends.get("cpp")
    wanted = [
        name
        for name in ops.names()
        if cpp.implementation(ops.get(name)) is not None and name not in zoo._LEFT_OUT
    ]
    assert [name for name in wanted if not any(t.split()[0] == name for t in titles)] == []
    assert "relu 16x64x32x32" in titles
    assert "zoo" not in Plan().running


@pytest.mark.parametrize("name", ["embedding", "softmax"])
def test_all_contestants_compute_what_is_expected(name: str) -> None:
    (case,) = [c for c in zoo.cases(1, torch.float32, ["auto"]) if c.title.split()[0] == name]
    assert list(case.contestants) == ["scratchnet", "torch", "torch channels_last"]
    expected = case.expected()
    for make in case.contestants.values():
        check(make(case.images).outcome(), expected)


def test_one_table_with_the_better_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    every = list(zoo.cases(1, torch.float32, ["auto"]))
    few = [replace(c, images=1) for c in every if c.title.split()[0] in ("tanh", "sigmoid")]
    monkeypatch.setattr(zoo, "cases", lambda *args: few)
    monkeypatch.setattr(zoo, "NETWORKS", {})
    found = Bench(Plan(sections=["zoo"], threads=[1], rounds=1)).run("")
    lines = text(found).splitlines()
    (head,) = [line for line in lines if line.startswith("operations and networks")]
    assert "torch's better layout as a multiple of ours" in head
    assert any(line.startswith("tanh 16x64x32x32") for line in lines)
    assert any(line.startswith("geometric mean: ") for line in lines)
