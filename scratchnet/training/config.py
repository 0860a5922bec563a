"""Every knob of a training run, in one place, and the presets."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scratchnet.errors import ScratchnetError
from scratchnet.io.files import read_json

SOURCES = ("data", "images", "noisy_a", "noisy_b")
"""The settings that name where the images come from."""
OPTIMIZER_SETTINGS = (
    "momentum",
    "dampening",
    "nesterov",
    "betas",
    "eps",
    "weight_decay",
    "optimizer_args",
)
"""The settings that not every optimizer has."""
CODE = ("model", "optimizer", "schedule", "loss", "noise", "backend")
"""The settings that may name a file or module to run, instead of something that is installed."""
EVERY = "10m"
"""How often a training keeps a checkpoint in an epoch, where nobody says it."""
MOST_THREADS = 1024
"""More crash thread pools, and serve no machine."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the weights of a run, apart from the machine it runs on.

    Attributes:
        preset: the preset it started from, for the record.
        model: name of a network in :mod:`scratchnet.models`.
        model_args: keyword arguments for that network.
        optimizer: name of an optimizer (scratchnet.optim), or ``"package.module:Class"``.
        lr: learning rate, before the schedule's factor.
        momentum, dampening, nesterov, betas, eps: None for what the optimizer has by itself.
        weight_decay: L2 penalty; for ``muon`` decoupled.
        optimizer_args: keyword arguments for the optimizer besides those.
        schedule: name of a schedule (scratchnet.optim.schedule); it multiplies ``lr`` step by step.
        loss: name of a loss (scratchnet.layers.loss).
        batch_size: images in a step.
        epochs: passes over all pairs.
        augment: exchange input and target, mirror and turn both, at random from batch to batch.
        seed: draws the initial weights, the order of the batches and the built-in noise.
        dtype: ``"float32"`` or ``"float64"``.
        data: directory with ``train_data.pkl`` and ``val_data.pkl``; None for the built-in
            photographs.
        images: directory of clean images, to which ``noise`` is added.
        noisy_a, noisy_b: two directories with two noisy images of each scene.
        noise: noise model, such as ``"subpixel"`` or ``"gaussian:25"``.
        n_train, n_val: how many pairs to cut to train on and to validate on; with ``data`` at most
            so many, and None is all there are.
        size: side of the square images that are cut from larger ones; ``data`` has its own.
        backend: the backend asked for; None for the usual choice.
        threads: threads for the kernels; None for torch's default.
    """

    preset: str = "quick"
    model: str = "residual"
    model_args: dict[str, Any] = field(default_factory=dict)
    optimizer: str = "adam"
    lr: float = 2e-3
    momentum: float | None = None
    dampening: float | None = None
    nesterov: bool | None = None
    betas: tuple[float, float] | None = None
    eps: float | None = None
    weight_decay: float = 0.0
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    schedule: str = "one-cycle"
    loss: str = "MSE"
    batch_size: int = 8
    epochs: int = 4
    augment: bool = False
    seed: int = 0
    dtype: str = "float32"
    data: str | None = None
    images: str | None = None
    noisy_a: str | None = None
    noisy_b: str | None = None
    noise: str = "subpixel"
    n_train: int | None = 4000
    n_val: int | None = 500
    size: int = 32
    backend: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        _check_types(self)
        if self.betas is not None:
            object.__setattr__(self, "betas", tuple(self.betas))  # JSON has lists only
        _check(self)

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with ``changes`` made and checked.

        Raises:
            ScratchnetError: for an unknown name or an impossible value.
        """
        known = {f.name for f in dataclasses.fields(self)}
        if unknown := sorted(set(changes) - known):
            raise ScratchnetError(
                f"unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            )
        return dataclasses.replace(self, **changes)

    def with_options(self, **options: Any) -> TrainConfig:
        """A copy with a user's options over these settings, each left alone where it is None.

        Naming a data source drops the one in these settings, and ``data`` is used whole unless
        ``n_train`` or ``n_val`` limit it. Naming another optimizer drops what was set for the one
        before.

        Raises:
            ScratchnetError: for an impossible value, or more than one data source.
        """
        given = {name: value for name, value in options.items() if value is not None}
        if any(source in given for source in SOURCES):
            given = dict.fromkeys(SOURCES) | given
            if given["data"] is not None:
                given = {"n_train": None, "n_val": None} | given
        if given.get("optimizer", self.optimizer) != self.optimizer:
            given = {name: getattr(TrainConfig(), name) for name in OPTIMIZER_SETTINGS} | given
        return self.replace(**given)

    def as_dict(self) -> dict[str, Any]:
        """The settings as a plain dictionary, ready for JSON."""
        return dataclasses.asdict(self)


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "text"),
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "dict[str, Any]": ((dict,), "an object"),
    "tuple[float, float]": ((list, tuple), "two numbers"),
}


