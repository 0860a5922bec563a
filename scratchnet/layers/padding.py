"""Padding: values put around signals and images, or cut off where the padding is negative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import ArgumentError
from scratchnet.layers import init
from scratchnet.layers.image_layer import ImageLayer
from scratchnet.ops.pad import pad

IntOrSides = int | Sequence[int]


class Padding(ImageLayer):
    """What the padding layers share; input (N, C, H, W) or (C, H, W) in 2-D, (N, C, L) or (C, L) in
    1-D, any floating-point dtype; output the same with each axis longer by its padding.

    Args:
        padding: an int for every side, or (left, right) in 1-D and (left, right, top, bottom) in
            2-D; negative to cut off.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: padding is not an int or as many ints as there are sides.
        ShapeError: an input from which nothing is left, or too small to copy from.

    Attributes:
        mode: of the operation.
        value: what ``"constant"`` puts around.
    """

    mode: ClassVar[str]
    value: float = 0.0

    def __init__(self, padding: IntOrSides, *, backend: str | Backend | None = None) -> None:
        sides = 2 * (self._rank - 1)
        given = (padding,) * sides if isinstance(padding, int) else padding
        if not _are_ints(given, sides):
            raise ArgumentError(
                f"{type(self).__name__} expects padding to be an int or {sides} of them, "
                f"got {padding!r}"
            )
        self.padding, self.backend = tuple(given), backend

    @classmethod
    def example(cls) -> tuple[Padding, Tensor]:
        """Return a small one, and an input for it."""
        x = init.example_images(cls.axes)
        return cls((1, 2, 0, 3)[: 2 * (x.dim() - 2)]), x

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"padding": self.padding}

    def forward_images(self, x: Tensor) -> Tensor:
        """Return x with values around it; see scratchnet.ops.pad."""
        y, back = dispatch.run(
            pad, x, backend=self.backend, padding=self.padding, mode=self.mode, value=self.value
        )
        self.save(back)
        result: Tensor = y
        return result

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """∂L/∂x[j] = Σ of ∂L/∂y over the places that x[j] was copied to."""
        (back,) = self.saved
        grad_x: Tensor = back(grad_y)[0]
        return grad_x


def _are_ints(values: object, count: int) -> bool:
    return isinstance(values, Sequence) and [type(v) for v in values] == [int] * count


class ZeroPad1d(Padding):
    """Zeros, around a signal, as torch.nn.ZeroPad1d; see :class:`Padding`."""

    axes = "L"
    mode = "constant"
    torch_names = ("torch.nn.ZeroPad1d",)


class ZeroPad2d(Padding):
    """Zeros, around an image, as torch.nn.ZeroPad2d; see :class:`Padding`."""

    mode = "constant"
    torch_names = ("torch.nn.ZeroPad2d",)


class ReflectionPad1d(Padding):
    """What stands inside, mirrored at the border value (which is not repeated), around a signal, as
    torch.nn.ReflectionPad1d; see :class:`Padding`. The padding is smaller than the axis.
    """

    axes = "L"
    mode = "reflect"
    torch_names = ("torch.nn.ReflectionPad1d",)


class ReflectionPad2d(Padding):
    """What stands inside, mirrored at the border value (which is not repeated), around an image, as
    torch.nn.ReflectionPad2d; see :class:`Padding`. The padding is smaller than the axis.
    """

    mode = "reflect"
    torch_names = ("torch.nn.ReflectionPad2d",)


class ReplicationPad1d(Padding):
    """The border values, repeated, around a signal, as torch.nn.ReplicationPad1d; see
    :class:`Padding`.
    """

    axes = "L"
    mode = "replicate"
    torch_names = ("torch.nn.ReplicationPad1d",)


class ReplicationPad2d(Padding):
    """The border values, repeated, around an image, as torch.nn.ReplicationPad2d; see
    :class:`Padding`.
    """

    mode = "replicate"
    torch_names = ("torch.nn.ReplicationPad2d",)


class CircularPad1d(Padding):
    """What stands at the opposite side, as if the signal were periodic, around a signal, as
    torch.nn.CircularPad1d; see :class:`Padding`. The padding is at most the axis, less what is cut
    off.
    """

    axes = "L"
    mode = "circular"
    torch_names = ("torch.nn.CircularPad1d",)


class CircularPad2d(Padding):
    """What stands at the opposite side, as if the signal were periodic, around an image, as
    torch.nn.CircularPad2d; see :class:`Padding`. The padding is at most the axis, less what is cut
    off.
    """

    mode = "circular"
    torch_names = ("torch.nn.CircularPad2d",)


class Constant(Padding):
    """A constant around the input.

    Args:
        padding: as of every padding layer.
        value: the constant.
        backend: name or object of the backend for this layer; None for the selected one.
    """

    mode = "constant"

    @classmethod
    def example(cls) -> tuple[Padding, Tensor]:
        """Return a small one, and an input for it."""
        x = init.example_images(cls.axes)
        return cls((1, 2, 0, -1)[: 2 * (x.dim() - 2)], 1.5), x

    def __init__(
        self, padding: IntOrSides, value: float, *, backend: str | Backend | None = None
    ) -> None:
        super().__init__(padding, backend=backend)
        self.value = value

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"padding": self.padding, "value": self.value}


class ConstantPad1d(Constant):
    """``value`` around a signal, as torch.nn.ConstantPad1d; see :class:`Constant`."""

    axes = "L"
    torch_names = ("torch.nn.ConstantPad1d",)


class ConstantPad2d(Constant):
    """``value`` around an image, as torch.nn.ConstantPad2d; see :class:`Constant`."""

    torch_names = ("torch.nn.ConstantPad2d",)
