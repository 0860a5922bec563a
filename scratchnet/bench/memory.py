"""How much more memory steps need than before them, at their peak: each contestant in a process.

The process first works on a single image, so that code and libraries are loaded; then on the
whole batch. What is read is the largest resident set since (the kernel's VmHWM; where there is no
/proc, getrusage's ru_maxrss), and the one before: everything counts, activations, gradients,
optimizer state, workspaces. malloc is left as it is.
"""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from scratchnet.bench.contest import Contestant
from scratchnet.errors import ScratchnetError

STEPS = 3
_SELF = Path("/proc/self")
_MEASURE = "from scratchnet.bench.memory import main; main()"


@dataclass(frozen=True)
class Order:
    """What to measure.

    Attributes:
        contestant: its name.
        make: returns the contestant, ready to work on so many images; it is pickled.
        batch: images.
        threads: to compute with.
    """

    contestant: str
    make: Callable[[int], Contestant]
    batch: int
    threads: int


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process, in bytes.

    Attributes:
        before: when everything was imported, built and used once, before the first step.
        peak: the most during a few steps.
    """

    before: int
    peak: int

    @property
    def needed(self) -> int:
        """What came with the steps."""
        return self.peak - self.before


def measure(order: Order) -> Memory:
    """Let a contestant do a few steps in a new Python process, and return what it needed.

    Raises:
        ScratchnetError: the process fails.
    """
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        input=pickle.dumps(order),
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # same plugins
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        reason = said.rpartition("\n")[2] or f"exit code {done.returncode}"
        raise ScratchnetError(f"the memory of {order.contestant} could not be measured: {reason}")
    return Memory(*map(int, done.stdout.split()))


def peak() -> int:
    """Return this process's largest resident set so far, in bytes.

    ru_maxrss is the second choice: on Linux it starts out at that of the process that started this
    one.
    """
    if (most := _status("VmHWM")) is not None:
        return most
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _status(name: str) -> int | None:
    """An entry of /proc/self/status in bytes; None where there is no such file."""
    if (status := _SELF / "status").exists():
        for line in status.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _forget_peak() -> int:
    """Let the peak start again from what is resident now, where the system can; returns it."""
    with suppress(OSError):
        (_SELF / "clear_refs").write_text("5")  # proc_pid_clear_refs(5): since Linux 4.0
        return _status("VmRSS") or peak()
    return peak()


def main() -> None:
    """Carry out the order on standard input."""
    order: Order = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(order.threads)
    warm = order.make(1)
    for _ in range(STEPS):
        warm.run()
    contestant = order.make(order.batch)
    before = _forget_peak()
    for _ in range(STEPS):
        contestant.run()
    print(before, peak())
