"""Trainer: epochs of seeded batches, the loop that every network here is trained by.

It knows a model, an optimizer and noisy pairs, and nothing about how they are made. It prints and
writes nothing: to watch a training or to keep something, pass a :class:`Callback`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from scratchnet.data import NoisyPairs, augmented, batches, to_float
from scratchnet.denoise.evaluation import score
from scratchnet.errors import ScratchnetError, ShapeError
from scratchnet.layers.loss import Loss
from scratchnet.layers.module import Module
from scratchnet.layers.regression_loss import MSE
from scratchnet.training.trainstate import TrainingState, flattened, unflattened


@dataclass(frozen=True)
class Step:
    """One step of the optimizer, just done.

    Attributes:
        epoch: the epoch it belongs to, from 1.
        step: steps done since the beginning of the run.
        loss: the batch's loss before the step.
        images: images in the batch.
    """

    epoch: int
    step: int
    loss: float
    images: int


@dataclass(frozen=True)
class Epoch:
    """One epoch, just done: a row of ``metrics.csv``.

    Attributes:
        epoch: its number, from 1.
        step: steps done since the beginning of the run.
        loss: mean training loss over the epoch's images.
        val_psnr: PSNR on the validation images in dB, pooled: of the mean squared error over
            everything.
        val_psnr_per_image: mean of the validation images' own PSNRs, in dB.
        lr: learning rate of the last step.
        seconds: time spent training in this epoch, without validation.
        images_per_second: training images in a second of that time.
    """

    epoch: int
    step: int
    loss: float
    val_psnr: float
    val_psnr_per_image: float
    lr: float
    seconds: float
    images_per_second: float


class Callback:
    """Watches a training. The methods do nothing here: subclass and override."""

    def on_begin(self, trainer: Trainer) -> None:
        """Before the first step of :meth:`Trainer.fit`."""

    def on_step(self, trainer: Trainer, step: Step) -> None:
        """After every step of the optimizer."""

    def on_validate(self, trainer: Trainer) -> None:
        """Before the validation at the end of an epoch."""

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        """After every epoch, its validation included."""


class DivergedError(ScratchnetError):
    """The loss is no longer a finite number."""


class Trainer:
    """Train a model on noisy pairs.

    Args:
        model: any :class:`Module` that maps (N, 3, H, W) to the same shape; values 0..1.
        optimizer: made for the model's parameters, one of scratchnet's or of torch.optim's; the
            schedule's factor multiplies the learning rates of its groups.
        data: the pairs; ``noisy_a`` goes in, ``noisy_b`` is the target.
        batch_size: pairs in a step; the last batch of an epoch may be smaller.
        epochs: passes over all pairs.
        schedule: ``schedule(step, total_steps)`` gives the factor on the learning rate at a step,
            from 0.
        generator: shuffles the batches and draws what ``augment`` does to them. Not torch's
            global one, because its state belongs to the run.
        augment: exchange input and target, mirror and turn both, at random from batch to batch
            (:func:`~scratchnet.data.augmented`).
        dtype: the images are converted to it; the model must be of the same.
        loss: of the prediction and the target; the mean squared error if None.
        callbacks: what watches.

    Attributes:
        epoch: epochs done.
        step: steps done.
        batch: batches done of the epoch under way.
        history: an :class:`Epoch` for each epoch done.
    """

    def __init__(
        self,
        model: Module,
        optimizer: torch.optim.Optimizer,
        data: NoisyPairs,
        *,
        batch_size: int,
        epochs: int,
        schedule: Callable[[int, int], float],
        generator: torch.Generator,
        augment: bool = False,
        dtype: torch.dtype = torch.float32,
        loss: Loss | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> None:
        self.model, self.optimizer, self.data = model, optimizer, data
        self.batch_size, self.epochs, self.schedule = batch_size, epochs, schedule
        self.generator, self.augment = generator, augment
        self.dtype, self.callbacks = dtype, list(callbacks)
        self.loss = loss or MSE()
        self.base_lr = self._lr
        self.epoch = self.step = self.batch = 0
        self._loss_sum = self._seconds = 0.0  # of the epoch under way
        self._order_rng = generator.get_state()
        self.history: list[Epoch] = []
        self._shares = [
            group["lr"] / self.base_lr if self.base_lr else 1.0 for group in optimizer.param_groups
        ]

    @property
    def _lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in an epoch."""
        return math.ceil(len(self.data.noisy_a) / self.batch_size)

    def fit(self) -> list[Epoch]:
        """Train for the epochs that are left.

        Returns:
            The history: an :class:`Epoch` for each epoch done, also before a resumption.

        Raises:
            DivergedError: if the loss is no longer finite.
            ShapeError: if the model does not return images of the size it was given.
        """
        for callback in self.callbacks:
            callback.on_begin(self)
        while self.epoch < self.epochs:
            self._train_epoch()
        return self.history

    def _train_epoch(self) -> None:
        started, epoch = time.perf_counter() - self._seconds, self.epoch + 1
        self.model.train()
        for noisy, target in self.batches():
            loss = self._train_step(noisy, target)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss became {loss} in epoch {epoch}, at step {self.step}: lower the "
                    f"learning rate (lr is {self.base_lr:g}), or try another seed"
                )
            self._loss_sum += loss * len(noisy)
            self.batch += 1
            self._seconds = time.perf_counter() - started
            for callback in self.callbacks:
                callback.on_step(self, Step(epoch, self.step, loss, len(noisy)))
        seconds = time.perf_counter() - started

        for callback in self.callbacks:
            callback.on_validate(self)
        scores = score(self.model, self.data.val_noisy, self.data.val_target, dtype=self.dtype)
        if not math.isfinite(scores.psnr):
            raise DivergedError(
                f"the network's output is no longer finite after epoch {epoch}: lower the learning "
                f"rate (lr is {self.base_lr:g}), or try another seed"
            )
        self.epoch = epoch
        done = Epoch(
            epoch=epoch,
            step=self.step,
            loss=self._loss_sum / len(self.data.noisy_a),
            val_psnr=scores.psnr,
            val_psnr_per_image=scores.psnr_per_image,
            lr=self._lr,
            seconds=seconds,
            images_per_second=len(self.data.noisy_a) / seconds,
        )
        self.history.append(done)
        self.batch, self._loss_sum, self._seconds = 0, 0.0, 0.0
        for callback in self.callbacks:
            callback.on_epoch(self, done)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets, (N, C, H, W) in 0..1 of the trainer's dtype: what is left of the
        epoch under way, or a whole one.
        """
        now = self.generator.get_state()
        if self.batch:  # in the middle: the order was drawn before
            self.generator.set_state(self._order_rng)
        else:
            self._order_rng = now
        order = batches(len(self.data.noisy_a), self.batch_size, self.generator)
        if self.batch:
            self.generator.set_state(now)
        for indices in islice(order, self.batch, None):
            noisy, target = self.data.noisy_a[indices], self.data.noisy_b[indices]
            if self.augment:
                noisy, target = augmented(noisy, target, self.generator)
            yield to_float(noisy).to(self.dtype), to_float(target).to(self.dtype)

    def _train_step(self, noisy: Tensor, target: Tensor) -> float:
        """Forward, loss, backward, update: all there is to it."""
        prediction = self.model.forward(noisy)
        if prediction.shape != target.shape:
            raise ShapeError(
                f"the network turns images of {tuple(noisy.shape[1:])} into "
                f"{tuple(prediction.shape[1:])}, so they cannot be compared: train on images "
                "whose sides it keeps (multiples of 4 for noise2noise)"
            )
        loss = float(self.loss.forward(prediction, target))
        if math.isfinite(loss):  # else the weights stay as they were, so that one can look at them
            self.model.zero_grad()
            self.model.backward_parameters(self.loss.backward())
            self._set_lr(self.step)
            self.optimizer.step()
            self.step += 1
        return loss

    def _set_lr(self, step: int) -> None:
        """Set the learning rates of one step of the run."""
        lr = self.base_lr * self.schedule(step, self.steps_per_epoch * self.epochs)
        for group, share in zip(self.optimizer.param_groups, self._shares, strict=True):
            group["lr"] = lr * share

    # -- stopping and going on ------------------------------------------------------------------

    def state(self) -> TrainingState:
        """Everything that decides how the run goes on; between two steps."""
        return TrainingState(
            model=self.model.state_dict(),
            optimizer=flattened(self.optimizer),
            rng=self.generator.get_state(),
            epoch=self.epoch,
            step=self.step,
            history=[dataclasses.asdict(epoch) for epoch in self.history],
            batch=self.batch,
            loss_sum=self._loss_sum,
            seconds=self._seconds,
            order_rng=self._order_rng,
            torch_rng=torch.get_rng_state(),
        )

    def resume(self, state: TrainingState) -> None:
        """Go on from ``state``: the rest of the run has the same bits as if it had never stopped.

        Raises:
            ScratchnetError: if the state belongs to another network or optimizer.
        """
        self.model.load_state_dict(state.model)
        try:
            self.optimizer.load_state_dict(unflattened(state.optimizer, self.optimizer))
            self.generator.set_state(state.rng)
            if state.order_rng is not None:
                self._order_rng = state.order_rng
            if state.torch_rng is not None:
                torch.set_rng_state(state.torch_rng)
            self.history = [Epoch(**row) for row in state.history]
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            raise ScratchnetError(
                f"this state is of another optimizer or version, or damaged ({error})"
            ) from error
        self.epoch, self.step, self.batch = state.epoch, state.step, state.batch
        self._loss_sum, self._seconds = state.loss_sum, state.seconds
        if self.batch:
            self._set_lr(self.step - 1)  # the table of epochs tells it, if none is left
