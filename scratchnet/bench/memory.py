"""How much more memory a step needs than before it, at its peak: each contestant in a process.

The process first works on a single image, so that code and libraries are loaded; then on the
whole batch. What counts is the largest resident set since, less the one before: activations,
gradients, workspaces. malloc is left as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from scratchnet.backends.dispatch import AUTO
from scratchnet.bench import layer, step
from scratchnet.bench.contest import OURS, Contestant
from scratchnet.compare.memory import peak
from scratchnet.errors import ScratchnetError

STEPS = 3
_SELF = Path("/proc/self")


@dataclass(frozen=True)
class Order:
    """What to measure.

    Attributes:
        contestant: its name.
        batch: images.
        threads: to compute with.
        layer: name of a layer, or None for the training step of the paper's network.
        arguments: of the layer; None for its own.
        shape: of the layer's input, without the batch.
        dtype: ``"float32"`` or ``"float64"``.
    """

    contestant: str
    batch: int
    threads: int
    layer: str | None = None
    arguments: dict[str, Any] | None = None
    shape: tuple[int, ...] = ()
    dtype: str = "float32"


def measure(order: Order) -> int:
    """Return the memory that the steps needed, in bytes.

    Raises:
        ScratchnetError: the process fails.
    """
    done = subprocess.run(
        [sys.executable, "-m", "scratchnet.bench.memory", json.dumps(asdict(order))],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # same plugins
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise ScratchnetError(f"its memory could not be measured: {reason}")
    return int(done.stdout)


def _make(order: Order, batch: int) -> Contestant:
    dtype: torch.dtype = getattr(torch, order.dtype)
    if order.layer is None:
        return step.one_step(order.contestant, batch, dtype)
    (subject,) = layer.subjects(
        order.layer, order.arguments, [(batch, *order.shape)] if order.shape else [], dtype
    )
    backend = order.contestant.removeprefix(OURS).strip() or AUTO
    make: dict[str, Callable[[], Contestant]]
    make = layer.contestants(subject, [backend], backward=True)
    return make[order.contestant]()


def _resident() -> int:
    for line in (_SELF / "status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _forget_peak() -> int:
    """Let the peak start again from what is resident now, where the system can; returns it."""
    with suppress(OSError):
        (_SELF / "clear_refs").write_text("5")  # proc_pid_clear_refs(5): since Linux 4.0
        return _resident()
    return peak()


def _main(order: Order) -> None:
    torch.set_num_threads(order.threads)
    warm = _make(order, 1)
    for _ in range(STEPS):
        warm.run()
    contestant = _make(order, order.batch)
    before = _forget_peak()
    for _ in range(STEPS):
        contestant.run()
    print(peak() - before)


if __name__ == "__main__":
    _main(Order(**json.loads(sys.argv[1])))
