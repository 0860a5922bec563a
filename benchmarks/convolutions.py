"""Single convolutions, forward and backward, against torch's own in its better layout.

python benchmarks/convolutions.py --threads 2 --rounds 20

`scratchnet bench convolutions` does the same and draws it.
"""

from __future__ import annotations

import argparse
import shlex
import sys

import torch

from scratchnet.bench import Bench, Plan, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--double", action="store_true", help="float64")
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    arguments = parser.parse_args()
    plan = Plan(
        sections=["convolutions"],
        threads=[arguments.threads],
        rounds=arguments.rounds,
        dtype=torch.float64 if arguments.double else torch.float32,
        shapes=arguments.only,
    )
    result = Bench(plan).run(shlex.join(["python", *sys.argv]))
    print(text(result), end="")
    sys.exit(bool(result.wrong))


if __name__ == "__main__":
    main()
