"""Losses: from a prediction and a target to one number, and back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.module import Module
from scratchnet.registry import Registry

REDUCTIONS = ("mean", "sum", "none")


class Loss(Module):
    """What losses share: ``forward(prediction, target)``, and ``backward()`` that returns the
    gradient with respect to the prediction (the target gets none).

    To write a loss: compute the losses one by one, return :meth:`reduced` of them, and in
    ``backward`` multiply their derivatives by :meth:`grad_each`.

    Args:
        reduction: what becomes of the losses: their ``"mean"``, their ``"sum"``, or ``"none"``.

    Raises:
        ArgumentError: another reduction.
    """

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in REDUCTIONS:
            raise ArgumentError(
                f"{type(self).__name__} expects reduction to be one of {', '.join(REDUCTIONS)}, "
                f"got {reduction!r}"
            )
        self.reduction = reduction

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"reduction": self.reduction}

    def reduced(self, losses: Tensor) -> Tensor:
        """Return their mean or sum as a 0-dimensional tensor, or the losses themselves."""
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()

    def grad_each(self, grad_outputs: tuple[Tensor, ...], losses: Tensor) -> Tensor | float:
        """Return the gradient with respect to each of the losses.

        Args:
            grad_outputs: what ``backward`` was given: nothing, which stands for 1, or a tensor of
                the output's shape.
            losses: of the shape and dtype of the losses, whatever its values.

        Raises:
            ArgumentError: nothing was given, but the output is not one number.
        """
        share = 1 / max(losses.numel(), 1) if self.reduction == "mean" else 1.0
        if grad_outputs:
            shape = losses.shape if self.reduction == "none" else losses.shape[:0]
            return check_grad(self, grad_outputs[0], shape, losses.dtype) * share
        if self.reduction == "none":
            raise ArgumentError(
                f"{type(self).__name__}(reduction='none') returns many losses, so backward expects "
                "the gradient with respect to each: call backward(grad)"
            )
        return share


class MSE(Loss):
    """Squared error (ŷ − y)², its mean over all elements by default, as torch.nn.MSELoss.

    ``forward`` takes the prediction ŷ and the target y, of equal shape and dtype; ``backward``
    returns the gradient with respect to the prediction.
    """

    torch_names = ("torch.nn.MSELoss",)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the loss: 0-dimensional, or of the inputs' shape if nothing is reduced; a mean of
        no elements is nan, as in torch.

        Raises:
            ShapeError: the two shapes differ (nothing is broadcast).
            TypeMismatch: not two tensors of one floating-point dtype.
        """
        prediction, target = inputs
        prediction = check_tensor(self, prediction)
        target = check_tensor(self, target, dtype=prediction.dtype)
        if prediction.shape != target.shape:
            raise ShapeError(
                f"MSE expects prediction and target of one shape, got {tuple(prediction.shape)} "
                f"and {tuple(target.shape)}"
            )
        difference = prediction - target
        self.save(difference)
        return self.reduced(difference.square())

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂ŷ = 2 · (ŷ − y) · ∂L/∂l, with ∂L/∂l = 1/n for the mean and 1 for the sum."""
        (difference,) = self.saved
        grad: Tensor = difference * (2 * self.grad_each(grad_outputs, difference))
        return grad


def _prepare(obj: Any) -> type[Loss]:
    if not (isinstance(obj, type) and issubclass(obj, Loss)):
        raise TypeError(f"expected a subclass of scratchnet.layers.loss.Loss, got {obj!r}")
    return obj


registry: Registry[type[Loss]] = Registry("scratchnet.losses", kind="loss", prepare=_prepare)
names, get = registry.names, registry.get
