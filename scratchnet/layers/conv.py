"""Convolution and transposed convolution: each is the other with forward and backward exchanged.

In the formulas a convolution is the linear map A_W: y = A_W x. Source, for both layers: Dumoulin
and Visin, "A guide to convolution arithmetic for deep learning" (2016), chapter 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers import init
from scratchnet.layers.checks import pair, positive
from scratchnet.layers.image_layer import ImageLayer
from scratchnet.layers.parameter import Parameter
from scratchnet.ops.conv import conv2d, conv2d_input_grad
from scratchnet.ops.op import Op

IntOrPair = int | Sequence[int]


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
        self.kernel_size = pair(name, "kernel_size", kernel_size, least=1)
        self.stride = pair(name, "stride", stride, least=1)
        self.padding = pair(name, "padding", padding, least=0)
        self.dilation = pair(name, "dilation", dilation, least=1)
        self.backend = backend

        rows, columns = (in_channels, out_channels) if transposed else (out_channels, in_channels)
        shape = (rows, columns // groups, *self.kernel_size)
        fan_in = shape[1] * shape[2] * shape[3]
        weight = init.uniform_fan_in(shape, fan_in, generator=generator, dtype=dtype, device=device)
        self.add_parameter("weight", weight)
        offset = None
        if bias:
            offset = init.uniform_fan_in(
                (out_channels,), fan_in, generator=generator, dtype=dtype, device=device
            )
        self.add_parameter("bias", offset)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the layer's operation."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
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

    @classmethod
    def from_torch_config(cls, module: Any) -> dict[str, Any]:
        """Return the arguments of torch's module; ``padding="same"`` as numbers.

        Raises:
            ArgumentError: it pads with something else than zeros, or more on one side.
        """
        if module.padding_mode != "zeros":
            raise ArgumentError(f"padding_mode={module.padding_mode!r}, expected 'zeros'")
        padding = module.padding
        if padding == "valid":
            padding = 0
        elif padding == "same":
            sizes = zip(module.kernel_size, module.dilation, strict=True)
            down, across = (d * (k - 1) for k, d in sizes)
            if down % 2 or across % 2:
                raise ArgumentError(
                    f"padding='same' with kernel_size={module.kernel_size} and "
                    f"dilation={module.dilation} pads one side more than the other, expected the "
                    "same on both"
                )
            padding = down // 2, across // 2
        return {**super().from_torch_config(module), "padding": padding}

    def _run(self, op: Op, x: Tensor) -> Tensor:
        y, back = dispatch.run(op, x, self.weight, self.bias, backend=self.backend, **self.options)
        self.save(back)
        result: Tensor = y
        return result

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """y is linear in each of x, W and b, so each gradient is the adjoint of that linear map.

        The formulas stand beside the operation, in scratchnet/ops.
        """
        (back,) = self.saved
        grad_x, grad_weight, grad_bias = back(grad_y)
        self._accumulate(grad_weight, grad_bias)
        assert grad_x is not None
        result: Tensor = grad_x
        return result

    def _accumulate(self, grad_weight: Tensor | None, grad_bias: Tensor | None) -> None:
        if grad_weight is not None:
            self.grad_weight += grad_weight
        if self.grad_bias is not None and grad_bias is not None:
            self.grad_bias += grad_bias


class Conv2d(Convolution):
    """2-D cross-correlation with a bias, as torch.nn.Conv2d with zero padding.

    y[n,o,i,j] = b[o] + Σ_{c,u,v} W[o,c,u,v] · x[n, c, i·stride − padding + u·dilation, j·…]

    Input (N, in_channels, H, W) or (in_channels, H, W); output (N, out_channels, H_out, W_out),
    batch axis as in the input,
    H_out = (H + 2·padding − dilation·(kernel_size−1) − 1) // stride + 1.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: an int, or a pair (vertical, horizontal), like stride, padding, dilation.
        stride: step between the places where the kernel is applied.
        padding: zeros added on every side.
        dilation: step between the kernel's own elements.
        groups: G: output group g depends on input group g only; divides C and O.
        bias: whether to add b.
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

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        backend: str | Backend | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            backend=backend,
            generator=generator,
            dtype=dtype,
            device=device,
        )

    def forward_images(self, x: Tensor) -> Tensor:
        """y = A_W x + b; see scratchnet.ops.conv."""
        return self._run(conv2d, x)


