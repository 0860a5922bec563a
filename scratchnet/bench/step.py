"""The cases of the paper's network: a training step, and inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, partial

import torch
from torch import Tensor

from scratchnet import models
from scratchnet.bench import rival
from scratchnet.bench.contest import Case, Contestant, Outcome, backend_of, our_name, plural, short
from scratchnet.bench.networks import Ours, Torch, inference, laid_out, torch_network, training
from scratchnet.layers.containers import Sequential
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.upsampling import Upsampling
from scratchnet.optim import SGD
from scratchnet.testing.tensors import generator

LR = 0.5
SIZE = 32
"""Height and width of the images, as in the paper's experiment."""

# name: (channels_last, better algebra, compiled)
TORCH = {
    "torch eager": (False, False, False),
    "torch eager channels_last": (True, False, False),
    "torch, better algebra, channels_last": (True, True, False),
}
COMPILED = {
    "torch.compile": (False, False, True),
    "torch.compile channels_last": (True, False, True),
    "torch.compile, better algebra, channels_last": (True, True, True),
}


def start(batch: int, dtype: torch.dtype) -> tuple[Sequential, Tensor, Tensor]:
    """Return a network, images and targets; the same each time."""
    model = models.noise2noise(generator=generator(0)).to(dtype=dtype)
    x, y = torch.rand(2, batch, 3, SIZE, SIZE, generator=generator(1)).to(dtype)
    return model, x, y


def contestant(name: str, dtype: torch.dtype, trains: bool, batch: int) -> Contestant:
    """Return the contestant called ``name``: one of TORCH and COMPILED, or one of ours."""
    model, x, y = start(batch, dtype)
    names = [name for name, _, _ in model.named_param()]
    one: Ours | Torch
    if name in TORCH or name in COMPILED:
        last, better, compiled = (TORCH | COMPILED)[name]
        net = torch_network(model, channels_last=last, better_algebra=better, compiled=compiled)
        x, y = laid_out(x, last), laid_out(y, last)
        one = Torch(net, torch.optim.SGD(net.parameters(), lr=LR), channels_last=last)
        one.model.train(trains)
        if compiled:
            one.compile(x, y)
    else:
        one = Ours(model, SGD(model.param(), LR), backend_of(name))
    return training(one, names, x, y) if trains else inference(one, x)


def case(
    section: str,
    batch: int,
    threads: int,
    dtype: torch.dtype,
    *,
    backends: Sequence[str],
    compiled: bool = False,
    rivals: Sequence[rival.Rival] = (),
) -> Case:
    """The training step (forward, MSE, backward of all parameters, SGD), or the forward alone.

    Args:
        section: of the benchmark; in "inference" the forward alone.
        batch: images a step.
        threads: to compute with.
        dtype: of everything.
        backends: each makes a contestant; the first is the one others are compared with.
        compiled: let torch.compile take part.
        rivals: who else takes part.
    """
    trains = section != "inference"
    names = [*map(our_name, backends), *TORCH, *(COMPILED if compiled else [])]
    make: dict[str, Callable[[], Contestant]] = {
        name: partial(contestant, name, dtype, trains, batch) for name in names
    }
    make |= {other.name: partial(_rival, other, batch, dtype) for other in rivals}
    what = "training step" if trains else "inference"
    return Case(
        section,
        f"{what}, batch {batch}, {plural(threads, 'thread')}, {short(dtype)}",
        threads,
        dtype,
        make,
        partial(_exact, trains, batch),
        images=batch,
        work=batch * len(make) / (2 if trains else 6) / threads,
    )


def course_case(batch: int, threads: int, rivals: Sequence[rival.Rival] = ()) -> Case:
    """The training step by the backend `reference`, against first programs for the same network."""
    ours = our_name("reference")
    make: dict[str, Callable[[], Contestant]] = {
        f"{ours}, {short(dtype)}": partial(contestant, ours, dtype, True, batch)
        for dtype in (torch.float32, torch.float64)
    }
    make |= {other.name: partial(_rival, other, batch, torch.float64) for other in rivals}
    return Case(
        "course",
        f"training step by `reference`, batch {batch}, {plural(threads, 'thread')}",
        threads,
        torch.float32,
        make,
        partial(_exact, True, batch),
        images=batch,
        work=batch * 10 * len(make) / threads,
    )


def gflop(model: Sequential, batch: int, size: int = SIZE) -> float:
    """The arithmetic of a training step by the cheapest algebra known here, in GFLOP.

    A multiplication and an addition are two; a convolution after upsampling is counted at the low
    resolution (docs/adr/0007-upsampling-algebra.md). The backward costs twice the forward, but for
    the first layer, whose input needs no gradient.
    """
    x, total = torch.zeros(1, 3, size, size), 0
    for layer in deepcopy(model).eval():
        y = layer.forward(x)
        if isinstance(layer, Conv2d | Upsampling):
            where = x if isinstance(layer, Upsampling) else y
            times = 3 if total else 2
            total += times * layer.weight.numel() * where.shape[2] * where.shape[3]
        x = y
    return 2 * total * batch / 1e9


@cache
def _exact(trains: bool, batch: int) -> Outcome:
    """In float64, by autograd: from the weights and images in float32, so for all."""
    model, x, y = start(batch, torch.float32)
    names = [name for name, _, _ in model.named_param()]
    net = torch_network(model.to(dtype=torch.float64), channels_last=False)
    one = Torch(net, torch.optim.SGD(net.parameters(), lr=LR), channels_last=False)
    wide = (x.double(), y.double())
    return (training(one, names, *wide) if trains else inference(one, wide[0])).outcome()


def _rival(other: rival.Rival, batch: int, dtype: torch.dtype) -> Contestant:
    return rival.contestant(other, *start(batch, dtype), lr=LR)
