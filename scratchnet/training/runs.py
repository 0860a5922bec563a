"""A run: a training with a directory, from which it can be used, resumed and reproduced."""

from __future__ import annotations

import csv
import inspect
import io
import os
import platform
import re
import shlex
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
from scratchnet.io.files import read_json, write_json, write_text
from scratchnet.layers import loss
from scratchnet.layers.module import Module
from scratchnet.optim import schedule
from scratchnet.report.figures import psnr_curve
from scratchnet.training import checkpoint, rundir, sources
from scratchnet.training.checkpoint import WEIGHTS
from scratchnet.training.config import (
    EVERY,
    OPTIMIZER_SETTINGS,
    TrainConfig,
    from_settings,
    load_config,
)
from scratchnet.training.trainer import Callback, DivergedError, Epoch, Step, Trainer
from scratchnet.training.trainstate import STATE

MAY_CHANGE = ("preset", "epochs", "backend", "threads")
"""The settings of a run that may be others when it is resumed."""


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
    """A training was asked to stop; the message says what is kept.

    Attributes:
        signal: the number of the signal that asked, SIGINT (Ctrl-C) or SIGTERM.
    """

    signal: int = signal.SIGINT


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
    checkpoint_every: str = EVERY,
    callbacks: Iterable[Callback] = (),
) -> Run:
    """Train a network and leave in ``out`` weights, metrics, configuration and images.

    Args:
        config: what to do.
        out: the run's directory; None for a new ``runs/<preset>-<n>``.
        resume: go on with the run in ``out`` from its last checkpoint (if there is none, from the
            start), to the bits of one that was never stopped.
        force: replace the run in ``out``, as soon as the new one has a checkpoint.
        checkpoint_every: how often there is one besides those after each epoch: a number of steps,
            such as ``"500"``, or of minutes, ``"10m"``.
        callbacks: what watches; the run's own writing comes before them at each epoch.

    Raises:
        ScratchnetError: if something in ``config`` cannot be; ``out`` is in use and neither
            ``resume`` nor ``force`` is given, or another process works in it; or ``config`` is not
            that of the run to resume.
        DivergedError: if the loss is no longer finite. The last checkpoint is kept.
        Interrupted: at Ctrl-C or SIGTERM, after the step under way and a checkpoint. A second one
            ends the process at once.
    """
    _refuse_several_processes()
    due = _Due(checkpoint_every)
    if out is not None and not resume:
        rundir.check_out(out, force=force)
    for registry, name in (
        (optim.registry, config.optimizer),
        (schedule.registry, config.schedule),
        (loss.registry, config.loss),
    ):
        registry.get(name)  # an unknown one is known before images are cut
    with nullcontext() if config.backend is None else use_backend(config.backend):
        trainer = make_trainer(config, sources.load_data(config))
        out = rundir.claim(out, config.preset)
        with rundir.held(out):
            if not resume:
                rundir.check_out(out, force=force)  # once more: nobody else can fill it now
            keeper = _Keeper(out, config, due, replaces=force and rundir.holds_run(out))
            if resume:
                _go_on(trainer, config, out)
            return _train(trainer, keeper, callbacks)


