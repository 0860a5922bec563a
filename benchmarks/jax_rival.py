"""JAX's training step as a rival: in a process of its own, step by step on request.

python -m venv jax-env && jax-env/bin/pip install jax
JAX_PYTHON=jax-env/bin/python scratchnet bench step --rival benchmarks/jax_rival.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scratchnet.errors import ScratchnetError
from scratchnet.layers.containers import Sequential

VARIABLE = "JAX_PYTHON"
KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
}
"""What scratchnet.bench lets its own malloc do."""
PAUSE = 0.01
"""Seconds before a step: threads that wait for more work spin a while, here and there."""


class JaxStep:
    """A training step by JAX, jitted, on the CPU.

    Args:
        python: of an environment with jax.
        model: whose weights to begin with.
        x: images (N, 3, H, W), float32.
        y: what the network should make of them.
        lr: learning rate.
        threads: that JAX may use.

    Raises:
        ScratchnetError: the process cannot be started, or ends.
    """

    def __init__(
        self, python: str, model: Sequential, x: Tensor, y: Tensor, *, lr: float, threads: int
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="scratchnet-")
        arrays = Path(self._folder.name) / "start.npz"
        state = {name: value.numpy() for name, value in model.state_dict().items()}
        np.savez(arrays, allow_pickle=False, x=x.numpy(), y=y.numpy(), **state)
        order = {"arrays": str(arrays), "names": list(state), "lr": lr, "threads": threads}
        script = Path(__file__).with_name("jax_step.py")
        self._errors = (Path(self._folder.name) / "errors.txt").open("w+")
        try:
            self._process = subprocess.Popen(
                [python, "-I", str(script), json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=os.environ | KEEPS_MEMORY,
            )
        except OSError as error:
            self._errors.close()
            self._folder.cleanup()
            raise ScratchnetError(f"cannot start {python}: {error.strerror}") from error

    def run(self) -> float:
        """Do two steps; returns the seconds of the second one, measured over there."""
        time.sleep(PAUSE)
        seconds: float = self._ask(do="run")["seconds"]
        time.sleep(PAUSE)
        return seconds

    def outcome(self, steps: int) -> tuple[Tensor, list[Tensor]]:
        """Do some steps; return the loss before each, and the gradients of the first."""
        into = Path(self._folder.name) / "gradients.npz"
        losses = self._ask(do="outcome", steps=steps, into=str(into))["losses"]
        with np.load(into) as found:
            gradients = [torch.from_numpy(found[key]) for key in found.files]
        return torch.tensor(losses), gradients

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.stdin.close()
            self._process.stdout.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        self._folder.cleanup()

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            self._process.wait()
            self._errors.seek(0)
            reason = self._errors.read().strip().rpartition("\n")[2]
            raise ScratchnetError(f"JAX ended: {reason or 'no reason given'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class rival:
    name = "JAX jit"
    section = "step"

    def available(self) -> bool | str:
        python = os.environ.get(VARIABLE, "")
        if shutil.which(python):
            return True
        what = f"there is no program {python}" if python else f"{VARIABLE} is not set"
        return (
            f"{what}: make an environment by `python -m venv DIR && DIR/bin/pip install jax` and "
            f"set {VARIABLE}=DIR/bin/python"
        )

    def prepare(
        self, model: Sequential, x: Tensor, y: Tensor, *, lr: float, threads: int
    ) -> JaxStep:
        if x.dtype != torch.float32:
            raise ScratchnetError("JAX takes part in float32 alone")
        return JaxStep(os.environ[VARIABLE], model, x, y, lr=lr, threads=threads)
