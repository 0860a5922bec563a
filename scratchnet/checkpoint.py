"""Weights and training states on disk: safetensors files that describe themselves.

A weights file holds the tensors of ``model.state_dict()`` under torch.nn's key names, and in its
header the name and the arguments of the network, so that the file alone is enough to rebuild it.
Any safetensors reader can open it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scratchnet import models
from scratchnet.errors import ScratchnetError
from scratchnet.files import atomic
from scratchnet.module import Module

WEIGHTS = "model.safetensors"
STATE = "checkpoint.safetensors"
DEFAULT_WEIGHTS = "residual"
"""Which of the shipped weights ``denoise`` and ``evaluate`` use when none are named."""

# One key: safetensors writes several in no fixed order, and equal runs shall make equal files.
_KEY = "scratchnet"
_FORMAT = "scratchnet-weights-1"
_STATE_FORMAT = "scratchnet-training-1"


def save(
    model: Module,
    path: str | Path,
    *,
    name: str | None = None,
    args: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> None:
    """Write a model's weights to a safetensors file.

    Args:
        model: what to save.
        path: the file; replaced atomically if it exists.
        name: the network's name in :mod:`scratchnet.models`; without it :func:`load` needs a model
            to load into.
        args: the keyword arguments that :func:`scratchnet.models.build` was given for it.
        config: how it was trained (``TrainConfig.as_dict()``), for the record.

    Raises:
        ScratchnetError: if the file cannot be written.
    """
    about = {"format": _FORMAT, "name": name, "args": args or {}, "config": config}
    _write(path, model.state_dict(), about)


def load(path: str | Path, model: Module | None = None) -> Module:
    """Read a model from a safetensors file.

    Args:
        path: a file written by :func:`save` or by training.
        model: an existing model to load the weights into, whatever wrote the file; by default the
            network that the file names is built.

    Returns:
        The model, in eval mode and in the dtype of the weights.

    Raises:
        ScratchnetError: if the file is missing, damaged, not a weights file, or does not fit the
            model.
    """
    if model is None:
        about = describe(path)
        if about["name"] is None:
            raise ScratchnetError(
                f"{path} does not name its network; build the network and use load(path, model)"
            )
        model = models.build(about["name"], **about["args"])
    tensors = _read(path)
    dtypes = {tensor.dtype for tensor in tensors.values()}
    if len(dtypes) == 1 and (dtype := dtypes.pop()).is_floating_point:
        model.to(dtype=dtype)
    try:
        model.load_state_dict(tensors)
    except ScratchnetError as error:
        raise ScratchnetError(f"{path} does not fit the network: {error}") from error
    return model.eval()


def describe(path: str | Path) -> dict[str, Any]:
    """What a weights file says: ``name`` and ``args`` of the network, ``config`` of its training.

    Raises:
        ScratchnetError: if the file is missing, damaged, or was not written by :func:`save`.
    """
    about = _header(path)
    if about.get("format") != _FORMAT:
        raise ScratchnetError(
            f"{path} is a safetensors file, but not one of scratchnet's weights files "
            f"(expected the format {_FORMAT}, got {about.get('format', 'none')})"
        )
    return about


def shipped() -> dict[str, Path]:
    """The weights that come with the package: their names and files."""
    folder = Path(str(resources.files("scratchnet"))) / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def find_weights(which: str | Path | None = None) -> Path:
    """The weights file that a user means.

    Args:
        which: a weights file, a run's directory, or the name of shipped weights; None for the
            default ones.

    Raises:
        ScratchnetError: if there is no such thing; the message lists the shipped names.
    """
    there = shipped()
    if which is None or str(which) in there:
        name = DEFAULT_WEIGHTS if which is None else str(which)
        if name in there:
            return there[name]
        raise ScratchnetError(
            "no weights came with this installation; train some with `scratchnet train` and name "
            "the run's folder"
        )
    path = Path(which)
    if path.is_dir():
        if not (path / WEIGHTS).is_file():
            raise ScratchnetError(f"{path} holds no {WEIGHTS}: it is not the directory of a run")
        return path / WEIGHTS
    if not path.is_file():
        raise ScratchnetError(
            f"no weights at {path}: expected a .safetensors file, the directory of a run, "
            f"or one of the shipped {', '.join(there) or '(none)'}"
        )
    return path


@dataclass
class TrainingState:
    """All that a run needs to go on as if it had never stopped.

    Attributes:
        model: ``model.state_dict()``.
        optimizer: ``optimizer.state_dict()``, a flat dictionary of tensors and numbers.
        rng: the state of the generator that shuffles the batches.
        epoch, step: how many are done.
        history: a dictionary for each epoch done.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    rng: Tensor
    epoch: int
    step: int
    history: list[dict[str, Any]] = field(default_factory=list)


def save_state(state: TrainingState, path: str | Path) -> None:
    """Write a training state, atomically.

    Raises:
        ScratchnetError: if the file cannot be written.
    """
    tensors = {f"model/{key}": value for key, value in state.model.items()}
    numbers = {}
    for key, value in state.optimizer.items():
        if isinstance(value, Tensor):
            tensors[f"optimizer/{key}"] = value
        else:
            numbers[key] = value
    tensors["rng"] = state.rng
    about = {
        "format": _STATE_FORMAT,
        "optimizer": numbers,
        "epoch": state.epoch,
        "step": state.step,
        "history": state.history,
    }
    _write(path, tensors, about)


def load_state(path: str | Path) -> TrainingState:
    """Read a training state.

    Raises:
        ScratchnetError: if the file is missing, damaged, or not a training state.
    """
    about = _header(path)
    if about.get("format") != _STATE_FORMAT:
        raise ScratchnetError(f"{path} is not a training state (expected {_STATE_FORMAT})")
    tensors = _read(path)

    def part(prefix: str) -> dict[str, Any]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    return TrainingState(
        model=part("model/"),
        optimizer=part("optimizer/") | about["optimizer"],
        rng=tensors["rng"],
        epoch=about["epoch"],
        step=about["step"],
        history=about["history"],
    )


def _write(path: str | Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    # safetensors refuses views of shared memory and odd strides; weights are small enough to copy.
    plain = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in tensors.items()
    }
    with atomic(path) as temporary:
        save_file(plain, temporary, metadata={_KEY: json.dumps(about)})


def _header(path: str | Path) -> dict[str, Any]:
    """What scratchnet wrote into the file's header; empty if another program wrote it."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_KEY, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from error
    return about if isinstance(about, dict) else {}


def _read(path: str | Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> ScratchnetError:
    if not Path(path).exists():
        return ScratchnetError(f"there is no file {path}")
    reason = str(error).strip().partition("\n")[0]
    return ScratchnetError(f"{path} is not a readable safetensors file ({reason})")
