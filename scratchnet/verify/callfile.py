"""One call of an operation in a file: its tensors, as they lie in memory, and its options."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from scratchnet.errors import DataError

FORMAT = "scratchnet call 3"


@dataclass(frozen=True)
class SavedCall:
    """A call that was written to a file.

    Attributes:
        op: the operation, e.g. ``"conv2d"``.
        backend: what finds the backend that ran it: a name, or ``"package.module:Class"``.
        tensors: its tensors by name, with their strides; gradients of the outputs are ``grad_y.0``
            and so on.
        options: its other arguments; numbers, strings and tuples of them.
        count: how many tensors the call has, those that are None included.
        needs: which gradients were asked for; None if it was the forward that failed.
        threads: how many of torch's threads it ran on.
    """

    op: str
    backend: str
    tensors: dict[str, Tensor]
    options: dict[str, Any]
    count: int
    needs: tuple[bool, ...] | None
    threads: int

    def write(self) -> Path:
        """Write the call to a new file in the current folder, or, where that cannot be written to,
        in the folder for temporary files; return its path.
        """
        strides = {name: list(tensor.stride()) for name, tensor in self.tensors.items()}
        about = {
            "op": self.op,
            "backend": self.backend,
            "options": self.options,
            "strides": strides,
            "count": self.count,
            "needs": self.needs,
            "threads": self.threads,
        }
        content = save(
            {
                name: tensor.cpu().clone(memory_format=torch.contiguous_format)
                for name, tensor in self.tensors.items()
            },
            metadata={"format": FORMAT, "call": json.dumps(about)},
        )
        here = Path.cwd()
        folder = here if os.access(here, os.W_OK) else Path(tempfile.gettempdir())
        descriptor, path = tempfile.mkstemp(".safetensors", f"verify-{self.op}-", folder)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return Path(path)


def read(path: str | Path) -> SavedCall:
    """Return the call that :meth:`SavedCall.write` wrote.

    Raises:
        DataError: there is no such file, or it is not one of these.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if metadata.get("format") != FORMAT:
        raise DataError(
            f"{path} holds no call of an operation: expected a file that SCRATCHNET_VERIFY=1 wrote"
        )
    about = json.loads(metadata["call"])
    return SavedCall(
        about["op"],
        about["backend"],
        {name: _laid_out(tensors[name], stride) for name, stride in about["strides"].items()},
        {name: _tuples(value) for name, value in about["options"].items()},
        about["count"],
        _tuples(about["needs"]),
        about["threads"],
    )


def _laid_out(tensor: Tensor, stride: list[int]) -> Tensor:
    """Return the tensor with these strides; 0 for a dimension that is expanded."""
    kept = tensor
    for dim, step in enumerate(stride):
        if step == 0 and tensor.shape[dim] > 1:
            kept = kept.narrow(dim, 0, 1)
    room = torch.empty_strided(kept.shape, stride, dtype=tensor.dtype)
    room.copy_(kept)
    return room.expand(tensor.shape)


def _tuples(value: Any) -> Any:
    """Return JSON's lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
