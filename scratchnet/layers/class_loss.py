"""Losses of classes: −log of the probability that the prediction gives to the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch
from scratchnet.layers.checks import check_tensor
from scratchnet.layers.loss import ElementwiseLoss, Loss
from scratchnet.ops import loss as ops
from scratchnet.ops.cross_entropy import (
    along_classes,
    check_classes,
    check_shapes,
    cross_entropy,
    picked,
)
from scratchnet.ops.loss import REDUCTIONS

Weight = Tensor | Sequence[float] | None


def _expanded(layer: Loss, name: str, x: Tensor) -> Tensor | None:
    """Return a weight in the shape of x.

    Raises:
        ShapeError: it cannot be broadcast to that.
    """
    weight: Tensor | None = getattr(layer, name)
    if weight is None:
        return None
    try:
        return weight.expand(x.shape)
    except RuntimeError as error:
        raise ShapeError(
            f"{type(layer).__name__} expects {name} to be broadcast to {tuple(x.shape)}, got "
            f"{tuple(weight.shape)}"
        ) from error


class BCELoss(ElementwiseLoss):
    """Binary cross-entropy −w·(y·log x + (1 − y)·log(1 − x)) of probabilities, as torch.nn.BCELoss;
    its logarithms are at least −100, as torch's. Prefer :class:`BCEWithLogitsLoss`.

    ``forward(x, y)`` takes probabilities x in [0, 1] and targets of their shape and dtype;
    ``backward`` returns the gradient with respect to x.

    Args:
        weight: w, which is broadcast to the shape of x: a tensor, or numbers; 1 if None.
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
    """

    torch_names = ("torch.nn.BCELoss",)

    def __init__(self, weight: Weight = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.add_weight("weight", weight)
        self.weight: Tensor | None

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"weight": self.weight} | super().config()

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each element, as the class describes.

        Raises:
            ArgumentError: x is outside [0, 1].
        """
        if x.numel() and not (x.min() >= 0 and x.max() <= 1):
            raise ArgumentError(
                f"BCELoss expects probabilities in [0, 1], got {float(x.min()):g} to "
                f"{float(x.max()):g}: BCEWithLogitsLoss takes any numbers"
            )
        of_one, of_zero = x.log().clamp(min=-100), torch.log1p(-x).clamp(min=-100)
        losses = (target - 1) * of_zero - target * of_one
        weight = _expanded(self, "weight", x)
        return losses if weight is None else losses * weight

    def derivative(self, x: Tensor, target: Tensor) -> Tensor:
        """∂l/∂x = w·(x − y)/(x·(1 − x)), the denominator at least 10⁻¹², as torch's."""
        slope = (x - target) / (x * (1 - x)).clamp(min=1e-12)
        weight = _expanded(self, "weight", x)
        return slope if weight is None else slope * weight


class BCEWithLogitsLoss(ElementwiseLoss):
    """Binary cross-entropy −w·(p·y·log σ(x) + (1 − y)·log(1 − σ(x))) of logits, as
    torch.nn.BCEWithLogitsLoss; finite for every finite x.

    ``forward(x, y)`` takes logits of any shape, and targets of the same; ``backward`` returns the
    gradient with respect to x.

    Args:
        weight: w, which is broadcast to the shape of x: a tensor, or numbers; 1 if None.
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
        pos_weight: p, the same for the targets of 1, such as the number of zeros for each one.
    """

    op = ops.binary_cross_entropy_with_logits
    torch_names = ("torch.nn.BCEWithLogitsLoss",)

    def __init__(
        self, weight: Weight = None, reduction: str = "mean", pos_weight: Weight = None
    ) -> None:
        super().__init__(reduction)
        self.add_weight("weight", weight)
        self.add_weight("pos_weight", pos_weight)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own: dict[str, Any] = {"weight": getattr(self, "weight")}  # noqa: B009
        return own | super().config() | {"pos_weight": getattr(self, "pos_weight")}  # noqa: B009

    def options(self) -> dict[str, Any]:
        """Return the operation's options."""
        return {"reduction": self.reduction}

    def weights(self, x: Tensor) -> list[Tensor | None]:
        """Return both, in the shape of x."""
        return [_expanded(self, name, x) for name in ("weight", "pos_weight")]


class SoftMarginLoss(ElementwiseLoss):
    """log(1 + e⁻ʸˣ) of scores x and targets y of 1 and −1, as torch.nn.SoftMarginLoss; finite for
    every finite x. Inputs are of one shape and dtype.

    Args:
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
    """

    op = ops.soft_margin_loss
    torch_names = ("torch.nn.SoftMarginLoss",)


