"""BatchNorm and InstanceNorm: what they normalise with they can keep a running average of."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratchnet.backends.base import Backend
from scratchnet.errors import ShapeError
from scratchnet.layers import init
from scratchnet.layers.checks import positive
from scratchnet.layers.norm import Normalization
from scratchnet.ops import norm


class Tracking(Normalization):
    """What layers share that can keep running statistics: arguments, parameters and buffers."""

    eval_differs = True
    shapes: ClassVar[tuple[str, ...]]
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        *,
        backend: str | Backend | None,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> None:
        positive(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats, self.backend = affine, track_running_stats, backend
        self._add_affine((num_features,), affine, affine and bias, dtype, device)
        mean = var = count = None
        if track_running_stats:
            mean = torch.zeros(num_features, dtype=dtype, device=device)
            var = torch.ones(num_features, dtype=dtype, device=device)
            count = torch.zeros((), dtype=torch.int64, device=device)
        self.add_buffer("running_mean", mean)
        self.add_buffer("running_var", var)
        self.add_buffer("num_batches_tracked", count)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "num_features": self.num_features,
            "eps": self.eps,
            "momentum": self.momentum,
            "affine": self.affine,
            "track_running_stats": self.track_running_stats,
            **({"bias": False} if self.affine and self.bias is None else {}),
        }

    @classmethod
    def from_torch_config(cls, module: Any) -> dict[str, Any]:
        """Return the arguments of torch's module."""
        found = super().from_torch_config(module)
        return {**found, "bias": module.bias is not None or not module.affine}

    @property
    def fixed(self) -> bool:
        """Whether the running statistics are used: in eval mode, if there are any."""
        return not self.training and self.running_mean is not None

    @property
    def scale(self) -> Tensor:
        """weight / √(running_var + ε): with ``shift`` all that the layer does while ``fixed``."""
        assert self.running_var is not None
        scale: Tensor = (self.running_var + self.eps).rsqrt()
        return scale if self.weight is None else scale * self.weight

    @property
    def shift(self) -> Tensor:
        """bias − running_mean · scale."""
        assert self.running_mean is not None
        shift = -self.running_mean * self.scale
        return shift if self.bias is None else shift + self.bias

    def _checked(self, given: Any) -> Tensor:
        x, name = super()._checked(given), type(self).__name__
        if x.dim() not in [shape.count(",") + 1 for shape in self.shapes]:
            raise ShapeError(
                f"{name} expects ({') or ('.join(self.shapes)}), got {x.dim()}-D {tuple(x.shape)}"
            )
        return x

    def _check_channels(self, x: Tensor) -> None:
        """Check N, C, ...: the number of channels, and that nothing but N is 0."""
        if x.shape[1] != self.num_features or 0 in x.shape[2:]:
            raise ShapeError(
                f"{type(self).__name__} expects {self.num_features} channels ({self.shapes[0]}) "
                f"and nothing empty but the batch, got {tuple(x.shape)}"
            )

    def _update(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics towards those of a batch, var being divided by count; by
        1 / num_batches_tracked if there is no momentum: then they are the average of all batches.
        """
        assert self.running_mean is not None
        assert self.running_var is not None
        share = self.momentum
        if share is None:
            assert self.num_batches_tracked is not None
            share = 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var * (count / (count - 1)), share)


class BatchNorm(Tracking):
    """What BatchNorm1d and BatchNorm2d share."""

    couples_batch = True

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        backend: str | Backend | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            bias,
            backend=backend,
            dtype=dtype,
            device=device,
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """Normalise each channel over the batch; in eval mode with the running statistics.

        Raises:
            ShapeError: wrong rank or channels, or one value for each channel.
            TypeMismatch: not a tensor of the parameters' dtype and device.
        """
        x = self._checked(inputs[0])
        self._check_channels(x)
        if self.fixed:
            y: Tensor = self._run(norm.scale_shift, x, self.scale, self.shift)
            return y
        y, mean, var = self._run(norm.batch_norm, x, self.weight, self.bias, eps=self.eps)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            if len(x):
                self._update(mean, var, x.numel() // self.num_features)
        return y


class BatchNorm2d(BatchNorm):
    """Each channel of a batch of images at mean 0 and variance 1, as torch.nn.BatchNorm2d.

    y = (x − mean)/√(var + ε) · weight + bias, with mean and var (divided by n) of the channel over
    N, H and W; in eval mode the running ones. Input and output (N, C, H, W). Source: Ioffe and
    Szegedy, "Batch Normalization" (2015), algorithm 1.

    Args:
        num_features: C.
        eps: ε.
        momentum: the share of the newest batch in the running statistics, whose variance is divided
            by n − 1; None for the average of all batches.
        affine: whether there are weight and bias.
        track_running_stats: whether there are running statistics; without, those of the batch are
            used in eval mode, too.
        bias: whether there is a bias, where affine.
        backend: name or object of the backend for this layer; None for the selected one.
        dtype: floating-point; torch's default dtype if None.
        device: where parameters and buffers live.

    Raises:
        ArgumentError: num_features is no whole number of at least 1.
    """

    shapes = ("N, C, H, W",)
    torch_names = ("torch.nn.BatchNorm2d",)

    @classmethod
    def example(cls) -> tuple[BatchNorm2d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4), init.example_images()


class BatchNorm1d(BatchNorm):
    """The same for signals (N, C, L) and features (N, C), as torch.nn.BatchNorm1d; see
    :class:`BatchNorm2d` for formula and arguments.
    """

    shapes = ("N, C", "N, C, L")
    torch_names = ("torch.nn.BatchNorm1d",)

    @classmethod
    def example(cls) -> tuple[BatchNorm1d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4), init.example_images("L")


class InstanceNorm(Tracking):
    """What InstanceNorm1d and InstanceNorm2d share."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        backend: str | Backend | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__(
            num_features,
            eps,
            momentum,
            affine,
            track_running_stats,
            bias,
            backend=backend,
            dtype=dtype,
            device=device,
        )

    def forward(self, *inputs: Tensor) -> Tensor:
        """Normalise each channel of each element of the batch; in eval mode with the running
        statistics, if there are any.

        Raises:
            ShapeError: wrong rank or channels, or one value for each channel.
            TypeMismatch: not a tensor of the parameters' dtype and device.
        """
        x = self._checked(inputs[0])
        if x.dim() < self.shapes[0].count(",") + 1:
            return self.forward(x.unsqueeze(0)).squeeze(0)
        self._check_channels(x)
        if self.fixed:
            y: Tensor = self._run(norm.scale_shift, x, self.scale, self.shift)
            return y
        count = math.prod(x.shape[2:])
        if count == 1:
            raise ShapeError(
                f"{type(self).__name__} expects more than one value for each channel, got "
                f"{tuple(x.shape)}"
            )
        groups = self.num_features
        y = self._run(norm.group_norm, x, self.weight, self.bias, groups=groups, eps=self.eps)
        if self.training and self.running_mean is not None and len(x):
            var, mean = torch.var_mean(x, tuple(range(2, x.dim())), correction=0)
            self._update(mean.mean(0), var.mean(0), count)
        return y

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """As of every normalisation; of an input without a batch axis likewise."""
        (grad_y,) = grad_outputs
        if isinstance(grad_y, Tensor) and grad_y.dim() < self.shapes[0].count(",") + 1:
            return self.backward(grad_y.unsqueeze(0)).squeeze(0)
        return super().backward(grad_y)

    def _update(self, mean: Tensor, var: Tensor, count: int) -> None:
        if self.momentum is not None:  # as torch, which counts no batches here
            super()._update(mean, var, count)


