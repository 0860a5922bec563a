"""A network, or a part of one, as a single operation that an implementation may fuse.

A graph is a list of stages over numbered values: value 0 is the input, value i + 1 is what stage i
computes from the values that it reads, and the last one is the output. A stage is an operation of
this folder; the tensors that it does not read from values are its parameters (a convolution's
weight and bias), which the graph is given one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scratchnet import ops
from scratchnet.errors import ArgumentError
from scratchnet.ops.op import Case, Gradients, Needs, Op, Shape


class Stage(NamedTuple):
    """One operation of a graph.

    Attributes:
        op: its name.
        reads: the numbers of the values that are its first tensors.
        options: its keyword arguments, as (name, value) pairs.
    """

    op: str
    reads: tuple[int, ...]
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        given = [f"v{i}" for i in self.reads]
        usual = ops.get(self.op).defaults
        given += [f"{k}={v}" for k, v in self.options if k not in usual or usual[k] != v]
        return f"{self.op}({', '.join(given)})"

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of the op, with its defaults."""
        return {**ops.get(self.op).defaults, **dict(self.options)}

    @property
    def parameters(self) -> int:
        """How many parameters it takes, one that is None (no bias) included."""
        return len(ops.get(self.op).tensors) - len(self.reads)


class Stages(tuple[Stage, ...]):
    """The stages of a graph: a tuple that computes its hash once."""

    def __new__(cls, stages: Sequence[Any]) -> Stages:  # noqa: D102
        return super().__new__(cls, (Stage(op, tuple(r), tuple(o)) for op, r, o in stages))

    def __hash__(self) -> int:
        if "_hash" not in vars(self):
            self._hash = super().__hash__()
        return self._hash

    def __repr__(self) -> str:
        return "; ".join(f"{i} = {stage}" for i, stage in enumerate(self, start=1))

    def with_parameters(self, parameters: Sequence[Any]) -> Iterator[tuple[Stage, tuple[Any, ...]]]:
        """Yield each stage with its parameters, or with what is given for each of them.

        Raises:
            ArgumentError: there are too few or too many parameters.
        """
        wanted = sum(stage.parameters for stage in self)
        if wanted != len(parameters):
            raise ArgumentError(f"graph expects {wanted} parameters, got {len(parameters)}")
        at = 0
        for stage in self:
            yield stage, tuple(parameters[at : at + stage.parameters])
            at += stage.parameters


def _forward(
    x: Tensor, *parameters: Tensor | None, stages: Stages, keep: bool = True
) -> tuple[Tensor, Any]:
    """Run one stage after the other; kept are all values, and what each stage keeps."""
    values, kept = [x], []
    for stage, own in stages.with_parameters(parameters):
        read = [values[i] for i in stage.reads]
        y, of_stage = ops.get(stage.op).reference.forward(*read, *own, **stage.arguments)
        values.append(y)
        kept.append(of_stage)
    return values[-1], (values[:-1], kept) if keep else None


def _backward(
    grad_y: Tensor,
    kept: Any,
    x: Tensor,
    *parameters: Tensor | None,
    stages: Stages,
    keep: bool,
    needs: Needs,
) -> Gradients:
    """The chain rule, from the last stage to the first: the gradient of a value is the sum of
    the gradients from all stages that read it.
    """
    values, kept_of = kept
    grads: list[Tensor | None] = [None] * len(values) + [grad_y]
    of_parameters: list[Tensor | None] = []
    at = len(parameters)
    for i, (stage, own) in reversed(list(enumerate(stages.with_parameters(parameters)))):
        read = [values[j] for j in stage.reads]
        at -= len(own)
        of_stage = (
            *(j > 0 or needs[0] for j in stage.reads),
            *(needs[1 + at + k] and p is not None for k, p in enumerate(own)),
        )
        grad, grads[i + 1] = grads[i + 1], None
        if grad is None:  # no stage reads this value
            grad = torch.zeros_like(values[i + 1])
        given = ops.get(stage.op).reference.backward(
            grad, kept_of[i], *read, *own, **stage.arguments, needs=of_stage
        )
        of_parameters[:0] = given[len(read) :]
        for j, more in zip(stage.reads, given, strict=False):
            before = grads[j]
            grads[j] = more if before is None or more is None else before + more
    return grads[0] if needs[0] else None, *of_parameters


