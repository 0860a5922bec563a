"""Layers that change nothing but the shape, or nothing at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.module import Module
from scratchnet.ops.op import shape_only


class _Reshaped(Module):
    """A layer whose output has the input's elements, in their order."""

    def shape(self, x: Tensor) -> Sequence[int]:
        """Return the shape of the output for ``x``."""
        return x.shape

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return a copy in the new shape.

        Raises:
            ShapeError: the input has no such axes, or they do not fit.
            TypeMismatch: not a floating-point tensor.
        """
        (x,) = inputs
        x = check_tensor(self, x)
        y = x.clone(memory_format=torch.preserve_format).reshape(self.shape(x))
        self.save(x.shape, shape_only(y))
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x has the elements of ∂L/∂y, in their order."""
        shape, like = self.saved
        return check_grad(self, grad_outputs[0], like.shape, like.dtype).clone().reshape(shape)


class Identity(_Reshaped):
    """y = x, as torch.nn.Identity; a copy of it.

    Args:
        args, kwargs: any; they are ignored, as torch's are, so that it takes another layer's place.
    """

    torch_names = ("torch.nn.Identity",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    @classmethod
    def from_torch_config(cls, module: Any) -> dict[str, Any]:
        """Return {}."""
        return {}


class Flatten(_Reshaped):
    """Join the axes from start_dim to end_dim into one, as torch.nn.Flatten.

    Input (*, S_start, ..., S_end, *); output (*, S_start · ... · S_end, *).

    Args:
        start_dim: the first axis that is joined; negative ones count from the last.
        end_dim: the last axis that is joined.
    """

    torch_names = ("torch.nn.Flatten",)

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"start_dim": self.start_dim, "end_dim": self.end_dim}

    def shape(self, x: Tensor) -> Sequence[int]:
        """Return the shape of the output for ``x``."""
        first, last = (d if d >= 0 else d + x.dim() for d in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < x.dim():
            raise ShapeError(
                f"Flatten expects axes {self.start_dim} to {self.end_dim}, got {x.dim()}-D "
                f"{tuple(x.shape)}"
            )
        return *x.shape[:first], x.shape[first : last + 1].numel(), *x.shape[last + 1 :]


class Unflatten(_Reshaped):
    """Split one axis into several, as torch.nn.Unflatten.

    Input (*, S, *); output (*, U_1, ..., U_n, *) with S = U_1 · ... · U_n.

    Args:
        dim: the axis; negative ones count from the last.
        unflattened_size: U_1, ..., U_n; one of them may be −1, for what is left.

    Raises:
        ArgumentError: dim is no int (names of axes are not supported), or the size no sequence of
            ints.
    """

    torch_names = ("torch.nn.Unflatten",)

    @classmethod
    def example(cls) -> tuple[Unflatten, Tensor]:
        """Return a small one, and an input for it."""
        return cls(1, (2, -1)), torch.arange(48.0).view(2, 4, 6)

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        if not isinstance(dim, int):
            raise ArgumentError(f"Unflatten expects dim to be the number of an axis, got {dim!r}")
        if not all(isinstance(size, int) for size in unflattened_size):
            raise ArgumentError(f"Unflatten expects sizes that are ints, got {unflattened_size!r}")
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)
        known = [size for size in self.unflattened_size if size != -1]
        if (
            not self.unflattened_size
            or min(known, default=1) < 1
            or (len(self.unflattened_size) - len(known) > 1)
        ):
            raise ArgumentError(
                "Unflatten expects sizes of at least 1, one of which may be -1, got "
                f"{self.unflattened_size}"
            )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"dim": self.dim, "unflattened_size": self.unflattened_size}

    def shape(self, x: Tensor) -> Sequence[int]:
        """Return the shape of the output for ``x``."""
        dim = self.dim if self.dim >= 0 else self.dim + x.dim()
        known = 1
        for size in self.unflattened_size:
            known *= size if size != -1 else 1
        fits = 0 <= dim < x.dim() and (
            x.shape[dim] % known == 0 if -1 in self.unflattened_size else x.shape[dim] == known
        )
        if not fits:
            raise ShapeError(
                f"Unflatten expects an axis {self.dim} that splits into {self.unflattened_size}, "
                f"got {tuple(x.shape)}"
            )
        sizes = (x.shape[dim] // known if size == -1 else size for size in self.unflattened_size)
        return *x.shape[:dim], *sizes, *x.shape[dim + 1 :]
