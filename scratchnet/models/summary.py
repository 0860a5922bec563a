"""A table of what is in a network: shapes, parameters, multiply-adds, memory, and what runs it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scratchnet.backends import dispatch
from scratchnet.errors import ArgumentError
from scratchnet.layers import fuse
from scratchnet.layers.module import Module

Size = Sequence[int]


@dataclass(frozen=True)
class Row:
    """One layer, at one call.

    Attributes:
        name: its place, as in ``state_dict()``.
        kind: its class.
        output: the shape of its (first) output.
        parameters: how many numbers of its own it has, that no row above has.
        multiply_adds: of its convolutions and matrix products.
        backend: what its operations run on; "" if it has none.
        run: the number of the fused run that it is part of; 0 if it runs alone.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    backend: str
    run: int


@dataclass(frozen=True)
class Summary:
    """What is in a network; ``print`` it.

    Attributes:
        rows: its layers, in the order of their calls.
        parameters, trainable: how many numbers, and how many of them are trained.
        multiply_adds: the sum of the rows'.
        inference: bytes of the parameters, and of the largest input and output of a layer.
        training: bytes of parameters, gradients, and of all that the layers return, which their
            backward reads.
    """

    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    inference: int
    training: int

    @property
    def multiply_adds(self) -> int:
        """Of all layers."""
        return sum(row.multiply_adds for row in self.rows)

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "multiply-adds", "runs on", "fused")
        cells = [head] + [
            (
                row.name or "(itself)",
                row.kind,
                "×".join(map(str, row.output)),
                f"{row.parameters:,}" if row.parameters else "",
                f"{row.multiply_adds:,}" if row.multiply_adds else "",
                row.backend,
                f"run {row.run}" if row.run else "",
            )
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        right = (3, 4)
        lines = [
            "  ".join(
                cell.rjust(w) if i in right else cell.ljust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        frozen = f", {self.parameters - self.trainable:,} of them frozen"
        lines += [
            "",
            f"{self.parameters:,} parameters{frozen if self.trainable < self.parameters else ''}; "
            f"{self.multiply_adds:,} multiply-adds",
            f"memory: about {_bytes(self.inference)} for inference, {_bytes(self.training)} for "
            "training without the optimizer's state",
        ]
        return "\n".join(lines)


def summary(model: Module, input_size: Size | Tensor | Sequence[Size | Tensor]) -> Summary:
    """Run a copy of the model once in its mode, and say what is in it.

    Args:
        model: any layer or network.
        input_size: the shape of the input, such as (1, 3, 64, 64); a list of shapes for several
            inputs; a tensor in place of a shape where the values matter, as for indices.

    Raises:
        ArgumentError: input_size is something else.
        ScratchnetError: the model does not take such an input.
    """
    inputs = _inputs(model, input_size)
    watched = copy.deepcopy(model)
    calls: list[tuple[str, Module, Tensor, list[tuple[Any, ...]], int]] = []
    for module, name in {m: name for name, m in reversed([*watched.named_modules()])}.items():
        _watch(name.removesuffix("."), module, calls)
    watched.forward(*inputs)
    plain = copy.deepcopy(model)
    places = {id(m): name.removesuffix(".") for name, m in plain.named_modules()}
    with fuse.watching() as runs:
        plain.forward(*inputs)
    of_run = {places[id(m)]: i for i, run in enumerate(runs, start=1) for m in run}
    seen: set[int] = set()
    rows = []
    for name, module, y, ops, _ in calls:
        tensors = (getattr(module, parameter) for parameter in module._parameters)
        numbers = {id(t): t.numel() for t in tensors if t is not None and id(t) not in seen}
        seen.update(numbers)
        if not (ops or module._parameters) and list(module.named_children()):
            continue  # all that it does its modules do
        rows.append(
            Row(
                name,
                type(module).__name__,
                tuple(y.shape),
                sum(numbers.values()),
                sum(map(_products, ops)),
                ", ".join(dict.fromkeys(backend for *_, backend in ops)),
                of_run.get(name, 0),
            )
        )
    parameters = list(model.parameters())
    weights = sum(p.numel() * p.element_size() for p in (*parameters, *model.buffers()))
    grads = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    leaves = [(_size(y), given) for _, m, y, _, given in calls if not list(m.named_children())]
    largest = max(map(sum, leaves), default=0)
    return Summary(
        tuple(rows),
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        weights + largest,
        weights + grads + sum(map(_size, inputs)) + sum(y for y, _ in leaves),
    )


def _watch(name: str, module: Module, calls: list[Any]) -> None:
    """Let a layer note its calls."""
    forward = module.forward

    def noting(*inputs: Any, **options: Any) -> Any:
        made: list[tuple[Any, ...]] = []
        token = dispatch.watched.set(made)
        try:
            with dispatch.trace() as traced:
                y = forward(*inputs, **options)
        finally:
            dispatch.watched.reset(token)
        ops = [
            (op, tensors, given, backend)
            for (op, tensors, given, _), (_, backend) in zip(made, traced, strict=True)
        ]
        first = y[0] if isinstance(y, tuple) else y
        given = sum(_size(x) for x in inputs if isinstance(x, Tensor))
        calls.append((name, module, first, ops, given))
        return y

    module.forward = noting  # type: ignore[method-assign]


def _products(call: tuple[Any, ...]) -> int:
    """How many products a convolution or matrix product adds up."""
    op, tensors, options, _ = call
    shapes: list[tuple[int, ...]] = [() if t is None else tuple(t.shape) for t in tensors]
    if op.name == "attention" or "attention" in op.name:
        *batch, t, d = shapes[0]
        return 2 * math.prod(batch) * t * shapes[1][-2] * d
    if len(shapes) < 2 or not shapes[1] or "weight" not in op.tensors:
        return 0
    weight = math.prod(shapes[1])
    if op.name.endswith("input_grad") or "transpose" in op.name:
        return weight * math.prod((shapes[0][0], *shapes[0][2:]))
    if "conv" in op.name:
        y = op.check(*tensors, **options)
        return int(weight * math.prod((y[0], *y[2:])))
    if op.name == "linear":
        return weight * math.prod(shapes[0][:-1])
    return 0


def _inputs(model: Module, given: Any) -> list[Tensor]:
    if isinstance(given, Tensor):
        return [given]
    if isinstance(given, Sequence) and given and all(isinstance(n, int) for n in given):
        given = [given]
    if not isinstance(given, Sequence) or not given or not all(map(_is_input, given)):
        raise ArgumentError(
            "summary expects the shape of the input, such as (1, 3, 64, 64), a tensor, or a list "
            f"of them; got {given!r}"
        )
    like = next((p for p in model.parameters()), torch.empty(()))
    return [
        x if isinstance(x, Tensor) else torch.zeros(tuple(x), dtype=like.dtype, device=like.device)
        for x in given
    ]


def _is_input(x: Any) -> bool:
    return isinstance(x, Tensor) or (
        isinstance(x, Sequence) and all(isinstance(n, int) and n >= 0 for n in x)
    )


def _size(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
