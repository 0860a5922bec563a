"""A training step of the paper's network: forward, MSE, backward of all parameters, SGD.

    python benchmarks/training_step.py --batch 40 --threads 2 --rounds 60 [--compile]
    python benchmarks/training_step.py --inference

Prints, for scratchnet and for torch in several ways of writing the same step, the least and the
median time, and their ratios to scratchnet's. `scratchnet bench step` does the same and draws it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from scratchnet.bench import Bench, Plan, text

JAX = Path(__file__).with_name("jax_rival.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--compile", action="store_true", help="also torch.compile, both layouts")
    parser.add_argument("--inference", action="store_true", help="the forward alone, no gradients")
    parser.add_argument("--jax-python", metavar="FILE", help="also JAX: a Python that has it")
    arguments = parser.parse_args()
    if arguments.jax_python:
        os.environ["JAX_PYTHON"] = arguments.jax_python
    plan = Plan(
        sections=["inference" if arguments.inference else "step"],
        batches=[arguments.batch],
        threads=[arguments.threads],
        rounds=arguments.rounds,
        compiled=arguments.compile,
        rivals=[str(JAX)] if arguments.jax_python else [],
    )
    result = Bench(plan).run(shlex.join(["python", *sys.argv]))
    print(text(result), end="")
    sys.exit(bool(result.wrong))


if __name__ == "__main__":
    main()
