"""A run: a training with a directory, from which it can be used, resumed and reproduced."""

from __future__ import annotations

import csv
import inspect
import io
import platform
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

import scratchnet
from scratchnet import models, optim
from scratchnet.backends.dispatch import trace, use_backend
from scratchnet.data import NoisyPairs, to_float
from scratchnet.denoise.evaluation import NOISY, Scores, as_method, sample_sheet, score_noisy
from scratchnet.errors import ArgumentError, ScratchnetError
from scratchnet.io.files import write_json, write_text
from scratchnet.layers import loss
from scratchnet.layers.module import Module
from scratchnet.optim import schedule
from scratchnet.report.figures import psnr_curve
from scratchnet.training import checkpoint, rundir, sources
from scratchnet.training.checkpoint import WEIGHTS
from scratchnet.training.config import OPTIMIZER_SETTINGS, TrainConfig, from_settings, load_config
from scratchnet.training.trainer import Callback, DivergedError, Epoch, Trainer
from scratchnet.training.trainstate import STATE, load_state, save_state


def make_trainer(
    config: TrainConfig, data: NoisyPairs, callbacks: Iterable[Callback] = ()
) -> Trainer:
    """Network, optimizer and schedule of a configuration, ready to :meth:`~Trainer.fit`.

    Raises:
        ScratchnetError: if a name is unknown or an argument out of range.
    """
    generator = torch.Generator().manual_seed(config.seed)
    dtype = getattr(torch, config.dtype)
    model = models.build(config.model, generator=generator, **config.model_args).to(dtype=dtype)
    return Trainer(
        model,
        _make_optimizer(config, model),
        data,
        batch_size=config.batch_size,
        epochs=config.epochs,
        schedule=schedule.get(config.schedule),
        generator=generator,
        augment=config.augment,
        dtype=dtype,
        loss=loss.get(config.loss)(),
        callbacks=callbacks,
    )


