"""Upsampling and convolution rewritten with fewer multiplications, in torch's own operations.

The same rewriting as in scratchnet's kernels (docs/adr/0007-upsampling-algebra.md), so that torch
can be compared at its honest best.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from scratchnet.errors import ArgumentError
from scratchnet.interop import to_torch
from scratchnet.layers.containers import Sequential
from scratchnet.layers.module import Module
from scratchnet.layers.upsampling import Upsampling


class BoxedUpsampling(nn.Module):
    """Upsampling by s and a convolution with padding p, without stride, dilation and groups, as a
    transposed convolution with stride s, cropped by K − 1 − p ≥ 0, and an s×s box sum.
    """

    def __init__(self, layer: Upsampling) -> None:
        super().__init__()
        kernel = layer.kernel_size
        crop = tuple(k - 1 - p for k, p in zip(kernel, layer.padding, strict=True))
        if layer.stride != (1, 1) or layer.dilation != (1, 1) or layer.groups != 1 or min(crop) < 0:
            raise ArgumentError(f"the rewriting expects a plain upsampling layer, got {layer!r}")
        self.scale, self.crop = layer.scale_factor, crop
        self.weight = nn.Parameter(layer.weight.clone())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of the upsampled x (N, C, H, W)."""
        flipped = self.weight.transpose(0, 1).flip(2, 3)
        # (N, O, (H − 1)·s + K, ...); the box sums over s rows, from s − 1 before the first one on
        z = conv_transpose2d(x, flipped, stride=self.scale)
        for axis, s, crop in zip((2, 3), self.scale, self.crop, strict=True):
            z = _box(z, axis, s, crop)
        return z if self.bias is None else z + self.bias.view(-1, 1, 1)


def _box(z: Tensor, axis: int, s: int, crop: int) -> Tensor:
    """Sum ``s`` neighbours along ``axis``, zeros outside, without the first and last ``crop``."""
    missing = max(0, s - 1 - crop)  # zeros needed on either side
    if missing:
        sides = [0, 0, missing, missing] if axis == 2 else [missing, missing, 0, 0]
        z = nn.functional.pad(z, sides)
    first = max(0, crop - (s - 1))
    size = z.shape[axis] - 2 * first - (s - 1)
    total = z.narrow(axis, first, size)
    for i in range(1, s):
        total = total + z.narrow(axis, first + i, size)
    return total


def with_better_algebra(model: Module) -> nn.Module:
    """Return torch.nn's counterpart of a network, a Sequential's upsampling layers rewritten."""
    if isinstance(model, Sequential):
        return nn.Sequential(*map(with_better_algebra, model))
    return BoxedUpsampling(model) if isinstance(model, Upsampling) else to_torch(model)
