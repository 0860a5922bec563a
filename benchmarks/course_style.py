"""The paper's network as it is written first, when nothing is known of speed.

    scratchnet bench course --rival benchmarks/course_style.py

Float64, convolutions by the recipe in the documentation of torch.nn.Unfold, every tensor that is
kept or returned cloned, parameters replaced and not updated: the style of a first course project,
and a yardstick for the `reference` backend.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import fold, unfold

from scratchnet import ReLU, Sigmoid
from scratchnet.bench.contestants import first_steps
from scratchnet.layers.containers import Sequential
from scratchnet.layers.conv import Conv2d
from scratchnet.layers.module import Module
from scratchnet.layers.upsampling import Upsampling


class _Convolution:
    """By the recipe in the documentation of torch.nn.Unfold: unfold, transpose, matmul, fold."""

    def __init__(self, layer: Conv2d | Upsampling) -> None:
        self.weight, self.bias = layer.weight.double(), layer.bias.double()  # type: ignore[union-attr]
        self.grad_weight, self.grad_bias = self.weight * 0, self.bias * 0
        self.geometry = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)

    def forward(self, x: Tensor) -> Tensor:
        kernel, dilation, padding, stride = self.geometry
        self.x = x.clone()
        columns = unfold(self.x, kernel, dilation, padding, stride).clone()  # (N, K, L)
        rows = columns.transpose(1, 2).matmul(self.weight.view(len(self.weight), -1).t())
        y = rows.transpose(1, 2) + self.bias.view(1, -1, 1)  # (N, O, L)
        h, w = (
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, d, p, s in zip(x.shape[2:], *self.geometry, strict=True)
        )
        return fold(y, (h, w), (1, 1)).clone()

    def backward(self, grad_y: Tensor) -> Tensor:
        kernel, dilation, padding, stride = self.geometry
        rows = grad_y.clone().flatten(2).transpose(1, 2)  # (N, L, O)
        columns = unfold(self.x, kernel, dilation, padding, stride).clone()  # (N, K, L)
        grad_weight = columns.matmul(rows).sum(0).t().reshape(self.weight.shape)
        self.grad_weight = self.grad_weight + grad_weight
        self.grad_bias = self.grad_bias + rows.sum((0, 1))
        grad_columns = rows.matmul(self.weight.view(len(self.weight), -1)).transpose(1, 2)
        size = (self.x.shape[2], self.x.shape[3])
        return fold(grad_columns, size, kernel, dilation, padding, stride).clone()


class _Nearest:
    """Every pixel becomes a block."""

    def __init__(self, layer: Upsampling) -> None:
        self.scale = layer.scale_factor

    def forward(self, x: Tensor) -> Tensor:
        rows = x.clone().repeat_interleave(self.scale[0], 2)
        return rows.repeat_interleave(self.scale[1], 3).clone()

    def backward(self, grad_y: Tensor) -> Tensor:
        n, c, h, w = grad_y.shape
        down, across = self.scale
        blocks = unfold(grad_y.reshape(n * c, 1, h, w), self.scale, stride=self.scale)
        return blocks.sum(1).view(n, c, h // down, w // across).clone()


class _ReLU:
    def forward(self, x: Tensor) -> Tensor:
        self.x = x.clone()
        return x.clone().clamp(min=0)

    def backward(self, grad_y: Tensor) -> Tensor:
        return grad_y.clone() * (self.x > 0).double()


class _Sigmoid:
    def forward(self, x: Tensor) -> Tensor:
        self.y = (1 / (1 + (-x).exp())).clone()
        return self.y.clone()

    def backward(self, grad_y: Tensor) -> Tensor:
        return grad_y.clone() * self.y * (1 - self.y)


_ACTIVATIONS: dict[type[Module], type[_ReLU | _Sigmoid]] = {ReLU: _ReLU, Sigmoid: _Sigmoid}


class CourseStep:
    """A training step: forward, mean squared error, backward, SGD.

    Args:
        model: whose weights to begin with.
        x: images (N, 3, H, W).
        y: what the network should make of them.
        lr: learning rate.
    """

    def __init__(self, model: Sequential, x: Tensor, y: Tensor, *, lr: float) -> None:
        self.x, self.y, self.lr = x.double(), y.double(), lr
        self.layers: list[_Convolution | _Nearest | _ReLU | _Sigmoid] = []
        for layer in model:
            if isinstance(layer, Upsampling):
                self.layers += [_Nearest(layer), _Convolution(layer)]
            elif isinstance(layer, Conv2d):
                self.layers.append(_Convolution(layer))
            else:
                self.layers.append(_ACTIVATIONS[type(layer)]())

    def run(self) -> Tensor:
        """Do one step and return its loss."""
        out = self.x.clone()
        for layer in self.layers:
            out = layer.forward(out)
        difference = out.clone() - self.y.clone()
        loss = (difference**2).mean()
        for convolution in self._convolutions():
            convolution.grad_weight = torch.zeros_like(convolution.weight)
            convolution.grad_bias = torch.zeros_like(convolution.bias)
        grad = 2 * difference / difference.numel()
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
        for convolution in self._convolutions():
            convolution.weight = convolution.weight - self.lr * convolution.grad_weight
            convolution.bias = convolution.bias - self.lr * convolution.grad_bias
        return loss

    def outcome(self, steps: int) -> tuple[Tensor, list[Tensor]]:
        """Do some steps; return the loss before each, and the gradients of the first."""
        return first_steps(self.run, self.gradients, steps)

    def close(self) -> None:
        """There is nothing to end."""

    def gradients(self) -> list[Tensor]:
        """Return the parameters' gradients of the last step, in order."""
        pairs = ((c.grad_weight, c.grad_bias) for c in self._convolutions())
        return [grad for pair in pairs for grad in pair]

    def _convolutions(self) -> list[_Convolution]:
        return [layer for layer in self.layers if isinstance(layer, _Convolution)]


class rival:
    name = "course style, float64"
    section = "course"

    def available(self) -> bool:
        return True

    def prepare(
        self, model: Sequential, x: Tensor, y: Tensor, *, lr: float, threads: int
    ) -> CourseStep:
        return CourseStep(model, x, y, lr=lr)
