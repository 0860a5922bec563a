"""Draw what trained networks make of photographs that may be shown.

    python docs/experiments/pictures.py RUN... -o SHEET.png

Each RUN is a folder that `scratchnet train` left; it gives a row, named after the folder. The
images are validation images of the built-in photographs, with the noise `subpixel`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import study

from scratchnet.data import builtin
from scratchnet.denoise.evaluation import NOISY, Method, as_method, sample_sheet
from scratchnet.training import checkpoint

IMAGES, SIDE = 7, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    parser.add_argument("-o", "--out", metavar="SHEET.png", required=True, type=Path)
    arguments = parser.parse_args()
    rows: dict[str, Method] = {NOISY: lambda noisy: noisy}
    for run in arguments.runs:
        network = checkpoint.load(checkpoint.find_weights(str(run))).eval()
        rows[run.name] = as_method(network)
    data = builtin("subpixel", n_train=1, n_val=IMAGES, size=SIDE)
    sample_sheet(arguments.out, data, rows, columns=IMAGES)


if __name__ == "__main__":
    study.guarded(main)