def _check_types(config: TrainConfig) -> None:
    """Refuse values of the wrong type, which a hand-written JSON file may hold."""
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        kind, _, optional = str(entry.type).partition(" | ")
        types, expected = _TYPES[kind]
        of_kind = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if not of_kind and not (optional and value is None):
            name = entry.name.replace("_", "-")
            raise ScratchnetError(f"{name} must be {expected}, got {value!r}")


def _check(config: TrainConfig) -> None:
    """Refuse values that cannot work, naming the option."""

    def need(ok: bool, option: str, expected: str, value: object) -> None:
        if not ok:
            raise ScratchnetError(f"{option} must be {expected}, got {value!r}")

    need(config.dtype in ("float32", "float64"), "dtype", "'float32' or 'float64'", config.dtype)
    need(config.lr > 0, "lr", "above 0", config.lr)
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, float):
            need(math.isfinite(value), entry.name.replace("_", "-"), "finite", value)
    need(config.batch_size >= 1, "batch-size", "at least 1", config.batch_size)
    need(config.epochs >= 1, "epochs", "at least 1", config.epochs)
    need(config.size >= 1, "size", "at least 1", config.size)
    need(0 <= config.seed < 2**63, "seed", "from 0 to 2**63 - 1", config.seed)
    threads = config.threads
    need(threads is None or threads <= MOST_THREADS, "threads", f"up to {MOST_THREADS}", threads)
    for option in ("n_train", "n_val", "threads"):
        value = getattr(config, option)
        need(value is None or value >= 1, option.replace("_", "-"), "at least 1", value)
    need(config.betas is None or len(config.betas) == 2, "betas", "two numbers", config.betas)
    need(
        (config.noisy_a is None) == (config.noisy_b is None),
        "noisy-a and noisy-b",
        "given together",
        config.noisy_a or config.noisy_b,
    )
    need(
        config.data is not None or (config.n_train is not None and config.n_val is not None),
        "n-train and n-val",
        "given where images are cut (only data may be used whole)",
        None,
    )
    sources = [s for s in (config.data, config.images, config.noisy_a) if s is not None]
    need(len(sources) <= 1, "data", "one of --data, --images or --noisy-a with --noisy-b", sources)


PRESETS: dict[str, tuple[str, TrainConfig]] = {
    "quick": (
        "built-in photographs, a small residual network, Adam, one-cycle schedule: about a minute",
        TrainConfig(),
    ),
    "paper": (
        "the paper's network and hyperparameters: SGD, lr 2.5, batch 40, 100 epochs, all the data",
        TrainConfig(
            preset="paper",
            model="noise2noise",
            optimizer="sgd",
            lr=2.5,
            schedule="constant",
            batch_size=40,
            epochs=100,
            n_train=50_000,
            n_val=1_000,
        ),
    ),
    "best": (
        "a wide U-Net of seven convolutions, Muon, one-cycle schedule, 11 epochs, all the data: "
        "for quality, more than half an hour on two cores",
        TrainConfig(
            preset="best",
            model="unet",
            model_args={"channels": 48, "deep": 96},
            optimizer="muon",
            batch_size=16,
            epochs=11,
            augment=True,
            n_train=50_000,
            n_val=1_000,
        ),
    ),
}


