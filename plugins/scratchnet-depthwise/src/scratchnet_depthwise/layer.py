"""The layer: checks and parameters here, arithmetic in the kernels or in a backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.layers import init
from scratchnet.layers.checks import output_size, pair, positive
from scratchnet.layers.image_layer import ImageLayer

KERNELS = "scratchnet_depthwise.kernels:DepthwiseKernels"


class DepthwiseConv2d(ImageLayer):
    """2-D convolution of each channel with a kernel of its own, as torch.nn.Conv2d with
    groups = in_channels = out_channels.

    y[n,c,i,j] = b[c] + Σ_{u,v} W[c,0,u,v] · x[n, c, i·stride − padding + u, j·…].

    Input (N, C, H, W) or (C, H, W). Source: Howard et al., "MobileNets" (2017), equation 3.

    Args:
        channels: C.
        kernel_size: an int, or a pair (vertical, horizontal); so too stride and padding.
        stride: step between the places where the kernel is applied.
        padding: zeros added on every side.
        bias: whether to add b.
        backend: name or object of the backend for this layer; None for the selected one. The
            kernels take part where that is "auto"; a backend that is named does the work itself.
        generator: source of the initial values, U(−√k, √k) with k = 1 / (K_h · K_w).
        dtype: floating-point; torch's default dtype if None.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    in_channels: int
    weight: Tensor
    grad_weight: Tensor
    bias: Tensor | None
    grad_bias: Tensor | None

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        bias: bool = True,
        *,
        backend: str | Backend | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        positive("DepthwiseConv2d", channels=channels)
        self.in_channels, self.backend = channels, backend
        self.kernel_size = pair("DepthwiseConv2d", "kernel_size", kernel_size, least=1)
        self.stride = pair("DepthwiseConv2d", "stride", stride, least=1)
        self.padding = pair("DepthwiseConv2d", "padding", padding, least=0)
        fan_in = self.kernel_size[0] * self.kernel_size[1]
        shapes = {"weight": (channels, 1, *self.kernel_size), "bias": (channels,)}
        for name, shape in shapes.items():
            value = init.uniform_fan_in(shape, fan_in, generator=generator, dtype=dtype)
            self.add_parameter(name, value if name == "weight" or bias else None)

    @classmethod
    def example(cls) -> tuple[DepthwiseConv2d, Tensor]:
        """Return a small layer and an input for it, for `scratchnet check`."""
        generator = torch.Generator().manual_seed(0)
        layer = cls(5, (3, 2), (2, 1), (1, 2), generator=generator)
        return layer, torch.randn(2, 5, 9, 7, generator=generator)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "channels": self.in_channels,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "bias": self.bias is not None,
        }

    @property
    def geometry(self) -> dict[str, Any]:
        """The arguments of the backends' convolution that is the same."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": (1, 1),
            "groups": self.in_channels,
        }

    def forward_images(self, x: Tensor) -> Tensor:
        """y = A_W x + b, channel by channel."""
        output_size(
            type(self).__name__,
            (x.shape[2], x.shape[3]),
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=(1, 1),
        )
        choice, _ = dispatch.selection(self.backend)
        if dispatch.is_auto(choice):  # nobody named a backend: the kernels take part
            choice = f"{choice}+{KERNELS}"
        call = x, self.weight, self.bias
        backend = dispatch.resolve("conv2d_forward", *call, backend=choice, **self.geometry)
        self.save(backend, x)
        return backend.conv2d_forward(*call, **self.geometry)

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """∂L/∂x = A_Wᵀ ∂L/∂y;  ∂L/∂W[c,u,v] = Σ_{n,i,j} ∂L/∂y[n,c,i,j] · x[…];  ∂L/∂b = Σ ∂L/∂y."""
        backend, x = self.saved
        grads = backend.conv2d_backward(grad_y, x, self.weight, **self.geometry)
        grad_x, grad_weight, grad_bias = grads
        self.grad_weight += grad_weight
        if self.grad_bias is not None:
            self.grad_bias += grad_bias
        return grad_x
