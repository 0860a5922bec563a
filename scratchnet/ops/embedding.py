"""Embedding: rows of a table, chosen by their numbers. V rows, D wide."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.ops.extension import extension, how, supports
from scratchnet.ops.op import LAYOUTS, Case, Gradients, Needs, Op, Shape


def _forward(indices: Tensor, weight: Tensor) -> tuple[Tensor, None]:
    """y[..., :] = W[indices[...], :].

    Raises:
        ArgumentError: an index is no row of the table.
    """
    rows = weight.shape[0]
    if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < rows):
        raise ArgumentError(_outside(rows, int(indices.min()), int(indices.max())))
    return weight.index_select(0, _whole(indices)).view(*indices.shape, weight.shape[1]), None


def _outside(rows: int, least: int, most: int) -> str:
    return (
        f"embedding expects indices from 0 to {rows - 1}, the rows of the table, got some from "
        f"{least} to {most}"
    )


def _whole(indices: Tensor) -> Tensor:
    return indices.reshape(-1).long().contiguous()


def _backward(
    grad_y: Tensor, kept: None, indices: Tensor, weight: Tensor, *, needs: Needs
) -> Gradients:
    """∂L/∂W[v, :] = Σ over the places where the index is v, of ∂L/∂y.

    Source: the table is multiplied by one-hot rows; Bengio et al., "A Neural Probabilistic
    Language Model" (2003), section 2.
    """
    if not needs[1]:
        return None, None
    flat = grad_y.reshape(-1, weight.shape[1])
    return None, grad_y.new_zeros(weight.shape).index_add_(0, _whole(indices), flat)


def _check(indices: Tensor, weight: Tensor) -> Shape:
    if weight.dim() != 2 or 0 in weight.shape:
        raise ShapeError(f"embedding expects weight (V, D), got {tuple(weight.shape)}")
    return *indices.shape, weight.shape[1]


def _terms(indices: Tensor, weight: Tensor) -> int:
    return indices.numel()


def _cases() -> list[Case]:
    def case(indices: Shape, table: Shape, layout: str = "contiguous", few: bool = False) -> Case:
        return Case((indices, table), layout=layout, few=few, below={"indices": table[0]})

    return [
        case((0,), (5, 3)),
        case((), (1, 1), few=True),
        case((7,), (5, 3), few=True),
        case((4, 6), (11, 17), few=True),
        *(case((2, 3, 7), (5, 6), layout) for layout in LAYOUTS),
        case((31, 29), (13, 67)),
        Case(((3,), (5,)), dtypes=(torch.int64, torch.float32), error="(V, D)"),
        Case(((3,), (5, 2)), dtypes=(torch.float32,), error="an integer tensor"),
    ]


embedding = Op(
    "embedding", forward=_forward, backward=_backward, check=_check, cases=_cases, exact=True,
    multilinear=_terms, reads=("indices",), integers=("indices",),
    twin="torch.nn.functional.embedding",
)  # fmt: skip


# -- in C++ ----------------------------------------------------------------------------------------


def _forward_in_cpp(indices: Tensor, weight: Tensor) -> tuple[Tensor, None]:
    y = weight.new_empty((*indices.shape, weight.shape[1]))
    if not extension().embedding_forward(_whole(indices), weight.contiguous(), _rows(y)):
        raise ArgumentError(_outside(weight.shape[0], int(indices.min()), int(indices.max())))
    return y, None


def _backward_in_cpp(
    grad_y: Tensor, kept: None, indices: Tensor, weight: Tensor, *, needs: Needs,
    into: Sequence[Tensor | None] = (None, None),
) -> Gradients:  # fmt: skip
    """Only the rows that were used are touched, if there is a buffer to add to."""
    if not needs[1]:
        return None, None
    grad = into[1] if into[1] is not None else grad_y.new_zeros(weight.shape)
    extension().embedding_backward(_rows(grad_y.contiguous()), _whole(indices), grad)
    return None, grad if into[1] is None else None


def _rows(y: Tensor) -> Tensor:
    return y.view(-1, y.shape[-1])


embedding.implement(
    "cpp", forward=_forward_in_cpp, backward=_backward_in_cpp, supports=supports, how=how,
    accumulates=True,
)  # fmt: skip
