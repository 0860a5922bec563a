"""Calls that nobody would make, of every operation, on the kernels: ``make fuzz``.

``python tests/fuzz.py SECONDS [SEED]`` draws a case of an operation, changes shapes, options,
layouts, dtypes and the number of threads, and computes it with the runtime cross-check: an error of
scratchnet's own or the reference's result is right, everything else is a finding. It prints what
reproduces one, and ends with exit code 1 after the time is up.
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

import torch
from torch import Tensor

from scratchnet import ops
from scratchnet.backends import dispatch
from scratchnet.errors import ScratchnetError
from scratchnet.ops.op import LAYOUTS, Case, Op
from scratchnet.testing import tensors
from scratchnet.verify.mismatch import VerificationError

LARGEST = 2**16  # elements of a tensor: small calls are quick, and as odd
DTYPES = (torch.float32, torch.float64)
ODD = (0, 1, 2, 3, 5, 7, 16, 17, 33)


def changed(value: Any, draw: random.Random) -> Any:
    """Return an option's value, or another one like it."""
    if isinstance(value, bool) or draw.random() < 0.7:
        return value
    if isinstance(value, int):
        return draw.choice((-1, 0, 1, 2, 3, 2**31, 2**62))
    if isinstance(value, tuple) and all(isinstance(v, int) for v in value):
        return tuple(draw.choice((v, v, -1, 0, 1, 2, 7, 2**40)) for v in value)
    return value


def tensor(shape: tuple[int, ...], dtype: torch.dtype, draw: random.Random) -> Tensor | None:
    """Return a tensor of about this shape, in any layout; None if it would be large."""
    sizes = [draw.choice(ODD) if draw.random() < 0.15 else size for size in shape]
    if draw.random() < 0.03:
        sizes = sizes[:-1]
    count = 1
    for size in sizes:
        count *= size
    if count > LARGEST:
        return None
    made = tensors.normal(
        sizes, draw.choice(DTYPES) if draw.random() < 0.03 else dtype, draw.randrange(99)
    )
    if len(sizes) == 4 and draw.random() < 0.5:
        made = tensors.laid_out(made, draw.choice(LAYOUTS))
    if draw.random() < 0.05:
        made = torch.complex(made, made).conj().imag  # a view that negates
    return made


def attempt(op: Op, case: Case, draw: random.Random) -> str | None:
    """Make one call and its backward; return what is wrong with it, if anything."""
    dtype = draw.choice(DTYPES)
    given = [None if shape is None else tensor(shape, dtype, draw) for shape in case.shapes]
    if any(t is None for t, shape in zip(given, case.shapes, strict=True) if shape is not None):
        return None
    options = {name: changed(value, draw) for name, value in case.options.items()}
    torch.set_num_threads(draw.choice((1, 2, 3)))
    said = [None if t is None else (tuple(t.shape), t.stride(), t.dtype) for t in given]
    what = f"{op.name}({said}, {options})"
    try:
        y, back = dispatch.run(op, *given, **options)
        if isinstance(y, Tensor) and y.is_floating_point() and case.backward:
            back(torch.ones_like(y))
    except VerificationError as error:
        return f"{what}: {error}"
    except (ScratchnetError, MemoryError):
        return None
    except Exception as error:
        if "allocate memory" in str(error) or "Storage size" in str(error):
            return None  # torch's words for too little
        return f"{what}: {type(error).__name__}: {error}"
    return None


def main(seconds: float, seed: int) -> int:
    """Fuzz for so long; return the number of findings."""
    os.environ["SCRATCHNET_VERIFY"] = "1"
    draw, end, calls = random.Random(seed), time.monotonic() + seconds, 0
    names = [name for name in ops.names() if not ops.get(name).integers]
    found: dict[str, str] = {}
    while time.monotonic() < end:
        op = ops.get(draw.choice(names))
        finding = attempt(op, draw.choice(op.cases()), draw)
        calls += 1
        if finding is not None and op.name not in found:
            found[op.name] = finding
            print(finding, flush=True)
    print(f"seed {seed}: {calls} calls of {len(names)} operations, {len(found)} with findings")
    return len(found)


if __name__ == "__main__":
    budget = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    sys.exit(min(main(budget, int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())), 1))
