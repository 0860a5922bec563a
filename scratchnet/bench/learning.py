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
from scratchnet.layers.loss import MSE
from scratchnet.training.config import TrainConfig
from scratchnet.training.runs import make_trainer
from scratchnet.training.trainer import DivergedError

TORCH, TORCH_LAST = "torch.nn", "torch.nn channels-last"
LAYOUTS = {"contiguous": TORCH, "channels-last": TORCH_LAST}
"""torch's names for how images lie in memory, and the contestants that use them."""


@dataclass(frozen=True)
class Trace:
    """One training of one contestant.

    Attributes:
        seed: of the initial weights and the order of the batches.
        losses: of every step.
        seconds: that every step took.
        psnr: on the validation images after every epoch, pooled, in dB.
    """

    seed: int
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)


class Learning:
    """The contestants in training, from the same weights, on the same batches.

    Args:
        config: network, optimizer and all other settings, the seed among them.
        data: the images.
        names: of the contestants.

    Attributes:
        traces: what was measured so far, for each contestant.
        networks: of the contestants, by name.
    """

    def __init__(self, config: TrainConfig, data: NoisyPairs, names: Sequence[str]) -> None:
        self.config, self.data = config, data
        self.trainer, self.backend = make_trainer(config, data), config.backend or AUTO
        if not isinstance(self.trainer.loss, MSE):
            raise ScratchnetError(f"compare learns with the MSE, got --loss {config.loss}")
        self.networks = {name: self._network(name) for name in names}
        self.traces = {name: Trace(config.seed) for name in names}
        self._steps = itertools.count()

    def _network(self, name: str) -> Network:
        if name == OURS:
            return Ours(self.trainer.model, self.trainer.optimizer, self.backend)
        last = name == TORCH_LAST
        net = torch_network(self.trainer.model, channels_last=last)
        return Torch(net, _torch_optimizer(self.trainer.optimizer, net), channels_last=last)

    @property
    def epochs(self) -> int:
        """How many epochs all have finished, their validation included."""
        return min(len(trace.psnr) for trace in self.traces.values())

    def stream(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches that the trainer would see, epoch after epoch without an end."""
        while True:
            yield from self.trainer.batches()

    def step(self, noisy: Tensor, target: Tensor) -> None:
        """Let everyone do a step on the same batch, in turns; who begins rotates.

        Args:
            noisy: (N, 3, H, W), in 0..1, of the network's dtype.
            target: as ``noisy``.

        Raises:
            DivergedError: a loss is no longer finite.
        """
        trainer, number = self.trainer, next(self._steps)
        rate = trainer.schedule(number, trainer.steps_per_epoch * trainer.epochs)
        for network in self.networks.values():
            network.learn_at(trainer.base_lr * rate)
        ways = {name: partial(one.step, noisy, target) for name, one in self.networks.items()}
        for name, seconds in turns(ways, number, warm=False).items():
            loss = float(self.networks[name].loss)
            self.traces[name].seconds.append(seconds)
            self.traces[name].losses.append(loss)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss of {name} became {loss} with seed {self.config.seed}: lower the "
                    f"learning rate (lr is {self.config.lr:g}), or try another seed"
                )

    def run(self, on_progress: Progress) -> None:
        """Train for all epochs.

        Raises:
            DivergedError: a loss is no longer finite.
        """
        for epoch in range(1, self.config.epochs + 1):
            what = f"seed {self.config.seed}, epoch {epoch}/{self.config.epochs}"
            for network in self.networks.values():
                network.model.train()
            for noisy, target in self.trainer.batches():
                self.step(noisy, target)
                on_progress(len(noisy) * len(self.networks), what)
            for name, method in self.methods().items():
                scores = score_method(method, self.data.val_noisy, self.data.val_target)
                self.traces[name].psnr.append(scores.psnr)

    def whole_epochs(self) -> dict[str, Trace]:
        """Return the traces without what was done of an epoch that was not finished."""
        epochs, steps = self.epochs, self.epochs * self.trainer.steps_per_epoch
        return {
            name: Trace(t.seed, t.losses[:steps], t.seconds[:steps], t.psnr[:epochs])
            for name, t in self.traces.items()
        }

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
    """Return the training step of a contestant on random images, to measure its memory.

    Args:
        name: the contestant's.
        config: network, optimizer and backend.
        size: (H, W) of the images.
        batch: how many images.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 3, *size)
    a, b = (torch.randint(256, shape, generator=generator, dtype=torch.uint8) for _ in range(2))
    data = NoisyPairs(a, b, a[:1], b[:1], val_is_clean=False, source="random")
    learning = Learning(config, data, [name])
    noisy, target = (to_float(images).to(learning.trainer.dtype) for images in (a, b))
    return Contestant(partial(learning.networks[name].step, noisy, target), dict)


def _torch_optimizer(ours: torch.optim.Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    name = type(ours).__name__
    try:
        kind = getattr(torch.optim, name)
        made: torch.optim.Optimizer = kind(model.parameters(), **ours.defaults)
    except (AttributeError, ValueError) as error:  # torch's Muon takes matrices alone
        raise ScratchnetError(
            f"torch.optim has no {name} for convolutions to compare with: choose --optimizer sgd "
            "or adam"
        ) from error
    return made
