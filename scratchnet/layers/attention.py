"""Multi-head attention, and the rotation of queries and keys by their position."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import ArgumentError, ShapeError
from scratchnet.layers.checks import check_grad, check_tensor, positive
from scratchnet.layers.dropout import draw_seed
from scratchnet.layers.linear import Linear
from scratchnet.layers.module import Module
from scratchnet.layers.parameter import Parameter
from scratchnet.ops.attention import attention, attention_weights
from scratchnet.ops.linear import linear
from scratchnet.ops.op import shape_only


class MultiheadAttention(Module):
    """Attention in several subspaces at once, as torch.nn.MultiheadAttention.

    y = concat_h(softmax(q_h k_hᵀ / √(E/H) + mask) v_h) Woᵀ + b, with q_h, k_h and v_h the H equal
    parts of the linear maps of query, key and value. Source: Vaswani et al., "Attention Is All You
    Need" (2017), section 3.2.2.

    Inputs: query (L, N, E), key (S, N, kdim), value (S, N, vdim), or with ``batch_first``
    (N, L, E) and so on, or without a batch. Outputs: y as the query, and the weights, see
    ``forward``. Without weights memory grows with the length, not with its square.

    Args:
        embed_dim: E.
        num_heads: H; divides E.
        dropout: probability that a weight is dropped, in training; from 0 to less than 1.
        bias: whether the linear maps have one.
        add_bias_kv, add_zero_attn: not supported; False alone.
        kdim: width of the key; E if None.
        vdim: width of the value; E if None.
        batch_first: whether the batch is the first axis.
        backend: name or object of the backend for this layer; None for the selected one.
        generator: source of the initial values, and of the random numbers of dropout: the maps of
            query, key and value are drawn from Xavier's U(−√k, √k) with k = 6 / (rows + columns).
        dtype: floating-point; torch's default dtype if None.
        device: where the parameters live.

    Raises:
        ArgumentError: an argument is outside its range, or not supported.
    """

    eval_differs = True
    torch_names = ("torch.nn.MultiheadAttention",)
    in_proj_bias: Parameter | None

    @classmethod
    def example(cls) -> tuple[MultiheadAttention, tuple[Tensor, ...]]:
        """Return a small one, and inputs for it."""
        numbers = torch.Generator().manual_seed(0)
        shapes = ((3, 5, 6), (3, 4, 6), (3, 4, 6))
        inputs = tuple(torch.randn(shape, generator=numbers) for shape in shapes)
        return cls(6, 2, batch_first=True), inputs

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        backend: str | Backend | None = None,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        name = "MultiheadAttention"
        kdim, vdim = kdim or embed_dim, vdim or embed_dim
        positive(name, embed_dim=embed_dim, num_heads=num_heads, kdim=kdim, vdim=vdim)
        if embed_dim % num_heads:
            raise ArgumentError(
                f"{name} expects num_heads to divide embed_dim, got {num_heads} for {embed_dim}"
            )
        if add_bias_kv or add_zero_attn:
            raise ArgumentError(
                f"{name} supports neither add_bias_kv nor add_zero_attn: append a row to key and "
                "value instead"
            )
        if not 0 <= dropout < 1:
            raise ArgumentError(f"{name} expects dropout from 0 to less than 1, got {dropout!r}")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim, self.vdim, self.batch_first = kdim, vdim, batch_first
        self.backend, self.generator = backend, generator
        new: dict[str, Any] = {"dtype": dtype, "device": device}

        def xavier(rows: int, columns: int) -> Tensor:
            bound = math.sqrt(6 / (rows + columns))
            return torch.empty(rows, columns, **new).uniform_(-bound, bound, generator=generator)

        if kdim == vdim == embed_dim:
            self.add_parameter("in_proj_weight", xavier(3 * embed_dim, embed_dim))
        else:
            for letter, width in (("q", embed_dim), ("k", kdim), ("v", vdim)):
                self.add_parameter(f"{letter}_proj_weight", xavier(embed_dim, width))
        self.add_parameter("in_proj_bias", torch.zeros(3 * embed_dim, **new) if bias else None)
        self.out_proj = Linear(
            embed_dim, embed_dim, bias, backend=backend, generator=generator, **new
        )
        if self.out_proj.bias is not None:
            self.out_proj.bias.zero_()

    @property
    def stochastic(self) -> bool:  # type: ignore[override]
        """Whether it draws random numbers: only with dropout."""
        return self.dropout > 0

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that define the layer."""
        return {
            "embed_dim": self.embed_dim,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
            "bias": self.in_proj_bias is not None,
            "kdim": self.kdim,
            "vdim": self.vdim,
            "batch_first": self.batch_first,
        }

    @classmethod
    def from_torch_config(cls, module: Any) -> dict[str, Any]:
        """Return the arguments of torch's module."""
        found = super().from_torch_config(module)
        bias = module.in_proj_bias is not None
        return {**found, "bias": bias, "add_bias_kv": module.bias_k is not None}

    # -- forward -----------------------------------------------------------------------------------

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the output and the weights.

        Args:
            query: alone it is key and value, too: backward then returns one gradient, not three.
            key, value: as the class says.
            key_padding_mask: (N, S), or (S,) without a batch: true where a key is to be ignored, or
                numbers that are added to the scores.
            need_weights: whether to return the weights, (N, L, S), or without a batch (L, S); it
                takes memory of L · S. Else None is returned in their place.
            attn_mask: (L, S) or (N·H, L, S): true where a query may not see a key, or numbers that
                are added to the scores.
            average_attn_weights: whether the weights are the mean of all heads, or those of each,
                (N, H, L, S).
            is_causal: whether query i may see keys 0 to i alone. Where there is an attn_mask that
                alone decides.

        A query that sees no key gets zeros for its sum of values.

        Raises:
            ShapeError: inputs or masks do not fit each other.
            TypeMismatch: not tensors of the parameters' dtype and device.
        """
        if (key is None) != (value is None):
            raise ArgumentError("MultiheadAttention expects key and value, or neither of them")
        inputs = self._checked([query] if key is None or value is None else [query, key, value])
        whole, projections = [], []
        for x, weight, bias in self._maps(inputs):
            y, back = dispatch.run(
                linear, x, *(getattr(self, b)[a] if b else None for b, a in (weight, bias)),
                backend=self.backend,
            )  # fmt: skip
            whole.append(y)
            projections.append((back, weight, bias))
        parts = whole[0].chunk(3, -1) if len(whole) == 1 else whole
        q, k, v = (self._heads(part) for part in parts)
        mask = self._mask(key_padding_mask, attn_mask, q, k)
        p = self.dropout if self.training else 0.0
        options: dict[str, Any] = {
            "causal": is_causal and attn_mask is None,
            "p": p,
            "seed": draw_seed(self.generator) if p else 0,
            "backend": self.backend,
        }
        weights = None
        if need_weights:
            weights, back = dispatch.run(attention_weights, q, k, mask, **options)
            heads = weights @ v
            kept: tuple[Any, ...] = (back, weights, v, average_attn_weights)
        else:
            heads, back = dispatch.run(attention, q, k, v, mask, **options)
            kept = (back, None, None, average_attn_weights)
        y = self.out_proj.forward(self._joined(heads))
        unbatched = query.dim() == 2
        if weights is not None:
            weights = weights.mean(1) if average_attn_weights else weights.clone()
            weights = weights.squeeze(0) if unbatched else weights
        y = y.squeeze(self._batch_axis) if unbatched else y
        # of the outputs only shape and dtype
        like = shape_only(y), None if weights is None else shape_only(weights)
        self.save(projections, kept, like, unbatched)
        return y, weights

    @property
    def _batch_axis(self) -> int:
        return 0 if self.batch_first else 1

    def _checked(self, inputs: list[Any]) -> list[Tensor]:
        """Return the inputs with a batch axis."""
        dtype, device = self.out_proj.weight.dtype, self.out_proj.weight.device
        inputs = [check_tensor(self, x, dtype=dtype, device=device) for x in inputs]
        widths = (self.embed_dim, self.kdim, self.vdim)
        if len(inputs) == 1 and set(widths) != {self.embed_dim}:
            raise ArgumentError("MultiheadAttention expects key and value: they have other widths")
        for x, width in zip(inputs, widths, strict=False):
            if x.dim() not in (2, 3) or x.dim() != inputs[0].dim() or x.shape[-1] != width:
                order = "(N, L, {0})" if self.batch_first else "(L, N, {0})"
                raise ShapeError(
                    f"MultiheadAttention expects {order.format(width)} or (L, {width}), all with a "
                    f"batch or none, got {', '.join(str(tuple(x.shape)) for x in inputs)}"
                )
        return [x.unsqueeze(self._batch_axis) if x.dim() == 2 else x for x in inputs]

    def _maps(self, inputs: list[Tensor]) -> Any:
        """Yield each input with (name, rows) of its weight, and of its bias."""
        bias = "" if self.in_proj_bias is None else "in_proj_bias"
        if len(inputs) == 1:
            yield inputs[0], ("in_proj_weight", slice(None)), (bias, slice(None))
            return
        for i, (letter, x) in enumerate(zip("qkv", inputs, strict=True)):
            rows = slice(i * self.embed_dim, (i + 1) * self.embed_dim)
            own = hasattr(self, f"{letter}_proj_weight")
            weight = (f"{letter}_proj_weight", slice(None)) if own else ("in_proj_weight", rows)
            yield x, weight, (bias, rows)

    def _heads(self, x: Tensor) -> Tensor:
        """(N, L, E) or (L, N, E) -> (N, H, L, E/H), a view."""
        split = x.view(*x.shape[:2], self.num_heads, self.embed_dim // self.num_heads)
        return split.transpose(1, 2) if self.batch_first else split.permute(1, 2, 0, 3)

    def _joined(self, heads: Tensor) -> Tensor:
        """(N, H, L, E/H) -> (N, L, E) or (L, N, E)."""
        rows = heads.transpose(1, 2) if self.batch_first else heads.permute(2, 0, 1, 3)
        joined: Tensor = rows.flatten(2)
        return joined

    def _mask(
        self, padding: Tensor | None, mask: Tensor | None, q: Tensor, k: Tensor
    ) -> Tensor | None:
        """Return what is added to the scores, broadcast to (N, H, L, S)."""
        (n, heads, length, _), keys = q.shape, k.shape[2]
        found = None
        for name, given, shapes in (
            ("key_padding_mask", padding, {(n, keys): (n, 1, 1, keys), (keys,): (1, 1, 1, keys)}),
            (
                "attn_mask",
                mask,
                {
                    (length, keys): (1, 1, length, keys),
                    (n * heads, length, keys): (n, heads, length, keys),
                },
            ),
        ):
            if given is None:
                continue
            shape = shapes.get(tuple(given.shape))
            if shape is None or (len(given.shape) == 1 and n > 1):
                raise ShapeError(
                    f"MultiheadAttention expects {name} {' or '.join(map(str, shapes))}, got "
                    f"{tuple(given.shape)}"
                )
            number = given.to(q.dtype) if given.is_floating_point() else q.new_zeros(given.shape)
            if not given.is_floating_point():
                number.masked_fill_(given.bool(), -math.inf)
            number = number.view(shape)
            found = number if found is None else found + number
        return found

    # -- backward ----------------------------------------------------------------------------------

    def backward(self, *grad_outputs: Tensor | None) -> Any:
        """The chain rule from the output to the inputs; the formulas stand in ops/attention.py.

        Args:
            grad_outputs: the gradient of the output, and, if there are weights, theirs or nothing.

        Returns:
            The gradients of query, key and value; one, if the query was alone.
        """
        grads = self._back(grad_outputs, inputs_too=True)
        return grads[0] if len(grads) == 1 else grads

    def backward_parameters(self, *grad_outputs: Tensor | None) -> None:
        """As backward, without the gradients of the inputs."""
        self._back(grad_outputs, inputs_too=False)

    def _back(
        self, grad_outputs: tuple[Tensor | None, ...], *, inputs_too: bool
    ) -> tuple[Tensor | None, ...]:
        projections, (back, weights, v, averaged), like, unbatched = self.saved
        grad_y, grad_w = (*grad_outputs, None)[:2]
        grad_y = check_grad(self, grad_y, like[0].shape, like[0].dtype)  # type: ignore[arg-type]
        if grad_w is not None:
            if weights is None:
                raise ArgumentError("this forward returned no weights: backward takes one gradient")
            grad_w = check_grad(self, grad_w, like[1].shape, like[1].dtype)
        axis = self._batch_axis
        grad_y = grad_y.unsqueeze(axis) if unbatched else grad_y
        of_heads = self._heads(self.out_proj.backward(grad_y))
        if weights is None:
            grads = back(of_heads, needs=(True, True, True, False))[:3]
        else:
            of_weights = of_heads @ v.mT
            if grad_w is not None:
                grad_w = grad_w.unsqueeze(0) if unbatched else grad_w
                of_weights += grad_w.unsqueeze(1) / self.num_heads if averaged else grad_w
            grads = (*back(of_weights, needs=(True, True, False))[:2], weights.mT @ of_heads)
        parts = [self._joined(grad) for grad in grads]
        if len(projections) == 1:
            parts = [torch.cat(parts, -1)]
        found = []
        for part, (back, (weight, rows), (bias, some)) in zip(parts, projections, strict=True):
            into = (
                None,
                getattr(self, f"grad_{weight}")[rows],
                getattr(self, f"grad_{bias}")[some] if bias else None,
            )
            grad = back.add_to(into, part, needs=(inputs_too, True, bool(bias)))[0]
            found.append(grad.squeeze(axis) if unbatched and grad is not None else grad)
        return tuple(found)


class RoPE(Module):
    """Rotary position embedding: each pair of neighbours is turned by an angle that grows with the
    position.

    (y_2i, y_2i+1) = R(t · base^(−2i/dim)) (x_2i, x_2i+1) at position t, with R the rotation of the
    plane; the product of a query and a key then depends on their distance alone. Source: Su et al.,
    "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021), equation 34.

    Input (..., T, dim), T up to max_seq_len, any floating-point dtype; output of its shape. In
    (N, H, T, dim) it goes between the heads and attention.

    Args:
        dim: an even number.
        max_seq_len: the largest T.
        base: of the angles.

    Raises:
        ArgumentError: an argument is outside its range.
    """

    @classmethod
    def example(cls) -> tuple[RoPE, Tensor]:
        """Return one, and an input for it."""
        return cls(6), torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))

    def __init__(self, dim: int, max_seq_len: int = 4096, base: float = 10000) -> None:
        positive("RoPE", dim=dim, max_seq_len=max_seq_len)
        if dim % 2 or not base > 0:
            raise ArgumentError(f"RoPE expects an even dim and base above 0, got {dim} and {base}")
        self.dim, self.max_seq_len, self.base = dim, max_seq_len, base

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {"dim": self.dim, "max_seq_len": self.max_seq_len, "base": self.base}

    def twin(self) -> Any:
        """Return the same by complex numbers, for comparison."""

        def turned(x: Tensor) -> Tensor:
            angles = self._angles(x)
            pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
            return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(
                -2
            )

        return turned

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the pairs, each turned.

        Raises:
            ShapeError: not dim wide, or longer than max_seq_len.
            TypeMismatch: not a floating-point tensor.
        """
        (x,) = inputs
        x = check_tensor(self, x)
        if x.dim() < 2 or x.shape[-1] != self.dim or x.shape[-2] > self.max_seq_len:
            raise ShapeError(
                f"RoPE expects (..., T, {self.dim}) with T up to {self.max_seq_len}, got "
                f"{tuple(x.shape)}"
            )
        self.save(shape_only(x))
        return self._turned(x, 1)

    def backward(self, *grad_outputs: Tensor) -> Tensor:
        """∂L/∂x = R(−angle) ∂L/∂y: a rotation's transpose turns back."""
        (like,) = self.saved
        return self._turned(check_grad(self, grad_outputs[0], like.shape, like.dtype), -1)

    def _angles(self, x: Tensor) -> Tensor:
        """(T, dim/2), in float64 until they are known, for large positions."""
        places = torch.arange(x.shape[-2], dtype=torch.float64, device=x.device)
        pairs = torch.arange(0, self.dim, 2, dtype=torch.float64, device=x.device)
        return places.outer(self.base ** (-pairs / self.dim)).to(x.dtype)

    def _turned(self, x: Tensor, sign: int) -> Tensor:
        angles = self._angles(x)
        cos, sin = angles.cos(), angles.sin() * sign
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)
