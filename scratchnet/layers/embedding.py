"""Embedding: a table whose rows are looked up by their numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scratchnet.backends.base import Backend
from scratchnet.errors import ArgumentError, TypeMismatch
from scratchnet.layers.checks import positive
from scratchnet.layers.op_layer import OpLayer
from scratchnet.layers.parameter import Parameter
from scratchnet.ops import embedding as ops


class Embedding(OpLayer):
    """y[..., :] = W[indices[...], :], as torch.nn.Embedding.

    Input: int64 or int32 (...), from 0 to num_embeddings − 1; output (..., embedding_dim).

    Args:
        num_embeddings: V, rows of the table.
        embedding_dim: D, their width.
        padding_idx: a row that gets no gradient and starts as zeros; negative ones count from the
            last. None if there is none.
        max_norm, norm_type, scale_grad_by_freq, sparse: not supported; torch's defaults alone.
        backend: name or object of the backend for this layer; None for the selected one.
        generator: source of the initial values, N(0, 1).
        dtype: floating-point; torch's default dtype if None.
        device: where the table lives.

    Raises:
        ArgumentError: an argument is outside its range, or not supported.
    """

    op = ops.embedding
    integer_inputs = True
    torch_names = ("torch.nn.Embedding",)
    weight: Parameter
    grad_weight: Tensor

    @classmethod
    def example(cls) -> tuple[Embedding, Tensor]:
        """Return a small one, and an input for it."""
        return cls(7, 4), torch.tensor([[1, 2, 1], [6, 0, 2]])

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        *,
        backend: str | Backend | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        for name, given, usual, instead in (
            ("max_norm", max_norm, None, "rescale the rows of weight after each step"),
            ("scale_grad_by_freq", scale_grad_by_freq, False, "divide grad_weight by the counts"),
            ("sparse", sparse, False, "only the rows that were used are written to anyway"),
        ):
            if given != usual:
                raise ArgumentError(
                    f"Embedding does not support {name}: expected {usual}, got {given} ({instead})"
                )
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ArgumentError(
                    f"Embedding expects padding_idx to be one of {num_embeddings} rows, got "
                    f"{padding_idx}"
                )
            padding_idx %= num_embeddings
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx, self.backend = padding_idx, backend
        weight = torch.empty(num_embeddings, embedding_dim, dtype=dtype, device=device)
        weight.normal_(generator=generator)
        if padding_idx is not None:
            weight[padding_idx] = 0
        self.add_parameter("weight", weight)

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "padding_idx": self.padding_idx,
        }

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the rows.

        Raises:
            ArgumentError: an index is no row of the table.
            TypeMismatch: not a tensor of integers.
        """
        (indices,) = inputs
        if not isinstance(indices, Tensor) or indices.dtype not in (torch.int64, torch.int32):
            kind = indices.dtype if isinstance(indices, Tensor) else type(indices).__name__
            raise TypeMismatch(f"Embedding expects a tensor of int64 or int32, got {kind}")
        return self.run(indices)

    def _back(self, grad_y: Tensor, *, inputs_too: bool) -> tuple[Tensor | None, ...]:
        """As the operation says, but nothing for the row of ``padding_idx``."""
        if self.padding_idx is None:
            return super()._back(grad_y, inputs_too=inputs_too)
        before = self.grad_weight[self.padding_idx].clone()
        grads = super()._back(grad_y, inputs_too=inputs_too)
        self.grad_weight[self.padding_idx] = before
        return grads
