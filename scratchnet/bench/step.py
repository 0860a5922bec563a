"""The cases of the training step of the paper's network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache, partial

import torch
from torch import Tensor

from scratchnet import models
from scratchnet.backends.base import Link
from scratchnet.backends.dispatch import AUTO
from scratchnet.bench.contest import (
    OURS,
    Case,
    Contestant,
    Outcome,
    chosen,
    our_name,
    plural,
    short,
)
from scratchnet.bench.malloc import ENVIRONMENT
from scratchnet.compare import rivals
from scratchnet.compare.course_style import CourseStep
from scratchnet.compare.jax_process import JaxStep
from scratchnet.layers.containers import Sequential
from scratchnet.layers.loss import MSE
from scratchnet.optim import SGD
from scratchnet.testing.tensors import generator

STEPS = 4
"""Steps whose losses are compared before anything is timed."""
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
JAX, COURSE = "JAX jit", "course style, float64"


class OurStep:
    """A training step through scratchnet's public interface.

    Args:
        model: is trained.
        x: images (N, 3, H, W).
        y: what the network should make of them.
        backend: to compute with.
    """

    def __init__(self, model: Sequential, x: Tensor, y: Tensor, backend: str) -> None:
        self.model, self.x, self.y, self.backend = model.train(), x, y, backend
        self.mse, self.sgd = MSE(), SGD(model.param(), LR)
        self.loss = x.new_zeros(())

    def run(self) -> None:
        """Forward, loss, backward of all parameters, update."""
        with chosen(self.backend):
            self.loss = self.mse.forward(self.model.forward(self.x), self.y)
            self.model.zero_grad()
            self.model.backward_parameters(self.mse.backward())
            self.sgd.step()

    def gradients(self) -> list[Tensor]:
        """Return the gradient buffers, in order."""
        return [grad for _, grad in self.model.param()]


class Checked:
    """A step that shows what it computes: the first losses, and the first gradients.

    Args:
        step: the step.
        names: of the parameters.
    """

    def __init__(
        self, step: OurStep | rivals.TorchStep | CourseStep | JaxStep, names: Sequence[str]
    ) -> None:
        self.step, self.names = step, names
        self.run: Callable[[], float | None] = step.run

    def outcome(self) -> Outcome:
        """Do a few steps; that the later losses agree shows that the updates do."""
        if isinstance(self.step, JaxStep):
            losses, gradients = self.step.losses_and_gradients(STEPS)
        else:
            each = []
            for i in range(STEPS):
                self.step.run()
                each.append(self.step.loss.detach().clone())
                if i == 0:
                    gradients = [grad.detach().clone() for grad in self.step.gradients()]
            losses = torch.stack(each)
        named = zip(self.names, gradients, strict=True)
        return {"losses": losses, **{f"gradient of {name}": grad for name, grad in named}}

    def close(self) -> None:
        """End a process that the step holds."""
        if isinstance(self.step, JaxStep):
            self.step.close()


def start(batch: int, dtype: torch.dtype) -> tuple[Sequential, Tensor, Tensor]:
    """Return a network, images and targets; the same each time."""
    model = models.noise2noise(generator=generator(0)).to(dtype=dtype)
    x, y = torch.rand(2, batch, 3, SIZE, SIZE, generator=generator(1)).to(dtype)
    return model, x, y


def one_step(name: str, batch: int, dtype: torch.dtype) -> Checked:
    """Return the contestant called ``name``: one of TORCH and COMPILED, COURSE, or one of ours."""
    model, x, y = start(batch, dtype)
    names = [name for name, _, _ in model.named_param()]
    if name == COURSE:
        return Checked(CourseStep(model, x, y, lr=LR), names)
    if name in TORCH or name in COMPILED:
        last, better, compiled = (TORCH | COMPILED)[name]
        net = rivals.network(model, channels_last=last, better_algebra=better, compiled=compiled)
        kind = rivals.CompiledStep if compiled else rivals.TorchStep
        return Checked(kind(net, x, y, lr=LR, channels_last=last), names)
    backend = name.removeprefix(OURS).strip() or AUTO
    return Checked(OurStep(model, x, y, backend), names)


def step_case(
    batch: int,
    threads: int,
    dtype: torch.dtype,
    *,
    backends: Sequence[str],
    compiled: bool = False,
    jax: str | None = None,
    section: str = "step",
) -> Case:
    """The training step: forward, MSE, backward of all parameters, SGD.

    Args:
        batch: images a step.
        threads: to compute with.
        dtype: of everything.
        backends: each makes a contestant; the first is the one others are compared with.
        compiled: let torch.compile take part.
        jax: a Python that has JAX, to take part in float32.
        section: of the benchmark.
    """
    names = [*map(our_name, backends), *TORCH, *(COMPILED if compiled else [])]
    make: dict[str, Callable[[], Contestant]] = {
        name: partial(one_step, name, batch, dtype) for name in names
    }
    if jax is not None and dtype == torch.float32:
        make[JAX] = partial(_jax_step, jax, batch, threads)
    return Case(
        section,
        f"training step, batch {batch}, {plural(threads, 'thread')}, {short(dtype)}",
        threads,
        dtype,
        make,
        partial(_exact_step, batch),
        images=batch,
        work=batch * len(make) / 2 / threads,
    )


def course_case(batch: int, threads: int) -> Case:
    """The training step by the backend `reference`, against the same network written naively."""
    ours = our_name("reference")

    def reference(dtype: torch.dtype) -> Checked:
        return one_step(ours, batch, dtype)

    return Case(
        "course",
        f"training step by `reference`, batch {batch}, {plural(threads, 'thread')}",
        threads,
        torch.float32,
        {
            f"{ours}, float32": partial(reference, torch.float32),
            f"{ours}, float64": partial(reference, torch.float64),
            COURSE: partial(one_step, COURSE, batch, torch.float64),
        },
        partial(_exact_step, batch),
        images=batch,
        work=batch * 30 / threads,
    )


def gflop(model: Sequential, batch: int, size: int = SIZE) -> float:
    """The arithmetic of a training step by the cheapest algebra known here, in GFLOP.

    A multiplication and an addition are two; a convolution after upsampling is counted at the low
    resolution (docs/adr/0007-upsampling-algebra.md). The backward costs twice the forward, but for
    the first layer, whose input needs no gradient.
    """
    links = [link for layer in model if isinstance(link := layer.link(), Link)]
    side, total = size, 0
    for i, link in enumerate(links):
        high = side * (link.scale or (1, 1))[0]
        out = (high + 2 * link.padding[0] - link.kernel_size[0]) // link.stride[0] + 1
        pixels = (side if link.scale else out) ** 2
        weights = link.kernel_size[0] * link.kernel_size[1] * link.in_channels * link.out_channels
        total += pixels * weights * (2 if i == 0 else 3)
        side = out
    return 2 * total * batch / 1e9


@cache
def _exact_step(batch: int) -> Outcome:
    """The step in float64, by autograd: from the weights and images in float32, so for all."""
    model, x, y = start(batch, torch.float32)
    names = [name for name, _, _ in model.named_param()]
    net = rivals.network(deepcopy(model).to(dtype=torch.float64), channels_last=False)
    step = rivals.TorchStep(net, x.double(), y.double(), lr=LR, channels_last=False)
    return Checked(step, names).outcome()


def _jax_step(python: str, batch: int, threads: int) -> Checked:
    model, x, y = start(batch, torch.float32)
    step = JaxStep(
        python, model, x, y, lr=LR, threads=threads, environment=os.environ | ENVIRONMENT
    )
    return Checked(step, [name for name, _, _ in model.named_param()])
