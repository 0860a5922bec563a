"""Peak memory of a training, measured in a process of its own.

What is read is the process's resident set at its largest (the kernel's VmHWM; where there is no
/proc, getrusage's ru_maxrss). So it counts everything: tensors of both kinds, kernels' workspaces,
autograd's graph, and the code that the steps page in.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from scratchnet.backends.dispatch import set_backend
from scratchnet.compare.contestants import contestant
from scratchnet.data import NoisyPairs, to_float
from scratchnet.errors import ScratchnetError
from scratchnet.training.config import TrainConfig
from scratchnet.training.runs import make_trainer

STEPS = 5
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process that trains, in bytes.

    Attributes:
        before: its peak when everything was imported and built, before the first step.
        peak: its peak after a few steps.
    """

    before: int
    peak: int


def measure(name: str, config: TrainConfig, size: tuple[int, int], threads: int) -> Memory:
    """Train a contestant for a few steps in a new Python process and return what it needed.

    Args:
        name: the contestant's.
        config: network, optimizer, batch size and backend.
        size: (H, W) of the images.
        threads: that the process computes with.

    Raises:
        ScratchnetError: if the process fails.
    """
    order = {"name": name, "config": config.as_dict(), "size": size, "threads": threads}
    done = subprocess.run(
        [sys.executable, "-m", "scratchnet.compare.memory", json.dumps(order)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise ScratchnetError(f"the memory of {name} could not be measured: {reason}")
    return Memory(**json.loads(done.stdout))


def peak() -> int:
    """Return this process's largest resident set so far, in bytes.

    ru_maxrss is the second choice: on Linux it starts out at that of the process that started this
    one.
    """
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _main(order: str) -> None:
    given = json.loads(order)
    config = TrainConfig().replace(**given["config"])
    generator = torch.Generator().manual_seed(0)
    shape = (config.batch_size, 3, *given["size"])
    a, b = (torch.randint(256, shape, generator=generator, dtype=torch.uint8) for _ in range(2))
    data = NoisyPairs(a, b, a[:1], b[:1], val_is_clean=False, source="random")
    torch.set_num_threads(given["threads"])
    set_backend(config.backend or "auto")
    trainer = make_trainer(config, data)
    one = contestant(given["name"], trainer, config)
    noisy, target = (to_float(images).to(trainer.dtype) for images in (a, b))
    before = peak()
    for _ in range(STEPS):
        one.step(noisy, target)
    print(json.dumps({"before": before, "peak": peak()}))


if __name__ == "__main__":
    _main(sys.argv[1])
