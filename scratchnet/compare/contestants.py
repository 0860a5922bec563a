"""The contestants: one network, trained by scratchnet and by torch.nn, autograd and torch.optim."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from scratchnet.data import to_float
from scratchnet.denoise.evaluation import Method, as_method
from scratchnet.errors import ScratchnetError
from scratchnet.interop import to_torch
from scratchnet.training.config import TrainConfig
from scratchnet.training.trainer import Trainer

OURS, TORCH, TORCH_LAST = "scratchnet", "torch.nn", "torch.nn channels-last"
LAYOUTS = {"contiguous": TORCH, "channels-last": TORCH_LAST}
"""torch's names for how images lie in memory, and the contestants that use them."""


class Contestant(ABC):
    """A network in training.

    Attributes:
        steps: how many steps were done.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.steps = trainer, 0
        self.total = trainer.steps_per_epoch * trainer.epochs

    def step(self, noisy: Tensor, target: Tensor) -> float:
        """Do one step of the training and return its loss.

        Args:
            noisy: (N, 3, H, W), in 0..1, of the network's dtype.
            target: as ``noisy``.
        """
        lr = self.trainer.base_lr * self.trainer.schedule(self.steps, self.total)
        self.steps += 1
        return self._step(noisy, target, lr)

    @abstractmethod
    def _step(self, noisy: Tensor, target: Tensor, lr: float) -> float: ...

    @abstractmethod
    def gradients(self) -> list[Tensor]:
        """Return the parameters' gradients of the last step, in the order of ``param()``."""

    @abstractmethod
    def method(self) -> Method:
        """Return the network as it is now, as a denoiser of uint8 images."""


class Ours(Contestant):
    """Hand-written forward and backward; no autograd anywhere."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer)
        self.model, self.optimizer = trainer.model.train(), trainer.optimizer
        self.loss = trainer.loss

    def _step(self, noisy: Tensor, target: Tensor, lr: float) -> float:
        loss: Tensor = self.loss.forward(self.model.forward(noisy), target)
        self.model.zero_grad()
        self.model.backward_parameters(self.loss.backward())
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        return loss.item()

    def gradients(self) -> list[Tensor]:
        """Return the gradient buffers."""
        return [grad for _, grad in self.model.param()]

    def method(self) -> Method:
        """Return the network as a denoiser."""
        return as_method(self.model, self.trainer.dtype)


class Torch(Contestant):
    """torch.nn, autograd and torch.optim, written as torch's tutorials write it.

    Args:
        trainer: whose network, with its present weights, and settings to copy.
        config: names the optimizer.
        channels_last: keep weights and images in torch's channels-last memory layout.
    """

    def __init__(self, trainer: Trainer, config: TrainConfig, *, channels_last: bool) -> None:
        super().__init__(trainer)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = to_torch(trainer.model).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.optimizer = _torch_optimizer(trainer.optimizer, self.model)
        self.loss = to_torch(trainer.loss)

    def _step(self, noisy: Tensor, target: Tensor, lr: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with torch.enable_grad():
            prediction = self.model(noisy.contiguous(memory_format=self.layout))
            loss: Tensor = self.loss(prediction, target)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return loss.item()

    def gradients(self) -> list[Tensor]:
        """Return the parameters' ``.grad``."""
        return [p.grad for p in self.model.parameters() if p.grad is not None]

    def method(self) -> Method:
        """Return the network as a denoiser."""

        def denoise(noisy: Tensor) -> Tensor:
            with torch.no_grad():
                floats = to_float(noisy).to(self.trainer.dtype)
                out: Tensor = self.model(floats.contiguous(memory_format=self.layout))
            return out.clamp(0, 1)

        return denoise


def _torch_optimizer(ours: torch.optim.Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    name = type(ours).__name__
    try:
        made: torch.optim.Optimizer = getattr(torch.optim, name)(
            model.parameters(), **ours.defaults
        )
    except (AttributeError, ValueError) as error:  # torch's Muon takes matrices alone
        raise ScratchnetError(
            f"torch.optim has no {name} for convolutions to compare with: choose --optimizer sgd "
            "or adam"
        ) from error
    return made


def contestant(name: str, trainer: Trainer, config: TrainConfig) -> Contestant:
    """Make the contestant called ``name``; for torch's, before the trainer's own weights change."""
    if name == OURS:
        return Ours(trainer)
    return Torch(trainer, config, channels_last=name == TORCH_LAST)