class InstanceNorm2d(InstanceNorm):
    """Each channel of each image at mean 0 and variance 1, as torch.nn.InstanceNorm2d.

    y = (x − mean)/√(var + ε) · weight + bias, with mean and var (divided by n) of the channel over
    H and W. Input and output (N, C, H, W) or (C, H, W). Source: Ulyanov et al., "Instance
    Normalization" (2016), equation 5.

    Args:
        num_features: C.
        eps: ε.
        momentum: the share of the newest batch in the running statistics, the mean of its images'
            (variances divided by n − 1); None leaves them as they are, as in torch.
        affine: whether there are weight and bias.
        track_running_stats: whether there are running statistics, which eval mode uses.
        bias: whether there is a bias, where affine.
        backend: name or object of the backend for this layer; None for the selected one.
        dtype: floating-point; torch's default dtype if None.
        device: where parameters and buffers live.

    Raises:
        ArgumentError: num_features is no whole number of at least 1.
    """

    shapes = ("N, C, H, W", "C, H, W")
    torch_names = ("torch.nn.InstanceNorm2d",)

    @classmethod
    def example(cls) -> tuple[InstanceNorm2d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, affine=True), init.example_images()


class InstanceNorm1d(InstanceNorm):
    """The same for signals (N, C, L) or (C, L), as torch.nn.InstanceNorm1d; see
    :class:`InstanceNorm2d` for formula and arguments.
    """

    shapes = ("N, C, L", "C, L")
    torch_names = ("torch.nn.InstanceNorm1d",)

    @classmethod
    def example(cls) -> tuple[InstanceNorm1d, Tensor]:
        """Return a small one, and an input for it."""
        return cls(4, affine=True), init.example_images("L")
