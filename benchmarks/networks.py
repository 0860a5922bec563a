"""The paper's network as torch would write it, plainly and with the better algebra."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.UpsamplingNearest2d(scale_factor=2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.UpsamplingNearest2d(scale_factor=2),
        nn.Conv2d(32, 3, 3, padding=1),
        nn.Sigmoid(),
    )


class BoxedUpsampling(nn.Module):
    """Upsampling by 2, then a 3x3 convolution, as a transposed convolution and a box sum.

    The same rewriting as in scratchnet's kernels (docs/adr/0007-upsampling-algebra.md), in torch's
    own operations: the honest best of torch.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(out_channels))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        flipped = self.weight.transpose(0, 1).flip(2, 3)
        z = F.conv_transpose2d(x, flipped, stride=2)  # (N, O, 2H + 1, 2W + 1)
        rows = z[:, :, 1:] + z[:, :, :-1]
        return rows[:, :, :, 1:] + rows[:, :, :, :-1] + self.bias.view(-1, 1, 1)


def boxed() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        BoxedUpsampling(32, 32),
        nn.ReLU(),
        BoxedUpsampling(32, 3),
        nn.Sigmoid(),
    )
