"""Losses that compare two tensors element by element, and are averaged or added in the same pass.

Each is a formula for one element and its derivative; what they share – the reduction, the checks,
the kernels – is written once, in :func:`_loss`. The prediction alone gets a gradient.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.extension import dense, extension, how, laid_out_as, supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape

REDUCTIONS = ("mean", "sum", "none")


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Return their mean or sum as a 0-dimensional tensor, or the losses themselves."""
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def check_reduction(name: str, reduction: str, known: tuple[str, ...] = REDUCTIONS) -> None:
    """Raise ArgumentError unless it is one of those that ``name`` knows."""
    if reduction not in known:
        raise ArgumentError(
            f"{name} expects reduction to be one of {', '.join(known)}, got {reduction!r}"
        )


def _mse(x: Tensor, target: Tensor) -> Tensor:
    """l = (x − y)²."""
    return (x - target).square()


def _mse_derivative(x: Tensor, target: Tensor) -> Tensor:
    """∂l/∂x = 2·(x − y)."""
    return 2 * (x - target)


def _l1(x: Tensor, target: Tensor) -> Tensor:
    """l = |x − y|."""
    return (x - target).abs()


def _l1_derivative(x: Tensor, target: Tensor) -> Tensor:
    """∂l/∂x = the sign of x − y: 0 where they are equal, as in torch."""
    return (x - target).sign()


def _smooth_l1(x: Tensor, target: Tensor, *, beta: float = 1.0) -> Tensor:
    """With d = x − y: l = d²/(2·beta) where |d| < beta, else |d| − beta/2."""
    size = (x - target).abs()
    return torch.where(size < beta, size.square() / (2 * beta or 1), size - beta / 2)


def _smooth_l1_derivative(x: Tensor, target: Tensor, *, beta: float) -> Tensor:
    """∂l/∂x = d/beta where |d| < beta, else the sign of d."""
    difference = x - target
    return torch.where(difference.abs() < beta, difference / (beta or 1), difference.sign())


def _huber(x: Tensor, target: Tensor, *, delta: float = 1.0) -> Tensor:
    """With d = x − y: l = d²/2 where |d| < delta, else delta·(|d| − delta/2)."""
    size = (x - target).abs()
    return torch.where(size < delta, size.square() / 2, delta * (size - delta / 2))


def _huber_derivative(x: Tensor, target: Tensor, *, delta: float) -> Tensor:
    """∂l/∂x = d, cut off at ±delta."""
    return (x - target).clamp(-delta, delta)


def _charbonnier(x: Tensor, target: Tensor, *, eps: float = 1e-3) -> Tensor:
    """l = √((x − y)² + eps²)."""
    return ((x - target).square() + eps**2).sqrt()


def _charbonnier_derivative(x: Tensor, target: Tensor, *, eps: float) -> Tensor:
    """∂l/∂x = (x − y)/l."""
    return (x - target) / _charbonnier(x, target, eps=eps)


def _softplus(x: Tensor) -> Tensor:
    """log(1 + eˣ) without overflow: e is raised to nothing above 0."""
    return x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))


def _soft_margin(x: Tensor, target: Tensor) -> Tensor:
    """l = log(1 + e⁻ʸˣ)."""
    return _softplus(-target * x)


def _soft_margin_derivative(x: Tensor, target: Tensor) -> Tensor:
    """∂l/∂x = −y·σ(−y·x)."""
    return -target * torch.sigmoid(-target * x)


def _bce(
    x: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None
) -> Tensor:
    """l = w·(p·y·log(1 + e⁻ˣ) + (1 − y)·log(1 + eˣ)), with w = weight and p = pos_weight, or 1:
    −w·p·log σ(x) for a target y of 1, −w·log(1 − σ(x)) for 0.
    """
    positive = target if pos_weight is None else pos_weight * target
    losses = positive * _softplus(-x) + (1 - target) * _softplus(x)
    return losses if weight is None else weight * losses


def _bce_derivative(
    x: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None
) -> Tensor:
    """∂l/∂x = w·((1 − y)·σ(x) − p·y·σ(−x))."""
    positive = target if pos_weight is None else pos_weight * target
    derivative = (1 - target) * torch.sigmoid(x) - positive * torch.sigmoid(-x)
    return derivative if weight is None else weight * derivative


# -- from a formula to an operation ----------------------------------------------------------------


