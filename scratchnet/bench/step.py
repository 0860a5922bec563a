"""The cases of the paper's network: a training step, and inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, partial

import torch
from torch import Tensor, nn

from scratchnet import models
from scratchnet.bench import contestants
from scratchnet.bench.contest import Case, Contestant, Outcome, our_name, plural, setting, short
from scratchnet.bench.contestants import Ours, Torch, laid_out
from scratchnet.bench.rival import Rival
from scratchnet.errors import ScratchnetError
from scratchnet.layers.containers import Sequential
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.regression_loss import MSE
from scratchnet.layers.upsampling import Upsampling
from scratchnet.optim import SGD
from scratchnet.testing.tensors import generator

LR = 0.5
SIZE = 32
"""Height and width of the images, as in the paper's experiment."""

# name: (channels_last, better algebra)
TORCH = {
    "torch eager": (False, False),
    "torch eager channels_last": (True, False),
    "torch, better algebra, channels_last": (True, True),
}
COMPILED = {n.replace(" eager", "").replace("torch", "torch.compile"): TORCH[n] for n in TORCH}


def start(batch: int, dtype: torch.dtype) -> tuple[Sequential, Tensor, Tensor]:
    """Return a network, images and targets; the same each time."""
    model = models.noise2noise(generator=generator(0)).to(dtype=dtype)
    x, y = torch.rand(2, batch, 3, SIZE, SIZE, generator=generator(1)).to(dtype)
    return model, x, y


def ours(backend: str, dtype: torch.dtype, trains: bool, batch: int) -> Contestant:
    """Return scratchnet's training step on a backend, or its forward alone."""
    model, x, y = start(batch, dtype)
    if not trains:
        return contestants.forward(contestants.on(backend, model.eval().forward), x)
    network = Ours(model, SGD(model.param(), LR), MSE(), backend)
    return contestants.training(network, _names(model), x, y)


def torchs(name: str, dtype: torch.dtype, trains: bool, batch: int) -> Contestant:
    """Return the same by torch: one of TORCH and COMPILED."""
    model, x, y = start(batch, dtype)
    last, better = (TORCH | COMPILED)[name]
    net = contestants.torch_network(model, channels_last=last, better_algebra=better)
    if name in TORCH:
        return _torchs(net, _names(model), x, y, last, trains)
    made = _torchs(torch.compile(net), _names(model), x, y, last, trains)  # type: ignore[arg-type]
    contestants.compile_now(net, made.run)
    return made


def _torchs(
    net: nn.Module, names: list[str], x: Tensor, y: Tensor, last: bool, trains: bool
) -> Contestant:
    x, y = laid_out(x, last), laid_out(y, last)
    if not trains:
        return contestants.forward(net.eval(), x)
    sgd = torch.optim.SGD(net.parameters(), lr=LR)
    return contestants.training(Torch(net, sgd, nn.MSELoss(), last), names, x, y)


def case(
    section: str,
    batch: int,
    threads: int,
    dtype: torch.dtype,
    *,
    backends: Sequence[str],
    compiled: bool = False,
    rivals: Sequence[Rival] = (),
) -> Case:
    """The training step (forward, MSE, backward of all parameters, SGD); in "inference" the forward
    alone. Each of ``backends`` makes a contestant, and the first is what others are compared with;
    in "course" it is the backend `reference`, in float32 and float64, and first programs.
    """
    trains = section != "inference"
    make: dict[str, Callable[[int], Contestant]] = {
        our_name(backend): partial(ours, backend, dtype, trains) for backend in backends
    }
    names = [*TORCH, *(COMPILED if compiled else [])]
    make |= {name: partial(torchs, name, dtype, trains) for name in names}
    what = "training step" if trains else "inference"
    title = f"{what}, batch {batch}, {setting(threads, dtype)}"
    if section == "course":
        both, reference = (torch.float32, torch.float64), our_name("reference")
        make = {f"{reference}, {short(d)}": partial(ours, "reference", d, True) for d in both}
        title = f"training step by `reference`, batch {batch}, {plural(threads, 'thread')}"
    make |= {other.name: partial(_rival, other, dtype) for other in rivals}
    return Case(section, title, threads, dtype, make, partial(_exact, trains, batch), batch)


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
    net = contestants.torch_network(model.to(dtype=torch.float64), channels_last=False)
    return _torchs(net, _names(model), x.double(), y.double(), False, trains).outcome()


def _rival(other: Rival, dtype: torch.dtype, batch: int) -> Contestant:
    if (available := other.available()) is not True:
        raise ScratchnetError(str(available))
    model, x, y = start(batch, dtype)
    step = other.prepare(model, x, y, lr=LR, threads=torch.get_num_threads())
    outcome = partial(step.outcome, contestants.STEPS)
    return Contestant(
        step.run, lambda: contestants.named("losses", _names(model), *outcome()), step.close
    )


def _names(model: Sequential) -> list[str]:
    return [name for name, _, _ in model.named_param()]