def preset(name: str) -> TrainConfig:
    """The preset called ``name``.

    Raises:
        ScratchnetError: if there is none; the message lists those there are.
    """
    if name not in PRESETS:
        raise ScratchnetError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name][1]


def start_from(
    name: str | None, path: Path | None, default: TrainConfig, **options: Any
) -> TrainConfig:
    """The preset called ``name``, or the settings in a file, or ``default``, with a user's options
    over them; errors as of :func:`preset` and :func:`load_config`.
    """
    if name is not None and path is not None:
        raise ScratchnetError(
            "give either --preset or --config: each is a complete set of settings"
        )
    if path is not None:
        return load_config(path, **options)
    return (default if name is None else preset(name)).with_options(**options)


_TAKEN = {"dampening": ("sgd",), "betas": ("adam",), "eps": ("adam",)}


def _was_ignored(name: str, settings: dict[str, Any]) -> bool:
    """Whether a run of before optimizer_args wrote this down for an optimizer without it, which was
    then no error. Its momentum and nesterov were None unless somebody asked for them.
    """
    optimizer = settings.get("optimizer", TrainConfig.optimizer)
    if name in ("momentum", "nesterov"):
        return bool(optimizer == "adam")
    return name in _TAKEN and optimizer not in _TAKEN[name]


def load_config(path: str | Path, **options: Any) -> TrainConfig:
    """Read the ``config.json`` of an earlier run, or the one kept inside a weights file.

    Args:
        path: a JSON file, a ``.safetensors`` file written by training, or a run's directory.
        options: the caller's, over those in the file, as :meth:`TrainConfig.with_options` takes
            them. Own code is run only if it is named here: a file does not decide what runs.

    Raises:
        ScratchnetError: if the file is missing, unreadable, holds settings that do not exist, or
            names code that ``options`` do not.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "config.json"
    if path.suffix == ".safetensors":
        from scratchnet.training.checkpoint import describe

        settings = describe(path).get("config")
        if settings is None:
            raise ScratchnetError(f"{path} does not record how it was trained; give a config.json")
    else:
        settings = read_json(path)
    config = from_settings(settings, path).with_options(**options)
    for name in CODE:
        value = getattr(config, name)
        if options.get(name) is None and value is not None and _is_code(name, value):
            raise ScratchnetError(
                f"{path} names code to run, {name} {value!r}, and a file runs none unasked: if you "
                f"trust it, name it yourself, with --{name} {value}"
            )
    return config


def _is_code(setting: str, value: str) -> bool:
    from scratchnet.models.owncode import (
        is_own_code,  # not at the top: help texts wait for no torch
    )

    if setting == "optimizer" and re.fullmatch(r"torch\.optim:\w+", value):
        return False  # of the torch that runs here
    if setting == "noise":  # "gaussian:25" is none, "package.module:Class" is
        return "." in value.partition(":")[0]
    return is_own_code(value)


def from_settings(settings: dict[str, Any], path: Path) -> TrainConfig:
    """Return the configuration that a file holds.

    Args:
        settings: as :meth:`TrainConfig.as_dict` returns them, now or in an earlier version.
        path: of the file, for messages.

    Raises:
        ScratchnetError: if there are settings that do not exist or impossible values.
    """
    settings.pop("made_by", None)  # a note about versions, not a setting
    if "optimizer_args" not in settings:
        settings = {name: v for name, v in settings.items() if not _was_ignored(name, settings)}
    try:
        return TrainConfig().replace(**settings)
    except ScratchnetError as error:
        raise ScratchnetError(f"{path}: {error}") from error
