"""Normalisation layers: mean 0 and variance 1, set by set, then a weight and a bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers import init
from scratchnet.layers.checks import check_grad, check_tensor, positive
from scratchnet.layers.module import Module
from scratchnet.layers.parameter import Parameter
from scratchnet.ops import norm
from scratchnet.ops.op import Op


class Normalization(Module):
    """What the normalisation layers share: a weight of ones and a bias of zeros, and backward."""

    weight: Parameter | None
    bias: Parameter | None
    backend: str | Backend | None = None

    def _add_affine(
        self,
        shape: tuple[int, ...],
        weight: bool,
        bias: bool,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> None:
        make = {"dtype": dtype, "device": device}
        self.add_parameter("weight", torch.ones(shape, **make) if weight else None)  # type: ignore[arg-type]
        self.add_parameter("bias", torch.zeros(shape, **make) if bias else None)  # type: ignore[arg-type]

    def _checked(self, given: Any) -> Tensor:
        """Return the input, a tensor of the dtype and on the device of the layer's own."""
        own = next((t for t in (*self.parameters(), *self.buffers())), None)
        dtype, device = (None, None) if own is None else (own.dtype, own.device)
        return check_tensor(self, given, dtype=dtype, device=device)

    def _run(self, op: Op, x: Tensor, *parameters: Tensor | None, **options: Any) -> Any:
        """Return what the operation gives, and keep its backward."""
        y, back = dispatch.run(op, x, *parameters, backend=self.backend, **options)
        self.save(back, *(torch.zeros_like(other) for other in y[1:]) if type(y) is tuple else ())
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = r·(g − mean(g) − n·mean(g·n)), with n what is normalised, r = 1/√(var + ε), g =
        ∂L/∂y · weight and means over the set; ∂L/∂weight = Σ ∂L/∂y·n; ∂L/∂bias = Σ ∂L/∂y.

        Source: see scratchnet.ops.norm.
        """
        back, *others = self.saved
        grad_y = check_grad(self, grad_outputs[0], *back.output)
        grad_x, *grads = back(grad_y, *others)
        for name, grad in zip(("weight", "bias"), grads, strict=False):
            if grad is not None:
                getattr(self, f"grad_{name}").add_(grad)
        result: Tensor = grad_x
        return result


class GroupNorm(Normalization):
    """Groups of channels of each element of the batch at mean 0 and variance 1, as
    torch.nn.GroupNorm.

    y = (x − mean)/√(var + ε) · weight + bias, with mean and var (divided by n) over the group and
    all positions. Input and output (N, C, ...). Source: Wu and He, "Group Normalization" (2018).

    Args:
        num_groups: divides num_channels.
        num_channels: C.
        eps: ε.
        affine: whether there are weight and bias.
        bias: whether there is a bias, where affine.
        backend: name or object of the backend for this layer; None for the selected one.
        dtype: floating-point; torch's default dtype if None.
        device: where the parameters live.

    Raises:
        ArgumentError: the numbers are below 1, or num_groups does not divide num_channels.
    """

    torch_names = ("torch.nn.GroupNorm",)

    @classmethod
    def example(cls) -> tuple[GroupNorm, Tensor]:
        """Return a small one, and an input for it."""
        return cls(2, 4), init.example_images()

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        backend: str | Backend | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ArgumentError(
                f"GroupNorm expects num_groups to divide num_channels, got {num_groups} and "
                f"{num_channels}"
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.affine, self.backend = affine, backend
        self._add_affine((num_channels,), affine, affine and bias, dtype, device)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "num_groups": self.num_groups,
            "num_channels": self.num_channels,
            "eps": self.eps,
            "affine": self.affine,
            **({"bias": False} if self.affine and self.bias is None else {}),
        }

    @classmethod
    def from_torch_config(cls, module: Any) -> dict[str, Any]:
        """Return the arguments of torch's module."""
        found = super().from_torch_config(module)
        return {**found, "bias": module.bias is not None or not module.affine}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Normalise each group.

        Raises:
            ShapeError: not (N, C, ...) with C = num_channels, or one value in all.
            TypeMismatch: not a tensor of the parameters' dtype and device.
        """
        x = self._checked(inputs[0])
        if x.dim() < 2 or x.shape[1] != self.num_channels or 0 in x.shape[2:]:
            raise ShapeError(
                f"GroupNorm expects (N, {self.num_channels}, ...) and nothing empty but the batch, "
                f"got {tuple(x.shape)}"
            )
        if x.numel() == self.num_groups:
            raise ShapeError(
                f"GroupNorm expects more than one value for each group, got {tuple(x.shape)} and "
                f"{self.num_groups} groups"
            )
        groups, eps = self.num_groups, self.eps
        y: Tensor = self._run(norm.group_norm, x, self.weight, self.bias, groups=groups, eps=eps)
        return y


class RowNorm(Normalization):
    """What LayerNorm and RMSNorm share: sets along the last axes."""

    def _set_shape(self, normalized_shape: int | Sequence[int]) -> None:
        name, given = type(self).__name__, normalized_shape
        self.normalized_shape = (given,) if isinstance(given, int) else tuple(given)
        if not self.normalized_shape:
            raise ArgumentError(f"{name} expects normalized_shape to have at least one axis")
        for size in self.normalized_shape:
            positive(name, normalized_shape=size)

    def _checked(self, given: Any) -> Tensor:
        x, own = super()._checked(given), self.normalized_shape
        if tuple(x.shape[-len(own) :]) != own:
            raise ShapeError(
                f"{type(self).__name__} expects (..., {', '.join(map(str, own))}), got "
                f"{tuple(x.shape)}"
            )
        return x


class LayerNorm(RowNorm):
    """The last axes at mean 0 and variance 1, as torch.nn.LayerNorm.

    y = (x − mean)/√(var + ε) · weight + bias, with mean and var (divided by n) over the last axes.
    Input and output (..., *normalized_shape). Source: Ba et al., "Layer Normalization" (2016).

    Args:
        normalized_shape: the sizes of the last axes; an int for one axis.
        eps: ε.
        elementwise_affine: whether there are weight and bias, of normalized_shape.
        bias: whether there is a bias, where elementwise_affine.
        backend: name or object of the backend for this layer; None for the selected one.
        dtype: floating-point; torch's default dtype if None.
        device: where the parameters live.

    Raises:
        ArgumentError: normalized_shape is not of whole numbers of at least 1.
    """

    torch_names = ("torch.nn.LayerNorm",)

    @classmethod
    def example(cls) -> tuple[LayerNorm, Tensor]:
        """Return a small one, and an input for it."""
        return cls((7, 5)), init.example_images()

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        backend: str | Backend | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self._set_shape(normalized_shape)
        self.eps, self.elementwise_affine, self.backend = eps, elementwise_affine, backend
        given = elementwise_affine, elementwise_affine and bias
        self._add_affine(self.normalized_shape, *given, dtype, device)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "normalized_shape": self.normalized_shape,
            "eps": self.eps,
            "elementwise_affine": self.elementwise_affine,
            "bias": self.bias is not None,
        }

    def forward(self, *inputs: Tensor) -> Tensor:
        """Normalise over the last axes.

        Raises:
            ShapeError: the last axes are not normalized_shape.
            TypeMismatch: not a tensor of the parameters' dtype and device.
        """
        x, own = self._checked(inputs[0]), self.normalized_shape
        y: Tensor = self._run(
            norm.layer_norm, x, self.weight, self.bias, normalized_shape=own, eps=self.eps
        )
        return y


class RMSNorm(RowNorm):
    """The last axes at mean square 1, as torch.nn.RMSNorm.

    y = x/√(mean(x²) + ε) · weight, with the mean over the last axes. Input and output (...,
    *normalized_shape). Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).

    Args:
        normalized_shape: the sizes of the last axes; an int for one axis.
        eps: ε; None for the spacing of the input dtype's numbers at 1.
        elementwise_affine: whether there is a weight, of normalized_shape.
        backend: name or object of the backend for this layer; None for the selected one.
        dtype: floating-point; torch's default dtype if None.
        device: where the weight lives.

    Raises:
        ArgumentError: normalized_shape is not of whole numbers of at least 1.
    """

    torch_names = ("torch.nn.RMSNorm",)

    @classmethod
    def example(cls) -> tuple[RMSNorm, Tensor]:
        """Return a small one, and an input for it."""
        return cls((7, 5)), init.example_images()

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        backend: str | Backend | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self._set_shape(normalized_shape)
        self.eps, self.elementwise_affine, self.backend = eps, elementwise_affine, backend
        self._add_affine(self.normalized_shape, elementwise_affine, False, dtype, device)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "normalized_shape": self.normalized_shape,
            "eps": self.eps,
            "elementwise_affine": self.elementwise_affine,
        }

    def forward(self, *inputs: Tensor) -> Tensor:
        """Normalise over the last axes.

        Raises:
            ShapeError: the last axes are not normalized_shape.
            TypeMismatch: not a tensor of the weight's dtype and device.
        """
        x, own = self._checked(inputs[0]), self.normalized_shape
        y: Tensor = self._run(norm.rms_norm, x, self.weight, normalized_shape=own, eps=self.eps)
        return y


class LocalResponseNorm(Normalization):
    """Each value divided by the strength of neighbouring channels, as torch.nn.LocalResponseNorm.

    y = x / (k + α/size · Σ x²)^β, the sum over the channels c − size//2 to c + (size − 1)//2. Input
    and output (N, C, ...) with at least one more axis. Source: Krizhevsky et al., "ImageNet
    Classification with Deep Convolutional Neural Networks" (2012), section 3.3.

    Args:
        size: of the neighbourhood.
        alpha: α.
        beta: β.
        k: what is divided by, where all is 0.
        backend: name or object of the backend for this layer; None for the selected one.

    Raises:
        ArgumentError: size is no whole number of at least 1.
    """

    torch_names = ("torch.nn.LocalResponseNorm",)

    @classmethod
    def example(cls) -> tuple[LocalResponseNorm, Tensor]:
        """Return a small one, and an input for it."""
        return cls(3, alpha=0.5), init.example_images()

    def __init__(
        self,
        size: int,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        *,
        backend: str | Backend | None = None,
    ) -> None:
        positive("LocalResponseNorm", size=size)
        self.size, self.alpha, self.beta, self.k, self.backend = size, alpha, beta, k, backend

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}

    def forward(self, *inputs: Tensor) -> Tensor:
        """Divide each value.

        Raises:
            ShapeError: not (N, C, ...) with at least one more axis, nothing empty but the batch.
            TypeMismatch: not a floating-point tensor.
        """
        x = self._checked(inputs[0])
        if x.dim() < 3 or 0 in x.shape[1:]:
            raise ShapeError(
                "LocalResponseNorm expects (N, C, ...) with at least one more axis and nothing "
                f"empty but the batch, got {tuple(x.shape)}"
            )
        y: Tensor = self._run(norm.local_response_norm, x, **self.config())
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = g·d^−β − 2αβ/size · x · Σ g·x·d^(−β−1), with d what is raised to β; see
        scratchnet.ops.norm.
        """
        return super().backward(*grad_outputs)
