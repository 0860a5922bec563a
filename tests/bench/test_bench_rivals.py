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
from scratchnet.bench.algebra import with_better_algebra
from scratchnet.bench.contest import Contest
from scratchnet.bench.step import torchs
from scratchnet.errors import ArgumentError
from scratchnet.interop import to_torch

SCRIPTS = Path(__file__).parent.parent.parent / "benchmarks"
COURSE, JAX = "course_style.py", "jax_rival.py"


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
    for trains in (True, False):
        eager = torchs("torch eager", torch.float32, trains, 1).outcome()
        compiled = torchs("torch.compile", torch.float32, trains, 1).outcome()
        assert all(torch.equal(compiled[name], value) for name, value in eager.items())


def test_a_compilation_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(net: object) -> object:
        class Broken(torch.nn.Sequential):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                raise RuntimeError("no compiler\nand a long story")

        return Broken(torch.nn.Conv2d(3, 3, 1))

    monkeypatch.setattr(torch, "compile", broken)
    plan = replace(SMALL, sections=("step", "inference"), batches=[1], compiled=True)
    for contest in Bench(plan).run("").contests:
        assert contest.left_out["torch.compile"] == "torch.compile failed: no compiler"
        assert contest.wrong == []
        assert len(contest.timings) == 4


OWN_STEP = """
from scratchnet.bench.contestants import Ours, first_steps, gradients
from scratchnet import MSE, SGD

class Step:
    def __init__(self, model, x, y, lr):
        self.one, self.x, self.y = Ours(model, SGD(model.param(), lr), MSE(), "auto"), x, y

    def run(self):
        self.one.step(self.x, self.y)
        return self.one.loss * {factor}

    def outcome(self, steps):
        return first_steps(self.run, lambda: gradients(self.one.model), steps)

    def close(self):
        pass

class rival:
    name = "mine"
    section = "{section}"

    def available(self):
        return {available!r}

    def prepare(self, model, x, y, *, lr, threads):
        assert threads == 1
        return Step(model, x, y, lr)
"""


def own(tmp_path: Path, **changes: object) -> str:
    file = tmp_path / "mine.py"
    given = {"factor": 1, "section": "step", "available": True, **changes}
    file.write_text(OWN_STEP.format(**given))
    return str(file)


def against(rival: str | Path, **changes: object) -> Contest:
    plan = replace(SMALL, sections=("step",), batches=[1], rivals=[str(rival)], **changes)
    (contest,) = Bench(plan).run("").contests
    return contest


def test_anybodys_step_takes_part_and_is_checked_like_everyone(tmp_path: Path) -> None:
    assert len(against(own(tmp_path)).timings["mine"]) == 2
    assert against(own(tmp_path, factor=1.01)).wrong == ["mine"]
    missing = against(own(tmp_path, available="it is not installed"))
    assert missing.left_out == {"mine": "it is not installed"}
    assert missing.wrong == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no file"),
        ("", r"expected to define a function rival\(\)"),
        ("def rival(): return 3", "got 3, section None"),
        (OWN_STEP.format(factor=1, section="memory", available=True), "section 'memory'"),
        (OWN_STEP.format(factor=1, section="course", available=True), "is not measured: name that"),
    ],
)
def test_a_rival_that_cannot_take_part(text: str | None, says: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ArgumentError, match=says):
        against(tmp_path / "mine.py")


def test_the_first_program_takes_part_beside_the_reference() -> None:
    plan = replace(SMALL, sections=("course",), batches=[1], rivals=[str(SCRIPTS / COURSE)])
    (contest,) = Bench(plan).run("").contests
    assert contest.left_out == {}
    assert list(contest.timings) == [
        "scratchnet reference, float32", "scratchnet reference, float64", "course style, float64",
    ]  # fmt: skip


def test_jax_is_left_out_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_PYTHON", raising=False)
    assert "JAX_PYTHON is not set: make" in against(SCRIPTS / JAX).left_out["JAX jit"]
    monkeypatch.setenv("JAX_PYTHON", "/no/python")
    assert "no program /no/python: make" in against(SCRIPTS / JAX).left_out["JAX jit"]
    monkeypatch.setenv("JAX_PYTHON", sys.executable)
    assert against(SCRIPTS / JAX).left_out == {
        "JAX jit": "JAX ended: ModuleNotFoundError: No module named 'jax'"
    }
    wide = against(SCRIPTS / JAX, dtype=torch.float64)
    assert wide.left_out == {"JAX jit": "JAX takes part in float32 alone"}


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
    truth = torchs("torch eager", torch.float32, True, 1).outcome()
    extra = {f"truth {k.removeprefix('gradient of ')}": v.numpy() for k, v in truth.items()}
    save = np.savez
    monkeypatch.setattr(np, "savez", lambda file, **arrays: save(file, **{**arrays, **extra}))
    python = tmp_path / "python"
    python.write_text(FAKE_JAX.format(python=sys.executable, factor=factor))
    python.chmod(0o755)
    monkeypatch.setenv("JAX_PYTHON", str(python))
    contest = against(SCRIPTS / JAX)
    if factor == 1:
        assert contest.timings["JAX jit"] == [0.25, 0.25]
    else:
        assert contest.wrong == ["JAX jit"]
