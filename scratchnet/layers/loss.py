"""Losses: from a prediction and a target to one number, and back."""

from __future__ import annotations

from torch import Tensor

from scratchnet.errors import ShapeError
from scratchnet.layers.checks import check_tensor
from scratchnet.layers.module import Module


class MSE(Module):
    """Mean squared error over all elements: L = 1/n · Σ (ŷ − y)², as torch.nn.MSELoss().

    ``forward`` takes the prediction ŷ and the target y, of equal shape and dtype; ``backward``
    takes nothing and returns the gradient with respect to the prediction.
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the loss as a 0-dimensional tensor; nan if there are no elements, as in torch.

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
        return difference.square().mean()

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂ŷ = 2/n · (ŷ − y)."""
        (difference,) = self.saved
        grad: Tensor = difference * (2 / max(difference.numel(), 1))
        return grad
