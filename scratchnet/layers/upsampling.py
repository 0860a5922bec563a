"""Nearest-neighbour upsampling, alone and followed by a convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.layers import init
from scratchnet.layers.checks import pair
from scratchnet.layers.conv import Conv2d, Convolution, IntOrPair
from scratchnet.layers.image_layer import ImageLayer
from scratchnet.ops.upsample import upsample_conv2d, upsample_nearest


class NearestUpsampling(ImageLayer):
    """Repeat every pixel into a block, as torch.nn.UpsamplingNearest2d with a whole scale_factor.

    y[n,c,i,j] = x[n, c, i // s_h, j // s_w]. Input (N, C, H, W) or (C, H, W), any floating-point
    dtype; output (N, C, H·s_h, W·s_w).

    Args:
        scale_factor: an int, or a pair (vertical, horizontal), at least 1.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: scale_factor is not a whole number of at least 1.
    """

    torch_names = ("torch.nn.Upsample",)

    @classmethod
    def example(cls) -> tuple[NearestUpsampling, Tensor]:
        """Return a small one, and an input for it."""
        return cls((2, 3)), init.example_images()

    def to_torch_config(self) -> dict[str, Any]:
        """Return the arguments of torch.nn.Upsample."""
        return {"scale_factor": tuple(map(float, self.scale_factor)), "mode": "nearest"}

    def __init__(self, scale_factor: IntOrPair, *, backend: str | Backend | None = None) -> None:
        self.scale_factor = pair("NearestUpsampling", "scale_factor", scale_factor, least=1)
        self.backend = backend

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"scale_factor": self.scale_factor}

    def forward_images(self, x: Tensor) -> Tensor:
        """Every pixel becomes a block of scale_factor."""
        y, back = dispatch.run(upsample_nearest, x, backend=self.backend, scale=self.scale_factor)
        self.save(back)
        result: Tensor = y
        return result

    def backward_images(self, grad_y: Tensor) -> Tensor:
        """∂L/∂x[i,j] = Σ of ∂L/∂y over the block of (i,j): each copy passes its gradient back."""
        (back,) = self.saved
        grad_x: Tensor = back(grad_y)[0]
        return grad_x


class Upsampling(Convolution):
    """Nearest-neighbour upsampling, then a convolution: y = A_W U x + b.

    Input (N, in_channels, H, W) or (in_channels, H, W); output as Conv2d's for an image of
    (H·scale_factor, W·scale_factor). Source: Odena et al., "Deconvolution and Checkerboard
    Artifacts" (2016), which recommends it instead of a transposed convolution.

    Args:
        in_channels: C.
        out_channels: O.
        kernel_size: an int, or a pair (vertical, horizontal), like the arguments below.
        scale_factor: of the upsampling; whole, at least 1.
        stride: of the convolution, like padding and dilation.
        padding: zeros added on every side of the upsampled image.
        dilation: step between the kernel's own elements.
        bias: whether to add b.
        backend: name or object of the backend for this layer; None for the selected one.
        generator: source of the initial values, U(−√k, √k) with k = 1 / (C · K_h · K_w).
        dtype: floating-point; torch's default dtype if None.
        device: where the parameters live.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    @classmethod
    def example(cls) -> tuple[Upsampling, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, 6, (3, 2), (2, 3), (2, 1), (1, 2)), init.example_images()

    def parts(self) -> tuple[NearestUpsampling, Conv2d]:
        """Return the upsampling and the convolution alone, with copies of the parameters."""
        arguments = {k: v for k, v in self.config().items() if k != "scale_factor"}
        conv = Conv2d(**arguments, generator=torch.Generator(), dtype=self.weight.dtype)
        conv.to(device=self.weight.device).load_state_dict(self.state_dict())
        return NearestUpsampling(self.scale_factor), conv

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        scale_factor: IntOrPair = 2,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        *,
        bias: bool = True,
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
            1,
            bias,
            backend=backend,
            generator=generator,
            dtype=dtype,
            device=device,
        )
        self.scale_factor = pair("Upsampling", "scale_factor", scale_factor, least=1)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        arguments = super().config()
        del arguments["groups"]
        return {**arguments, "scale_factor": self.scale_factor}

    @property
    def options(self) -> dict[str, Any]:
        """The options of the layer's operation."""
        return {"scale": self.scale_factor, **super().options}

    def forward_images(self, x: Tensor) -> Tensor:
        """y = A_W U x + b, with U the nearest upsampling and A_W the convolution."""
        y, back = self._run(upsample_conv2d, x)
        self.save(back)
        return y