def _make_optimizer(config: TrainConfig, model: Module) -> torch.optim.Optimizer:
    """Make the optimizer that is named, with the settings that its signature has."""
    make = optim.get(config.optimizer)
    taken = inspect.signature(make).parameters
    given = {"lr": config.lr, **config.optimizer_args}
    for name in OPTIMIZER_SETTINGS[:-1]:
        value, default = getattr(config, name), getattr(TrainConfig, name)
        if value is not None and (name in taken or value != default):
            given.setdefault(name, value)
    if unknown := sorted(given.keys() - taken.keys()):
        options = [name for name in taken if name != "params"]
        raise ArgumentError(
            f"optimizer {config.optimizer!r} takes no {', '.join(unknown)}: it has "
            f"{', '.join(options)}"
        )
    try:
        return make(model.parameters(), **given)
    except (TypeError, ValueError) as error:
        if isinstance(error, ScratchnetError):
            raise
        raise ArgumentError(f"optimizer {config.optimizer!r}: {error}") from error


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a training; the message says what is kept."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        out: its directory.
        history: a row for each epoch.
        noisy: the scores of the noisy validation images themselves.
    """

    out: Path
    history: Sequence[Epoch]
    noisy: Scores


def train(
    config: TrainConfig,
    out: Path | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    callbacks: Iterable[Callback] = (),
) -> Run:
    """Train a network and leave in ``out`` weights, metrics, configuration and images.

    Args:
        config: what to do.
        out: the run's directory; None for a new ``runs/<preset>-<n>``.
        resume: go on with the run in ``out`` from its last complete epoch (if there is none, from
            the start).
        force: replace the run in ``out``.
        callbacks: what watches; the run's own writing comes before them at each epoch.

    Raises:
        ScratchnetError: if something in ``config`` cannot be, or ``out`` is in use and neither
            ``resume`` nor ``force`` is given.
        DivergedError: if the loss is no longer finite. The last complete epoch is kept.
        Interrupted: at Ctrl-C. The last complete epoch is kept.
    """
    if out is not None and not resume:
        rundir.check_out(out, force=force)
    for registry, name in (
        (optim.registry, config.optimizer),
        (schedule.registry, config.schedule),
        (loss.registry, config.loss),
    ):
        registry.get(name)  # an unknown one is known before images are cut
    with nullcontext() if config.backend is None else use_backend(config.backend):
        return _train(config, out, resume=resume, force=force, callbacks=callbacks)


def _train(
    config: TrainConfig,
    out: Path | None,
    *,
    resume: bool,
    force: bool,
    callbacks: Iterable[Callback],
) -> Run:
    trainer = make_trainer(config, sources.load_data(config))
    if resume and out is not None and (out / STATE).exists():
        trainer.resume(load_state(out / STATE))
    backends, noisy = _backends_used(trainer), score_noisy(trainer.data)
    out = rundir.claim(out, config.preset, force=force and not resume)
    config = replace(config, threads=torch.get_num_threads())
    trainer.callbacks = [_Keeper(out, config), *callbacks]
    _write_config(out / rundir.CONFIG, config, trainer.data, backends)
    try:
        trainer.fit()
    except DivergedError as error:
        raise DivergedError(f"{error}; {_what_is_left(out, trainer)}") from error
    except KeyboardInterrupt as stop:
        raise Interrupted(f"interrupted; {_what_is_left(out, trainer)}") from stop
    finally:
        if trainer.epoch:
            _draw(out, config, trainer, noisy)
        elif not resume:
            rundir.discard(out)
    return Run(out, trainer.history, noisy)


def resumable(out: Path, **options: Any) -> TrainConfig:
    """The configuration of the run in ``out``, with a user's options over it, as
    :func:`~scratchnet.training.config.load_config` takes them.

    Raises:
        ScratchnetError: if there is no run, or it needs code that the options do not name.
    """
    if not (out / rundir.CONFIG).is_file():
        raise ScratchnetError(f"there is no run to resume in {out}: it holds no {rundir.CONFIG}")
    return load_config(out / rundir.CONFIG, **options)


def settings_of(weights: Path) -> TrainConfig:
    """The configuration that weights were trained with; the defaults if the file does not say.

    Raises:
        ScratchnetError: if the file is not one of scratchnet's weights files.
    """
    about = checkpoint.describe(weights)
    if about["config"] is not None:
        return from_settings(about["config"], weights)
    return TrainConfig(model=about["name"] or "network", model_args=about["args"])


class _Keeper(Callback):
    """Writes what an epoch leaves behind, each file atomically, the resumable state first."""

    def __init__(self, out: Path, config: TrainConfig) -> None:
        self.out, self.config = out, config

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        save_state(trainer.state(), self.out / STATE)
        checkpoint.save(
            trainer.model,
            self.out / WEIGHTS,
            name=self.config.model,
            args=self.config.model_args,
            config=self.config.as_dict(),
        )
        table = io.StringIO()
        writer = csv.DictWriter(table, [f.name for f in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in trainer.history)
        write_text(self.out / rundir.METRICS, table.getvalue())


def _backends_used(trainer: Trainer) -> list[str]:
    """The backends that run this network, found by sending one image through it."""
    with trace() as calls:
        trainer.model.forward(to_float(trainer.data.val_noisy[:1]).to(trainer.dtype))
    return sorted({backend for _, backend in calls})


def _write_config(path: Path, config: TrainConfig, data: NoisyPairs, backends: list[str]) -> None:
    made_by = {
        "scratchnet": scratchnet.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "backends": backends,
        "data": data.source,
    }
    write_json(path, config.as_dict() | {"made_by": made_by})


def _draw(out: Path, config: TrainConfig, trainer: Trainer, noisy: Scores) -> None:
    history, data = trainer.history, trainer.data
    psnr_curve(
        out / rundir.CURVE,
        [row.epoch for row in history],
        [row.val_psnr for row in history],
        noisy_psnr=noisy.psnr,
        title=f"{config.model} on {sources.short_name(config)}",
        target_is_clean=data.val_is_clean,
    )
    model = trainer.model.eval()
    methods = {NOISY: lambda x: x, "denoised": as_method(model, trainer.dtype)}
    sample_sheet(out / rundir.SAMPLES, data, methods)


def _what_is_left(out: Path, trainer: Trainer) -> str:
    if trainer.epoch:
        return (
            f"the weights after epoch {trainer.epoch} are kept in {out} "
            f"(scratchnet train --resume --out {out} goes on from there)"
        )
    return "no epoch was complete, so nothing is kept"
