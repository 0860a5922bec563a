"""The paper's network behind the interface of the deep-learning course that it comes from."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from scratchnet import models
from scratchnet.data import NoisyPairs, to_uint8
from scratchnet.denoise.denoiser import Denoiser
from scratchnet.errors import DataError, ShapeError, TypeMismatch
from scratchnet.optim import SGD, schedule
from scratchnet.training import checkpoint
from scratchnet.training.trainer import Callback, Trainer


class Model:
    """A denoiser that learns from noisy pairs: the paper's network, trained by plain SGD.

    All images are tensors (N, 3, H, W) with values 0..255, H and W divisible by 4.

    Args:
        lr: learning rate.
        batch_size: pairs in a step.
        seed: draws the initial weights and the order of the batches.

    Attributes:
        network: the :func:`~scratchnet.models.noise2noise` network.
    """

    def __init__(self, *, lr: float = 2.5, batch_size: int = 40, seed: int = 0) -> None:
        self.lr, self.batch_size = lr, batch_size
        self._generator = torch.Generator().manual_seed(seed)
        self.network = models.noise2noise(generator=self._generator)
        self._denoiser: Denoiser | None = None

    def load_pretrained_model(self) -> None:
        """Take the weights that come with the package.

        Raises:
            ScratchnetError: if this installation has none.
        """
        checkpoint.load(checkpoint.find_weights("noise2noise"), self.network)

    def train(
        self,
        train_input: Tensor,
        train_target: Tensor,
        num_epochs: int = 1,
        *,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        """Train on pairs of noisy images of the same scenes; further calls go on from there.

        Args:
            train_input: (N, 3, H, W), uint8 or floating point, 0..255.
            train_target: as ``train_input``: the same scenes with other noise.
            num_epochs: passes over all pairs.
            callbacks: what watches the training.

        Raises:
            TypeMismatch: if the tensors are neither uint8 nor floating point.
            ShapeError: if they differ in shape, or H or W is not divisible by 4.
            DivergedError: if the loss is no longer finite.
        """
        noisy_a, noisy_b = (
            _images(train_input, "train_input"),
            _images(train_target, "train_target"),
        )
        # The course's interface knows no validation images; the trainer gets a pair to look at.
        data = NoisyPairs(
            noisy_a,
            noisy_b,
            noisy_a[:1],
            noisy_b[:1],
            val_is_clean=False,
            source="the course's train()",
        )
        Trainer(
            self.network,
            SGD(self.network.param(), self.lr),
            data,
            batch_size=self.batch_size,
            epochs=num_epochs,
            schedule=schedule.constant,
            generator=self._generator,
            callbacks=callbacks,
        ).fit()

    def predict(self, test_input: Tensor) -> Tensor:
        """Denoise images.

        Args:
            test_input: (N, 3, H, W), uint8 or floating point, 0..255; N may be 0.

        Returns:
            float32 of the same shape, values 0..255.

        Raises:
            TypeMismatch: if it is neither uint8 nor floating point.
            ShapeError: if it is not (N, 3, H, W), or H or W is not divisible by 4.
        """
        _check(test_input, "test_input")
        self._denoiser = self._denoiser or Denoiser(self.network)
        self.network.eval()
        return self._denoiser.tensor(test_input.to(torch.float32) / 255).mul_(255).clamp_(0, 255)


def _images(tensor: Tensor, name: str) -> Tensor:
    _check(tensor, name)
    if len(tensor) == 0:
        raise DataError(f"{name}: expected at least one image, got shape {tuple(tensor.shape)}")
    return tensor if tensor.dtype == torch.uint8 else to_uint8(tensor / 255)


def _check(tensor: Tensor, name: str) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeMismatch(f"{name}: expected a tensor (N, 3, H, W), got {type(tensor).__name__}")
    if tensor.dtype != torch.uint8 and not tensor.is_floating_point():
        raise TypeMismatch(f"{name}: expected uint8 or floating point, 0..255, got {tensor.dtype}")
    if tensor.ndim != 4 or tensor.shape[1] != 3 or tensor.shape[2] % 4 or tensor.shape[3] % 4:
        raise ShapeError(
            f"{name}: expected shape (N, 3, H, W) with H and W divisible by 4, got "
            f"{tuple(tensor.shape)}; pad the images, or use `scratchnet denoise` for any size"
        )
