"""safetensors files with a note in JSON in the header."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from scratchnet.errors import ScratchnetError
from scratchnet.io.files import write_bytes

# One key: safetensors writes several in no fixed order, and equal runs shall make equal files.
_KEY = "scratchnet"


def write(path: str | Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors, and ``about`` as JSON in the header; atomically.

    Raises:
        ScratchnetError: if the file cannot be written.
    """
    # safetensors refuses views of shared memory and odd strides; weights are small enough to copy.
    plain = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in tensors.items()
    }
    write_bytes(path, save(plain, metadata={_KEY: json.dumps(about)}))


def header(path: str | Path) -> dict[str, Any]:
    """What :func:`write` put into the header; empty if another program wrote the file.

    Raises:
        ScratchnetError: if the file is missing or damaged.
    """
    return _open(path, lambda file: {})[0]


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header, as :func:`header` returns it, and all tensors of a file, by name.

    Raises:
        ScratchnetError: if the file is missing or damaged.
    """
    return _open(path, lambda file: {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118


def _open(
    path: str | Path, tensors: Callable[[Any], dict[str, Tensor]]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            return (about if isinstance(about, dict) else {}), tensors(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> ScratchnetError:
    if not Path(path).exists():
        return ScratchnetError(f"there is no file {path}")
    reason = str(error).strip().partition("\n")[0]
    return ScratchnetError(f"{path} is not a readable safetensors file ({reason})")