def _loss(
    name: str,
    value: Callable[..., Tensor],
    derivative: Callable[..., Tensor],
    *,
    tried: Mapping[str, float] | None = None,
    wrong: Mapping[str, float] | None = None,
    least: float | None = None,
    exact: bool = False,
    twin: str | None = None,
) -> Op:
    """Return the operation of a loss, its C++ kernel included.

    Args:
        name: torch.nn.functional's, and the kernel's.
        value: ``(x, target, *weights, **options)`` -> the loss of each element.
        derivative: the same -> its derivative with respect to x.
        tried: options to be tried besides the defaults.
        wrong: options that must be refused.
        least: what the option may be at least; it must be above 0 if None.
        exact: whether losses of whole numbers are whole numbers.
        twin: as Op takes it, if the name is not torch's.
    """

    def forward(*tensors: Tensor | None, reduction: str, **options: float) -> tuple[Tensor, None]:
        return reduced(value(*tensors, **options), reduction), None

    def backward(
        grad_y: Tensor, kept: None, *tensors: Tensor | None, reduction: str, needs: Needs,
        **options: float,
    ) -> Gradients:  # fmt: skip
        none = (None,) * (len(tensors) - 1)
        if not needs[0]:
            return None, *none
        each = derivative(*tensors, **options)
        share = grad_y / max(each.numel(), 1) if reduction == "mean" else grad_y
        return share * each, *none

    def check(x: Tensor, *others: Tensor | None, reduction: str, **options: float) -> Shape:
        for other in others:
            if other is not None and other.shape != x.shape:
                raise ShapeError(
                    f"{name} expects tensors of one shape, got {tuple(x.shape)} and "
                    f"{tuple(other.shape)}"
                )
        for option, given in options.items():
            if not (given > 0 if least is None else given >= least):
                limit = "above 0" if least is None else f"at least {least}"
                raise ArgumentError(f"{name} expects {option} to be {limit}, got {given}")
        check_reduction(name, reduction)
        return tuple(x.shape) if reduction == "none" else ()

    def cases() -> list[Case]:
        def case(shape: Shape, *, few: bool = False, of: int = len(tensors), **more: Any) -> Case:
            return Case((shape,) * of, more, more.pop("layout", "contiguous"), few)

        return [
            case((0, 3), reduction="sum"),
            case((0, 3), reduction="none"),
            case((), reduction="none"),
            case((1,)),
            case((3, 5), few=True),
            case((2, 3, 7, 5), reduction="none", few=True),
            *(case((2, 3, 7, 5), reduction="sum", layout=layout) for layout in LAYOUTS),
            case((2, 3, 7, 5), reduction="none", layout="channels_last"),
            *(case((4, 7), reduction="sum", of=count) for count in range(2, len(tensors))),
            *([Case(((5, 3), (5, 3)), {"reduction": "none", **tried}, few=True)] if tried else []),
            case((17, 2003)),
            case((3, 11, 67, 29), reduction="sum"),
            *([Case(((2, 3), (2, 3)), wrong, error="expects")] if wrong else []),
            Case(((2, 3), (3,)), error="one shape"),
            Case(((2, 3), (2, 3)), {"reduction": "average"}, error="one of mean, sum, none"),
            Case(((2, 3), (2, 3)), dtypes=(torch.float32, torch.float64), error="one dtype"),
        ]

    parameters = inspect.signature(value).parameters
    tensors = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    option = inspect.Parameter("reduction", inspect.Parameter.KEYWORD_ONLY, default="mean")
    signature = inspect.Signature([*parameters.values(), option])
    forward.__signature__ = signature  # type: ignore[attr-defined]
    op = Op(
        name, forward=forward, backward=backward, check=check, cases=cases,
        exact=lambda reduction, **options: exact and reduction != "mean",
        constants=tuple(tensors[1:]), twin=twin or f"torch.nn.functional.{name}",
    )  # fmt: skip
    op.implement(
        "cpp",
        forward=partial(_forward_in_cpp, f"{name}_forward"),
        backward=partial(_backward_in_cpp, f"{name}_backward"),
        supports=supports,
        how=how,
    )
    return op


def _forward_in_cpp(
    kernel: str, *given: Tensor | None, reduction: str, **options: float
) -> tuple[Tensor, list[Tensor | None] | None]:
    """Kept are the tensors as the kernels take them, if they are others: in the order of memory."""
    tensors = given if all(t is None or t.is_contiguous() for t in given) else _in_order(given)
    x = tensors[0]
    assert x is not None
    y = torch.empty_like(x) if reduction == "none" else x.new_empty(())
    getattr(extension(), kernel)(tensors, y, *options.values(), reduction=reduction)
    return y, None if tensors is given else list(tensors)


def _in_order(given: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Return the tensors without gaps, all with the strides of the first."""
    assert given[0] is not None
    x = dense(given[0])
    return x, *(None if other is None else laid_out_as(x, other) for other in given[1:])


def _backward_in_cpp(
    kernel: str, grad_y: Tensor, kept: list[Tensor | None] | None, *given: Tensor | None,
    reduction: str, needs: Needs, **options: float,
) -> Gradients:  # fmt: skip
    none = (None,) * (len(given) - 1)
    if not needs[0]:
        return None, *none
    tensors = given if kept is None else kept
    x = tensors[0]
    assert x is not None
    grad_x = torch.empty_like(x)
    grad_y = laid_out_as(x, grad_y) if reduction == "none" else grad_y
    getattr(extension(), kernel)(grad_y, tensors, grad_x, *options.values(), reduction=reduction)
    return grad_x, *none


mse_loss = _loss("mse_loss", _mse, _mse_derivative, exact=True)
l1_loss = _loss("l1_loss", _l1, _l1_derivative, exact=True)
smooth_l1_loss = _loss(
    "smooth_l1_loss", _smooth_l1, _smooth_l1_derivative, tried={"beta": 0.3}, wrong={"beta": -0.5},
    least=0,
)  # fmt: skip
huber_loss = _loss(
    "huber_loss", _huber, _huber_derivative, tried={"delta": 0.4}, wrong={"delta": 0}
)
charbonnier_loss = _loss(
    "charbonnier_loss", _charbonnier, _charbonnier_derivative, tried={"eps": 0.5}, wrong={"eps": 0},
    twin="scratchnet.testing.oracle.charbonnier_loss",
)  # fmt: skip
soft_margin_loss = _loss("soft_margin_loss", _soft_margin, _soft_margin_derivative)
binary_cross_entropy_with_logits = _loss(
    "binary_cross_entropy_with_logits", _bce, _bce_derivative,
    twin="scratchnet.testing.oracle.binary_cross_entropy_with_logits",
)  # fmt: skip