def _check(x: Tensor, *parameters: Tensor | None, stages: Stages, keep: bool) -> Shape:
    shapes = tuple(None if p is None else tuple(p.shape) for p in parameters)
    return _output_shape(stages, tuple(x.shape), shapes)


@lru_cache(maxsize=256)
def _output_shape(stages: Stages, x: Shape, parameters: tuple[Shape | None, ...]) -> Shape:
    """Return the shape of the last value; raises as the checks of the stages do."""
    if not stages:
        raise ArgumentError("graph expects at least one stage")
    nothing = torch.empty(())
    values = [nothing.expand(x)]
    given = [None if p is None else nothing.expand(p) for p in parameters]
    for i, (stage, own) in enumerate(stages.with_parameters(given)):
        if any(not 0 <= j <= i for j in stage.reads):
            raise ArgumentError(f"stage {i} of graph reads {stage.reads}: expected 0 to {i}")
        read = [values[j] for j in stage.reads]
        shape = ops.get(stage.op).check(*read, *own, **stage.arguments)
        values.append(nothing.expand(shape))
    return tuple(values[-1].shape)


def _exact(*, stages: Stages, **rest: Any) -> bool:
    return all(ops.get(stage.op).exact(**stage.arguments) for stage in stages)


def options(**given: Any) -> tuple[tuple[str, Any], ...]:
    """Return keyword arguments as a Stage takes them."""
    return tuple(given.items())


