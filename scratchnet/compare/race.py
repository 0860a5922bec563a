"""One training of every contestant, side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from scratchnet.compare.contestants import OURS, contestant
from scratchnet.compare.result import Trace
from scratchnet.data import NoisyPairs
from scratchnet.denoise.evaluation import Method, score_method
from scratchnet.training.config import TrainConfig
from scratchnet.training.runs import make_trainer
from scratchnet.training.trainer import DivergedError

Progress = Callable[[int, str], None]
"""Called with how many images were just done, and what for."""


class Race:
    """The contestants in training, from the same weights, on the same batches.

    Args:
        config: network, optimizer and all other settings, the seed among them.
        data: the images.
        names: of the contestants.

    Attributes:
        traces: what was measured so far, for each contestant.
    """

    def __init__(self, config: TrainConfig, data: NoisyPairs, names: Sequence[str]) -> None:
        self.config, self.data, self.names = config, data, list(names)
        self.trainer = make_trainer(config, data)
        # torch's first: they copy the weights that scratchnet's steps change.
        in_order = sorted(names, key=OURS.__eq__)
        self.contestants = {name: contestant(name, self.trainer, config) for name in in_order}
        self.traces = {name: Trace(config.seed) for name in names}

    @property
    def epochs(self) -> int:
        """How many epochs all have finished, their validation included."""
        return min(len(trace.psnr) for trace in self.traces.values())

    def run(self, on_progress: Progress) -> None:
        """Train for all epochs: each batch is a step of every contestant, and who begins rotates.

        Raises:
            DivergedError: a loss is no longer finite.
        """
        order = list(self.names)
        for epoch in range(1, self.config.epochs + 1):
            what = f"seed {self.config.seed}, epoch {epoch}/{self.config.epochs}"
            self.trainer.model.train()
            for noisy, target in self.trainer.batches():
                for name in order:
                    started = time.perf_counter()
                    loss = self.contestants[name].step(noisy, target)
                    self.traces[name].seconds.append(time.perf_counter() - started)
                    self.traces[name].losses.append(loss)
                    if not math.isfinite(loss):
                        raise DivergedError(
                            f"the loss of {name} became {loss} ({what}): lower the learning rate "
                            f"(lr is {self.config.lr:g}), or try another seed"
                        )
                    on_progress(len(noisy), what)
                order = [*order[1:], order[0]]
            self.trainer.model.eval()
            for name, method in self.methods().items():
                scores = score_method(method, self.data.val_noisy, self.data.val_target)
                self.traces[name].psnr.append(scores.psnr)

    def whole_epochs(self) -> dict[str, Trace]:
        """Return the traces without what was done of an epoch that was not finished."""
        steps = self.epochs * self.trainer.steps_per_epoch
        return {
            name: Trace(
                trace.seed,
                trace.losses[:steps],
                trace.seconds[:steps],
                trace.psnr[: self.epochs],
            )
            for name, trace in self.traces.items()
        }

    def methods(self) -> dict[str, Method]:
        """Return the contestants' networks as they are now, as denoisers."""
        return {name: self.contestants[name].method() for name in self.names}
