"""Losses of numbers: how far a prediction is from its target, and how likely the target is."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers.checks import check_tensor
from scratchnet.layers.loss import ElementwiseLoss, Loss
from scratchnet.ops import loss as ops


class MSE(ElementwiseLoss):
    """Squared error (x − y)², as torch.nn.MSELoss.

    ``forward`` takes the prediction x and the target y, of equal shape and dtype; ``backward``
    returns the gradient with respect to the prediction.

    Args:
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
    """

    op = ops.mse_loss
    torch_names = ("torch.nn.MSELoss",)


MSELoss = MSE


class L1Loss(ElementwiseLoss):
    """Absolute error |x − y|, as torch.nn.L1Loss; where it is 0 so is the derivative. Inputs as of
    :class:`MSE`.

    Args:
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
    """

    op = ops.l1_loss
    torch_names = ("torch.nn.L1Loss",)


class SmoothL1Loss(ElementwiseLoss):
    """A parabola near 0, the absolute error beyond, as torch.nn.SmoothL1Loss: with d = x − y,
    l = d²/(2·beta) where |d| < beta, else |d| − beta/2. Inputs as of :class:`MSE`.

    Source: Girshick, "Fast R-CNN" (2015), equation 3.

    Args:
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
        beta: ≥ 0; where the one becomes the other. 0 gives the absolute error.
    """

    op = ops.smooth_l1_loss
    torch_names = ("torch.nn.SmoothL1Loss",)

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().config() | {"beta": self.beta}


class HuberLoss(ElementwiseLoss):
    """A parabola near 0, a straight line beyond, as torch.nn.HuberLoss: with d = x − y,
    l = d²/2 where |d| < delta, else delta·(|d| − delta/2). Inputs as of :class:`MSE`.

    Source: Huber, "Robust Estimation of a Location Parameter" (1964).

    Args:
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
        delta: > 0; where the one becomes the other.
    """

    op = ops.huber_loss
    torch_names = ("torch.nn.HuberLoss",)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().config() | {"delta": self.delta}


class CharbonnierLoss(ElementwiseLoss):
    """√((x − y)² + eps²): the absolute error without its kink. Inputs as of :class:`MSE`.

    Source: Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for
    computed imaging" (1994); as a loss of images: Lai et al., "Deep Laplacian Pyramid Networks for
    Fast and Accurate Super-Resolution" (2017), whose eps this is.

    Args:
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
        eps: > 0; how round it is at 0, and its value there.
    """

    op = ops.charbonnier_loss

    def __init__(self, reduction: str = "mean", eps: float = 1e-3) -> None:
        super().__init__(reduction)
        self.eps = eps

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().config() | {"eps": self.eps}


class PoissonNLLLoss(ElementwiseLoss):
    """−log of the probability of a count y under a Poisson distribution, as
    torch.nn.PoissonNLLLoss: l = eˣ − y·x of the logarithm x of its mean, or x − y·log(x + eps) of
    the mean x. Inputs as of :class:`MSE`.

    Args:
        log_input: x is the logarithm of the mean.
        full: add Stirling's approximation of log y!, y·log y − y + log(2πy)/2, where y > 1.
        eps: ≥ 0; keeps the logarithm finite without ``log_input``.
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
    """

    torch_names = ("torch.nn.PoissonNLLLoss",)

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"log_input": self.log_input, "full": self.full, "eps": self.eps}
        return own | super().config()

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each element, as the class describes."""
        losses = x.exp() - target * x if self.log_input else x - target * (x + self.eps).log()
        if not self.full:
            return losses
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        return losses + stirling.where(target > 1, 0)

    def derivative(self, x: Tensor, target: Tensor) -> Tensor:
        """∂l/∂x = eˣ − y, or 1 − y/(x + eps)."""
        return x.exp() - target if self.log_input else 1 - target / (x + self.eps)


class GaussianNLLLoss(Loss):
    """−log of the probability density of y under a normal distribution of mean x and variance v, as
    torch.nn.GaussianNLLLoss: l = (log v + (x − y)²/v)/2.

    ``forward(x, y, v)`` takes x and y of equal shape and dtype, and v ≥ 0 of that shape, or with a
    last axis of 1 or none, or one axis of 1 (one variance for all along it), or a number.
    ``backward`` returns (∂L/∂x, ∂L/∂y, ∂L/∂v), the last None if v was a number.

    Source: Nix and Weigend, "Estimating the mean and variance of the target probability
    distribution" (1994).

    Args:
        full: add the constant log(2π)/2.
        eps: > 0; what a smaller v is taken for. As in torch its gradient is passed on to v.
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
    """

    torch_names = ("torch.nn.GaussianNLLLoss",)

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not eps > 0:
            raise ArgumentError(f"GaussianNLLLoss expects eps to be above 0, got {eps}")
        self.full, self.eps = full, eps

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"full": self.full, "eps": self.eps} | super().config()

    def forward(self, *inputs: Any) -> Tensor:
        """Return the loss: 0-dimensional, or of the shape of x if nothing is reduced.

        Raises:
            ArgumentError: v is negative somewhere.
            ShapeError: the shapes do not fit.
            TypeMismatch: not tensors of one floating-point dtype.
        """
        x, target, given = inputs
        x, target = self.alike((x, target))
        if isinstance(given, float | int):
            variance = x.new_full((1,) * x.dim(), given)
        else:
            variance = self._variance(x, given)
        if bool((variance < 0).any()):
            raise ArgumentError(
                "GaussianNLLLoss expects variances of at least 0, got "
                f"{float(variance.min()):g}: make them by exp() or softplus"
            )
        shape = given.shape if isinstance(given, Tensor) else None
        variance = variance.clamp(min=self.eps)
        self.save(x - target, variance, shape)
        losses = 0.5 * (variance.log() + (x - target).square() / variance)
        return self.reduced(losses + 0.5 * math.log(2 * math.pi) if self.full else losses)

    def _variance(self, x: Tensor, given: object) -> Tensor:
        """Return it so that it can be broadcast."""
        variance = check_tensor(self, given, dtype=x.dtype, device=x.device)
        if variance.shape == x.shape[:-1] != x.shape:
            variance = variance.unsqueeze(-1)
        pairs = [(n, m) for n, m in zip(x.shape, variance.shape, strict=False) if n != m]
        if variance.dim() != x.dim() or len(pairs) > 1 or any(m != 1 for _, m in pairs):
            raise ShapeError(
                f"GaussianNLLLoss expects variances of the shape {tuple(x.shape)}, or with one "
                f"axis of 1, or without the last; got {tuple(variance.shape)}"
            )
        return variance

    def backward(self, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """∂l/∂x = −∂l/∂y = (x − y)/v; ∂l/∂v = (1/v − ((x − y)/v)²)/2, summed where v is shared."""
        difference, variance, shape = self.saved
        grad = self.grad_each(grad_outputs, difference)
        scaled = difference / variance
        grad_x = scaled * grad
        if shape is None:
            return grad_x, -grad_x, None
        grad_each = 0.5 * (1 / variance - scaled.square()) * grad
        return grad_x, -grad_x, grad_each.sum_to_size(variance.shape).view(shape)
