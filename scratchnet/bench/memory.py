"""How much more memory steps need than before them, at their peak: each contestant in a process.

The process first works on a single image, so that code and libraries are loaded; then on the whole
batch. What is read is the largest resident set since (the kernel's VmHWM; where there is no /proc,
getrusage's ru_maxrss), and the one before: everything counts, activations, gradients, optimizer
state, workspaces. malloc is left as it is; :func:`keeps_memory` is for what is timed.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from scratchnet.bench.contest import Contestant
from scratchnet.errors import ScratchnetError

STEPS = 3
_SELF = Path("/proc/self")
# Names and numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_MIB = 2**20
_MEASURE = "from scratchnet.bench.memory import main; main()"


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process, in bytes: before the first of a few steps, and their peak."""

    before: int
    peak: int

    @property
    def needed(self) -> int:
        """What came with the steps."""
        return self.peak - self.before


def measure(name: str, make: Callable[[int], Contestant], images: int, threads: int) -> Memory:
    """Let a contestant, which ``make`` makes to work on so many images, do a few steps in a new
    Python process, and return what it needed.

    Raises:
        ScratchnetError: it cannot be pickled, or the process fails.
    """
    try:
        order = pickle.dumps((make, images, threads))
    except Exception as error:  # classes that only this process knows
        raise ScratchnetError(f"the memory of {name} could not be measured: {error}") from error
    done = subprocess.run(
        [sys.executable, "-P", "-c", _MEASURE],
        input=order,
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # same plugins
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        reason = said.rpartition("\n")[2] or f"exit code {done.returncode}"
        raise ScratchnetError(f"the memory of {name} could not be measured: {reason}")
    return Memory(*map(int, done.stdout.split()))


def peak() -> int:
    """Return this process's largest resident set so far, in bytes."""
    if (most := _status("VmHWM")) is not None:
        return most
    # the second choice: on Linux it starts out at that of the process that started this one
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
    make, images, threads = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    warm = make(1)
    for _ in range(STEPS):
        warm.run()
    contestant = make(images)
    before = _forget_peak()
    for _ in range(STEPS):
        contestant.run()
    print(before, peak())


@contextmanager
def keeps_memory() -> Iterator[bool]:
    """Let malloc keep freed memory inside the block; yields whether it does.

    glibc gives large blocks back to the system when they are freed, and takes them again, zeroed
    page by page, at the next allocation: a step of training can spend a third of its time so. The
    setting serves whoever allocates most; other C libraries are left as they are.

    Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield False
        return
    kept = bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
    try:
        yield kept
    finally:
        # where glibc's own adjustment, which setting anything ends, arrives in a program like this
        mallopt(_MMAP_MAX, 65536)
        mallopt(_MMAP_THRESHOLD, 32 * _MIB)
        mallopt(_TRIM_THRESHOLD, 64 * _MIB)
        ctypes.CDLL(None).malloc_trim(0)
