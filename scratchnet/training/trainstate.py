"""The state of a training between two epochs, on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ScratchnetError
from scratchnet.io import tensorfile

STATE = "checkpoint.safetensors"

_FORMAT = "scratchnet-training-1"


@dataclass
class TrainingState:
    """All that a run needs to go on as if it had never stopped.

    Attributes:
        model: ``model.state_dict()``.
        optimizer: the optimizer's state, as :func:`flattened` returns it.
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


def flattened(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state of an optimizer as {"kind.i": value}, for each kind of value that it keeps
    of parameter i, without the options of its groups. Tensors are not copied.
    """
    states = optimizer.state_dict()["state"]
    return {f"{kind}.{i}": v for i, state in states.items() for kind, v in state.items()}


def unflattened(flat: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return what ``optimizer.load_state_dict`` takes, with copies of the tensors.

    Args:
        flat: from :func:`flattened`. A number of steps that is kept once, as "step", stands for
            every parameter's (runs made before optimizers had groups).
        optimizer: which the state is for; its options are kept.
    """
    groups = optimizer.state_dict()["param_groups"]
    states: dict[int, dict[str, Any]] = {}
    for key, value in flat.items():
        kind, _, number = key.rpartition(".")
        owners = [int(number)] if kind else [i for group in groups for i in group["params"]]
        for i in owners:
            copied = value.detach().clone() if isinstance(value, Tensor) else value
            states.setdefault(i, {})[kind or key] = copied
    return {"state": states, "param_groups": groups}


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
        "format": _FORMAT,
        "optimizer": numbers,
        "epoch": state.epoch,
        "step": state.step,
        "history": state.history,
    }
    tensorfile.write(path, tensors, about)


def load_state(path: str | Path) -> TrainingState:
    """Read a training state.

    Raises:
        ScratchnetError: if the file is missing, damaged, or not a training state.
    """
    about, tensors = tensorfile.read(path)
    if about.get("format") != _FORMAT:
        raise ScratchnetError(f"{path} is not a training state (expected {_FORMAT})")

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
