"""Cross-entropy of logits and classes, with its softmax in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.extension import extension, how, supports
from scratchnet.ops.loss import check_reduction, reduced
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape


def _cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> tuple[Tensor, None]:
    """l = −(1 − s)·w_t·log p_t − s/C · Σ_c w_c·log p_c, with p = softmax(x) over the C classes, s =
    label_smoothing and the class t; 0 where t is ignore_index. The mean is Σ l / Σ w_t.

    Source: torch.nn.CrossEntropyLoss's documentation; smoothing: Szegedy et al., "Rethinking the
    Inception Architecture for Computer Vision" (2015), section 7.
    """
    check_classes(target, x.shape[1], ignore_index)
    logs = x.log_softmax(1)
    counts, of_target, own = picked(x, target, weight, ignore_index)
    losses = (label_smoothing - 1) * own * logs.gather(1, of_target.unsqueeze(1)).squeeze(1)
    if label_smoothing:
        all_logs = logs if weight is None else logs * along_classes(weight, x)
        losses = losses - label_smoothing / x.shape[1] * counts * all_logs.sum(1)
    if reduction == "mean":
        return losses.sum() / own.sum(), None
    return reduced(losses, reduction), None


def _backward(
    grad_y: Tensor, kept: None, x: Tensor, target: Tensor, weight: Tensor | None, *,
    ignore_index: int, label_smoothing: float, reduction: str, needs: Needs,
) -> Gradients:  # fmt: skip
    """∂l/∂x_c = ((1 − s)·w_t + s/C · Σ w)·p_c − (1 − s)·w_t·[c = t] − s/C · w_c, as ∂log p_t/∂x_c =
    [c = t] − p_c.
    """
    if not needs[0]:
        return None, None, None
    counts, of_target, own = picked(x, target, weight, ignore_index)
    grad_each = grad_y / own.sum() if reduction == "mean" else grad_y
    of_classes = along_classes(x.new_ones(x.shape[1]) if weight is None else weight, x)
    smooth = label_smoothing / x.shape[1] * of_classes * counts.unsqueeze(1)
    sharp = (1 - label_smoothing) * own.unsqueeze(1)
    grad_x = (sharp + smooth.sum(1, keepdim=True)) * x.softmax(1) - smooth
    grad_x.scatter_add_(1, of_target.unsqueeze(1), -sharp)
    return grad_x * (grad_each.unsqueeze(1) if grad_each.dim() else grad_each), None, None


def along_classes(weight: Tensor, x: Tensor) -> Tensor:
    """Return (C,) as it is multiplied with (N, C, ...)."""
    return weight.view(-1, *[1] * (x.dim() - 2))


def picked(
    x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return of each target whether it counts (1 or 0, in the dtype of x), a class to look at (its
    own, if it does), and the weight of that class (0, if it does not).
    """
    of_target = target.where(target != ignore_index, 0)
    counts = (target != ignore_index).to(x.dtype)
    return counts, of_target, counts if weight is None else weight[of_target] * counts


def check_shapes(name: str, x: Tensor, target: Tensor, weight: Tensor | None) -> None:
    """Raise ShapeError unless x is (N, C, ...), target (N, ...), and weight (C,) or None."""
    if x.dim() < 2 or target.shape != (x.shape[0], *x.shape[2:]):
        raise ShapeError(
            f"{name} expects (N, C, ...) and classes (N, ...), got {tuple(x.shape)} and "
            f"{tuple(target.shape)}"
        )
    if weight is not None and weight.shape != x.shape[1:2]:
        raise ShapeError(
            f"{name} expects a weight for each of {x.shape[1]} classes, got {tuple(weight.shape)}"
        )


def check_classes(target: Tensor, count: int, ignore_index: int) -> None:
    """Raise ArgumentError unless every target is a class below ``count``, or ``ignore_index``."""
    if target.numel() == 0:
        return
    low, high = torch.aminmax(target)
    if low < 0 or high >= count:
        wrong = target[((target < 0) | (target >= count)) & (target != ignore_index)]
        if wrong.numel():
            raise ArgumentError(
                f"the targets are expected to be classes from 0 to {count - 1}, or ignore_index = "
                f"{ignore_index}; got {int(wrong[0])}"
            )


