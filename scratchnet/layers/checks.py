"""The checks that layers make of their arguments and inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch
from scratchnet.layers.module import Module


def pair(layer: str, name: str, value: int | Sequence[int], *, least: int) -> tuple[int, int]:
    """Return ``value`` as (vertical, horizontal); see :func:`sizes`."""
    rows, columns = sizes(layer, name, value, 2, least=least)
    return rows, columns


def sizes(
    layer: str, name: str, value: int | Sequence[int], count: int, *, least: int
) -> tuple[int, ...]:
    """Return ``value`` as one number for each of ``count`` axes: an int stands for all of them.

    Raises:
        ArgumentError: not an int or ``count`` ints, or one is smaller than ``least``.
    """
    given: Sequence[Any] = value if _is_row(value) else (value,) * count
    whole = all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in given)
    if len(given) != count or not whole:
        several = {1: "a row of one", 2: "a pair of them"}.get(count, f"{count} of them")
        raise ArgumentError(
            f"{layer} expects {name} to be an int or {several}, at least {least}; got {value!r}"
        )
    return tuple(given)


def _is_row(value: object) -> TypeGuard[Sequence[int]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def positive(layer: str, **values: int) -> None:
    """Raise ArgumentError unless every value is an int of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{layer} expects {name} to be an int of at least 1, got {value!r}")


def check_tensor(
    layer: Module,
    x: object,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return ``x``, detached from any autograd graph, after checking that the layer can work with
    it.

    Args:
        layer: the layer that it is an input of; named in the error.
        x: what was passed.
        dtype: what it must be; any floating-point dtype if None.
        device: where it must be; anywhere if None.

    Raises:
        TypeMismatch: not a tensor, or of the wrong dtype or device.
    """
    name = type(layer).__name__
    if not isinstance(x, Tensor):
        raise TypeMismatch(f"{name} expects a torch.Tensor, got {type(x).__name__}")
    if not x.is_floating_point():
        raise TypeMismatch(
            f"{name} expects a floating-point tensor, got {x.dtype}: convert it with x.float() "
            "(images: x.float() / 255)"
        )
    if dtype is not None and x.dtype != dtype:
        raise TypeMismatch(
            f"{name} expects {dtype}, got {x.dtype}: convert the tensor with x.to({dtype}) "
            f"or the model with model.to(dtype={x.dtype})"
        )
    if device is not None and x.device != device:
        raise TypeMismatch(
            f"{name} is on {device}, its input on {x.device}: move one with to(device=...)"
        )
    return x.detach() if x.requires_grad else x


def check_images(layer: Module, x: Tensor, *, channels: int | None, axes: str = "H, W") -> None:
    """Check that ``x`` is (N, C, H, W), or has other ``axes`` than H and W, with C = ``channels``
    (any if None); only N may be 0, as in torch.

    Raises:
        ShapeError: it is not.
    """
    name = type(layer).__name__
    want = "C" if channels is None else str(channels)
    if x.dim() != axes.count(",") + 3:
        raise ShapeError(
            f"{name} expects (N, {want}, {axes}) or (C, {axes}), got {x.dim()}-D {tuple(x.shape)}"
        )
    if channels is not None and x.shape[1] != channels:
        raise ShapeError(
            f"{name} expects {channels} channels (N, {want}, {axes}), got {tuple(x.shape)}"
        )
    if 0 in x.shape[1:]:
        raise ShapeError(
            f"{name} expects images of at least one channel and pixel, got {tuple(x.shape)}; "
            "only the batch may be empty"
        )


def check_grad(layer: Module, grad_y: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return ``grad_y``, detached, after checking that it fits the output of the last forward.

    Raises:
        ShapeError: another shape than the output had.
        TypeMismatch: not a tensor, or another dtype.
    """
    grad_y = check_tensor(layer, grad_y, dtype=dtype)
    if grad_y.shape != shape:
        raise ShapeError(
            f"{type(layer).__name__}.backward expects a gradient of the output's shape, "
            f"{tuple(shape)}; got {tuple(grad_y.shape)}"
        )
    return grad_y
