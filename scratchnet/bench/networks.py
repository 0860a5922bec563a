"""A network in training, by scratchnet and by torch: who is timed in every section and comparison.

scratchnet's is used through its public interface, torch's is written as torch's tutorials write it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from scratchnet.backends.dispatch import AUTO
from scratchnet.bench.algebra import with_better_algebra
from scratchnet.bench.contest import Contestant, Outcome, chosen
from scratchnet.errors import ScratchnetError
from scratchnet.interop import to_torch
from scratchnet.layers.loss import MSE
from scratchnet.layers.module import Module
from scratchnet.optim import Optimizer

STEPS = 4
"""Steps whose losses are compared before anything is timed."""
RECOMPILATIONS = 64
"""More than a benchmark compiles; beyond torch's own limit of 8 steps would run uncompiled."""


class Ours:
    """A network with hand-written forward and backward; no autograd anywhere.

    Args:
        model: is trained.
        optimizer: of its parameters.
        backend: to compute with.

    Attributes:
        loss: of the last step.
    """

    def __init__(self, model: Module, optimizer: Optimizer, backend: str = AUTO) -> None:
        self.model, self.optimizer, self.backend = model.train(), optimizer, backend
        self.mse, self.loss = MSE(), torch.zeros(())

    def step(self, x: Tensor, y: Tensor) -> None:
        """Forward, loss, backward of all parameters, update.

        Args:
            x: images (N, 3, H, W).
            y: what the network should make of them.
        """
        with chosen(self.backend):
            self.loss = self.mse.forward(self.model.forward(x), y)
            self.model.zero_grad()
            self.model.backward_parameters(self.mse.backward())
            self.optimizer.step()

    def predict(self, x: Tensor) -> Tensor:
        """Return what the network makes of ``x``; the mode is the caller's choice."""
        with chosen(self.backend):
            y: Tensor = self.model.forward(x)
            return y

    def gradients(self) -> list[Tensor]:
        """Return the parameters' gradients of the last step, in the order of ``param()``."""
        return [grad for _, grad in self.model.param()]

    def learn_at(self, lr: float) -> None:
        """Set the learning rate of the next step."""
        self.optimizer.lr = lr


class Torch:
    """The same by torch.nn, autograd and torch.optim.

    Args:
        model: as ``torch_network`` returns it.
        optimizer: of its parameters.
        channels_last: the memory format that images are brought into.

    Attributes:
        loss: of the last step.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, channels_last: bool
    ) -> None:
        self.model, self.optimizer, self.channels_last = model.train(), optimizer, channels_last
        self.mse, self.loss = nn.MSELoss(), torch.zeros(())

    def step(self, x: Tensor, y: Tensor) -> None:
        """As :meth:`Ours.step`."""
        with torch.enable_grad():
            loss = self.mse(self.model(laid_out(x, self.channels_last)), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.loss = loss.detach()

    def predict(self, x: Tensor) -> Tensor:
        """As :meth:`Ours.predict`, without gradients."""
        with torch.no_grad():
            y: Tensor = self.model(laid_out(x, self.channels_last))
        return y

    def gradients(self) -> list[Tensor]:
        """Return the parameters' ``.grad``, in order."""
        return [p.grad for p in self.model.parameters() if p.grad is not None]

    def learn_at(self, lr: float) -> None:
        """Set the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def compile(self, x: Tensor, y: Tensor) -> None:
        """Let torch.compile work, which takes a minute: a forward and a step, without an effect.

        Raises:
            ScratchnetError: it cannot be compiled here.
        """
        before = [p.detach().clone() for p in self.model.parameters()]
        with _compiling():
            self.step(x, y) if self.model.training else self.predict(x)
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), before, strict=True):
                parameter.copy_(value)


Network = Ours | Torch


def training(network: Network, names: list[str], x: Tensor, y: Tensor) -> Contestant:
    """Return a training step on the same images again and again; ``names`` are the parameters'."""

    def run() -> Tensor:
        network.step(x, y)
        return network.loss

    return Contestant(run, lambda: named(names, *first_steps(run, network.gradients)))


def first_steps(
    run: Callable[[], Tensor], gradients: Callable[[], list[Tensor]], steps: int = STEPS
) -> tuple[Tensor, list[Tensor]]:
    """Do some steps; return the loss before each, and the gradients of the first.

    Args:
        run: does one step and returns its loss.
        gradients: returns the last step's.
        steps: how many.
    """
    losses = [run().detach().clone()]
    first = [grad.detach().clone() for grad in gradients()]
    losses += [run().detach().clone() for _ in range(steps - 1)]
    return torch.stack(losses), first


def named(names: list[str], losses: Tensor, gradients: list[Tensor]) -> Outcome:
    """Return the outcome of a training: that the later losses agree shows that the updates do."""
    found = zip(names, gradients, strict=True)
    return {"losses": losses, **{f"gradient of {name}": grad for name, grad in found}}


def inference(network: Network, x: Tensor) -> Contestant:
    """Return the forward alone, in eval mode."""
    network.model.eval()
    return Contestant(lambda: network.predict(x), lambda: {"output": network.predict(x)})


def torch_network(
    model: Module, *, channels_last: bool, better_algebra: bool = False, compiled: bool = False
) -> nn.Module:
    """Return torch.nn's counterpart of ``model``, with copies of its weights.

    Args:
        model: built of layers that torch.nn has.
        channels_last: keep the weights in this memory format.
        better_algebra: upsampling rewritten as in scratchnet's kernels.
        compiled: by torch.compile, with its defaults.
    """
    net = with_better_algebra(model) if better_algebra else to_torch(model)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return torch.compile(net) if compiled else net  # type: ignore[return-value]


def laid_out(tensor: Tensor, channels_last: bool) -> Tensor:
    """Return a 4-D tensor in channels_last memory format, or in the default one."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return tensor.contiguous(memory_format=layout)


@contextmanager
def _compiling() -> Iterator[None]:
    """Say what torch.compile fails at in one line."""
    try:
        with torch._dynamo.config.patch(
            recompile_limit=RECOMPILATIONS, fail_on_recompile_limit_hit=True
        ):
            yield
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ScratchnetError(f"torch.compile failed: {reason}") from error
