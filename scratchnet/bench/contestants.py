"""Who takes part: something computed by scratchnet, and by torch as torch's tutorials write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from scratchnet.backends.dispatch import AUTO, use_backend
from scratchnet.bench.algebra import with_better_algebra
from scratchnet.bench.contest import Contestant, Outcome
from scratchnet.errors import ScratchnetError
from scratchnet.interop import to_torch
from scratchnet.layers.loss import Loss
from scratchnet.layers.module import Module

STEPS = 4
"""Steps whose losses are compared before anything is timed."""
RECOMPILATIONS = 64
"""More than a benchmark compiles; beyond torch's own limit of 8 steps would run uncompiled."""

T = TypeVar("T")

Both = tuple[Any, Sequence[Tensor | None]]
"""An output or a tuple of them, and the gradients of all that went into it."""


def forward(compute: Callable[[Tensor], Tensor], x: Tensor) -> Contestant:
    """Return a forward without gradients."""

    def run() -> Tensor:
        with torch.no_grad():
            return compute(x)

    return Contestant(run, lambda: {"output": run()})


def by_hand(run: Callable[[], Both], names: Sequence[str]) -> Contestant:
    """Return a forward and backward; ``names`` are those of the gradients."""

    return Contestant(run, lambda: named("output", names, *run()))


def by_autograd(
    compute: Callable[[], Any], leaves: Mapping[str, Tensor], grad_ys: Sequence[Tensor]
) -> Contestant:
    """Return a forward and, if there are gradients of the outputs, a backward by autograd."""
    values = [leaf.requires_grad_() for leaf in leaves.values()]

    def run() -> Both:
        with torch.set_grad_enabled(bool(grad_ys)):
            y = compute()
        grads = torch.autograd.grad(y, values, grad_ys, allow_unused=True) if grad_ys else ()
        return y, grads

    return by_hand(run, list(leaves))


def named(what: str, names: Sequence[str], found: Any, grads: Sequence[Tensor | None]) -> Outcome:
    """Return ``found``, which is ``what``, and the gradients by their names."""
    several = {f"{what} {i}": y for i, y in enumerate(found)} if isinstance(found, tuple) else {}
    outputs = {name: y.detach() for name, y in (several or {what: found}).items()}
    by_name = zip(names, grads, strict=True)
    return outputs | {f"gradient of {name}": g for name, g in by_name if g is not None}


def on(backend: str, compute: Callable[..., T]) -> Callable[..., T]:
    """Return ``compute`` on a backend; as it is for "auto", as in a program that selects none."""

    def call(*args: object) -> T:
        with use_backend(backend):
            return compute(*args)

    return compute if backend == AUTO else call


class Ours:
    """A network with hand-written forward and backward; ``loss`` is that of the last step."""

    def __init__(self, model: Module, optimizer: Optimizer, loss: Loss, backend: str) -> None:
        self.model, self.optimizer, self.criterion = model.train(), optimizer, loss
        self.loss, self.step = torch.zeros(()), on(backend, self._step)

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        """Forward, loss, backward of all parameters, update; ``y`` is to be made of images x."""
        self.loss = self.criterion.forward(self.model.forward(x), y)
        self.model.zero_grad()
        self.model.backward_parameters(self.criterion.backward())
        self.optimizer.step()
        return self.loss


class Torch:
    """The same by torch.nn, autograd and torch.optim; images are brought into a memory format."""

    def __init__(self, model: nn.Module, optimizer: Optimizer, loss: nn.Module, last: bool) -> None:
        self.model, self.optimizer, self.criterion = model.train(), optimizer, loss
        self.loss, self.channels_last = torch.zeros(()), last

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """As of :class:`Ours`."""
        with torch.enable_grad():
            loss = self.criterion(self.model(laid_out(x, self.channels_last)), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.loss = loss.detach()
        return self.loss


Network = Ours | Torch


def training(network: Network, names: Sequence[str], x: Tensor, y: Tensor) -> Contestant:
    """Return a training step on the same images again and again; ``names`` are the parameters'."""
    run, grads = partial(network.step, x, y), partial(gradients, network.model)
    return Contestant(run, lambda: named("losses", names, *first_steps(run, grads)))


def gradients(model: Module | nn.Module) -> list[Tensor]:
    """Return the parameters' gradients of the last step, in order."""
    return [p.grad for p in model.parameters() if p.grad is not None]


def first_steps(
    run: Callable[[], Tensor], gradients: Callable[[], Sequence[Tensor]], steps: int = STEPS
) -> tuple[Tensor, list[Tensor]]:
    """Do some steps; return the loss before each, which shows that the updates are right, and the
    gradients of the first.
    """
    losses = [run().detach().clone()]
    first = [grad.detach().clone() for grad in gradients()]
    losses += [run().detach().clone() for _ in range(steps - 1)]
    return torch.stack(losses), first


def torch_network(model: Module, *, channels_last: bool, better_algebra: bool = False) -> nn.Module:
    """Return torch.nn's counterpart of ``model``, with copies of its weights; with better algebra
    upsampling is rewritten as in scratchnet's kernels.
    """
    net = with_better_algebra(model) if better_algebra else to_torch(model)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def laid_out(tensor: Tensor, channels_last: bool) -> Tensor:
    """Return a tensor, if it has four axes, in channels_last memory format, or the default one."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return tensor.contiguous(memory_format=layout) if tensor.dim() == 4 else tensor


def compile_now(net: nn.Module, run: Callable[[], object]) -> None:
    """Let a compiled network run once, which takes a minute, without an effect on its parameters;
    a ScratchnetError if it cannot be compiled here.
    """
    before = [p.detach().clone() for p in net.parameters()]
    limits = {"recompile_limit": RECOMPILATIONS, "fail_on_recompile_limit_hit": True}
    try:
        with torch._dynamo.config.patch(limits):
            run()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ScratchnetError(f"torch.compile failed: {reason}") from error
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), before, strict=True):
            parameter.copy_(value)