class KLDivLoss(ElementwiseLoss):
    """Kullback-Leibler divergence y·(log y − x) of the target y from the logarithm x of the
    prediction, as torch.nn.KLDivLoss.

    ``forward(x, y)`` takes log-probabilities x, and probabilities y (or, with ``log_target``, their
    logarithms) of one shape and dtype; ``backward`` returns the gradient with respect to x.

    Args:
        reduction: ``"batchmean"``, the sum divided by the first axis, which is the divergence's
            mean over a batch; ``"mean"`` over all elements (torch's default), ``"sum"`` or
            ``"none"``.
        log_target: the targets are logarithms, too.
    """

    reductions = (*REDUCTIONS, "batchmean")
    torch_names = ("torch.nn.KLDivLoss",)

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().config() | {"log_target": self.log_target}

    def each(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each element; 0 for a target of 0."""
        if self.log_target:
            return target.exp() * (target - x)
        return torch.xlogy(target, target) - target * x

    def derivative(self, x: Tensor, target: Tensor) -> Tensor:
        """∂l/∂x = −y."""
        return -target.exp() if self.log_target else -target

    def reduced(self, losses: Tensor) -> Tensor:
        """Return what ``reduction`` makes of the losses."""
        if self.reduction != "batchmean":
            return super().reduced(losses)
        return losses.sum() / self._batch(losses)

    def grad_each(self, grad_outputs: tuple[Tensor, ...], losses: Tensor) -> Tensor | float:
        """Return the gradient with respect to each of the losses."""
        grad = super().grad_each(grad_outputs, losses)
        return grad / self._batch(losses) if self.reduction == "batchmean" else grad

    def _batch(self, losses: Tensor) -> int:
        return max(losses.shape[0] if losses.dim() else 1, 1)


class _ClassLoss(Loss):
    """A loss of (N, C, ...) and classes (N, ...), or (C) and one class."""

    integer_inputs = True
    weighted_mean = True
    weight: Tensor | None

    def __init__(self, weight: Weight, ignore_index: int, reduction: str) -> None:
        super().__init__(reduction)
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
            raise ArgumentError(
                f"{type(self).__name__} expects ignore_index to be an int, got {ignore_index!r}"
            )
        self.add_weight("weight", weight)
        self.ignore_index = ignore_index

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"weight": self.weight, "ignore_index": self.ignore_index}
        return own | super().config()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the loss: 0-dimensional, or of the targets' shape if nothing is reduced; a mean of
        none that counts is nan, as in torch.

        Raises:
            ArgumentError: a target is no class.
            ShapeError, TypeMismatch: the tensors do not fit.
        """
        x, target = check_tensor(self, inputs[0]), self.target(inputs[1])
        alone = x.dim() == 1
        loss = self.of_batch(*((x.unsqueeze(0), target.unsqueeze(0)) if alone else (x, target)))
        if self.training:
            self.record.output = alone, (loss.shape, loss.dtype)
        return loss.squeeze(0) if alone and loss.dim() else loss

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """Return the gradient with respect to x; for the formula see the class."""
        alone, output = self.record.output
        if alone and grad_outputs and self.reduction == "none":
            grad_outputs = (grad_outputs[0].unsqueeze(0),)
        grad_x = self.grad_of_batch(self.grad_output(grad_outputs, *output))
        return grad_x.squeeze(0) if alone else grad_x

    def of_batch(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss of (N, C, ...)."""
        raise NotImplementedError

    def grad_of_batch(self, grad: Tensor) -> Tensor:
        """Return the gradient with respect to (N, C, ...), for that of the loss."""
        raise NotImplementedError

    def target(self, target: object) -> Tensor:
        """Return classes as int64.

        Raises:
            TypeMismatch: they are no tensor of whole numbers.
        """
        if not isinstance(target, Tensor) or target.is_floating_point() or target.is_complex():
            kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
            raise TypeMismatch(
                f"{type(self).__name__} expects a tensor of classes as whole numbers, got {kind}"
            )
        return target.long()


class NLLLoss(_ClassLoss):
    """−w_t·x_t of log-probabilities x and a class t, as torch.nn.NLLLoss; 0 where t is
    ``ignore_index``. The mean is Σ l / Σ w_t. Behind a LogSoftmax: :class:`CrossEntropyLoss`
    without one does both at once.

    ``forward(x, t)`` takes (N, C, ...) and classes (N, ...) from 0 to C − 1, or (C) and one class;
    ``backward`` returns the gradient with respect to x.

    Args:
        weight: w, (C): a tensor, or numbers; 1 if None.
        ignore_index: the target that does not count.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    torch_names = ("torch.nn.NLLLoss",)

    def __init__(
        self, weight: Weight = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, ignore_index, reduction)

    def of_batch(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss of (N, C, ...)."""
        check_shapes("NLLLoss", x, target, self.weight)
        check_classes(target, x.shape[1], self.ignore_index)
        _, of_target, own = picked(x, target, self.weight, self.ignore_index)
        self.save(x.shape, of_target, own)
        losses = -own * x.gather(1, of_target.unsqueeze(1)).squeeze(1)
        return losses.sum() / own.sum() if self.reduction == "mean" else self.reduced(losses)

    def grad_of_batch(self, grad: Tensor) -> Tensor:
        """∂l/∂x_c = −w_t·[c = t]."""
        shape, of_target, own = self.saved
        slope = -own * grad / (own.sum() if self.reduction == "mean" else 1)
        zeros: Tensor = slope.new_zeros(shape)
        return zeros.scatter_(1, of_target.unsqueeze(1), slope.unsqueeze(1))


class CrossEntropyLoss(_ClassLoss):
    """Cross-entropy of logits, softmax included, as torch.nn.CrossEntropyLoss.

    ``forward(x, t)`` takes logits (N, C, ...) and classes t (N, ...) from 0 to C − 1, or (C) and
    one class: l = −(1 − s)·w_t·log p_t − s/C · Σ_c w_c·log p_c, with p = softmax(x) and s =
    label_smoothing; 0 where t is ``ignore_index``; the mean is Σ l / Σ w_t. Or probabilities q of
    the shape and dtype of x: l = −Σ_c w_c·((1 − s)·q_c + s/C)·log p_c, the mean that of all l.
    ``backward`` returns the gradient with respect to x.

    Args:
        weight: w, (C): a tensor, or numbers; 1 if None.
        ignore_index: the class that does not count; refused with probabilities if it is ≥ 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: in [0, 1].
    """

    torch_names = ("torch.nn.CrossEntropyLoss",)

    def __init__(
        self,
        weight: Weight = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(
                f"CrossEntropyLoss expects label_smoothing in [0, 1], got {label_smoothing}"
            )
        self.label_smoothing = label_smoothing

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().config() | {"label_smoothing": self.label_smoothing}

    def target(self, target: object) -> Tensor:
        """Return classes as int64, or probabilities."""
        if isinstance(target, Tensor) and target.is_floating_point():
            return check_tensor(self, target)
        return super().target(target)

    def of_batch(self, x: Tensor, target: Tensor) -> Tensor:
        """Return the loss of (N, C, ...)."""
        if target.is_floating_point():
            return self._of_probabilities(x, target)
        loss, back = dispatch.run(
            cross_entropy, x, target, self.weight, ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing, reduction=self.reduction,
        )  # fmt: skip
        self.save(back)
        result: Tensor = loss
        return result

    def _of_probabilities(self, x: Tensor, target: Tensor) -> Tensor:
        x, target = self.alike((x, target), "logits and probabilities")
        if self.ignore_index >= 0:
            raise ArgumentError(
                "CrossEntropyLoss expects classes as whole numbers with ignore_index = "
                f"{self.ignore_index}, got probabilities: set the rows to ignore to 0"
            )
        if self.label_smoothing:
            target = target * (1 - self.label_smoothing) + self.label_smoothing / x.shape[1]
        if self.weight is not None:
            target = target * along_classes(self.weight, x)
        self.save(x, target)
        return self.reduced(-(target * x.log_softmax(1)).sum(1))

    def grad_of_batch(self, grad: Tensor) -> Tensor:
        """∂l/∂x = p·Σ_c w_c·q_c − w·q, q smoothed; for classes see scratchnet.ops.cross_entropy."""
        if len(self.saved) == 1:
            (back,) = self.saved
            grad_x: Tensor = back(grad)[0]
            return grad_x
        x, target = self.saved
        share = x.shape[1] / max(x.numel(), 1) if self.reduction == "mean" else 1.0
        grad = grad.unsqueeze(1) if grad.dim() else grad
        slope: Tensor = x.softmax(1) * target.sum(1, keepdim=True) - target
        return slope * (grad * share)
