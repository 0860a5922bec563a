"""One training of scratchnet and torch.nn, side by side: same weights, same batches, in turns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from scratchnet.backends.dispatch import AUTO
from scratchnet.bench.contest import OURS, Contestant
from scratchnet.bench.contestants import Network, Ours, Torch, on, torch_network
from scratchnet.bench.race import Progress, turns
from scratchnet.data import NoisyPairs, to_float
from scratchnet.denoise.evaluation import Method, score_method
from scratchnet.errors import ScratchnetError
from scratchnet.interop import to_torch
from scratchnet.training.config import TrainConfig
from scratchnet.training.runs import make_trainer
from scratchnet.training.trainer import DivergedError

TORCH, TORCH_LAST = "torch.nn", "torch.nn channels-last"
LAYOUTS = {"contiguous": TORCH, "channels-last": TORCH_LAST}
"""torch's names for how images lie in memory, and the contestants that use them."""


@dataclass(frozen=True)
class Trace:
    """One training of one contestant: losses and times of every step, and after every epoch the
    PSNR on the validation images, pooled, in dB.
    """

    seed: int
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)


class Learning:
    """The contestants called ``names`` in training, from the same weights, on the same batches.

    Attributes:
        networks, traces: of each contestant, and what was measured so far.
    """

    def __init__(self, config: TrainConfig, data: NoisyPairs, names: Sequence[str]) -> None:
        self.config, self.data = config, data
        self.trainer, self.backend = make_trainer(config, data), config.backend or AUTO
        self.networks = {name: self._network(name) for name in names}
        self.traces = {name: Trace(config.seed) for name in names}
        self._steps = itertools.count()

    def _network(self, name: str) -> Network:
        trainer = self.trainer
        if name == OURS:
            return Ours(trainer.model, trainer.optimizer, trainer.loss, self.backend)
        net = torch_network(trainer.model, channels_last=name == TORCH_LAST)
        optimizer = _torch_optimizer(trainer.optimizer, net)
        return Torch(net, optimizer, to_torch(trainer.loss), name == TORCH_LAST)

    def stream(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the batches that the trainer would see, epoch after epoch without an end."""
        return itertools.chain.from_iterable(iter(self.trainer.batches, None))

    def step(self, noisy: Tensor, target: Tensor) -> dict[str, tuple[float, float]]:
        """Let everyone do a step on the same batch, in turns; return everyone's loss and seconds.

        Raises:
            DivergedError: a loss is no longer finite.
        """
        trainer, number = self.trainer, next(self._steps)
        rate = trainer.schedule(number, trainer.steps_per_epoch * trainer.epochs)
        for group in itertools.chain(*(n.optimizer.param_groups for n in self.networks.values())):
            group["lr"] = trainer.base_lr * rate
        ways = {name: partial(one.step, noisy, target) for name, one in self.networks.items()}
        seconds = turns(ways, number, warm=False)
        losses = {name: float(network.loss) for name, network in self.networks.items()}
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss of {name} became {loss} with seed {self.config.seed}: lower the "
                    f"learning rate (lr is {self.config.lr:g}), or try another seed"
                )
        return {name: (loss, seconds[name]) for name, loss in losses.items()}

    def run(self, on_progress: Progress) -> None:
        """Train for all epochs; ``traces`` has those that are complete. Errors as of ``step``."""
        for epoch in range(1, self.config.epochs + 1):
            for network in self.networks.values():
                network.model.train()
            steps = []
            for noisy, target in self.trainer.batches():
                steps.append(self.step(noisy, target))
                what = f"seed {self.config.seed}, epoch {epoch}/{self.config.epochs}"
                on_progress(len(noisy) * len(self.networks), what)
            scores = {
                name: score_method(method, self.data.val_noisy, self.data.val_target)
                for name, method in self.methods().items()
            }
            for name, trace in self.traces.items():
                trace.losses.extend(step[name][0] for step in steps)
                trace.seconds.extend(step[name][1] for step in steps)
                trace.psnr.append(scores[name].psnr)

    def methods(self) -> dict[str, Method]:
        """Return the contestants' networks, in eval mode from now on, as denoisers."""
        return {name: self._method(network) for name, network in self.networks.items()}

    def _method(self, network: Network) -> Method:
        forward, dtype = on(self.backend, network.model.eval().forward), self.trainer.dtype

        @torch.no_grad()
        def denoise(noisy: Tensor) -> Tensor:
            made: Tensor = forward(to_float(noisy).to(dtype))
            return made.clamp(0, 1)

        return denoise


def contestant(name: str, config: TrainConfig, size: tuple[int, int], batch: int) -> Contestant:
    """Return a contestant's training step on random images (batch, 3, *size)."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 3, *size)
    a, b = (torch.randint(256, shape, generator=generator, dtype=torch.uint8) for _ in range(2))
    data = NoisyPairs(a, b, a[:1], b[:1], val_is_clean=False, source="random")
    learning = Learning(config, data, [name])
    noisy, target = (to_float(images).to(learning.trainer.dtype) for images in (a, b))
    return Contestant(partial(learning.networks[name].step, noisy, target), dict)


def _torch_optimizer(ours: torch.optim.Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of the same name and settings for torch's network."""
    name = type(ours).__name__
    try:
        kind: type[torch.optim.Optimizer] = getattr(torch.optim, name)
        return kind(model.parameters(), **ours.defaults)
    except (AttributeError, ValueError) as error:  # torch's Muon takes matrices alone
        raise ScratchnetError(
            f"torch.optim has no {name} for convolutions to compare with: choose --optimizer sgd "
            "or adam"
        ) from error
