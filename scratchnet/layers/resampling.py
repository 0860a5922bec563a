"""Resampling: images to another size, and pixels that become channels and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers import init
from scratchnet.layers.checks import check_grad, check_tensor, positive
from scratchnet.layers.module import Module
from scratchnet.ops.interpolate import RANKS, interpolate
from scratchnet.ops.op import Op
from scratchnet.ops.shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from scratchnet.ops.upsample import upsample_nearest

Size = int | Sequence[int]
Factor = float | Sequence[float]


class _Resampling(Module):
    """A layer that is one operation on its input, without parameters."""

    backend: str | Backend | None = None

    def _operation(self, x: Tensor) -> tuple[Op, dict[str, Any]]:
        """Return the operation and its options for this input."""
        raise NotImplementedError

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the operation's output for the input.

        Raises:
            ShapeError: the input has another rank, or sizes that do not divide.
        """
        x = check_tensor(self, inputs[0])
        op, options = self._operation(x)
        y, back = dispatch.run(op, x, backend=self.backend, **options)
        self.save(back)
        result: Tensor = y
        return result

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x: the adjoint of the operation, applied to ∂L/∂y; see scratchnet.ops."""
        (back,) = self.saved
        grad_x: Tensor = back(check_grad(self, grad_outputs[0], *back.output))[0]
        return grad_x


class Upsample(_Resampling):
    """Resample images to another size, larger or smaller.

    An output position is a place on the input, (i + ½)/scale − ½, and takes a weighted sum of the
    pixels there: of the nearest one, of the two next to it along each axis (linear, bilinear,
    trilinear), or of four (bicubic: Keys, 1981, with a = −3/4). With align_corners the place is
    i·(n_in − 1)/(n_out − 1). The formulas stand in scratchnet/ops/interpolate.py.

    Input (N, C, L), (N, C, H, W) or (N, C, D, H, W), any floating-point dtype; output of the size
    ``size``, or ⌊scale_factor · the input's⌋.

    ``nearest`` takes the pixel of ⌊i/scale⌋, computed in float64; torch does so in float32, and for
    a few sizes picks the neighbour.

    Args:
        size: of the output: an int, or one for each axis. Either this or scale_factor.
        scale_factor: a number above 0, or one for each axis.
        mode: ``"nearest"``, ``"nearest-exact"`` (of i + ½), ``"linear"`` (one axis),
            ``"bilinear"`` or ``"bicubic"`` (two), or ``"trilinear"`` (three).
        align_corners: whether the centres of the corner pixels meet; of the modes that are not
            nearest, where None is False.
        recompute_scale_factor: whether positions are as far apart as the sizes say, instead of
            scale_factor: where it is not whole, the two differ.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: an argument is outside its range, or does not go with another.
    """

    torch_names = ("torch.nn.Upsample",)

    @classmethod
    def example(cls) -> tuple[Upsample, Tensor]:
        """Return a small one, and an input for it."""
        return cls(scale_factor=(2, 1.5), mode="bilinear"), init.example_images()

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: Factor | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        name = type(self).__name__
        if mode not in RANKS:
            raise ArgumentError(
                f"{name} expects mode to be one of {', '.join(RANKS)}; got {mode!r}"
            )
        if (size is None) == (scale_factor is None):
            raise ArgumentError(f"{name} expects either size or scale_factor, got {size!r} and "
                                f"{scale_factor!r}")  # fmt: skip
        if align_corners is not None and mode.startswith("nearest"):
            raise ArgumentError(f"{name} with mode={mode!r} has no align_corners: leave it out")
        if recompute_scale_factor and scale_factor is None:
            raise ArgumentError(f"{name} expects a scale_factor where recompute_scale_factor=True")
        self.size = _numbers(name, "size", size, int)
        self.scale_factor = _numbers(name, "scale_factor", scale_factor, float)
        self.mode, self.align_corners = mode, align_corners
        self.recompute_scale_factor, self.backend = recompute_scale_factor, backend

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "size": self.size,
            "scale_factor": self.scale_factor,
            "mode": self.mode,
            "align_corners": self.align_corners,
            "recompute_scale_factor": self.recompute_scale_factor,
        }

    @property
    def whole_factors(self) -> tuple[int, ...] | None:
        """Two whole numbers if it repeats the pixels of images so often; else None."""
        factors = self.scale_factor
        # for whole factors nearest-exact picks the same pixels as nearest
        if factors is None or not self.mode.startswith("nearest"):
            return None
        pair = (factors,) * 2 if isinstance(factors, float) else tuple(factors)
        whole = len(pair) == 2 and all(f >= 1 and f.is_integer() for f in pair)
        return tuple(map(int, pair)) if whole else None

    def _operation(self, x: Tensor) -> tuple[Op, dict[str, Any]]:
        whole, rank = self.whole_factors, x.dim() - 2
        if whole and rank == 2 and 0 not in x.shape[1:]:
            return upsample_nearest, {"scale": whole}
        given: Any = self.size if self.scale_factor is None else self.scale_factor
        each = given if isinstance(given, tuple) else (given,) * rank
        if rank not in RANKS[self.mode] or len(each) != rank:
            ranks = [r for r in RANKS[self.mode] if not isinstance(given, tuple) or r == len(given)]
            raise ShapeError(
                f"{type(self).__name__} expects (N, C, ...) with "
                f"{' or '.join(map(str, ranks)) or 'other'} axes behind for mode={self.mode!r} and "
                f"{len(each)} numbers, got {x.dim()}-D {tuple(x.shape)}"
            )
        scale = None
        if self.scale_factor is not None:
            scale = None if self.recompute_scale_factor else each
            each = tuple(math.floor(n * f) for n, f in zip(x.shape[2:], each, strict=True))
        return interpolate, {
            "size": each,
            "mode": self.mode,
            "align_corners": bool(self.align_corners),
            "scale": scale,
        }


def _numbers(layer: str, name: str, value: Any, kind: type) -> Any:
    """Return an argument as a number or a tuple of them.

    Raises:
        ArgumentError: it is something else, or not above 0.
    """
    if value is None:
        return None
    row = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else None
    each = (value,) if row is None else row
    wanted = int if kind is int else int | float
    right = all(isinstance(v, wanted) and not isinstance(v, bool) and v > 0 for v in each)
    if not right or not 1 <= len(each) <= 3:
        what = "an int" if kind is int else "a number"
        raise ArgumentError(
            f"{layer} expects {name} to be {what} above 0, or one for each axis; got {value!r}"
        )
    return kind(value) if row is None else tuple(kind(v) for v in row)


class _Of2d(Upsample):
    """An Upsample of images by a mode of its own."""

    _fixed: dict[str, Any]

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: Factor | None = None,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        super().__init__(size, scale_factor, **self._fixed, backend=backend)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"size": self.size, "scale_factor": self.scale_factor}


class UpsamplingNearest2d(_Of2d):
    """Upsample with mode="nearest"; its arguments are the size or the scale_factor."""

    _fixed = {"mode": "nearest"}  # noqa: RUF012
    torch_names = ("torch.nn.UpsamplingNearest2d",)

    @classmethod
    def example(cls) -> tuple[UpsamplingNearest2d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(scale_factor=(2, 1.5)), init.example_images()


class UpsamplingBilinear2d(_Of2d):
    """Upsample with mode="bilinear" and align_corners; its arguments are the size or the
    scale_factor.
    """

    _fixed = {"mode": "bilinear", "align_corners": True}  # noqa: RUF012
    torch_names = ("torch.nn.UpsamplingBilinear2d",)

    @classmethod
    def example(cls) -> tuple[UpsamplingBilinear2d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(size=(9, 4)), init.example_images()


class PixelShuffle(_Resampling):
    """Channels become pixels: y[…, c, i·r + u, j·r + v] = x[…, c·r² + u·r + v, i, j].

    Input (…, C·r², H, W), any floating-point dtype; output (…, C, H·r, W·r). Source: Shi et al.,
    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
    Neural Network" (2016), equation 4.

    Args:
        upscale_factor: r, at least 1.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: upscale_factor is not a whole number of at least 1.
    """

    torch_names = ("torch.nn.PixelShuffle",)

    @classmethod
    def example(cls) -> tuple[PixelShuffle, Tensor]:
        """Return a small one, and an input for it."""
        return cls(2), init.example_images()

    def __init__(self, upscale_factor: int, *, backend: str | Backend | None = None) -> None:
        positive("PixelShuffle", upscale_factor=upscale_factor)
        self.upscale_factor, self.backend = upscale_factor, backend

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"upscale_factor": self.upscale_factor}

    def _operation(self, x: Tensor) -> tuple[Op, dict[str, Any]]:
        return pixel_shuffle, self.config()


class PixelUnshuffle(_Resampling):
    """Pixels become channels, the inverse of PixelShuffle:
    y[…, c·r² + u·r + v, i, j] = x[…, c, i·r + u, j·r + v].

    Input (…, C, H·r, W·r), any floating-point dtype; output (…, C·r², H, W).

    Args:
        downscale_factor: r, at least 1.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: downscale_factor is not a whole number of at least 1.
    """

    torch_names = ("torch.nn.PixelUnshuffle",)

    @classmethod
    def example(cls) -> tuple[PixelUnshuffle, Tensor]:
        """Return a small one, and an input for it."""
        return cls(2), init.example_images()[..., :6, :4]

    def __init__(self, downscale_factor: int, *, backend: str | Backend | None = None) -> None:
        positive("PixelUnshuffle", downscale_factor=downscale_factor)
        self.downscale_factor, self.backend = downscale_factor, backend

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"downscale_factor": self.downscale_factor}

    def _operation(self, x: Tensor) -> tuple[Op, dict[str, Any]]:
        return pixel_unshuffle, self.config()


class ChannelShuffle(_Resampling):
    """Channels in another order: y[n, c·G + g] = x[n, g·C/G + c], one of each group in turn.

    Input (N, C, …) with at least one axis behind, any floating-point dtype; output of its shape.
    Source: Zhang et al., "ShuffleNet" (2017), section 3.1.

    Args:
        groups: G, at least 1; divides C.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: groups is not a whole number of at least 1.
    """

    torch_names = ("torch.nn.ChannelShuffle",)

    @classmethod
    def example(cls) -> tuple[ChannelShuffle, Tensor]:
        """Return a small one, and an input for it."""
        return cls(2), init.example_images()

    def __init__(self, groups: int, *, backend: str | Backend | None = None) -> None:
        positive("ChannelShuffle", groups=groups)
        self.groups, self.backend = groups, backend

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"groups": self.groups}

    def _operation(self, x: Tensor) -> tuple[Op, dict[str, Any]]:
        return channel_shuffle, self.config()
