"""Right layers of the kinds that the project does not have yet: the kit must not accuse them, and
the mutants are made of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

import scratchnet
from scratchnet.errors import ShapeError, TypeMismatch
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.loss import Loss


class BatchNorm(scratchnet.Module):
    """As torch.nn.BatchNorm1d and BatchNorm2d: (N, C, ...)."""

    couples_batch = True
    eval_differs = True
    eps, momentum = 1e-5, 0.1

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.add_parameter("weight", torch.ones(channels))
        self.add_parameter("bias", torch.zeros(channels))
        self.keep("running_mean", torch.zeros(channels))
        self.keep("running_var", torch.ones(channels))

    def keep(self, name: str, value: Tensor) -> None:
        self.add_buffer(name, value)

    def config(self) -> dict:
        return {"channels": self.channels}

    def spread(self, value: Tensor, x: Tensor) -> Tensor:
        return value.view(-1, *[1] * (x.dim() - 2))

    def update(self, mean: Tensor, var: Tensor, n: int) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (n / (n - 1)), self.momentum)

    def forward(self, *inputs: Tensor) -> Tensor:
        x = check_tensor(self, inputs[0], dtype=self.weight.dtype)
        axes = [0, *range(2, x.dim())]
        mean, var = self.running_mean, self.running_var
        if self.training:
            n = x.numel() // self.channels
            if n < 2:
                raise ShapeError("BatchNorm expects more than one value for each channel")
            mean = x.mean(axes)
            var = (x - self.spread(mean, x)).square().mean(axes)
            self.update(mean, var, n)
        scale = (var + self.eps).rsqrt()
        normal = (x - self.spread(mean, x)) * self.spread(scale, x)
        self.save(normal, scale)
        return normal * self.spread(self.weight, x) + self.spread(self.bias, x)

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        normal, scale = self.saved
        grad_y = check_grad(self, grad_outputs[0], normal.shape, normal.dtype)
        axes = [0, *range(2, normal.dim())]
        self.grad_weight += (grad_y * normal).sum(axes)
        self.grad_bias += grad_y.sum(axes)
        along = self.spread((grad_y * normal).mean(axes), normal) * normal
        centred = grad_y - self.spread(grad_y.mean(axes), normal) - along
        return centred * self.spread(self.weight * scale, normal)


class Dropout(scratchnet.Module):
    """As torch.nn.Dropout."""

    stochastic = True
    eval_differs = True

    def __init__(self, p: float = 0.5, *, generator: torch.Generator | None = None) -> None:
        self.p, self.generator = p, generator

    def config(self) -> dict:
        return {"p": self.p}

    def mask(self, x: Tensor) -> Tensor:
        kept = torch.rand(x.shape, generator=self.generator, dtype=x.dtype) >= self.p
        return kept.to(x.dtype) / (1 - self.p)

    def forward(self, *inputs: Tensor) -> Tensor:
        x = check_tensor(self, inputs[0])
        if not self.training:
            return x.clone()
        mask = self.mask(x)
        self.save(mask)
        return x * mask

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (mask,) = self.saved
        return check_grad(self, grad_outputs[0], mask.shape, mask.dtype) * mask


class Embedding(scratchnet.Module):
    """As torch.nn.Embedding: indices of any shape to (..., dim)."""

    integer_inputs = True

    def __init__(self, count: int, dim: int) -> None:
        self.count, self.dim = count, dim
        self.add_parameter("weight", torch.randn(count, dim))

    def config(self) -> dict:
        return {"count": self.count, "dim": self.dim}

    def forward(self, *inputs: Tensor) -> Tensor:
        (indices,) = inputs
        if not isinstance(indices, Tensor) or indices.is_floating_point():
            raise TypeMismatch("Embedding expects a tensor of integers")
        self.save(indices)
        return self.weight.detach()[indices]

    def backward(self, *grad_outputs: Tensor) -> Tensor | None:
        (indices,) = self.saved
        shape = (*indices.shape, self.dim)
        grad_y = check_grad(self, grad_outputs[0], torch.Size(shape), self.weight.dtype)
        self.grad_weight.index_add_(0, indices.flatten(), grad_y.reshape(-1, self.dim))
        return None


class Shared(scratchnet.Module):
    """One convolution, used several times in a pass."""

    def __init__(self, channels: int, uses: int = 3) -> None:
        self.channels, self.uses = channels, uses
        self.cell = scratchnet.Conv2d(channels, channels, 3, padding=1)
        self.sigmoid = scratchnet.Sigmoid()

    def config(self) -> dict:
        return {"channels": self.channels, "uses": self.uses}

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        for _ in range(self.uses):
            x = self.sigmoid.forward(self.cell.forward(x))
        return x

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (grad,) = grad_outputs
        for _ in range(self.uses):
            grad = self.cell.backward(self.sigmoid.backward(grad))
        return grad


class SumAndProduct(scratchnet.Module):
    """Two inputs and two outputs: a + b and a · b."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        a = check_tensor(self, inputs[0])
        b = check_tensor(self, inputs[1], dtype=a.dtype)
        self.save(a, b)
        return a + b, a * b

    def backward(self, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.saved
        of_sum, of_product = (check_grad(self, g, a.shape, a.dtype) for g in grad_outputs)
        return of_sum + of_product * b, of_sum + of_product * a


class L1(Loss):
    """As torch.nn.L1Loss."""

    def forward(self, *inputs: Tensor) -> Tensor:
        prediction = check_tensor(self, inputs[0])
        difference = prediction - check_tensor(self, inputs[1], dtype=prediction.dtype)
        self.save(difference)
        return self.reduced(difference.abs())

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        (difference,) = self.saved
        return difference.sign() * self.grad_each(grad_outputs, difference)
