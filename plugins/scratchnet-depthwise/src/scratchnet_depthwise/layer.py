"""The layer: a convolution with one channel a group, for which the kernels take part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scratchnet import Conv2d
from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.ops.conv import conv2d


class DepthwiseConv2d(Conv2d):
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
        super().__init__(
            channels, channels, kernel_size, stride, padding, groups=channels, bias=bias,
            backend=backend, generator=generator, dtype=dtype,
        )  # fmt: skip

    @classmethod
    def example(cls) -> tuple[DepthwiseConv2d, Tensor]:
        """Return a small layer and an input for it, for `scratchnet check`."""
        generator = torch.Generator().manual_seed(0)
        layer = cls(5, (3, 2), (2, 1), (1, 2), generator=generator)
        return layer, torch.randn(2, 5, 9, 7, generator=generator)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        given = super().config()
        shown = ("kernel_size", "stride", "padding", "bias")
        return {"channels": self.in_channels} | {name: given[name] for name in shown}

    def forward_images(self, x: Tensor) -> Tensor:
        """As the convolution; where nobody has named a backend, the kernels take part."""
        choice, _ = dispatch.selection(self.backend)
        if dispatch.is_auto(choice):
            choice = f"{choice}+depthwise"
        y, back = dispatch.run(conv2d, x, self.weight, self.bias, backend=choice, **self.options)
        self.save(back)
        return y
