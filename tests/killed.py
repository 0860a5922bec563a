"""Trainings that are killed and resumed, compared with one that never was.

As a program: ``python tests/killed.py 50`` kills one at 50 random moments.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
import torch

from scratchnet.io import tensorfile
from scratchnet.training import rundir, runs
from scratchnet.training.config import TrainConfig

OPERATIONS = ("replace", "rename", "fsync", "link", "unlink", "mkdir", "rmdir", "open")
"""What changes a directory, or follows a change of a file."""


def train(config: TrainConfig, out: Path, **options: Any) -> None:
    runs.train(config, out, checkpoint_every="2", **options)


def go_on(config: TrainConfig, out: Path) -> None:
    """Do what a user does after a crash: resume, or if there is nothing yet start."""
    train(config, out, resume=(out / rundir.CONFIG).is_file())


def in_a_child(work: Callable[[], None], kill_after: float | None = None) -> int:
    """Do the work in a forked process; return the signal that ended it, 0 if it ended well.

    Args:
        work: what to do.
        kill_after: send SIGKILL after so many seconds.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status <= 0, "the training failed"
    return -status


def counted(work: Callable[[], None], kill_at: int) -> Callable[[], None]:
    """Return work that kills its own process right before its n-th change of a directory."""

    def run() -> None:
        done = 0
        for name in OPERATIONS:
            real = getattr(os, name)

            def step(*arguments: Any, real: Any = real, **options: Any) -> Any:
                nonlocal done
                done += 1
                if done == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            setattr(os, name, step)
        work()

    return run


def outcome(out: Path) -> dict[str, Any]:
    """Everything that a run leaves behind but the time that it took."""
    found: dict[str, Any] = {"files": sorted(path.name for path in out.iterdir())}
    for name in (rundir.WEIGHTS, rundir.BEST, rundir.STATE):
        about, tensors = tensorfile.read(out / name)
        found[name] = {key: value.numpy().tobytes() for key, value in tensors.items()}
        found[name + " about"] = {k: v for k, v in about.items() if k not in ("history", "seconds")}
    with open(out / rundir.METRICS, newline="") as file:
        rows = list(csv.DictReader(file))
    timed = ("seconds", "images_per_second")
    found["metrics"] = [{k: v for k, v in row.items() if k not in timed} for row in rows]
    return found


def main(kills: int) -> None:
    torch.set_num_threads(1)
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        config = tiny.config(data=str(tiny.data_dir(base / "data")), epochs=4, augment=True)
        began = time.monotonic()
        in_a_child(lambda: train(config, base / "whole"))
        length = time.monotonic() - began
        expected = outcome(base / "whole")
        done = runs_done = same = 0
        while done < kills:  # each run once or twice, and then to its end
            out = base / f"run-{runs_done}"
            for _ in range(draw.choice((1, 2))):
                ended = in_a_child(lambda out=out: go_on(config, out), draw.uniform(0, length))  # type: ignore[misc]
                done += ended == signal.SIGKILL
            in_a_child(lambda out=out: go_on(config, out))  # type: ignore[misc]
            runs_done += 1
            same += outcome(out) == expected
        print(f"{done} kills in {runs_done} runs; {same} of these ended as one that ran through")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
