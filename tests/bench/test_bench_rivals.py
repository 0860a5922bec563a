"""What scratchnet is timed against computes the same, or is left out with the reason."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from contests import SMALL

import scratchnet
from scratchnet.bench import Bench
from scratchnet.bench.step import JAX, one_step
from scratchnet.compare.algebra import with_better_algebra
from scratchnet.errors import ArgumentError
from scratchnet.interop import to_torch


@pytest.mark.parametrize("kernel", [1, 2, (3, 4)])
@pytest.mark.parametrize("scale", [1, 2, (2, 3)])
@pytest.mark.parametrize("padding", [0, (0, 1), 2])
def test_the_better_algebra_computes_the_same(
    kernel: object, scale: object, padding: object
) -> None:
    pair = (kernel, kernel) if isinstance(kernel, int) else kernel
    pads = (padding, padding) if isinstance(padding, int) else padding
    layer = scratchnet.Upsampling(3, 4, kernel, scale, padding=padding, dtype=torch.float64)
    network = scratchnet.Sequential(layer)
    if any(p > k - 1 for p, k in zip(pads, pair, strict=True)):
        with pytest.raises(ArgumentError, match="plain upsampling layer"):
            with_better_algebra(network)
        return
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(with_better_algebra(network)(x), to_torch(network)(x))


def test_a_compiled_step_starts_from_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda net: net)
    eager = one_step("torch eager", 1, torch.float32).outcome()
    compiled = one_step("torch.compile", 1, torch.float32).outcome()
    assert all(torch.equal(compiled[name], value) for name, value in eager.items())


def test_a_compilation_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(net: object) -> object:
        class Broken(torch.nn.Sequential):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                raise RuntimeError("no compiler\nand a long story")

        return Broken(torch.nn.Conv2d(3, 3, 1))

    monkeypatch.setattr(torch, "compile", broken)
    found = Bench(replace(SMALL, sections=("step",), batches=[1], compiled=True)).run("")
    (contest,) = found.contests
    assert contest.left_out["torch.compile"] == "torch.compile failed: no compiler"
    assert contest.wrong == []
    assert len(contest.timings) == 4


def test_a_python_without_jax_is_left_out() -> None:
    found = Bench(replace(SMALL, sections=("step",), batches=[1], jax=sys.executable)).run("")
    (contest,) = found.contests
    assert contest.left_out == {JAX: "JAX ended: ModuleNotFoundError: No module named 'jax'"}


FAKE_JAX = """#!{python}
import json, sys
import numpy as np
order = json.loads(sys.argv[-1])
start = np.load(order["arrays"])
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "outcome":
        np.savez(request["into"], *({factor} * start["truth " + n] for n in order["names"]))
        print(json.dumps({{"losses": start["truth losses"].tolist()}}), flush=True)
    else:
        print(json.dumps({{"seconds": 0.25}}), flush=True)
"""


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_jax_is_asked_by_pipe_and_checked_like_everyone(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = one_step("torch eager", 1, torch.float32).outcome()
    extra = {f"truth {k.removeprefix('gradient of ')}": v.numpy() for k, v in truth.items()}
    save = np.savez
    monkeypatch.setattr(np, "savez", lambda file, **arrays: save(file, **{**arrays, **extra}))
    python = tmp_path / "python"
    python.write_text(FAKE_JAX.format(python=sys.executable, factor=factor))
    python.chmod(0o755)
    found = Bench(replace(SMALL, sections=("step",), batches=[1], jax=str(python))).run("")
    (contest,) = found.contests
    if factor == 1:
        assert contest.timings[JAX].seconds == [0.25, 0.25]
    else:
        assert contest.wrong == [JAX]