def _check(
    x: Tensor, target: Tensor, weight: Tensor | None, *, ignore_index: int,
    label_smoothing: float, reduction: str,
) -> Shape:  # fmt: skip
    check_shapes("cross_entropy", x, target, weight)
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(
            f"cross_entropy expects label_smoothing in [0, 1], got {label_smoothing}"
        )
    check_reduction("cross_entropy", reduction)
    return tuple(target.shape) if reduction == "none" else ()


def _cases() -> list[Case]:
    def case(x: Sequence[int], classes: int | None = None, **more: Any) -> Case:
        few, layout = more.pop("few", False), more.pop("layout", "contiguous")
        weight = (x[1],) if more.pop("weight", False) else None
        shapes = (tuple(x), (x[0], *x[2:]), weight)
        return Case(shapes, more, layout, few, below={"target": classes or x[1]})

    return [
        case((0, 5), reduction="sum"),
        case((0, 5), reduction="none"),
        case((1, 1)),
        case((3, 5), few=True),
        case((7, 37), reduction="none", weight=True, few=True),
        case((5, 6), label_smoothing=0.25, ignore_index=2, few=True),
        case((4, 17), label_smoothing=1.0, reduction="sum", weight=True),
        case((2, 3, 4), ignore_index=1, reduction="none", weight=True, label_smoothing=0.1),
        *(case((2, 3, 7, 5), layout=layout, reduction="sum") for layout in LAYOUTS),
        case((2, 3, 7, 5), layout="channels_last", reduction="none", label_smoothing=0.1),
        case((67, 301)),
        case((3, 3003), reduction="sum"),
        Case(((5,), ()), below={"target": 3}, error=r"(N, C, ...)"),
        Case(((3, 5), (2,)), below={"target": 3}, error="classes (N, ...)"),
        Case(((3, 5), (3, 5)), below={"target": 3}, error="classes (N, ...)"),
        Case(((3, 2), (3,), (3,)), below={"target": 2}, error="for each of 2 classes"),
        Case(((3, 2), (3,)), {"label_smoothing": 1.5}, below={"target": 2}, error="in [0, 1]"),
        Case(((3, 2), (3,)), {"reduction": "all"}, below={"target": 2}, error="one of mean, sum"),
        Case(((3, 2), (3,)), dtypes=(torch.float32, torch.float32), error="an integer tensor"),
    ]


cross_entropy = Op(
    "cross_entropy", forward=_cross_entropy, backward=_backward, check=_check, cases=_cases,
    integers=("target",), constants=("weight",), twin="torch.nn.functional.cross_entropy",
)  # fmt: skip


# -- in C++ ----------------------------------------------------------------------------------------


def _forward_in_cpp(
    x: Tensor, target: Tensor, weight: Tensor | None, *, ignore_index: int,
    label_smoothing: float, reduction: str,
) -> tuple[Tensor, Any]:  # fmt: skip
    """Kept are the logits as rows of classes (without a copy where they lie so), and of each row
    the largest logit m and log Σ eˣ⁻ᵐ.
    """
    check_classes(target, x.shape[1], ignore_index)
    rows, target = x.movedim(1, -1).contiguous(), target.contiguous()
    weight = None if weight is None else weight.contiguous()
    losses, logs = rows.new_empty(target.shape), rows.new_empty((*target.shape, 2))
    divisor = extension().cross_entropy_forward(
        rows, target, weight, losses, logs, ignore_index, label_smoothing
    )
    y = losses.sum() / divisor if reduction == "mean" else reduced(losses, reduction)
    return y, (rows, target, weight, logs, divisor)


def _backward_in_cpp(
    grad_y: Tensor, kept: Any, x: Tensor, target: Tensor, weight: Tensor | None, *,
    ignore_index: int, label_smoothing: float, reduction: str, needs: Needs,
) -> Gradients:  # fmt: skip
    if not needs[0]:
        return None, None, None
    rows, target, weight, logs, divisor = kept
    grad_rows = torch.empty_like(rows)
    scale = 1 / divisor if reduction == "mean" and divisor else 1.0
    extension().cross_entropy_backward(
        grad_y.contiguous(), rows, target, weight, logs, grad_rows, ignore_index, label_smoothing,
        scale,
    )  # fmt: skip
    return grad_rows.movedim(-1, 1), None, None


cross_entropy.implement(
    "cpp", forward=_forward_in_cpp, backward=_backward_in_cpp, supports=supports, how=how
)
