"""Loss: what losses share: from predictions and a target to one number, and back."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers.checks import check_grad, check_tensor
from scratchnet.layers.module import Module
from scratchnet.ops.loss import REDUCTIONS, check_reduction, reduced
from scratchnet.ops.op import Op
from scratchnet.registry import Registry


class Loss(Module):
    """What losses share: ``forward(prediction, target)``, and ``backward()`` that returns the
    gradient with respect to the prediction (the target gets none).

    To write a loss: compute the losses one by one, return :meth:`reduced` of them, and in
    ``backward`` multiply their derivatives by :meth:`grad_each`. One that compares element by
    element needs less: see :class:`ElementwiseLoss`.

    torch's arguments ``size_average`` and ``reduce``, which it has replaced by ``reduction``, are
    not there; those behind them move up.

    Args:
        reduction: what becomes of the losses: their ``"mean"``, their ``"sum"``, or ``"none"``.

    Attributes:
        weighted_mean: its mean is not that over all losses.

    Raises:
        ArgumentError: another reduction.
    """

    reductions: ClassVar[tuple[str, ...]] = REDUCTIONS
    weighted_mean: ClassVar[bool] = False

    def __init__(self, reduction: str = "mean") -> None:
        check_reduction(type(self).__name__, reduction, self.reductions)
        self.reduction = reduction

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"reduction": self.reduction}

    def __repr__(self) -> str:
        given = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in self.config().items()}
        arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return f"{type(self).__name__}({arguments})"

    def reduced(self, losses: Tensor) -> Tensor:
        """Return their mean or sum as a 0-dimensional tensor, or the losses themselves."""
        return reduced(losses, self.reduction)

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
        if not grad_outputs and self.reduction != "none":
            return share
        shape = losses.shape if self.reduction == "none" else losses.shape[:0]
        return self.grad_output(grad_outputs, shape, losses.dtype) * share

    def grad_output(
        self, grad_outputs: tuple[Tensor, ...], shape: torch.Size, dtype: torch.dtype
    ) -> Tensor:
        """Return the gradient with respect to the output, of this shape and dtype.

        Args:
            grad_outputs: what ``backward`` was given: nothing, which stands for 1, or a tensor.
            shape, dtype: of the output.

        Raises:
            ArgumentError: nothing was given, but the output is not one number.
        """
        if grad_outputs:
            return check_grad(self, grad_outputs[0], shape, dtype)
        if self.reduction == "none":
            raise ArgumentError(
                f"{type(self).__name__}(reduction='none') returns many losses, so backward expects "
                "the gradient with respect to each: call backward(grad)"
            )
        return _one(dtype)

    # -- checks ------------------------------------------------------------------------------------

    def alike(
        self, inputs: tuple[Tensor, ...], names: str = "prediction and target"
    ) -> list[Tensor]:
        """Return tensors, detached, after checking that they are of one shape and dtype.

        Raises:
            ShapeError: the shapes differ (nothing is broadcast).
            TypeMismatch: not tensors of one floating-point dtype.
        """
        first = check_tensor(self, inputs[0])
        rest = [check_tensor(self, x, dtype=first.dtype, device=first.device) for x in inputs[1:]]
        for other in rest:
            if other.shape != first.shape:
                raise ShapeError(
                    f"{type(self).__name__} expects {names} of one shape, got "
                    f"{tuple(first.shape)} and {tuple(other.shape)}"
                )
        return [first, *rest]

    def add_weight(self, name: str, value: Tensor | Sequence[float] | None) -> None:
        """Add the buffer ``name``, as torch.nn has it in its state: a tensor, or of numbers."""
        if value is not None and not isinstance(value, Tensor):
            value = torch.tensor(value)
        self.add_buffer(name, None if value is None else check_tensor(self, value))


class ElementwiseLoss(Loss):
    """A loss that compares prediction and target element by element.

    Subclasses write :meth:`each` and :meth:`derivative`, or name an operation.

    Attributes:
        op: the operation, with the kernels there are; None where the two methods compute.
    """

    op: ClassVar[Op | None] = None

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each element."""
        raise NotImplementedError(f"{type(self).__name__} does not define each()")

    def derivative(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the derivative of each loss with respect to x."""
        raise NotImplementedError(f"{type(self).__name__} does not define derivative()")

    def weights(self, x: Tensor) -> list[Tensor | None]:
        """Return what the operation takes behind prediction and target."""
        return []

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the loss: 0-dimensional, or of the inputs' shape if nothing is reduced; a mean of
        no elements is nan, as in torch.

        Raises:
            ShapeError: the two shapes differ (nothing is broadcast).
            TypeMismatch: not two tensors of one floating-point dtype.
        """
        x, target = inputs
        if self.op is None:
            x, target = self.alike((x, target))
            self.save(x, target)
            return self.reduced(self.each(x, target))
        x = check_tensor(self, x)
        target = check_tensor(self, target, dtype=x.dtype)
        loss, back = dispatch.run(self.op, x, target, *self.weights(x), **self.options())
        self.save(back)
        result: Tensor = loss
        return result

    def options(self) -> dict[str, Any]:
        """Return the operation's options."""
        return self.config()

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = ∂L/∂l · ∂l/∂x, with ∂L/∂l = 1/n for the mean and 1 for the sum."""
        if self.op is None:
            x, target = self.saved
            return self.derivative(x, target) * self.grad_each(grad_outputs, x)
        (back,) = self.saved
        grad: Tensor = back(self.grad_output(grad_outputs, *back.output))[0]
        return grad


@cache
def _one(dtype: torch.dtype) -> Tensor:
    return torch.ones((), dtype=dtype)


def _prepare(obj: Any) -> type[Loss]:
    if not (isinstance(obj, type) and issubclass(obj, Loss)):
        raise TypeError(f"expected a subclass of scratchnet.layers.loss.Loss, got {obj!r}")
    return obj


registry: Registry[type[Loss]] = Registry("scratchnet.losses", kind="loss", prepare=_prepare)
names, get = registry.names, registry.get
