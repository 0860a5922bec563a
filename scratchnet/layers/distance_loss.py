"""Losses of distances and scores: which of two should be near, or above the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError, TypeMismatch
from scratchnet.layers.checks import check_tensor
from scratchnet.layers.loss import Loss


def _signs(layer: Loss, x: Tensor, target: object, shape: torch.Size) -> Tensor:
    """Return the target as whether each is 1, not −1.

    Raises:
        ArgumentError: there are other values.
        ShapeError: another shape.
    """
    name = type(layer).__name__
    if not isinstance(target, Tensor) or target.dtype == torch.bool or target.is_complex():
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeMismatch(f"{name} expects a tensor of 1 and -1 for the target, got {kind}")
    if target.shape != shape:
        raise ShapeError(
            f"{name} expects a target of the shape {tuple(shape)}, got {tuple(target.shape)}"
        )
    if bool((target.abs() != 1).any()):
        raise ArgumentError(f"{name} expects targets of 1 and -1 only: map 0 to -1 with 2 * y - 1")
    return target.detach() == 1


class HingeEmbeddingLoss(Loss):
    """A distance x is its own loss where y = 1, and max(0, margin − x) where y = −1, as
    torch.nn.HingeEmbeddingLoss.

    ``forward(x, y)`` takes x of any shape, and y of the same, of 1 and −1 (whole numbers or not);
    ``backward`` returns the gradient with respect to x.

    Args:
        margin: how far apart what does not belong together should be.
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
    """

    integer_inputs = True
    torch_names = ("torch.nn.HingeEmbeddingLoss",)

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"margin": self.margin} | super().config()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the loss: 0-dimensional, or of the shape of x if nothing is reduced.

        Raises:
            ArgumentError: a target is neither 1 nor −1.
            ShapeError, TypeMismatch: the tensors do not fit.
        """
        x = check_tensor(self, inputs[0])
        near = _signs(self, x, inputs[1], x.shape)
        rest = self.margin - x
        self.save(near, rest)
        return self.reduced(x.where(near, rest.clamp(min=0)))

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂l/∂x = 1 where y = 1; else −1 where x ≤ margin, and 0 beyond."""
        near, rest = self.saved
        slope = near.to(rest.dtype) - (~near & (rest >= 0)).to(rest.dtype)
        grad: Tensor = slope * self.grad_each(grad_outputs, rest)
        return grad


class MarginRankingLoss(Loss):
    """max(0, −y·(x₁ − x₂) + margin): x₁ should be above x₂ where y = 1, below it where y = −1; as
    torch.nn.MarginRankingLoss.

    ``forward(x₁, x₂, y)`` takes tensors of one shape, y of 1 and −1 (whole numbers or not);
    ``backward`` returns (∂L/∂x₁, ∂L/∂x₂).

    Args:
        margin: by how much.
        reduction: ``"mean"`` over all elements, ``"sum"`` or ``"none"``.
    """

    integer_inputs = True
    torch_names = ("torch.nn.MarginRankingLoss",)

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"margin": self.margin} | super().config()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the loss: 0-dimensional, or of the inputs' shape if nothing is reduced.

        Raises:
            ArgumentError: a target is neither 1 nor −1.
            ShapeError, TypeMismatch: the tensors do not fit.
        """
        first, second = self.alike(inputs[:2], "both scores")
        above = _signs(self, first, inputs[2], first.shape)
        gap = first - second
        rest = torch.where(above, -gap, gap) + self.margin
        self.save(above, rest)
        return self.reduced(rest.clamp(min=0))

    def backward(self, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        """∂l/∂x₁ = −y and ∂l/∂x₂ = y where the loss is not cut off at 0."""
        above, rest = self.saved
        slope = torch.where(above, -1.0, 1.0).to(rest.dtype) * (rest >= 0)
        grad = slope * self.grad_each(grad_outputs, rest)
        return grad, -grad


class CosineEmbeddingLoss(Loss):
    """1 − cos(x₁, x₂) where y = 1, and max(0, cos(x₁, x₂) − margin) where y = −1, as
    torch.nn.CosineEmbeddingLoss.

    ``forward(x₁, x₂, y)`` takes vectors (N, D) and y (N), or (D) and (), y of 1 and −1 (whole
    numbers or not); ``backward`` returns (∂L/∂x₁, ∂L/∂x₂).

    Args:
        margin: up to which cosine vectors count as different, in [−1, 1].
        reduction: ``"mean"`` over the N losses, ``"sum"`` or ``"none"``.
    """

    integer_inputs = True
    torch_names = ("torch.nn.CosineEmbeddingLoss",)
    eps = 1e-12  # torch's, added to the squares of the lengths

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not -1 <= margin <= 1:
            raise ArgumentError(f"CosineEmbeddingLoss expects margin in [-1, 1], got {margin}")
        self.margin = margin

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"margin": self.margin} | super().config()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the loss: 0-dimensional, or (N) if nothing is reduced.

        Raises:
            ArgumentError: a target is neither 1 nor −1.
            ShapeError, TypeMismatch: the tensors do not fit.
        """
        first, second = self.alike(inputs[:2], "vectors (N, D) or (D)")
        if first.dim() not in (1, 2):
            raise ShapeError(
                f"CosineEmbeddingLoss expects vectors (N, D) or (D), got {tuple(first.shape)}"
            )
        near = _signs(self, first, inputs[2], first.shape[:-1])
        squares = [x.square().sum(-1) + self.eps for x in (first, second)]
        cosine = (first * second).sum(-1) / (squares[0] * squares[1]).sqrt()
        self.save(first, second, squares, cosine, near)
        return self.reduced(torch.where(near, 1 - cosine, (cosine - self.margin).clamp(min=0)))

    def backward(self, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        """∂cos/∂x₁ = x₂/(|x₁|·|x₂|) − cos·x₁/|x₁|², and the same with the two exchanged; times −1
        where y = 1, and 0 where the loss is cut off.
        """
        first, second, squares, cosine, near = self.saved
        slope = (~near & (cosine >= self.margin)).to(cosine.dtype) - near.to(cosine.dtype)
        grad = (slope * self.grad_each(grad_outputs, cosine)).unsqueeze(-1)
        lengths = (squares[0] * squares[1]).sqrt().unsqueeze(-1)
        cosine = cosine.unsqueeze(-1)
        return (
            grad * (second / lengths - cosine * first / squares[0].unsqueeze(-1)),
            grad * (first / lengths - cosine * second / squares[1].unsqueeze(-1)),
        )


class TripletMarginLoss(Loss):
    """max(0, d(a, p) − d(a, n) + margin), with d(x, y) = ‖x − y + eps‖_p: an anchor a should be
    nearer to p than to n; as torch.nn.TripletMarginLoss.

    ``forward(a, p, n)`` takes vectors (N, D) or (D), of one shape and dtype; ``backward`` returns
    (∂L/∂a, ∂L/∂p, ∂L/∂n).

    Source: Balntas et al., "Learning local feature descriptors with triplets and shallow
    convolutional neural networks" (2016), where ``swap`` is from, too.

    Args:
        margin: > 0; by how much nearer.
        p: ≥ 1; which norm, infinity included.
        eps: added to every difference.
        swap: take d(p, n) for d(a, n) where it is smaller.
        reduction: ``"mean"`` over the N losses, ``"sum"`` or ``"none"``.
    """

    torch_names = ("torch.nn.TripletMarginLoss",)

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        if not margin > 0 or not p >= 1:
            raise ArgumentError(
                f"TripletMarginLoss expects margin > 0 and p >= 1, got margin={margin} and p={p}"
            )
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        own = {"margin": self.margin, "p": self.p, "eps": self.eps, "swap": self.swap}
        return own | super().config()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the loss: 0-dimensional, or (N) if nothing is reduced.

        Raises:
            ShapeError, TypeMismatch: the tensors do not fit.
        """
        anchor, positive, negative = self.alike(inputs, "anchor, positive and negative")
        if anchor.dim() not in (1, 2):
            raise ShapeError(
                f"TripletMarginLoss expects vectors (N, D) or (D), got {tuple(anchor.shape)}"
            )
        pairs = [(anchor, positive), (anchor, negative), (positive, negative)]
        gaps = [x - y + self.eps for x, y in pairs[: 3 if self.swap else 2]]
        distances = [torch.linalg.vector_norm(gap, self.p, dim=-1) for gap in gaps]
        apart = torch.minimum(distances[1], distances[2]) if self.swap else distances[1]
        rest = distances[0] - apart + self.margin
        self.save(gaps, distances, rest)
        return self.reduced(rest.clamp(min=0))

    def backward(self, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """∂d/∂x = −∂d/∂y = sign(x − y)·(|x − y|/d)^(p−1), 0 where d is; the gradient goes to the
        smaller of d(a, n) and d(p, n), in halves where they are equal.
        """
        gaps, distances, rest = self.saved
        grad = self.grad_each(grad_outputs, rest) * (rest >= 0).to(rest.dtype)
        towards_positive = self._slope(gaps[0], distances[0], grad)
        shares: list[Tensor | float] = [1.0]
        if self.swap:
            first, second = distances[1], distances[2]
            half = 0.5 * (first == second)
            shares = [(first < second) + half, (second < first) + half]
        from_negative = [
            self._slope(gap, distance, -grad * share)
            for gap, distance, share in zip(gaps[1:], distances[1:], shares, strict=True)
        ]
        grad_positive = -towards_positive + (from_negative[1] if self.swap else 0)
        grad_negative = -from_negative[0] - (from_negative[1] if self.swap else 0)
        return towards_positive + from_negative[0], grad_positive, grad_negative

    def _slope(self, gap: Tensor, distance: Tensor, grad: Tensor) -> Tensor:
        """Return grad · ∂d/∂x."""
        distance, grad = distance.unsqueeze(-1), grad.unsqueeze(-1)
        if self.p == torch.inf:
            most = gap.abs() == distance
            return grad * gap.sign() * most / most.sum(-1, keepdim=True)
        share = (gap.abs() / distance).pow(self.p - 1)
        return grad * gap.sign() * share.where(distance > 0, 0)
