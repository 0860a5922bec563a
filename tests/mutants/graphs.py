"""Faulty graphs: what a backend may get wrong when it runs several layers as one."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor

from scratchnet import ops
from scratchnet.backends.base import Backend
from scratchnet.ops.graph import Stages, graph

right = graph.reference


class RightGraph(Backend):
    """Runs one stage after the other, as the reference; this one is right."""

    name = "mutant"

    def __init__(self) -> None:
        super().__init__(self.name)
        self.implement(graph, forward=self.run, backward=self.back)

    def run(self, x: Tensor, *parameters: Any, **options: Any) -> tuple[Tensor, Any]:
        return right.forward(x, *parameters, **options)

    def back(self, grad_y: Tensor, kept: Any, *tensors: Any, **options: Any) -> Any:
        return right.backward(grad_y, kept, *tensors, **options)


class Overwrites(RightGraph):
    """Where several stages read a value, the gradient that comes last counts alone."""

    def back(
        self, grad_y: Tensor, kept: Any, x: Tensor, *parameters: Any, stages: Stages, **rest: Any
    ) -> Any:
        values, kept_of = kept
        grads: dict[int, Any] = {len(stages): grad_y}
        of_parameters: list[Any] = []
        for i, (stage, own) in reversed(list(enumerate(stages.with_parameters(parameters)))):
            read = [values[j] for j in stage.reads]
            given = ops.get(stage.op).reference.backward(
                grads[i + 1],
                kept_of[i],
                *read,
                *own,
                **stage.arguments,
                needs=(*(True for _ in read), *(p is not None for p in own)),
            )
            grads.update(zip(stage.reads, given, strict=False))
            of_parameters[:0] = given[len(read) :]
        found = (grads[0], *of_parameters)
        return tuple(g if need else None for g, need in zip(found, rest["needs"], strict=True))


class ForgetsTheLastMask(RightGraph):
    """The last stage's derivative is forgotten where it is an activation."""

    def back(
        self, grad_y: Tensor, kept: Any, x: Tensor, *parameters: Any, stages: Stages, **rest: Any
    ) -> Any:
        if stages[-1].op in ("relu", "sigmoid") and len(stages) > 1:
            stages, kept = Stages(stages[:-1]), (kept[0][:-1], kept[1][:-1])
        return right.backward(grad_y, kept, x, *parameters, stages=stages, **rest)


class RectifiesItsInput(RightGraph):
    """The first stage works in place."""

    def run(self, x: Tensor, *parameters: Any, **options: Any) -> tuple[Tensor, Any]:
        if x.is_contiguous():
            x.clamp_(max=2)
        return right.forward(x, *parameters, **options)


class CutsWithoutKeep(RightGraph):
    """A shorter way is taken when nothing has to be kept, and it rounds."""

    def run(self, *tensors: Any, keep: bool, **options: Any) -> tuple[Tensor, Any]:
        y, kept = right.forward(*tensors, keep=keep, **options)
        return y if keep else (y * 64).round() / 64, kept


class SharedHidden(RightGraph):
    """The hidden values are kept in the backend itself, not with the call."""

    hidden: Any = None

    def run(self, *tensors: Any, **options: Any) -> tuple[Tensor, Any]:
        y, self.hidden = right.forward(*tensors, **options)
        time.sleep(0.002)
        return y, None

    def back(self, grad_y: Tensor, kept: Any, *tensors: Any, **options: Any) -> Any:
        return right.backward(grad_y, self.hidden, *tensors, **options)


class AlwaysGivesGradX(RightGraph):
    """The gradient of the input is computed even if nobody wants it."""

    def back(self, *args: Any, needs: Any, **options: Any) -> Any:
        return right.backward(*args, needs=(True, *needs[1:]), **options)
