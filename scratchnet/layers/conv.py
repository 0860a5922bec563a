"""Convolutions of sequences, images and volumes.

In the formulas a convolution is the linear map A_W: y = A_W x + b. Source: Dumoulin and Visin, "A
guide to convolution arithmetic for deep learning" (2016), chapters 2 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import ArgumentError
from scratchnet.layers import init
from scratchnet.layers.checks import positive, sizes
from scratchnet.layers.image_layer import ImageLayer
from scratchnet.layers.parameter import Parameter
from scratchnet.ops.conv import conv2d
from scratchnet.ops.conv3d import conv3d
from scratchnet.ops.op import Op
from scratchnet.ops.pad import pad

IntOrPair = int | Sequence[int]
Ints = tuple[int, ...]
_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate",
          "circular": "circular"}  # fmt: skip
"""{torch.nn's name of a way to pad: that of the operation}"""


class Convolution(ImageLayer):
    """What the convolutions share: arguments, and the parameters with their initial values."""

    weight: Parameter
    grad_weight: Tensor
    bias: Parameter | None
    grad_bias: Tensor | None
    in_channels: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair,
        padding: IntOrPair,
        dilation: IntOrPair,
        groups: int,
        bias: bool,
        *,
        transposed: bool = False,
        backend: str | Backend | None,
        generator: torch.Generator | None,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> None:
        name = type(self).__name__
        positive(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{name} expects groups to divide in_channels and out_channels, "
                f"got groups={groups}, in_channels={in_channels}, out_channels={out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = self._sizes("kernel_size", kernel_size, least=1)
        self.stride = self._sizes("stride", stride, least=1)
        self._padding: Any = self._sizes("padding", padding, least=0)
        self._zeros: Ints = self._padding
        self.dilation = self._sizes("dilation", dilation, least=1)
        self.backend = backend

        rows, columns = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (rows, columns // groups, *self.kernel_size)
        fan_in = torch.Size(shape[1:]).numel()
        weight = init.uniform_fan_in(shape, fan_in, generator=generator, dtype=dtype, device=device)
        self.add_parameter("weight", weight)
        offset = None
        if bias:
            offset = init.uniform_fan_in(
                (out_channels,), fan_in, generator=generator, dtype=dtype, device=device
            )
        self.add_parameter("bias", offset)

    def _sizes(self, name: str, value: IntOrPair, *, least: int) -> Ints:
        """Return an argument as one number for each axis of the image."""
        return sizes(type(self).__name__, name, value, self._rank - 1, least=least)

    @property
    def padding(self) -> Any:
        """How much is put around the input, or "same" or "valid"; read-only: what is put there, and
        where, is decided when the layer is made.
        """
        return self._padding

    @property
    def options(self) -> dict[str, Any]:
        """The options of the layer's operation."""
        return {
            "stride": self._pair(self.stride, 1),
            "padding": self._pair(self._zeros, 0),
            "dilation": self._pair(self.dilation, 1),
            "groups": self.groups,
        }

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "bias": self.bias is not None,
        }

    # A sequence is an image of one row: (N, C, L) <-> (N, C, 1, L). Neither way copies.

    def _image(self, tensor: Tensor) -> Tensor:
        return tensor.unsqueeze(2) if self._rank == 2 else tensor

    def _sequence(self, image: Tensor) -> Tensor:
        return image.squeeze(2) if self._rank == 2 else image

    def _pair(self, values: Ints, of_one_row: int) -> Ints:
        return (of_one_row, *values) if self._rank == 2 else values

    # ----------------------------------------------------------------------------------------------

    def _run(self, op: Op, x: Tensor) -> tuple[Tensor, dispatch.Back]:
        y, back = dispatch.run(
            op,
            self._image(x),
            self._image(self.weight),
            self.bias,
            backend=self.backend,
            **self.options,
        )
        return self._sequence(y), back

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """y is linear in each of x, W and b, so each gradient is the adjoint of that linear map.

        The formulas stand beside the operation, in scratchnet/ops.
        """
        back, *unpad = self.saved
        grad_x, grad_weight, grad_bias = back(self._image(grad_y))
        assert grad_x is not None
        assert grad_weight is not None
        self._accumulate(self._sequence(grad_weight), grad_bias)
        grad_x = self._sequence(grad_x)
        return unpad[0](grad_x)[0] if unpad else grad_x

    def _accumulate(self, grad_weight: Tensor, grad_bias: Tensor | None) -> None:
        self.grad_weight += grad_weight
        if self.grad_bias is not None and grad_bias is not None:
            self.grad_bias += grad_bias


class _Direct(Convolution):
    """Conv1d, Conv2d and Conv3d: one constructor, one forward."""

    op: ClassVar[Op] = conv2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair | str = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        backend: str | Backend | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        name = type(self).__name__
        if isinstance(padding, str) and padding not in ("valid", "same"):
            raise ArgumentError(
                f"{name} expects padding to be whole numbers, 'valid' or 'same'; got {padding!r}"
            )
        if padding_mode not in _MODES:
            raise ArgumentError(
                f"{name} expects padding_mode to be one of {', '.join(_MODES)}; "
                f"got {padding_mode!r}"
            )
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            0 if isinstance(padding, str) else padding,
            dilation,
            groups,
            bias,
            backend=backend,
            generator=generator,
            dtype=dtype,
            device=device,
        )
        self.padding_mode = padding_mode
        before = after = self._zeros
        if isinstance(padding, str):
            self._padding = padding
        if padding == "same":
            if max(self.stride) > 1:
                raise ArgumentError(
                    f"{name} expects a stride of 1 where padding='same', got {self.stride}"
                )
            both = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            before, after = tuple(n // 2 for n in both), tuple(n - n // 2 for n in both)
        # Zeros, as many on both sides, are the operation's own; all else is put around x before.
        self._zeros = before if padding_mode == "zeros" else (0,) * len(before)
        rest = [(b - z, a - z) for b, a, z in zip(before, after, self._zeros, strict=True)]
        self._around = tuple(n for pair in reversed(rest) for n in pair)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        mode = {} if self.padding_mode == "zeros" else {"padding_mode": self.padding_mode}
        return {**super().config(), **mode}

    @property
    def pads_first(self) -> bool:
        """Whether it is more than its operation: whether something is put around x before."""
        return any(self._around)

    def forward_images(self, x: Tensor) -> Tensor:
        """y = A_W P x + b, where P pads; see scratchnet.ops.conv and scratchnet.ops.pad."""
        unpad: list[dispatch.Back] = []
        if self.pads_first:
            options = {"padding": self._around, "mode": _MODES[self.padding_mode]}
            x, *unpad = dispatch.run(pad, x, backend=self.backend, **options)
        y, back = self._run(self.op, x)
        self.save(back, *unpad)
        return y


class Conv2d(_Direct):
    """2-D cross-correlation with a bias.

    y[n,o,i,j] = b[o] + Σ_{c,u,v} W[o,c,u,v] · x[n, c, i·stride − padding + u·dilation, j·…]

    Input (N, in_channels, H, W) or (in_channels, H, W); output (N, out_channels, H_out, W_out),
    batch axis as in the input,
    H_out = (H + 2·padding − dilation·(kernel_size−1) − 1) // stride + 1.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: an int, or a pair (vertical, horizontal), like stride, padding, dilation.
        stride: step between the places where the kernel is applied.
        padding: rows and columns added on every side; or ``"same"``: as many as keep the size, the
            odd one below and at the right (without stride only); or ``"valid"``: none.
        dilation: step between the kernel's own elements.
        groups: G: output group g depends on input group g only; divides C and O.
        bias: whether to add b.
        padding_mode: what is added: ``"zeros"``, ``"reflect"`` (mirrored at the border's pixel),
            ``"replicate"`` (the border's pixel) or ``"circular"`` (the other side).
        backend: name or object of the backend for this layer; None for the selected one.
        generator: source of the initial values, U(−√k, √k) with k = groups / (C · K_h · K_w).
        dtype: floating-point; torch's default dtype if None.
        device: where the parameters live.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    torch_names = ("torch.nn.Conv2d",)

    @classmethod
    def example(cls) -> tuple[Conv2d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), groups=2), init.example_images()


class Conv1d(_Direct):
    """1-D cross-correlation with a bias, computed as that of images of one row.

    y[n,o,i] = b[o] + Σ_{c,u} W[o,c,u] · x[n, c, i·stride − padding + u·dilation]

    Input (N, in_channels, L) or (in_channels, L); output (N, out_channels, L_out), batch axis as in
    the input, L_out = (L + 2·padding − dilation·(kernel_size−1) − 1) // stride + 1. The weight is
    (out_channels, in_channels/groups, K).

    Args: as Conv2d's, for one axis: an int, or a row of one.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    axes = "L"
    torch_names = ("torch.nn.Conv1d",)

    @classmethod
    def example(cls) -> tuple[Conv1d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, 6, 3, 2, 1, 2, groups=2), init.example_images(cls.axes)


class Conv3d(_Direct):
    """3-D cross-correlation with a bias.

    y[n,o,h,i,j] = b[o] + Σ_{c,t,u,v} W[o,c,t,u,v] · x[n, c, h·stride − padding + t·dilation, i·…]

    Input (N, in_channels, D, H, W) or (in_channels, D, H, W); output (N, out_channels, D_out,
    H_out, W_out), batch axis as in the input, each size as Conv2d's. The weight is
    (out_channels, in_channels/groups, K_d, K_h, K_w).

    Args: as Conv2d's, for three axes: an int, or three of them (depth, vertical, horizontal).

    Raises:
        ArgumentError: an argument is outside its range.
    """

    axes = "D, H, W"
    op = conv3d
    torch_names = ("torch.nn.Conv3d",)

    @classmethod
    def example(cls) -> tuple[Conv3d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, 6, (2, 3, 2), (2, 1, 1), (1, 0, 2), groups=2), init.example_images(cls.axes)
