"""Weights on disk: safetensors files that describe themselves.

A weights file holds the tensors of ``model.state_dict()`` under torch.nn's key names, and in its
header the name and the arguments of the network, so that the file alone is enough to rebuild it.
Any safetensors reader can open it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from torch import Tensor

from scratchnet import models
from scratchnet.errors import ScratchnetError
from scratchnet.io import tensorfile
from scratchnet.layers.module import Module
from scratchnet.models.owncode import is_own_code

WEIGHTS = "model.safetensors"
DEFAULT_WEIGHTS = "residual"
"""Which of the shipped weights ``denoise`` and ``evaluate`` use when none are named."""

_FORMAT = "scratchnet-weights-1"


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
    tensorfile.write(path, model.state_dict(), about)


def load(path: str | Path, model: Module | None = None, *, code: str | None = None) -> Module:
    """Read a model from a safetensors file.

    Args:
        path: a file written by :func:`save` or by training.
        model: an existing model to load the weights into, whatever wrote the file; by default the
            network that the file names is built, but not one of the user's own code.
        code: the user's own code that makes the network, as :func:`scratchnet.models.build` takes
            it, with the arguments in the file.

    Returns:
        The model, in eval mode and in the dtype of the weights.

    Raises:
        ScratchnetError: if the file is missing, damaged, not a weights file, or does not fit the
            model; or the code makes no network.
    """
    about, tensors = tensorfile.read(path)
    check_finite(path, tensors)
    if model is None:
        model = _build(path, _checked(path, about), code)
    dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtype=dtypes.pop())
    try:
        model.load_state_dict(tensors)
    except ScratchnetError as error:
        raise ScratchnetError(f"{path} does not fit the network: {error}") from error
    return model.eval()


def check_finite(path: str | Path, tensors: dict[str, Tensor]) -> None:
    """Refuse numbers that no training would go on from and that make a black image of any.

    Raises:
        ScratchnetError: if a tensor holds NaN or an infinity.
    """
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise ScratchnetError(
                f"{path} holds NaN or infinity in {name}: its training diverged, or the file is "
                "damaged; use other weights"
            )


def _build(path: str | Path, about: dict[str, Any], code: str | None) -> Module:
    name = code or about["name"]
    if name is None:
        raise ScratchnetError(
            f"{path} does not name its network; build the network and use load(path, model)"
        )
    if code is None and is_own_code(name):  # a weights file must not run code unasked
        raise ScratchnetError(
            f"{path} belongs to a network of {name}, which is code: build the network and use "
            f"load(path, model), or --model {name}"
        )
    return models.build(name, **about["args"])


def describe(path: str | Path) -> dict[str, Any]:
    """What a weights file says: ``name`` and ``args`` of the network, ``config`` of its training.

    Raises:
        ScratchnetError: if the file is missing, damaged, or was not written by :func:`save`.
    """
    return _checked(path, tensorfile.header(path))


def _checked(path: str | Path, about: dict[str, Any]) -> dict[str, Any]:
    if about.get("format") != _FORMAT:
        raise ScratchnetError(
            f"{path} is a safetensors file, but not one of scratchnet's weights files "
            f"(expected the format {_FORMAT}, got {about.get('format', 'none')})"
        )
    kinds = {"name": str | None, "args": dict, "config": dict | None}
    for key, kind in kinds.items():
        if not isinstance(about.get(key), kind):
            raise ScratchnetError(f"{path} is a damaged weights file: {key} is {about.get(key)!r}")
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