def _refuse_several_processes() -> None:
    """Each of several processes would train the whole run, and the last to end would win."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if "RANK" in os.environ and processes != "1":
        raise ScratchnetError(
            f"train runs in one process, and a launcher such as torchrun started {processes}: "
            "start it without one, and give it the cores with --threads"
        )


def _go_on(trainer: Trainer, config: TrainConfig, out: Path) -> None:
    """Resume from the last checkpoint in ``out``, if there is one.

    Raises:
        ScratchnetError: if ``config`` would make it another run.
    """
    state = rundir.latest_state(out)
    if state is None:
        return
    recorded = from_settings(read_json(out / rundir.CONFIG), out / rundir.CONFIG)
    other = [
        f"{name} is {mine!r} here and {theirs!r} there"
        for name, mine in config.as_dict().items()
        if mine != (theirs := recorded.as_dict()[name]) and name not in MAY_CHANGE
    ]
    if other:
        raise ScratchnetError(
            f"--resume goes on with the run in {out} under its own settings, but "
            f"{'; '.join(other)}: leave that as it was, or start another run"
        )
    if config.epochs < state.epoch or (config.epochs == state.epoch and state.batch):
        raise ScratchnetError(
            f"the run in {out} has done {state.epoch} epochs: epochs must be "
            f"at least {state.epoch + bool(state.batch)} to resume it, got {config.epochs}"
        )
    try:
        trainer.resume(state)
    except ScratchnetError as error:
        raise ScratchnetError(f"{out / STATE}: {error}") from error


def _train(trainer: Trainer, keeper: _Keeper, callbacks: Iterable[Callback]) -> Run:
    backends, noisy = _backends_used(trainer), score_noisy(trainer.data)
    keeper.config = replace(keeper.config, threads=torch.get_num_threads())
    keeper.note = _made_by(trainer.data, backends)
    keeper.begin(trainer)
    trainer.callbacks = [keeper, *callbacks]
    out = keeper.out
    try:
        with keeper.heeding():
            trainer.fit()
    except DivergedError as error:
        raise DivergedError(f"{error}; {keeper.what_is_left()}") from error
    except KeyboardInterrupt as stop:
        interrupted = Interrupted(f"interrupted; {keeper.what_is_left()}")
        interrupted.signal = keeper.asked or signal.SIGINT
        raise interrupted from stop
    finally:
        if keeper.kept and trainer.epoch:
            _draw(out, keeper.config, trainer, noisy)
        elif not keeper.kept and not keeper.replaces:
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


class _Due:
    """Whether it is time for another checkpoint.

    Args:
        every: a number of steps, or of minutes: ``"500"``, ``"500 steps"``, ``"10m"``.

    Raises:
        ScratchnetError: it is neither.
    """

    def __init__(self, every: str) -> None:
        found = re.fullmatch(
            r"(?P<steps>\d+) *(steps?)?|(?P<minutes>\d+(\.\d+)?) *(m|min|minutes?)", every.strip()
        )
        given = found.groupdict() if found else {}
        self.steps, self.minutes = int(given.get("steps") or 0), float(given.get("minutes") or 0)
        if not self.steps and not self.minutes:
            raise ScratchnetError(
                "checkpoint-every must be a number of steps, such as 500, or of minutes, such as "
                f"10m; got {every!r}"
            )
        self.at_time = time.monotonic()

    def __call__(self, step: int) -> bool:
        """Whether it is; then the next one is as long away."""
        if self.steps:
            return step % self.steps == 0
        if time.monotonic() - self.at_time < 60 * self.minutes:
            return False
        self.at_time = time.monotonic()
        return True


class _Keeper(Callback):
    """Writes what a training leaves behind: a checkpoint now and then, and after each epoch what
    it stands for. All but the checkpoint can be made again from that.

    Args:
        out: the run's directory, which is held.
        config: of the run.
        due: when to write a checkpoint in an epoch.
        replaces: whether another run lies in ``out`` until there is something of this one.

    Attributes:
        kept: after what the last checkpoint was; "" if there is none.
        asked: the signal that asked to stop.
        note: what made the run, for its configuration file.
    """

    def __init__(self, out: Path, config: TrainConfig, due: _Due, *, replaces: bool) -> None:
        self.out, self.config, self.due, self.replaces = out, config, due, replaces
        self.kept, self.asked = "", 0
        self.note: dict[str, Any] = {}

    def begin(self, trainer: Trainer) -> None:
        """Write the configuration, and complete what a run that was killed had begun."""
        if not self.replaces:
            write_json(self.out / rundir.CONFIG, self._settings())
        if trainer.step:
            self._note(trainer)
            self._publish(trainer)

    @contextmanager
    def heeding(self) -> Iterator[None]:
        """Stop at the next step when SIGINT or SIGTERM comes, and at once when another does."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals come to the main thread alone
            return

        def second(number: int, frame: object) -> None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        def first(number: int, frame: object) -> None:
            self.asked = number
            for each in before:
                signal.signal(each, second)

        before: dict[int, Any] = {}
        for each in (signal.SIGINT, signal.SIGTERM):
            before[each] = signal.signal(each, first)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_step(self, trainer: Trainer, step: Step) -> None:
        if self.due(step.step) or self.asked:
            self._save(trainer)
        self._stop_if_asked()

    def on_validate(self, trainer: Trainer) -> None:
        if self.asked:
            self._save(trainer)
        self._stop_if_asked()

    def on_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        self._save(trainer)
        self._publish(trainer)
        if trainer.epoch < trainer.epochs:
            self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    def _settings(self) -> dict[str, Any]:
        return self.config.as_dict() | {"made_by": self.note}

    def _save(self, trainer: Trainer) -> None:
        if self.replaces:
            rundir.replace_run(self.out, trainer.state(), self._settings())
            self.replaces = False
        else:
            rundir.keep_state(self.out, trainer.state())
        self._note(trainer)

    def _note(self, trainer: Trainer) -> None:
        self.kept = f"step {trainer.step}" if trainer.batch else f"epoch {trainer.epoch}"

    def _publish(self, trainer: Trainer) -> None:
        """Write the weights, if an epoch has just ended, and the table of epochs."""
        history = trainer.history
        if not history:
            return
        if not trainer.batch:
            best = max(row.val_psnr for row in history) == history[-1].val_psnr
            for name in (WEIGHTS, rundir.BEST) if best else (WEIGHTS,):
                checkpoint.save(
                    trainer.model,
                    self.out / name,
                    name=self.config.model,
                    args=self.config.model_args,
                    config=self.config.as_dict(),
                )
        table = io.StringIO()
        writer = csv.DictWriter(table, [f.name for f in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in history)
        write_text(self.out / rundir.METRICS, table.getvalue())

    def what_is_left(self) -> str:
        """What a training that ended early has left behind, and how to go on."""
        if self.kept:
            return (
                f"the weights after {self.kept} are kept in {self.out} "
                f"(scratchnet train --resume --out {shlex.quote(str(self.out))} goes on from there)"
            )
        if self.replaces:
            return f"nothing of it is kept, and the run in {self.out} is as it was"
        return "no epoch was complete, so nothing is kept"


def _backends_used(trainer: Trainer) -> list[str]:
    """The backends that run this network, found by sending one image through it."""
    with trace() as calls:
        trainer.model.forward(to_float(trainer.data.val_noisy[:1]).to(trainer.dtype))
    return sorted({backend for _, backend in calls})


def _made_by(data: NoisyPairs, backends: list[str]) -> dict[str, Any]:
    return {
        "scratchnet": scratchnet.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "backends": backends,
        "data": data.source,
    }


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
