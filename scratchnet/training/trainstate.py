"""The state of a training between two steps, on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ScratchnetError
from scratchnet.io import tensorfile

STATE = "checkpoint.safetensors"

_FORMATS = ("scratchnet-training-1", "scratchnet-training-2")  # the first: between epochs only


@dataclass
class TrainingState:
    """All that a run needs to go on as if it had never stopped.

    Attributes:
        model: ``model.state_dict()``.
        optimizer: the optimizer's state, as :func:`flattened` returns it.
        rng: the state of the generator that shuffles the batches.
        epoch, step: how many are done.
        history: a dictionary for each epoch done.
        batch: batches done of the epoch under way.
        loss_sum, seconds: of those: the loss of all images, and the time.
        order_rng: the state of the generator when it was about to shuffle that epoch.
        torch_rng: the state of torch's global generator.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    rng: Tensor
    epoch: int
    step: int
    history: list[dict[str, Any]] = field(default_factory=list)
    batch: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    order_rng: Tensor | None = None
    torch_rng: Tensor | None = None


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
    for name in ("rng", "order_rng", "torch_rng"):
        if getattr(state, name) is not None:
            tensors[name] = getattr(state, name)
    about = {
        "format": _FORMATS[-1],
        "optimizer": numbers,
        "epoch": state.epoch,
        "step": state.step,
        "history": state.history,
        "batch": state.batch,
        "loss_sum": state.loss_sum,
        "seconds": state.seconds,
    }
    tensorfile.write(path, tensors, about)


def load_state(path: str | Path) -> TrainingState:
    """Read a training state.

    Raises:
        ScratchnetError: if the file is missing, damaged, or not a training state.
    """
    about, tensors = tensorfile.read(path)
    if about.get("format") not in _FORMATS:
        raise ScratchnetError(f"{path} is not a training state (expected {' or '.join(_FORMATS)})")

    def part(prefix: str) -> dict[str, Any]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    try:
        return TrainingState(
            model=part("model/"),
            optimizer=part("optimizer/") | about["optimizer"],
            rng=tensors["rng"],
            epoch=int(about["epoch"]),
            step=int(about["step"]),
            history=[dict(row) for row in about["history"]],
            batch=int(about.get("batch", 0)),
            loss_sum=float(about.get("loss_sum", 0.0)),
            seconds=float(about.get("seconds", 0.0)),
            order_rng=tensors.get("order_rng"),
            torch_rng=tensors.get("torch_rng"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ScratchnetError(
            f"{path} is a damaged training state ({type(error).__name__}: {error})"
        ) from error