class _Builder:
    """Builds the graph of a case."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.stages: list[Stage] = []
        self.parameters: list[Shape | None] = []

    def conv(
        self, c: int, o: int, k: int | tuple[int, int] = 3, *, reads: int | None = None,
        scale: int = 0, stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 1,
        dilation: int = 1, groups: int = 1, bias: bool = True,
    ) -> _Builder:  # fmt: skip
        def pair(value: int | tuple[int, int]) -> tuple[int, int]:
            return (value, value) if isinstance(value, int) else value

        given: Mapping[str, Any] = {
            **({"scale": pair(scale)} if scale else {}),
            "stride": pair(stride),
            "padding": pair(padding),
            "dilation": pair(dilation),
            "groups": groups,
        }
        self.parameters += [(o, c // groups, *pair(k)), (o,) if bias else None]
        return self.then("upsample_conv2d" if scale else "conv2d", reads, **given)

    def then(self, op: str, *reads: int | None, **given: Any) -> _Builder:
        numbers = [len(self.stages) if r is None else r for r in reads or (None,)]
        self.stages.append(Stage(op, tuple(numbers), options(**given)))
        return self

    def case(self, layout: str = "contiguous", *, few: bool = False) -> Case:
        given = {"stages": Stages(self.stages)}
        return Case((self.shape, *self.parameters), given, layout, few)

    def forgetful(self) -> Case:
        """Return the case of a forward that keeps nothing, for no backward will follow."""
        case = self.case()
        return replace(case, options={**case.options, "keep": False}, backward=False)


def _paper(shape: Shape) -> _Builder:
    net = _Builder(shape).conv(3, 8, stride=2).then("relu").conv(8, 8, stride=2).then("relu")
    return net.conv(8, 8, scale=2).then("relu").conv(8, 3, scale=2).then("sigmoid")


def _unet(shape: Shape) -> _Builder:
    net = _Builder(shape).conv(3, 5).then("relu")  # 2
    net.conv(5, 6, stride=2, bias=False).then("relu")  # 4
    net.conv(6, 5, scale=2).then("relu")  # 6
    net.then("concat", 2, 6).conv(10, 4).then("relu").conv(4, 3)  # 10
    return net.then("add", 10, 0)


def _cases() -> list[Case]:
    """Return networks with and without branches, of every kind of stage."""
    B = _Builder
    deep = B((2, 7, 5, 6))
    for _ in range(5):
        deep.conv(7, 7).then("relu")
    pooled = B((2, 3, 8, 6)).conv(3, 5).then("relu")
    pooled.then("max_pool2d", None, kernel_size=(2, 2), stride=(2, 2)).conv(5, 4)
    pooled.then("avg_pool2d", None, kernel_size=(2, 3), stride=(2, 1), padding=(1, 0)).conv(4, 2)
    shared = B((2, 4, 6, 5)).conv(4, 4).then("add", 1, 1).then("add", 2, 1).then("relu").conv(4, 3)
    return [
        B((1, 1, 1, 1)).conv(1, 1).then("relu").conv(1, 1, 1, padding=0).then("sigmoid")
        .case(few=True),
        _paper((0, 3, 8, 8)).case(),
        _unet((0, 3, 8, 8)).case(),
        _paper((3, 3, 8, 12)).case(few=True),
        _paper((1, 3, 4, 4)).case("channels_last"),
        _unet((3, 3, 6, 10)).case(few=True),
        _unet((1, 3, 4, 2)).case("channels_last"),
        _unet((2, 3, 8, 6)).case("sliced"),
        pooled.case(few=True),
        shared.case(few=True),
        B((3, 3, 6, 7)).conv(3, 4).then("sigmoid").case(),
        B((2, 3, 6, 7)).conv(3, 4).then("silu").conv(4, 4).then("tanh").then("relu").conv(4, 3)
        .then("leaky_relu", None, negative_slope=0.1).case(few=True),
        B((2, 3, 5, 4)).then("mish").then("tanh").conv(3, 3).then("gelu").then("add", 4, 1)
        .then("softplus", None, beta=2.0, threshold=20.0).conv(3, 2).then("tanh").case("sliced"),
        B((2, 3, 5, 4)).then("relu").conv(3, 3).then("add", 2, 0).then("sigmoid")
        .case("transposed"),
        B((2, 3, 9, 7)).conv(3, 5, (3, 2), padding=(0, 2)).then("relu").conv(5, 4, 1, padding=0)
        .case(),
        B((2, 4, 7, 5)).conv(4, 6, groups=2).then("relu").conv(6, 4, stride=(2, 1)).case(),
        B((2, 6, 7, 5)).conv(6, 6, groups=6).conv(6, 2).then("relu").case("sliced"),
        B((2, 2, 11, 13)).conv(2, 3, dilation=2, padding=2).then("relu").conv(3, 2, 5, padding=2)
        .case("offset"),
        B((2, 3, 5, 4)).conv(3, 2, scale=3).then("relu").conv(2, 7).case("expanded"),
        deep.case("transposed", few=True),
        B((2, 17, 6, 5)).conv(17, 33).then("relu").conv(33, 9).then("sigmoid").case(),
        B((2, 3, 6, 6)).conv(3, 4, padding=3).then("relu").conv(4, 4, stride=3, padding=0).case(),
        B((5, 3, 16, 16)).conv(3, 32, stride=2).then("relu").conv(32, 3, scale=2).case(),
        _unet((7, 3, 16, 12)).case(),
        _unet((2, 3, 6, 10)).forgetful(),
        _paper((3, 3, 8, 12)).forgetful(),
        _paper((0, 3, 8, 12)).forgetful(),
        Case(((2, 3, 4, 4),), {"stages": Stages([])}, error="at least one stage"),
        Case(((2, 3, 4, 4),), {"stages": Stages([("add", (0, 1), ())])}, error="reads"),
        Case(((2, 3, 4, 4),), {"stages": Stages([("conv2d", (0,), ())])}, error="2 parameters"),
        replace_shape(_paper((2, 3, 8, 8)).case(), 0, (2, 2, 8, 8), "channels"),
        replace_shape(_paper((2, 3, 8, 8)).case(), 2, (7,), "bias"),
    ]  # fmt: skip


def replace_shape(case: Case, position: int, shape: Shape, error: str) -> Case:
    """Return the malformed call with another shape for one tensor."""
    shapes = tuple(shape if i == position else s for i, s in enumerate(case.shapes))
    return Case(shapes, case.options, error=error)


graph = Op(
    "graph",
    forward=_forward,
    backward=_backward,
    check=_check,
    cases=_cases,
    exact=_exact,
    bounds="scratchnet.verify.graph_bounds",
    twin="scratchnet.testing.oracle.graph",
    kinds={"stages": Stages},
)