class TransposeConv2d(Convolution):
    """Transposed 2-D convolution with a bias, as torch.nn.ConvTranspose2d: y = A_Wᵀ x + b.

    Input (N, in_channels, H, W) or (in_channels, H, W); output (N, out_channels, H_out, W_out),
    H_out = (H − 1)·stride − 2·padding + dilation·(kernel_size−1) + output_padding + 1. The weight
    is (in_channels, out_channels/groups, K_h, K_w): that of the convolution whose adjoint this is.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: an int, or a pair (vertical, horizontal), like the next three and dilation.
        stride: step, in the output, between the places where the kernel is added.
        padding: rows and columns cut off on every side of the output.
        output_padding: rows and columns added at the bottom and right; below stride or dilation.
        groups: G: output group g depends on input group g only; divides C and O.
        bias: whether to add b.
        dilation: step between the kernel's own elements.
        backend: name or object of the backend for this layer; None for the selected one.
        generator: source of the initial values, U(−√k, √k) with k = groups / (O · K_h · K_w).
        dtype: floating-point; torch's default dtype if None.
        device: where the parameters live.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    torch_names = ("torch.nn.ConvTranspose2d",)

    @classmethod
    def example(cls) -> tuple[TransposeConv2d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, 6, (3, 2), (2, 1), (1, 2), (1, 0), groups=2), init.example_images()

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrPair = 1,
        *,
        backend: str | Backend | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            transposed=True,
            backend=backend,
            generator=generator,
            dtype=dtype,
            device=device,
        )
        self.output_padding = pair("TransposeConv2d", "output_padding", output_padding, least=0)
        limits = [max(s, d) for s, d in zip(self.stride, self.dilation, strict=True)]
        if any(extra >= limit for extra, limit in zip(self.output_padding, limits, strict=True)):
            raise ArgumentError(
                "TransposeConv2d expects output_padding smaller than stride or dilation, "
                f"got output_padding={self.output_padding}, stride={self.stride}, "
                f"dilation={self.dilation}"
            )

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {**super().config(), "output_padding": self.output_padding}

    def forward_images(self, x: Tensor) -> Tensor:
        """y = A_Wᵀ x + b: the input gradient of the convolution with this weight."""
        x = self._complete(x)
        y, back = dispatch.run(
            conv2d_input_grad,
            x,
            self.weight,
            backend=self.backend,
            input_size=self._output_size(x),
            **self.options,
        )
        self.save(back)
        result: Tensor = y if self.bias is None else y + self.bias.view(-1, 1, 1)
        return result

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """∂L/∂x = A_W ∂L/∂y;  ∂L/∂W as the convolution's;  ∂L/∂b = Σ_{n,i,j} ∂L/∂y.

        In the convolution, of which this is the adjoint, ∂L/∂y here is the input and x the
        gradient of the output.
        """
        (back,) = self.saved
        grad_x, grad_weight = back(grad_y)
        self._accumulate(grad_weight, None if self.bias is None else grad_y.sum((0, 2, 3)))
        assert grad_x is not None
        below, right = self._missing
        result: Tensor = grad_x[:, :, : grad_x.shape[2] - below, : grad_x.shape[3] - right]
        return result

    @property
    def _missing(self) -> tuple[int, int]:
        """Rows and columns that output_padding ≥ stride adds to the output of A_W."""
        (down, across), (extra_h, extra_w) = self.stride, self.output_padding
        return extra_h // down, extra_w // across

    def _complete(self, x: Tensor) -> Tensor:
        """Append the missing rows and columns, as zeros: A_W then maps the output to this size."""
        below, right = self._missing
        return torch.constant_pad_nd(x, (0, right, 0, below)) if below or right else x

    def _output_size(self, completed: Tensor) -> tuple[int, int]:
        rows, columns = (
            (n - missing - 1) * s - 2 * p + d * (k - 1) + extra + 1
            for n, missing, s, p, d, k, extra in zip(
                completed.shape[2:],
                self._missing,
                self.stride,
                self.padding,
                self.dilation,
                self.kernel_size,
                self.output_padding,
                strict=True,
            )
        )
        if rows < 1 or columns < 1:
            raise ShapeError(
                f"TransposeConv2d: a {completed.shape[2]}x{completed.shape[3]} input would give a "
                f"{rows}x{columns} output: use larger images or less padding"
            )
        return rows, columns
